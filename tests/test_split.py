"""`split`: however the bytes were read, the records are those that the law gives."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable

import hypothesis
import pytest
from hypothesis import strategies as st

from kagent import model, split

TAIL = "0" * 32
CUTTING_POLICIES = ["split", "truncate", "drop", "dead_letter"]

pieces = st.sampled_from([b"\n", b"\n\n", b"a", b"bc", b"\0", b"\0\0\0", b"\r", b"\r\n", b"d" * 9])
contents = st.lists(pieces, max_size=40).map(b"".join)
limits = st.integers(2, 9)
block_sizes = st.lists(st.integers(1, 30), min_size=1, max_size=8)
fast = hypothesis.settings(deadline=None, max_examples=150)


@dataclasses.dataclass
class Fate:
    """What became of some bytes, in columns: record, start, end, whether it is a dead letter."""

    records: list[tuple[bytes, int, int, bool]] = dataclasses.field(default_factory=list)
    end: int = 0
    dropped_bytes: int = 0

    def take(self, result: split.Split) -> None:
        chunk = result.chunk
        check_tiles(chunk)
        assert chunk.start == self.end
        for record, start, end in zip(chunk.records, chunk.starts, chunk.ends, strict=True):
            self.records.append((record, start, end, result.is_dead))
        self.end = chunk.end
        self.dropped_bytes += chunk.dropped_bytes


def check_tiles(chunk: model.Chunk) -> None:
    """Assert what model.Chunk says of itself: ranges ascend, gaps are what was dropped."""
    assert len(chunk.records) == len(chunk.starts) == len(chunk.ends) == len(chunk)
    covered, at = 0, chunk.start
    for start, end in zip(chunk.starts, chunk.ends, strict=True):
        assert at <= start < end
        covered, at = covered + end - start, end
    assert at <= chunk.end
    assert chunk.end - chunk.start - covered == chunk.dropped_bytes


def naive_fate(data: bytes, rules: split.Rules, *, is_closed: bool) -> Fate:
    """Read the law of split.py line by line."""
    fate = Fate()
    limit = rules.record_bytes_max
    for line in re.findall(rb"[^\n]*\n|[^\n]+\Z", data):
        is_complete = line.endswith(b"\n") or is_closed
        start, end = fate.end, fate.end + len(line)
        if len(line) <= limit:
            parts = [line] if is_complete else []
        elif rules.oversize in {"split", "dead_letter"}:
            parts = [line[at : at + limit] for at in range(0, len(line), limit)]
            if not is_complete:
                parts = parts[:-1] if rules.oversize == "split" else []
        elif rules.oversize == "truncate" and is_complete:
            fate.records.append((line[: limit - 1] + b"\n", start, start + limit - 1, False))
            fate.dropped_bytes += end - (start + limit - 1)
            fate.end = end
            parts = []
        else:
            fate.dropped_bytes += len(line) if is_complete else 0
            fate.end = end if is_complete else start
            parts = []
        is_dead = len(line) > limit and rules.oversize == "dead_letter"
        for part in parts:
            fate.records.append((part, fate.end, fate.end + len(part), is_dead))
            fate.end += len(part)
    return fate


def fate_by_blocks(
    data: bytes,
    rules: split.Rules,
    sizes: Iterable[int],
    *,
    is_closed: bool = False,
    lines_max: int = split.LINES_MAX,
    growth: Callable[[int], int] = lambda turn: 1 << 30,
) -> Fate:
    """Split data as a tail would: in blocks, the undecided rest read again with what follows.

    `growth` says how much of the data is there in each turn.
    """
    fate, turn, stuck = Fate(), 0, 0
    sizes = list(sizes)
    while fate.end < len(data):
        there = data[: growth(turn)]
        size = sizes[turn % len(sizes)] + stuck
        block = model.Block(fate.end, there[fate.end : fate.end + size])
        turn += 1
        if not block.data:
            continue
        is_at_end = fate.end + size >= len(data)
        result = split.split_block(
            block, TAIL, rules, lines_max=lines_max, is_closed=is_closed and is_at_end
        )
        before = fate.end
        fate.take(result)
        if result.is_long and fate.end == before:
            end = there.find(b"\n", before) + 1 or (len(data) if is_closed else 0)
            while fate.end < end:
                head = there[fate.end : fate.end + rules.record_bytes_max + 1]
                fate.take(split.cut_line(head, fate.end, end, TAIL, rules))
        if fate.end == before and is_at_end and len(there) == len(data):
            break
        stuck = 0 if fate.end > before else stuck + 10
    return fate


def split_once(data: bytes, limit: int = 10, start: int = 0, **options: bool | int) -> split.Split:
    return split.split_block(model.Block(start, data), TAIL, split.Rules(limit), **options)


# --- any bytes, any cut -----------------------------------------------------------------------


@pytest.mark.parametrize("oversize", CUTTING_POLICIES)
@fast
@hypothesis.given(
    data=contents,
    limit=limits,
    sizes=block_sizes,
    is_closed=st.booleans(),
    lines_max=st.integers(1, 5),
)
def test_records_do_not_depend_on_how_the_bytes_were_cut_into_blocks(
    oversize: split.OversizePolicy,
    data: bytes,
    limit: int,
    sizes: list[int],
    is_closed: bool,
    lines_max: int,
) -> None:
    """Any blocks, with the rest read again, give the records that the law gives for the whole."""
    rules = split.Rules(limit, oversize)

    fate = fate_by_blocks(data, rules, sizes, is_closed=is_closed, lines_max=lines_max)

    assert naive_fate(data, rules, is_closed=is_closed) == fate


@pytest.mark.parametrize("oversize", CUTTING_POLICIES)
@fast
@hypothesis.given(data=contents, limit=limits, sizes=block_sizes, step=st.integers(1, 7))
def test_records_do_not_depend_on_when_the_file_was_read(
    oversize: split.OversizePolicy, data: bytes, limit: int, sizes: list[int], step: int
) -> None:
    """A file that is read while it grows gives the records of one that is read when complete."""
    rules = split.Rules(limit, oversize)

    fate = fate_by_blocks(data, rules, sizes, growth=lambda turn: 1 + turn * step)

    assert naive_fate(data, rules, is_closed=False) == fate


@fast
@hypothesis.given(data=contents, limit=limits, sizes=block_sizes)
def test_records_of_a_closed_file_are_all_its_bytes(
    data: bytes, limit: int, sizes: list[int]
) -> None:
    """Under `split` nothing is dropped and nothing is added: NULs, CRs, empty lines, the end."""
    fate = fate_by_blocks(data, split.Rules(limit), sizes, is_closed=True)

    assert data == b"".join(record for record, *_ in fate.records)
    assert fate.dropped_bytes == 0


@fast
@hypothesis.given(data=contents.filter(bool), lines_max=st.integers(0, 6), is_closed=st.booleans())
def test_one_chunk_holds_no_more_lines_than_allowed(
    data: bytes, lines_max: int, is_closed: bool
) -> None:
    """The newlines of a chunk are at most lines_max, and at least one if there is one."""
    result = split_once(data, 100, lines_max=lines_max, is_closed=is_closed)

    newlines = data[: result.chunk.end].count(b"\n")
    assert newlines <= max(1, lines_max)
    assert (b"\n" in data) == (newlines > 0)


def test_dense_block_is_cut_close_to_the_bound() -> None:
    """A block of empty lines fills a chunk, rather than giving one line at a time."""
    result = split_once(b"\n" * 1000, lines_max=100)

    assert [b"\n"] * 100 == result.chunk.records


def test_uneven_block_still_makes_progress() -> None:
    """Lines of all lengths in one block: as many as are wanted, and no more."""
    result = split_once(b"\n\n\n" + b"a" * 97 + b"\n", 200, lines_max=3)

    assert [b"\n", b"\n", b"\n"] == result.chunk.records


# --- one block --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "is_closed", "records"),
    [
        pytest.param(b"a\nbb\n", False, [b"a\n", b"bb\n"], id="complete lines"),
        pytest.param(b"a\nbb", False, [b"a\n"], id="the rest waits"),
        pytest.param(b"a\nbb", True, [b"a\n", b"bb"], id="the rest of a closed file"),
        pytest.param(b"abc", False, [], id="no newline"),
        pytest.param(b"abc", True, [b"abc"], id="no newline in a closed file"),
        pytest.param(b"\n\na\n", False, [b"\n", b"\n", b"a\n"], id="empty lines"),
        pytest.param(b"\0\0\n\0", False, [b"\0\0\n"], id="NULs are bytes"),
        pytest.param(b"a\rb\r\n\r", False, [b"a\rb\r\n"], id="CRs end no line"),
        pytest.param(b"a\x0b\x0c\x1c\xc2\x85\n", False, [b"a\x0b\x0c\x1c\xc2\x85\n"], id="others"),
        pytest.param(b"123456789\n1", False, [b"123456789\n"], id="the limit exactly"),
        pytest.param(b"1234567890", False, [], id="the limit, without an end"),
        pytest.param(b"1234567890", True, [b"1234567890"], id="the limit, closed"),
        pytest.param(b"1234567890\n", False, [b"1234567890", b"\n"], id="one byte more"),
        pytest.param(b"12345678901", False, [b"1234567890"], id="one byte more, without an end"),
        pytest.param(b"1234567890" * 2, False, [b"1234567890"], id="two parts, one is final"),
    ],
)
def test_block_is_split_at_newlines(data: bytes, is_closed: bool, records: list[bytes]) -> None:
    """Only a newline ends a line; the delimiter stays; at most 10 bytes are one record here."""
    result = split_once(data, 10, is_closed=is_closed)

    assert records == result.chunk.records


def test_ranges_are_offsets_in_the_file() -> None:
    """A record's range is where it stands in the file, not in the block."""
    result = split_once(b"a\n\nbcd\nrest", start=1000)

    assert model.Chunk(
        TAIL, [b"a\n", b"\n", b"bcd\n"], [1000, 1002, 1003], [1002, 1003, 1007], 1000, 1007
    ) == result.chunk  # fmt: skip


def test_block_without_a_complete_line_gives_an_empty_chunk() -> None:
    """Nothing is decided: the chunk is empty and ends where it starts."""
    result = split_once(b"abc", start=7)

    assert split.Split(model.Chunk(TAIL, [], [], [], 7, 7)) == result


@pytest.mark.parametrize("oversize", ["truncate", "drop", "dead_letter"])
def test_lines_before_an_oversize_one_go_first(oversize: split.OversizePolicy) -> None:
    """The chunk ends before the oversize line, which is then met at the start of a block."""
    rules = split.Rules(4, oversize)
    data = b"a\nb\n12345\nc\n"

    first = split.split_block(model.Block(0, data), TAIL, rules)
    second = split.split_block(model.Block(4, data[4:]), TAIL, rules)

    assert ([b"a\n", b"b\n"], False) == (first.chunk.records, first.is_long)
    assert ([], 4, True) == (second.chunk.records, second.chunk.end, second.is_long)


@pytest.mark.parametrize("oversize", ["truncate", "drop", "dead_letter"])
def test_oversize_line_without_an_end_is_not_decided(oversize: split.OversizePolicy) -> None:
    """Complete lines before it are given out, and is_long says that its end is to be found."""
    rules = split.Rules(4, oversize)

    result = split.split_block(model.Block(0, b"a\n12345"), TAIL, rules)

    assert ([b"a\n"], 2, True) == (result.chunk.records, result.chunk.end, result.is_long)


# --- a line whose end is known ----------------------------------------------------------------


def test_truncated_line_keeps_its_beginning_and_a_newline() -> None:
    """The record is exactly as long as the limit; what was cut off counts as dropped."""
    result = split.cut_line(b"1234567", 100, 108, TAIL, split.Rules(5, "truncate"))

    assert split.Split(model.Chunk(TAIL, [b"1234\n"], [100], [104], 100, 108, 4)) == result


def test_dropped_line_is_a_chunk_without_records() -> None:
    """All its bytes are dropped by the rule."""
    result = split.cut_line(b"1234567", 100, 108, TAIL, split.Rules(5, "drop"))

    assert split.Split(model.Chunk(TAIL, [], [], [], 100, 108, 8)) == result


@pytest.mark.parametrize(
    ("start", "part", "end"),
    [
        pytest.param(0, b"12345", 5, id="the first"),
        pytest.param(5, b"67890", 10, id="one in the middle"),
        pytest.param(10, b"12\n", 13, id="the last"),
    ],
)
def test_dead_line_is_cut_one_part_at_a_time(start: int, part: bytes, end: int) -> None:
    """A line of any length stays within the memory bound: one call gives one part."""
    line = b"123456789012\n"

    result = split.cut_line(line[start:], start, len(line), TAIL, split.Rules(5, "dead_letter"))

    assert split.Split(model.Chunk(TAIL, [part], [start], [end], start, end), is_dead=True) == (
        result
    )


def test_bytes_behind_the_line_are_none_of_it() -> None:
    """The head may hold what follows the line; a part never does."""
    result = split.cut_line(b"12\nnext", 10, 13, TAIL, split.Rules(5, "dead_letter"))

    assert [b"12\n"] == result.chunk.records


def test_too_short_a_head_is_refused() -> None:
    """A caller that could not read a whole part must not lose the rest of it."""
    with pytest.raises(AssertionError, match="one part and more"):
        split.cut_line(b"12345", 0, 100, TAIL, split.Rules(5, "dead_letter"))


# --- rules ------------------------------------------------------------------------------------


def test_raw_lines_are_split_when_nothing_is_said() -> None:
    """`auto` is `split` here, and both have the same digest."""
    assert "split" == split.Rules(10).oversize
    assert split.Rules(10, "split").digest == split.Rules(10, "auto").digest


def test_digest_differs_whenever_splitting_may_differ() -> None:
    """Limit and policy are both in the digest."""
    digests = {split.Rules(n, policy).digest for n in (10, 11) for policy in CUTTING_POLICIES}

    assert 8 == len(digests)


def test_limit_below_two_bytes_is_refused() -> None:
    """A truncated record holds at least one byte and a newline."""
    with pytest.raises(AssertionError):
        split.Rules(1)


@pytest.mark.parametrize(
    ("data", "is_closed", "expected", "is_run"),
    [
        pytest.param(b"a\nbc\nd", False, [b"a\nbc\n"], True, id="open"),
        pytest.param(b"a\nbc\n", True, [b"a\nbc\n"], True, id="closed"),
        pytest.param(b"a\nbc", True, [b"a\n", b"bc"], False, id="closed without a newline"),
        pytest.param(b"abc", False, [], True, id="no line"),
        pytest.param(b"a\n" + b"b" * 20, False, [b"a\n"], False, id="longer than the limit"),
    ],
)
def test_lines_that_are_packed_as_they_stand_stay_together(
    data: bytes, is_closed: bool, expected: list[bytes], is_run: bool
) -> None:
    """Whole lines are one record; a last line without a newline, or a long block, is split."""
    rules = split.Rules(21, run_bytes=10)

    chunk = split.split_block(model.Block(5, data), "id", rules, is_closed=is_closed).chunk

    assert expected == chunk.records
    assert (5, 5 + sum(map(len, expected))) == (chunk.start, chunk.end)
    assert chunk.is_run == is_run


@pytest.mark.parametrize(("lines_max", "is_run"), [(5, False), (7, True)])
def test_lines_stay_together_only_if_their_records_are_few_enough(
    lines_max: int, *, is_run: bool
) -> None:
    """Every record costs memory: what a run may become is bounded like the lines of a block."""
    rules = split.Rules(100, run_bytes=10)
    data = b"sixsix\n" * 4  # in four records of 10 bytes

    chunk = split.split_block(model.Block(0, data), "id", rules, lines_max=lines_max).chunk

    assert is_run == chunk.is_run
    assert len(chunk) == (1 if is_run else 4)
