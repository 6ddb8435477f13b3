"""`tail` on real files: what it says of a file, and rows that can be resumed."""

from __future__ import annotations

import dataclasses

import pytest
from log_rig import RULES, Log, lines, read_chunks, read_records, row_of, settle_all

from kagent import proven


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


def test_what_an_earlier_life_settled_is_not_lost(log: Log) -> None:
    """Of what was seen before a truncation only gaps are, behind the position."""
    log.write(lines(0, 20))
    one = log.follow()
    (result,) = read_chunks(one)
    one.settle([result.chunk.slice(10, 15)])
    again = log.resume(row_of(one))
    log.write(b"")

    with pytest.raises(proven.TruncatedError):
        again.poll(0.0)
    assert (2000, 1500) == (again.seen_bytes, again.lost_bytes)


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
