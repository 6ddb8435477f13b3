"""`proven`: no byte is taken before the ones that were read are known to be there still."""

from __future__ import annotations

import pytest
from log_rig import CREDIT, Log, lines, read_chunks, read_records, row_of, settle_all

from kagent import proven, reading, split


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


# --- what an earlier run settled --------------------------------------------------------------


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


def test_resuming_over_other_content_is_refused(log: Log) -> None:
    """Between the proof and the opening the file may have been rewritten."""
    log.write(lines(0, 20))
    one = log.follow()
    settle_all(one, read_chunks(one))
    row = row_of(one)

    log.write(lines(500, 520))

    with pytest.raises(proven.TruncatedError):
        log.resume(row)


# --- what is kept in memory -------------------------------------------------------------------


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
