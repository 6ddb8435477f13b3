"""`reading`: each byte gets its turn, and becomes a record when its line is whole."""

from __future__ import annotations

import pytest
from log_rig import CREDIT, KIB, MIB, Log, lines, read_chunks, read_records, row_of, settle_all

from kagent import frame, model, proven, reading, split

LIMIT = 64 * KIB
LONG = b"L" * 5 * MIB + b"\n"
CUTTING = ["truncate", "drop", "dead_letter"]


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


def test_header_is_skipped_whole_or_not_at_all(log: Log) -> None:
    """Half of it may be any file's, which is regrown meanwhile: framed seed 43296."""
    rules = split.Rules(64 * KIB, frame=frame.Frame(header_lines=2))
    log.write(b"#h")
    one = log.follow(0, rules)
    log.write(b"#header\n#of two lines\n1\n")
    skipped = one.read(CREDIT, 0.0)
    log.write(b"#header\n#2\n3\n4\n5\n6\n7\n8\n")

    assert skipped is not None
    assert (22, 22) == (one.position, skipped.chunk.dropped_bytes)
    with pytest.raises(proven.TruncatedError):
        one.read(CREDIT, 0.0)


# --- gaps between settled ranges --------------------------------------------------------------


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


def test_head_is_known_behind_a_line_longer_than_a_block(log: Log) -> None:
    """A dropped line is part of what a copy of the file begins with."""
    rules = split.Rules(21, "drop")
    log.write(b"a" * 2000 + b"\nb\n")
    one = log.follow(rules=rules)

    read_chunks(one, reading.credit_min(rules))

    assert b"a" * model.FINGERPRINT_BYTES_MAX == one.file.head
