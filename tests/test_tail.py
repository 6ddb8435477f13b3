"""`tail` on real files: every read proves itself, every row can be resumed, no byte is lost."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kagent import frame, model, proven, reading, search, split, system, tail, tracking

KIB, MIB = 1024, 1024**2
CREDIT = 16 * MIB
RULES = split.Rules(64 * KIB)
CUTTING = ["truncate", "drop", "dead_letter"]


class CountingFiles(system.OsFiles):
    """The real file system, which counts the bytes that were read."""

    def __init__(self) -> None:
        self.read_bytes = 0

    def read(self, handle: int, offset: int, size: int) -> bytes:
        data = super().read(handle, offset, size)
        self.read_bytes += len(data)
        return data


class Log:
    """A file with a writer, and tails that follow it."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.files = CountingFiles()
        self._handles: list[int] = []
        self.write(b"")

    def write(self, data: bytes) -> None:
        with open(self.path, "wb") as stream:
            stream.write(data)

    def append(self, data: bytes) -> None:
        with open(self.path, "ab") as stream:
            stream.write(data)

    def truncate(self, size: int) -> None:
        os.truncate(self.path, size)

    def close(self) -> None:
        for handle in self._handles:
            self.files.close(handle)

    def open(self) -> int:
        self._handles.append(self.files.open(self.path, self.path))
        return self._handles[-1]

    def sighting(self) -> model.Sighting:
        status = self.files.status(self.path, self.path)
        seen = status.identity, status.size, status.mtime_ns
        return model.Sighting(self.path, self.path, *seen, ("pattern",))

    def follow(self, start: int = 0, rules: split.Rules = RULES) -> tail.Tail:
        return tail.Tail("t", [self.sighting()], self.open(), start, rules, self.files, 0.0)

    def resume(
        self,
        row: model.Checkpoint,
        rules: split.Rules = RULES,
        *,
        offset: int | None = None,
    ) -> tail.Tail:
        """Resume a row; at an older offset it is rolled back."""
        is_rolled_back = offset is not None
        at = row.offset if offset is None else offset
        ranges = () if is_rolled_back else row.ranges
        found = tracking.Resume((self.sighting(),), row, at, ranges, is_rolled_back)
        return tail.Tail.resumed(found, "t", self.open(), rules, self.files, 0.0)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    one = Log(tmp_path / "a.log")
    yield one
    one.close()


def read_chunks(
    one: tail.Tail, credit: int = CREDIT, *, is_final: bool = False
) -> list[split.Split]:
    """Look how long the file is, and read until nothing more is complete."""
    one.poll(0.0)
    found = []
    for _ in range(1000):
        if one.is_exhausted and not (is_final and one.unread_bytes):
            return found
        result = one.read(credit, 0.0, is_final=is_final)
        found += [result] if result else []
    raise AssertionError("reading comes to no end")


def read_records(one: tail.Tail, *, is_final: bool = False) -> list[bytes]:
    chunks = read_chunks(one, is_final=is_final)
    return [record for result in chunks for record in result.chunk.records]


def settle_all(one: tail.Tail, found: list[split.Split]) -> None:
    for result in found:
        one.settle([result.chunk])


def row_of(one: tail.Tail, now: float = 0.0) -> model.Checkpoint:
    row = one.checkpoint(now)
    assert row is not None
    return row


def lines(first: int, last: int) -> bytes:
    """Return lines of 100 bytes each, no two alike."""
    return b"".join(b"%099d\n" % number for number in range(first, last))


# --- reading ----------------------------------------------------------------------------------


def test_lines_come_as_they_are_completed(log: Log) -> None:
    """An incomplete line waits, and comes whole once its end was written."""
    log.write(b"one\ntw")
    one = log.follow()

    first = read_records(one)
    log.append(b"o\nthree")
    second = read_records(one)
    log.append(b"\n")
    third = read_records(one)

    assert [[b"one\n"], [b"two\n"], [b"three\n"]] == [first, second, third]
    assert 14 == one.position


def test_tail_starts_where_it_is_told(log: Log) -> None:
    """Bytes before the start are none of ours, and prove the file all the same."""
    log.write(b"one\ntwo\n")
    one = log.follow(start=4)

    records = read_records(one)
    log.write(b"ONE\ntwo\nthree\n")
    one.poll(0.0)

    assert [b"two\n"] == records
    with pytest.raises(proven.TruncatedError):
        one.read(CREDIT, 0.0)


def test_chunk_has_the_time_of_its_read(log: Log) -> None:
    """The age of a record is counted from there."""
    log.write(b"one\n")
    one = log.follow()

    result = one.read(CREDIT, 7.5)

    assert result is not None
    assert 7.5 == result.chunk.read_time


@pytest.mark.parametrize("credit", [None, 100 * KIB, MIB], ids=["the least", "some", "much"])
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\n" * 200_000, id="empty lines"),
        pytest.param(b"a" * 4095 + b"\n", id="one line of the limit"),
        pytest.param(b"a" * 10_000 + b"\n" * 100_000, id="an oversize line, then empty ones"),
        pytest.param(b"\n" * 3000 + b"a" * 500_000, id="empty lines, then an oversize one"),
    ],
)
def test_credit_bounds_what_one_read_gives(log: Log, content: bytes, credit: int | None) -> None:
    """A chunk and what its records cost stay within the credit; the least makes a record."""
    log.write(content)
    rules = split.Rules(4096)
    one = log.follow(rules=rules)
    credit = credit or reading.credit_min(rules)

    found = [one.read(credit, 0.0) for _ in range(3)]

    assert found[0] is not None
    for result in filter(None, found):
        cost = sum(map(len, result.chunk.records))
        assert 0 < cost + model.RECORD_OVERHEAD_BYTES * len(result.chunk) <= credit


def test_nothing_there_gives_nothing(log: Log) -> None:
    """An empty file, and one of which everything was read."""
    one = log.follow()

    empty = one.read(CREDIT, 0.0)
    log.write(b"one\n")
    read_records(one)
    read = one.read(CREDIT, 0.0)

    assert (None, None) == (empty, read)
    assert (True, 0) == (one.is_exhausted, one.unread_bytes)


def test_last_line_of_a_finished_file_needs_no_newline(log: Log) -> None:
    """It goes when nothing will be written any more, and not before."""
    log.write(b"one\ntwo")
    one = log.follow()

    before = read_records(one)
    unread_bytes = one.unread_bytes
    after = read_records(one, is_final=True)

    assert ([b"one\n"], 3, [b"two"]) == (before, unread_bytes, after)
    assert 7 == one.position


def test_long_last_line_of_a_finished_file_is_whole(log: Log) -> None:
    """One that was searched in vain for its newline is read again, and goes."""
    log.write(b"x" * 300 * KIB)
    one = log.follow(rules=split.Rules(MIB))

    before = read_records(one)
    after = read_records(one, is_final=True)

    assert ([], [b"x" * 300 * KIB]) == (before, after)


def test_growth_is_noticed(log: Log) -> None:
    """A poll notes when a byte came, and that a last line is no longer the last."""
    one = log.follow()
    one.is_finished = True

    one.poll(5.0)
    silent = one.grown, one.is_finished
    log.append(b"x")
    one.poll(6.0)

    assert (0.0, True) == silent
    assert (6.0, False, 1) == (one.grown, one.is_finished, one.unread_bytes)


# --- proofs -----------------------------------------------------------------------------------


def test_shorter_file_was_truncated(log: Log) -> None:
    """A poll sees it at once."""
    log.write(b"one\ntwo\n")
    one = log.follow()
    read_chunks(one)

    log.truncate(7)

    with pytest.raises(proven.TruncatedError):
        one.poll(0.0)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lines(500, 520), id="regrown to more"),
        pytest.param(lines(500, 510), id="regrown to the same size"),
        pytest.param(b"\0" * 1000 + lines(10, 12), id="written on after a truncation, sparse"),
        pytest.param(
            lines(0, 9) + lines(9, 10).replace(b"9", b"8") + lines(10, 12), id="one byte"
        ),
    ],
)
def test_rewritten_file_is_noticed_before_a_byte_is_taken(log: Log, content: bytes) -> None:
    """Truncated and grown beyond the position: the bytes before it are not ours any more."""
    log.write(lines(0, 10))
    one = log.follow()
    read_chunks(one)

    log.write(content)
    one.poll(0.0)

    with pytest.raises(proven.TruncatedError):
        one.verify()
    with pytest.raises(proven.TruncatedError):
        one.read(CREDIT, 0.0)
    assert 1000 == one.position


def test_short_lines_are_proved_by_those_before_them(log: Log) -> None:
    """The frontier is of 64 bytes even where each chunk is shorter than that."""
    log.write(b"")
    one = log.follow()
    for number in range(40):
        log.append(b"%02d\n" % number)
        read_chunks(one)

    log.write(b"!!\n" + b"".join(b"%02d\n" % number for number in range(1, 40)))
    one.verify()
    log.write(b"".join(b"%02d\n" % (number if number != 19 else 0) for number in range(41)))

    with pytest.raises(proven.TruncatedError):
        one.read(CREDIT, 0.0)


def test_proof_costs_no_second_read(log: Log) -> None:
    """The bytes of the proof come with those that they prove: 64 more than the block."""
    log.write(lines(0, 100))
    one = log.follow()
    read_chunks(one)
    log.append(lines(100, 110))
    one.poll(0.0)
    before = log.files.read_bytes

    one.read(CREDIT, 0.0)

    assert 1000 + 64 == log.files.read_bytes - before


# --- long lines -------------------------------------------------------------------------------


@pytest.mark.parametrize("oversize", ["split", *CUTTING])
def test_growing_line_is_not_read_again_and_again(
    log: Log, oversize: split.OversizePolicy
) -> None:
    """10 MiB in 100 pieces: it is searched once and read once, not a hundred times."""
    one = log.follow(rules=split.Rules(11 * MIB, oversize))
    piece = b"x" * (10 * MIB // 100)

    early = []
    for _ in range(100):
        log.append(piece)
        early += read_chunks(one, 64 * MIB)
    position, waiting = one.position, log.files.read_bytes
    log.append(b"\n")
    (result,) = read_chunks(one, 64 * MIB)

    assert ([], 0) == (early, position)
    assert waiting < 10.2 * MIB
    assert log.files.read_bytes < 20.4 * MIB
    assert [piece * 100 + b"\n"] == result.chunk.records


@pytest.mark.parametrize("oversize", CUTTING)
def test_growing_oversize_line_is_not_read_again_and_again(
    log: Log, oversize: split.OversizePolicy
) -> None:
    """Its end is searched in what is new; nothing is decided before it was seen."""
    one = log.follow(rules=split.Rules(64 * KIB, oversize))
    piece = b"x" * 100 * KIB

    early = []
    for _ in range(50):
        log.append(piece)
        early += read_chunks(one)
    waiting = log.files.read_bytes

    assert ([], 0) == (early, one.position)
    assert waiting < 5.5 * MIB


LIMIT = 64 * KIB
LONG = b"L" * 5 * MIB + b"\n"


@pytest.mark.parametrize("is_final", [False, True], ids=["open", "final"])
@pytest.mark.parametrize(
    ("oversize", "expected", "dead"),
    [
        pytest.param("split", [b"a\n", *[b"L" * LIMIT] * 80, b"\n", b"b\n"], 0, id="split"),
        pytest.param("truncate", [b"a\n", b"L" * (LIMIT - 1) + b"\n", b"b\n"], 0, id="truncate"),
        pytest.param("drop", [b"a\n", b"b\n"], 0, id="drop"),
        pytest.param("dead_letter", [b"a\n", *[b"L" * LIMIT] * 80, b"\n", b"b\n"], 81, id="dead"),
    ],
)
def test_oversize_line_has_the_fate_of_its_policy(
    log: Log, oversize: split.OversizePolicy, expected: list[bytes], dead: int, is_final: bool
) -> None:
    """5 MiB with a limit of 64 KiB: parts, a beginning, nothing, or dead letters."""
    log.write(b"a\n" + LONG + b"b\n")
    one = log.follow(rules=split.Rules(LIMIT, oversize))

    found = read_chunks(one, 256 * KIB, is_final=is_final)

    chunks = [result.chunk for result in found]
    assert expected == [record for chunk in chunks for record in chunk.records]
    assert dead == sum(len(result.chunk) for result in found if result.is_dead)
    assert len(LONG) + 4 == one.position
    kept = sum(
        end - start
        for chunk in chunks
        for start, end in zip(chunk.starts, chunk.ends, strict=True)
    )
    assert one.position - kept == sum(chunk.dropped_bytes for chunk in chunks)


@pytest.mark.parametrize("oversize", CUTTING)
def test_end_of_a_very_long_line_is_searched_in_turns(
    log: Log, oversize: split.OversizePolicy
) -> None:
    """One call searches BLOCKS_MAX blocks, so that a step stays short."""
    log.write(b"L" * 20 * MIB + b"\nb\n")
    one = log.follow(rules=split.Rules(LIMIT, oversize))
    one.poll(0.0)

    first = one.read(CREDIT, 0.0)
    read_bytes = log.files.read_bytes
    found = read_chunks(one)

    assert first is None
    assert read_bytes <= (search.BLOCKS_MAX + 1) * (MIB + 64)
    assert [b"b\n"] == found[-1].chunk.records
    assert 20 * MIB + 3 == one.position


@pytest.mark.parametrize("oversize", CUTTING)
def test_unterminated_oversize_line_ends_with_a_finished_file(
    log: Log, oversize: split.OversizePolicy
) -> None:
    """Nothing follows it any more, so it is decided there, searched in vain before or not."""
    log.write(b"L" * 5 * MIB)
    rules = split.Rules(LIMIT, oversize)
    searched, fresh = log.follow(rules=rules), log.follow(rules=rules)
    before = read_chunks(searched)

    read_chunks(searched, is_final=True)
    read_chunks(fresh, is_final=True)

    assert [] == before
    assert (5 * MIB, 5 * MIB) == (searched.position, fresh.position)


def test_rewritten_oversize_line_is_noticed_between_its_parts(log: Log) -> None:
    """Each part is proved by the one before it."""
    log.write(LONG)
    one = log.follow(rules=split.Rules(LIMIT, "dead_letter"))
    one.poll(0.0)
    first = one.read(CREDIT, 0.0)

    log.write(b"M" * len(LONG))

    assert first is not None
    with pytest.raises(proven.TruncatedError):
        one.read(CREDIT, 0.0)


def test_lines_behind_an_oversize_one_are_proved_by_its_end(log: Log) -> None:
    """The frontier of a dropped line is its last bytes, which no record holds."""
    log.write(LONG)
    one = log.follow(rules=split.Rules(LIMIT, "drop"))
    read_chunks(one)

    log.append(b"b\n")

    one.verify()
    assert [b"b\n"] == read_records(one)


# --- checkpoints ------------------------------------------------------------------------------


def test_row_is_at_the_watermark_and_not_at_the_position(log: Log) -> None:
    """What was read and not settled is read again by whoever resumes."""
    log.write(lines(0, 20))
    one = log.follow()
    chunks = [result.chunk for result in read_chunks(one)]
    parts = chunks[0].slice(0, 5), chunks[0].slice(10, 15)
    for part in parts:
        one.settle([part])

    row = row_of(one)

    assert 2000 == one.position
    assert (0, 500, 500) == (row.start, row.offset, row.fingerprint.length)
    assert [(1000, 1500)] == [(settled.start, settled.end) for settled in row.ranges]
    assert RULES.digest == row.split_digest
    assert ((log.path,), 2000, False) == (row.paths, row.size, row.was_unlinked)


def test_resumed_tail_reads_the_gaps_only(log: Log) -> None:
    """Each gap is closed: its last line ends where the settled range begins."""
    log.write(lines(0, 20))
    one = log.follow()
    (result,) = read_chunks(one)
    for part in (result.chunk.slice(0, 5), result.chunk.slice(10, 15)):
        one.settle([part])
    row = row_of(one)

    again = log.resume(row)
    found = read_chunks(again)

    assert [(500, 1000), (1500, 2000)] == [(x.chunk.start, x.chunk.end) for x in found]
    assert lines(5, 10) + lines(15, 20) == b"".join(
        record for x in found for record in x.chunk.records
    )
    settle_all(again, found)
    assert (2000, ()) == (row_of(again).offset, row_of(again).ranges)


def test_gap_is_closed_even_in_the_middle_of_an_oversize_line(log: Log) -> None:
    """A part of a line that ends at a settled range is a record of its own."""
    log.write(LONG)
    one = log.follow()
    (first, *_) = read_chunks(one)
    one.settle([first.chunk.slice(1, 2)])

    again = log.resume(row_of(one))

    assert [b"L" * LIMIT] * 79 + [b"\n"] == read_records(again)


@pytest.mark.parametrize("oversize", CUTTING)
def test_oversize_line_in_a_gap_ends_with_the_gap(
    log: Log, oversize: split.OversizePolicy
) -> None:
    """Whatever the policy, what an earlier run settled behind the line is not searched."""
    log.write(b"a\n" + LONG + b"b\n")
    rules = split.Rules(LIMIT, oversize)
    one = log.follow(rules=rules)
    found = read_chunks(one)
    one.settle([found[0].chunk])
    one.settle([found[-1].chunk])
    row = row_of(one)

    again = log.resume(row, rules)
    found = read_chunks(again)

    assert (2, 1) == (row.offset, len(row.ranges))
    settle_all(again, found)
    assert len(LONG) + 4 == again.ledger.low


def test_ranges_of_other_rules_mean_nothing(log: Log) -> None:
    """Lines may be cut elsewhere now: what is above the watermark is read again."""
    log.write(lines(0, 20))
    one = log.follow()
    (result,) = read_chunks(one)
    one.settle([result.chunk.slice(10, 15)])

    again = log.resume(row_of(one), split.Rules(50))

    assert lines(0, 20) == b"".join(read_records(again))


def test_resumed_tail_notices_a_changed_range_before_the_gap_is_read(log: Log) -> None:
    """Only the start of the range makes the gap's last line whole: it is proved first."""
    log.write(lines(0, 20))
    one = log.follow()
    (result,) = read_chunks(one)
    one.settle([result.chunk.slice(10, 15)])
    again = log.resume(row_of(one))

    log.write(lines(0, 14) + b"!" * 100 + lines(15, 20))

    with pytest.raises(proven.TruncatedError):
        again.read(CREDIT, 0.0)
    assert 0 == again.position


def test_resumed_tail_notices_a_range_that_changed_after_the_gap(log: Log) -> None:
    """Behind a settled range the file is proved by the range's own frontier."""
    log.write(lines(0, 20))
    one = log.follow()
    (result,) = read_chunks(one)
    one.settle([result.chunk.slice(10, 15)])
    again = log.resume(row_of(one))
    again.read(CREDIT, 0.0)

    log.write(lines(0, 14) + b"!" * 100 + lines(15, 20))

    with pytest.raises(proven.TruncatedError):
        again.read(CREDIT, 0.0)


def test_resumed_tail_keeps_fingerprint_and_older_frontiers(log: Log) -> None:
    """What proved the file before goes on to prove it."""
    log.write(lines(0, 20))
    one = log.follow()
    settle_all(one, read_chunks(one))
    row = row_of(one)

    again = row_of(log.resume(row))

    assert (row.fingerprint, row.frontier) == (again.fingerprint, again.frontier)
    assert 2000 == again.offset
    assert {older.offset for older in row.older} <= {older.offset for older in again.older}


def test_resuming_over_other_content_is_refused(log: Log) -> None:
    """Between the proof and the opening the file may have been rewritten."""
    log.write(lines(0, 20))
    one = log.follow()
    settle_all(one, read_chunks(one))
    row = row_of(one)

    log.write(lines(500, 520))

    with pytest.raises(proven.TruncatedError):
        log.resume(row)


def test_rolled_back_tail_begins_at_the_older_frontier(log: Log) -> None:
    """What the log lost and got again is read; fingerprint and history begin anew."""
    log.write(lines(0, 20))
    one = log.follow()
    settle_all(one, read_chunks(one))
    row = row_of(one)
    log.truncate(1500)
    log.append(lines(600, 605))

    again = log.resume(row, offset=1000)
    records = read_records(again)

    assert lines(10, 15) + lines(600, 605) == b"".join(records)
    assert (0, 1000) == (again.start, row_of(again).offset)


def test_fingerprint_grows_with_the_watermark(log: Log) -> None:
    """Up to 1024 bytes, and only over bytes that are settled."""
    log.write(lines(0, 20))
    one = log.follow()
    (result,) = read_chunks(one)

    lengths = []
    for first in (0, 5, 10):
        one.settle([result.chunk.slice(first, first + 5)])
        lengths.append(row_of(one).fingerprint.length)

    assert [500, 1000, 1024] == lengths


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"!" + lines(0, 20)[1:], id="the head"),
        pytest.param(lines(0, 19) + b"!" * 100, id="the bytes before the position"),
        pytest.param(b"", id="everything"),
    ],
)
def test_changed_file_gives_no_row(log: Log, content: bytes) -> None:
    """The last row, which was proved, stays; an unproved one would skip what is there now."""
    log.write(lines(0, 20))
    one = log.follow()
    (result,) = read_chunks(one)
    one.settle([result.chunk.slice(0, 5)])
    row = row_of(one)
    one.settle([result.chunk.slice(5, 10)])

    log.write(content)

    with pytest.raises(proven.TruncatedError):
        one.checkpoint(0.0)
    assert row is one.row


def test_row_of_a_truncated_file_of_which_nothing_settled_says_so(log: Log) -> None:
    """Its file is another one's: the next life must not take the two rows for each other."""
    log.write(lines(0, 10))
    one = log.follow()
    row = row_of(one)

    one.note_truncated(0.0)
    found = row_of(one)

    assert dataclasses.replace(row, was_unlinked=True) == found
    assert one.checkpoint(0.0) is None


def test_generations_of_an_unread_file_may_be_as_old_as_its_first_sight(log: Log) -> None:
    """What was in it at any time since may be in an archive of that time, and nowhere else."""
    log.write(lines(0, 10))
    one = log.follow()
    first = one.file.mtime_ns

    one.file.mtime_ns += 10**9
    one.verify()
    unread = one.facts().mtime_ns
    read_chunks(one)
    one.verify()

    assert (first, first + 10**9) == (unread, one.facts().mtime_ns)


def test_truncated_tail_is_proved_from_memory(log: Log) -> None:
    """Its bytes are gone: the row is at the last settled chunk, whose end is remembered."""
    one = log.follow()
    found = []
    for first in (0, 10, 20, 30):
        log.append(lines(first, first + 10))
        found += read_chunks(one)
    log.truncate(0)
    one.note_truncated(0.0)

    rows = [one.checkpoint(0.0)]
    for number in (1, 0, 2):
        one.settle([found[number].chunk])
        rows.append(one.checkpoint(0.0))

    assert [0, None, 2000, 3000] == [row and row.offset for row in rows]
    log.write(lines(0, 40))
    assert rows[-1] is not None
    assert 3000 == log.resume(dataclasses.replace(rows[-1], ranges=())).position


def test_settled_tail_remembers_one_end_only(log: Log) -> None:
    """The proofs from memory are bounded by what is under way."""
    one = log.follow()
    for first in range(50):
        log.append(lines(first, first + 1))
        settle_all(one, read_chunks(one))

    assert 1 == len(one.file._unsettled)


def test_many_ranges_are_saved_from_the_lowest_up(log: Log) -> None:
    """RANGES_MAX of them, and their proofs are kept in bounded memory."""
    count = 6 * proven.RANGES_MAX
    log.write(b"ab\n" * 2 * count)
    one = log.follow()
    (result,) = read_chunks(one)
    for number in range(count):
        one.settle([result.chunk.slice(2 * number + 1, 2 * number + 2)])

    row = row_of(one)
    for number in range(count):
        one.settle([result.chunk.slice(2 * number, 2 * number + 1)])
        if number % proven.RANGES_MAX == 0:
            row_of(one)

    assert [(3, 6), (9, 12)] == [(settled.start, settled.end) for settled in row.ranges[:2]]
    assert proven.RANGES_MAX == len(row.ranges)
    assert len(one.file._range_digests) <= 5 * proven.RANGES_MAX
    assert 6 * count == row_of(one).offset


def test_many_ranges_do_not_forget_the_proof_of_one_that_is_ahead(log: Log) -> None:
    """What an earlier run settled is passed over, however many ranges came and went before it."""
    count = 6 * proven.RANGES_MAX
    log.write(b"ab\n" * (2 * count + 20))
    one = log.follow()
    (result,) = read_chunks(one)
    one.settle([result.chunk.slice(2 * count + 5, 2 * count + 10)])
    again = log.resume(row_of(one))
    first = again.read(CREDIT, 0.0)
    assert first is not None
    for number in range(count):
        again.settle([first.chunk.slice(2 * number + 1, 2 * number + 2)])
    for number in range(1200):
        again.settle([first.chunk.slice(2 * number, 2 * number + 1)])
        if number % 200 == 199:
            row_of(again)

    second = again.read(CREDIT, 0.0)

    assert second is not None
    assert 3 * (2 * count + 10) == second.chunk.start


def test_changes_are_noted_for_the_next_save(log: Log) -> None:
    """A read and a settlement each change the row; a look at the size does not."""
    log.write(b"one\n")
    one = log.follow()
    one.is_changed = False

    one.poll(0.0)
    polled = one.is_changed
    found = read_chunks(one)
    read, one.is_changed = one.is_changed, False
    settle_all(one, found)

    assert (False, True, True) == (polled, read, one.is_changed)


# --- a writer that does not notice truncations --------------------------------------------------


def test_hole_that_became_longer_is_a_truncation(log: Log) -> None:
    """NULs prove little, but where a line began there are none, unless it is gone."""
    log.write(bytes(12) + b"half")
    one = log.follow()
    read_chunks(one)

    log.write(bytes(50) + b"whole\nhalf")

    with pytest.raises(proven.TruncatedError):
        one.read(CREDIT, 0.0)


def test_hole_that_became_longer_while_nobody_looked_is_dropped_too(log: Log) -> None:
    """NULs prove little: truncated again and written on behind, the line still has none."""
    log.write(bytes(12) + b"half")
    one = log.follow()
    (hole,) = read_chunks(one)
    one.settle([hole.chunk])
    one = log.resume(row_of(one))

    log.write(bytes(50) + b"whole\nhalf")
    found = [one.read(CREDIT, 0.0) for _ in range(2)]  # nobody has seen yet that it grew

    chunks = [result.chunk for result in found if result is not None]
    assert [(12, 50), (50, 56)] == [(chunk.start, chunk.end) for chunk in chunks]
    assert [b"whole\n"] == [record for chunk in chunks for record in chunk.records]


def test_longer_hole_over_unread_lines_is_a_truncation(log: Log) -> None:
    """Of a file that begins with NULs what stands behind them proves its content."""
    log.write(bytes(100) + b"unread\n")
    one = log.follow()

    log.write(bytes(107) + b"new\n")

    with pytest.raises(proven.TruncatedError):
        one.poll(0.0)


def test_head_is_known_behind_a_line_longer_than_a_block(log: Log) -> None:
    """A dropped line is part of what a copy of the file begins with."""
    rules = split.Rules(21, "drop")
    log.write(b"a" * 2000 + b"\nb\n")
    one = log.follow(rules=rules)

    read_chunks(one, reading.credit_min(rules))

    assert b"a" * model.FINGERPRINT_BYTES_MAX == one.file.head


def test_nuls_before_the_position_do_not_prove_a_file_that_begins_otherwise(log: Log) -> None:
    """They stand in every hole: a file truncated and written on behind them is another one."""
    rules = split.Rules(100)
    log.write(b"half" + bytes(396) + b"end\n")
    one = log.follow(rules=rules)
    assert one.read(reading.credit_min(rules), 0.0) is not None
    assert one.file.last_bytes.strip(b"\0") == b""

    log.write(bytes(500) + b"whole\n")

    with pytest.raises(proven.TruncatedError):
        one.verify()
    with pytest.raises(proven.TruncatedError):
        one.read(reading.credit_min(rules), 0.0)


def test_header_of_another_file_is_not_skipped_in_this_one(log: Log) -> None:
    """The file was truncated and written anew: simulation, framed seed 144."""
    rules = split.Rules(64 * KIB, frame=frame.Frame(header_lines=1))
    log.write(b"#h\n1\n2\n")
    row = row_of(log.follow(5, rules))
    one = log.resume(row, rules)
    log.write(b"#a longer header\n3\n")

    with pytest.raises(proven.TruncatedError):
        one.read(CREDIT, 0.0)
    log.write(b"#h\n1\n2\n")  # as its copy has it, where it goes on

    assert [b"2\n"] == read_records(one)


@pytest.mark.parametrize("kind", ["is_quiet", "is_final"])
def test_what_comes_after_the_poll_ends_no_record(log: Log, kind: str) -> None:
    """The file is not silent any more: simulation, framed seed 1567."""
    many = frame.Multiline("java")
    rules = split.Rules(64 * KIB, frame=frame.Frame(multiline=many))
    log.write(b"1\n\ta\n")
    one = log.follow(0, rules)
    one.poll(0.0)
    log.append(b"\tb\n")

    grown = one.read(CREDIT, 0.0, **{kind: True})
    one.poll(9.0)
    silent = one.read(CREDIT, 9.0, **{kind: True})

    assert grown is None
    assert silent is not None
    assert [b"1\n\ta\n\tb\n"] == silent.chunk.records
