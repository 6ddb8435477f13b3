"""`framing`: however the bytes were read, the records are those that the law gives."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterable

import hypothesis
import pytest
from hypothesis import strategies as st

from kagent import frame, framing, model, split

TAIL = "0" * 32
POLICIES = ["split", "truncate", "drop", "dead_letter"]
TIMES = int(os.environ.get("KAGENT_EXAMPLES_TIMES", "1"))  # 20 for a long look
fast = hypothesis.settings(deadline=None, max_examples=120 * TIMES)

LINES = {
    "java": [
        b"2026-01-01 INFO ok\n",
        b"x\n",
        b"java.lang.Error: boom\n",
        b"a.b.FooException\r\n",
        b"\tat a.b.C.d(C.java:1)\n",
        b"Caused by: x.Y: z\n",
        b"\t... 12 more\n",
        b"\n",
        b"\r\n",
    ],
    "python": [
        b"INFO ok\n",
        b"Traceback (most recent call last):\n",
        b"ERROR Traceback (most recent call last):\r\n",
        b'  File "a.py", line 1, in f\n',
        b"ValueError: bad\n",
        b"KeyboardInterrupt\n",
        b"\n",
        b"During handling of the above exception, another exception occurred:\n",
        b"2026 next\n",
    ],
    "go": [
        b"2026 ok\n",
        b"panic: boom\n",
        b"\n",
        b"goroutine 1 [running]:\n",
        b"main.main()\n",
        b"\t/a/b.go:1 +0x1\n",
        b"created by x.y in goroutine 1\n",
        b"exit status 2\n",
        b"[signal SIGSEGV: x]\n",
    ],
    "ruby": [
        b"I, ok\n",
        b"a.rb:3:in `f': boom (RuntimeError)\n",
        b"\tfrom a.rb:1:in `<main>'\n",
        b"a.rb:4:in 'x'\n",
        b"\n",
        b"  \n",
    ],
    "csv": [b"a,b\n", b'"a', b'b"', b'"', b",", b"\n", b'""', b"x", b'5" disk\n', b"\r\n"],
}
PATTERNS = {
    "start": {"start": r"\d{4}"},
    "continuation": {"continuation": r"\s"},
    "end": {"end": r".*;$"},
    "start and end": {"start": "B", "end": "E"},
    "all": {"start": "B", "continuation": "[ -]", "end": "E"},
}
PATTERN_LINES = [
    b"2026 a\n",
    b" b\n",
    b"- c\n",
    b"B\n",
    b"E\n",
    b"d;\n",
    b"\n",
    b"long " * 9 + b"\n",
]


@dataclasses.dataclass
class Fate:
    """What became of some bytes: (record, start, end, is dead), dropped bytes, and counts."""

    records: list[tuple[bytes, int, int, bool]] = dataclasses.field(default_factory=list)
    end: int = 0
    dropped_bytes: int = 0
    undecoded: int = 0
    replaced: int = 0

    def take(self, result: split.Split) -> None:
        chunk = result.chunk
        assert chunk.start == self.end
        at, covered = chunk.start, 0
        for record, start, end in zip(chunk.records, chunk.starts, chunk.ends, strict=True):
            assert at <= start < end
            self.records.append((record, start, end, result.is_dead))
            at, covered = end, covered + end - start
        assert at <= chunk.end
        assert chunk.end - chunk.start - covered == chunk.dropped_bytes
        self.end = chunk.end
        self.dropped_bytes += chunk.dropped_bytes
        self.undecoded += result.undecoded
        self.replaced += result.replaced


def run(
    data: bytes,
    rules: split.Rules,
    sizes: Iterable[int] = (1 << 30,),
    *,
    start: int = 0,
    end: int | None = None,
    is_closed: bool = True,
    records_max: int = 1 << 30,
    growth: Callable[[int], int] = lambda turn: 1 << 30,
) -> Fate:
    """Frame data as a tail does: in blocks, the undecided rest again with what follows.

    Begins at a record's start; `growth` says how much of the data is there in each turn.
    """
    fate, turn, sizes = Fate(end=start), 0, list(sizes)
    end = len(data) if end is None else end
    framer = framing.Framer(TAIL, rules)
    framer.begin(data[:2])
    scanned, idle = start, 0
    while fate.end < end and idle < 3:
        there = data[: min(end, growth(turn))]
        size = max(framer.block_bytes_min, sizes[turn % len(sizes)])
        turn += 1
        is_last = len(there) == end and is_closed
        if len(there) <= scanned and not is_last:
            idle += len(there) == end
            continue
        if framer.growing_from == fate.end and not is_last:
            seen = there[framer.looked_at : framer.looked_at + size]
            if not framer.look_on(seen, is_more=framer.looked_at + size < len(there)):
                scanned = max(scanned, framer.looked_at)
                idle += len(there) == end and framer.looked_at + size >= end
                continue
        block = model.Block(fate.end, there[fate.end : fate.end + size])
        is_at_end = fate.end + size >= end and is_last
        before = fate.end
        result = framer.split_block(block, records_max, is_closed=is_at_end)
        fate.take(result)
        if result.is_long and fate.end == before:
            line_end = framer.find_line_end(there[before:], 0, before)
            line_end = before + line_end if line_end >= 0 else (end if is_last else before)
            while fate.end < line_end:
                head = there[fate.end : fate.end + framer.block_bytes_min]
                fate.take(framer.cut_line(head, fate.end, line_end))
        elif result.is_looked_through:
            scanned = max(scanned, min(before + size, len(there)))
        idle = 0 if fate.end > before or len(there) < end else idle + 1
    return fate


def multi(
    preset: str | None = None, *, lines_max: int = 50, bytes_max: int = 1 << 20, **patterns: str
):
    return frame.Multiline(preset, lines_max=lines_max, bytes_max=bytes_max, **patterns)


def check_any_cut(
    data: bytes, rules: split.Rules, sizes: list[int], step: int, records_max: int, pick: int
) -> None:
    """Assert that blocks, growth, small chunks, restarts and closed gaps change no record."""
    whole = run(data, rules)
    assert len(data) == whole.end
    cut = run(data, rules, sizes, records_max=records_max, growth=lambda turn: turn * step)
    assert whole == cut

    if rules.oversize not in {"truncate", "drop"}:
        # Settled ranges are bounded by the ends of records.
        bounds = [0, *(end for _, _, end, _ in whole.records)]
        if rules.oversize == "dead_letter":
            bounds = [0, *(end for _, _, end, dead in whole.records if not dead)]
        first, last = sorted((bounds[pick % len(bounds)], bounds[(pick * 7) % len(bounds)]))
        gap = run(data, rules, sizes, start=first, end=last)
        expected = [one for one in whole.records if first <= one[1] and one[2] <= last]
        assert expected == gap.records

    # What is known before the end is what it will be.
    for known in (len(data) // 3, len(data) // 2, len(data) - 1):
        early = run(data[:known], rules, sizes, is_closed=False)
        assert whole.records[: len(early.records)] == early.records


cuts = {
    "sizes": st.lists(st.integers(1, 200), min_size=1, max_size=5),
    "step": st.integers(1, 150),
    "records_max": st.integers(1, 5),
    "pick": st.integers(0, 100),
    "limit": st.sampled_from([24, 60, 10_000]),
}


@pytest.mark.parametrize("oversize", ["split", "drop", "dead_letter"])
@pytest.mark.parametrize("preset", LINES)
@fast
@hypothesis.given(lines=st.data(), lines_max=st.sampled_from([2, 3, 50]), **cuts)
def test_presets_find_the_same_records_however_the_bytes_are_cut(
    preset: str,
    oversize: split.OversizePolicy,
    lines: st.DataObject,
    lines_max: int,
    limit: int,
    sizes: list[int],
    step: int,
    records_max: int,
    pick: int,
) -> None:
    """Blocks, growth, small chunks, restarts, gaps: never another record."""
    data = b"".join(lines.draw(st.lists(st.sampled_from(LINES[preset]), max_size=30)))
    many = multi(preset, lines_max=lines_max, bytes_max=limit - 4)
    rules = split.Rules(limit, oversize, frame.Frame(multiline=many))

    check_any_cut(data, rules, sizes, step, records_max, pick)


@pytest.mark.parametrize("patterns", PATTERNS)
@fast
@hypothesis.given(
    lines=st.lists(st.sampled_from(PATTERN_LINES), max_size=25),
    rest=st.sampled_from([b"", b"E", b" x"]),
    lines_max=st.sampled_from([2, 3, 50]),
    **cuts,
)
def test_patterns_find_the_same_records_however_the_bytes_are_cut(
    patterns: str,
    lines: list[bytes],
    rest: bytes,
    lines_max: int,
    limit: int,
    sizes: list[int],
    step: int,
    records_max: int,
    pick: int,
) -> None:
    """The operator's patterns obey the same law as the presets."""
    many = multi(lines_max=lines_max, bytes_max=limit - 4, **PATTERNS[patterns])
    rules = split.Rules(limit, "split", frame.Frame(multiline=many))

    check_any_cut(b"".join(lines) + rest, rules, sizes, step, records_max, pick)


CRI = [
    b"2026-01-01T00:00:00.1Z stdout F x.Error: y\n",
    b"2026-01-01T00:00:00.1+01:00 stdout F \tat z\n",
    b"2026-01-01T00:00:00.1Z stderr F err\n",
    b"2026-01-01T00:00:00.1Z stdout P part\n",
    b"2026-01-01T00:00:00.1Z stderr P:x part\n",
    b"2026-01-01T00:00:00.1Z stdout P \n",
    b"2026-01-01T00:00:00.1Z stdout F \n",
    b"raw\n",
    b"\n",
]
DOCKER = [
    b'{"log":"x.Error: y\\n","stream":"stdout","time":"t"}\n',
    b'{"log":"\\tat z\\n","stream":"stdout","time":"t"}\n',
    b'{"log":"part","stream":"stdout","time":"t"}\n',
    b'{"log":"e\\u00e9\\n","stream":"stderr","time":"t"}\n',
    b'{"log":"two\\nlines","stream":"stderr"}\n',
    b'{"log":"","stream":"stderr"}\n',
    b'{"log":7}\n',
    b"raw\n",
    b"[1]\n",
]


@pytest.mark.parametrize("lines", [CRI, DOCKER], ids=["cri", "docker"])
@pytest.mark.parametrize("preset", [None, "java", "pattern"])
@fast
@hypothesis.given(
    drawn=st.data(), lines_max=st.sampled_from([2, 50]), oversize=st.sampled_from(POLICIES), **cuts
)
def test_decoded_lines_give_the_same_records_however_the_bytes_are_cut(
    lines: list[bytes],
    preset: str | None,
    drawn: st.DataObject,
    oversize: split.OversizePolicy,
    lines_max: int,
    limit: int,
    sizes: list[int],
    step: int,
    records_max: int,
    pick: int,
) -> None:
    """Parts of lines, two streams, lines of no format: spans stay disjoint, nothing is lost."""
    data = b"".join(drawn.draw(st.lists(st.sampled_from(lines), max_size=25)))
    limit = {24: 30, 60: 130}.get(limit, limit)
    many = None
    if preset == "java":
        many = multi("java", lines_max=lines_max, bytes_max=limit - 4)
    elif preset:
        many = multi(continuation=r"\s|p", lines_max=lines_max, bytes_max=limit - 4)
    decode = "cri" if lines is CRI else "docker"
    rules = split.Rules(limit, oversize, frame.Frame(decode=decode, multiline=many))

    check_any_cut(data, rules, sizes, step, records_max, pick)


def test_records_do_not_depend_on_what_was_forgotten_of_a_growing_one() -> None:
    """After a record without a newline all is looked at anew, the growing record's lines too."""
    err, part, raw = CRI[2], CRI[3], CRI[7]
    data = b"".join([err, part, raw, part, err, CRI[6], CRI[1], CRI[0], CRI[0]])
    many = multi(continuation=r"\s|p", bytes_max=126)
    rules = split.Rules(130, "split", frame.Frame(decode="cri", multiline=many))

    cut = run(data, rules, [1], records_max=3, growth=lambda turn: turn * 46)

    assert (b"\n\tat z\n", 150, 226, False) == cut.records[5]
    assert run(data, rules) == cut


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16le", "utf-16be", "latin-1", "bytes"])
@pytest.mark.parametrize("delimiter", ["\n", "\r\n", "\0", "aa"])
@fast
@hypothesis.given(
    text=st.lists(
        st.sampled_from(
            ["\n", "\r\n", "\0", "a", "aa", "é", "\u0a0a", "\U0001f600", "  x", "b" * 9]
        ),
        max_size=30,
    ),
    noise=st.lists(
        st.tuples(st.integers(0, 60), st.sampled_from([b"\xd8", b"\n", b"\0", b"\xdc\xd8"]))
    ),
    mark=st.sampled_from([b"", b"\xff\xfe", b"\xfe\xff"]),
    oversize=st.sampled_from(POLICIES),
    is_stripped=st.booleans(),
    is_joined=st.booleans(),
    **cuts,
)
def test_encodings_and_delimiters_give_the_same_records_however_the_bytes_are_cut(
    encoding: frame.Encoding,
    delimiter: str,
    text: list[str],
    noise: list[tuple[int, bytes]],
    mark: bytes,
    oversize: split.OversizePolicy,
    is_stripped: bool,
    is_joined: bool,
    limit: int,
    sizes: list[int],
    step: int,
    records_max: int,
    pick: int,
) -> None:
    """Two-byte units, pairs of them, marks, wrong bytes, delimiters of several characters."""
    codec = {"utf-16": "utf-16le", "bytes": "utf-8"}.get(encoding, encoding)
    data = mark + "".join(text).encode(codec, "replace")
    for at, wrong in noise:
        data = data[: at % (len(data) + 1)] + wrong + data[at % (len(data) + 1) :]
    many = multi("java", bytes_max=limit - 4) if is_joined and delimiter == "\n" else None
    one = frame.Frame(delimiter, is_stripped, encoding, multiline=many)

    check_any_cut(data, split.Rules(limit, oversize, one), sizes, step, records_max, pick)


@pytest.mark.parametrize("limit", [1000, 100_000])
def test_bytes_that_only_look_like_delimiters_stop_nothing(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound on lines counts bytes; U+0A00 in UTF-16 has those of a newline in its middle."""
    monkeypatch.setattr(split, "LINES_MAX", 20)
    data = ("\u0a00" * 900 + "\n").encode("utf-16-le")
    parts = b"2026-01-01T00:00:00Z stdout P x\n" * 100 + b"2026-01-01T00:00:00Z stdout F \n"

    wide = run(data, split.Rules(limit, "split", frame.Frame(encoding="utf-16le")), [100])
    joined = run(parts, split.Rules(limit, "split", frame.Frame(decode="cri")), [100])

    assert len(data) == wide.end
    assert len(parts) == joined.end


def test_lines_of_one_block_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of empty lines becomes a few objects at a time, and the same records."""
    monkeypatch.setattr(split, "LINES_MAX", 64)
    data = b"\n" * 1000 + b"a\n\tb\n"
    many = multi("java", lines_max=50)
    rules = split.Rules(1000, "split", frame.Frame(multiline=many))
    framer = framing.Framer(TAIL, rules)
    framer.begin(b"")

    first = framer.split_block(model.Block(0, data), 1 << 30)

    assert 63 == len(first.chunk)
    assert 1001 == len(run(data, rules).records)


@pytest.mark.parametrize(
    ("many", "more", "expected"),
    [
        pytest.param(multi("java"), b"\tat c\n", False, id="a frame"),
        pytest.param(multi("java"), b"\tat", False, id="half a line"),
        pytest.param(multi("java"), b"next\n", True, id="a first line"),
        pytest.param(multi("java", lines_max=3), b"\tat c\n", True, id="enough lines"),
        pytest.param(multi("java", bytes_max=20), b"\tat cccccccccc", True, id="enough bytes"),
        pytest.param(multi("csv"), b"x\n", False, id="within quotes"),
        pytest.param(multi("csv"), b'x"\n', True, id="a quote"),
        pytest.param(multi(start="a"), b"\tat c\n", False, id="a pattern's line"),
        pytest.param(multi(start="a", end=".*d"), b"\tat d\n", True, id="a pattern's end"),
    ],
)
def test_growing_record_is_looked_at_from_where_it_was_left(
    many: frame.Multiline, more: bytes, expected: bool
) -> None:
    """Only what may decide it makes the record be read again."""
    framer = framing.Framer(TAIL, split.Rules(10_000, "split", frame.Frame(multiline=many)))
    framer.begin(b"")
    data = b'a "\n\tat b\n' if many.preset != "csv" else b'a,"\nb\n'

    result = framer.split_block(model.Block(0, data), 1 << 30)

    assert (0, True) == (result.chunk.end, result.is_looked_through)
    assert (0, len(data)) == (framer.growing_from, framer.looked_at)
    assert expected == framer.look_on(more, is_more=False)


def test_other_stream_and_what_was_forgotten_are_read_again() -> None:
    """A container's other stream decides the record; changed bytes make it unknown."""
    rules = split.Rules(10_000, "split", frame.Frame(decode="cri", multiline=multi("java")))
    framer = framing.Framer(TAIL, rules)
    framer.begin(b"")
    framer.split_block(model.Block(0, CRI[0]), 1 << 30)

    same = framer.look_on(CRI[1], is_more=False)
    other = framer.look_on(CRI[2], is_more=False)
    framer.forget()

    assert (False, True, None) == (same, other, framer.growing_from)


def texts(data: bytes, one: frame.Frame, limit: int = 10_000) -> list[bytes]:
    return [record for record, _, _, _ in run(data, split.Rules(limit, "split", one)).records]


@fast
@hypothesis.given(text=st.text(max_size=60), order=st.sampled_from(["le", "be"]))
def test_utf_16_comes_out_as_it_went_in(text: str, order: str) -> None:
    """With or without a mark, every character survives, at any limit."""
    text = text.removeprefix("\ufeff")
    mark = {"le": b"\xff\xfe", "be": b"\xfe\xff"}[order]
    data = mark + text.encode(f"utf-16-{order}")

    whole = texts(data, frame.Frame(encoding="utf-16"))
    cut = texts(data, frame.Frame(encoding="utf-16"), 24)

    assert text == b"".join(whole).decode() == b"".join(cut).decode()
    assert re.findall(r"[^\n]*\n|[^\n]+\Z", text) == [record.decode() for record in whole]
    assert all(len(record) <= 24 for record in cut)


@pytest.mark.parametrize("size", [160, 200])
def test_parts_that_are_no_whole_line_go_on_in_their_record(size: int) -> None:
    """Whether the line that does not fit behind them is whole or not: simulation, seed 888."""
    head = b"2026-01-01T00:00:00.0Z stdout "
    data = b"%bF 1\n%bP \tat a\n%bP bb\n%bF %b\n" % (head, head, head, head, b"c" * 50)
    many = multi("java", bytes_max=120)
    framer = framing.Framer(
        TAIL, split.Rules(120, "split", frame.Frame(decode="cri", multiline=many))
    )
    framer.begin(b"")

    result = framer.split_block(model.Block(0, data[:size]), 1 << 30)

    assert [b"1\n\tat abb"] == result.chunk.records[:1]
