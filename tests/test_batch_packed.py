"""`batch` with packing: what holds for records of one line holds for records of many."""

from __future__ import annotations

import itertools
import random

import hypothesis
import pytest
from hypothesis import strategies as st
from test_batch import KEYED, OLD_S, PLAIN, Column, take_all, take_one
from test_pack import chunk, chunks_of, lines_of, runs

from kagent import batch, model, pack

fast = hypothesis.settings(deadline=None, max_examples=60)
forms = pytest.mark.parametrize(
    ("limits", "form"),
    [
        pytest.param(PLAIN, "newline", id="newline, firehose"),
        pytest.param(KEYED, "newline", id="newline, kinesis"),
        pytest.param(KEYED, "kpl", id="kpl, kinesis"),
    ],
)


def batcher(
    form: str,
    limits: model.BatchLimits,
    *,
    target_bytes: int = 150,
    records_max: int = 3,
    bytes_max: int = 400,
    is_ordered: bool = False,
) -> batch.Batcher:
    packing = pack.PackSettings(form, target_bytes, is_plain=True)  # type: ignore[arg-type]
    settings = batch.BatchSettings(OLD_S, records_max, bytes_max, is_ordered, packing)
    return batch.Batcher(settings, limits, random.Random(1))


@forms
@fast
@hypothesis.given(run=runs)
def test_every_request_is_within_the_limits_and_every_line_goes_once(
    limits: model.BatchLimits, form: str, run: list[list[bytes]]
) -> None:
    """A request counts records and their bytes, whatever is in them; order is the order read."""
    one = batcher(form, limits)
    for added in chunks_of(run):
        one.add(added)

    taken = take_all(one, 0.0)

    for found in taken:
        keys = found.partition_keys
        assert len(found.records) <= 3
        assert found.size_bytes == sum(map(len, found.records)) + sum(map(len, keys))
        assert found.size_bytes <= 400 or len(found.records) == 1
        assert len(keys) == (len(found.records) if limits is KEYED else 0)
        assert len(found.hash_keys) in {0, len(keys)}
        assert found.records == [packed.data for packed in found.packed]
        assert not found.chunks
    lines = [
        line for found in taken for record in found.records for line in lines_of(record, form)
    ]
    assert list(itertools.chain(*run)) == lines
    assert one.next_due() is None


@forms
@fast
@hypothesis.given(run=runs, data=st.data())
def test_refused_records_go_again_to_the_byte_and_memory_is_given_back(
    limits: model.BatchLimits, form: str, run: list[list[bytes]], data: st.DataObject
) -> None:
    """Settled spans tile the file exactly once, however often what carries them was refused."""
    one = batcher(form, limits)
    chunks = chunks_of(run)
    for added in chunks:
        one.add(added)
    first_sent: dict[int, bytes] = {}
    settled: list[tuple[int, int]] = []

    for turn in range(1000):
        found = one.take(turn + OLD_S)
        if found is None:
            break
        for packed, record in zip(found.packed, found.records, strict=True):
            assert first_sent.setdefault(packed.chunks[0].start, record) is record
        indices = st.sets(st.integers(0, len(found.records) - 1))
        refused = sorted(data.draw(indices)) if turn < 10 else []
        accepted, returned = one.settle(found, refused)
        one.put_back(returned, float(turn))
        settled += [(part.start, part.end) for part in accepted]

    settled.sort()
    assert (0, chunks[-1].end) == (settled[0][0], settled[-1][1])
    assert all(before[1] == after[0] for before, after in itertools.pairwise(settled))
    assert 0 == one.held_bytes


def test_accepted_request_settles_by_runs() -> None:
    """However many records it had, what follows each other in a file is one span."""
    one = batcher("newline", PLAIN, records_max=100, bytes_max=10_000)
    one.add(chunk(*[b"x" * 49 + b"\n"] * 60))
    other = chunk(*[b"y" * 49 + b"\n"] * 9)
    other.tail_id = "b" * 32
    one.add(other)
    found = take_one(one, OLD_S)

    accepted, _ = one.settle(found, [])

    assert len(found.records) > 20
    assert [("a" * 32, 0, 3000), ("b" * 32, 0, 450)] == [
        (run.tail_id, run.start, run.end) for run in accepted
    ]


def test_refused_random_record_gets_another_key_and_an_aggregated_one_keeps_its_own() -> None:
    """What is in an aggregated record names its hash key, and it goes again as it is."""
    keys = {}
    for form in ("newline", "kpl"):
        one = batcher(form, KEYED)
        one.add(chunk(b"1\n", b"2\n"))
        first = take_one(one, OLD_S)
        one.put_back(first.cargo, 0.0)
        second = take_one(one, OLD_S)
        assert first.records == second.records
        assert first.hash_keys == second.hash_keys
        keys[form] = (first.partition_keys, second.partition_keys)

    assert keys["newline"][0] != keys["newline"][1]
    assert keys["kpl"][0] == keys["kpl"][1]


def test_lines_wait_for_max_age_and_full_requests_for_nothing() -> None:
    """Age is that of the oldest line, in whichever record it is."""
    one = batcher("newline", PLAIN)
    one.add(chunk(b"x" * 99 + b"\n", read_time=100.0))
    one.add(chunk(b"x" * 99 + b"\n", start=100, read_time=101.0))

    assert (None, 110.0) == (one.take(109.9), one.next_due())
    assert [1] == [packed.lines for packed in take_one(one, 110.0).packed]
    assert 111.0 == one.next_due()

    one.add(chunk(*[b"x" * 99 + b"\n"] * 4, start=200, read_time=102.0))

    assert one.next_due() <= 102.0  # type: ignore[operator]
    assert 3 == len(take_one(one, 102.0).records)


def test_rejected_record_is_halved_down_to_its_line() -> None:
    """First the request, then the record; what is left is the line that the service rejects."""
    for form in ("newline", "kpl"):
        one = batcher(form, KEYED)
        one.add(chunk(b"1\n", b"2\n", b"3\n"))
        first = take_one(one, OLD_S)

        left, right = one.unpack(first)
        again, last = one.unpack(right)

        assert [b"1\n"] == left.records
        assert [b"2\n"] == again.records
        assert all(half.is_whole for half in (left, right, again, last))
        assert [b"3\n"] == one.lone_line(last).records
        for half in (left, again):
            one.settle(half, [])
        one.release(chunk(b"3\n"))
        assert 0 == one.held_bytes


def test_halves_of_a_request_keep_their_packed_records() -> None:
    """Keys, hash keys and what they carry go along."""
    one = batcher("kpl", KEYED, records_max=4, bytes_max=10_000)
    one.add(chunk(*[b"x" * 20 + b"\n"] * 10))
    whole = take_one(one, OLD_S)

    first, second = batch.halve(whole)

    assert len(whole.records) > 2
    for name in ("records", "partition_keys", "hash_keys", "packed"):
        assert getattr(whole, name) == getattr(first, name) + getattr(second, name)


def test_lone_line_of_a_request_without_packing_is_its_chunk() -> None:
    """The culprit is found the same way with and without packing."""
    one = batch.Batcher(batch.BatchSettings(OLD_S, 3, 100), PLAIN, random.Random(1))
    one.add(chunk(b"1\n"))
    found = take_one(one, OLD_S)

    assert found.chunks == [one.lone_line(found)]


def test_packed_lines_are_let_go() -> None:
    """What a record holds is not held a second time as lines."""
    one = batcher("newline", PLAIN)
    added = chunk(*[b"x" * 49 + b"\n"] * 9)
    added.records = Column(added.records)
    one.add(added)

    found = take_all(one, 0.0)

    assert all(
        part.records == [] for taken in found for one in taken.packed for part in one.chunks
    )


@pytest.mark.parametrize("form", ["newline", "kpl"])
def test_ordered_refused_records_go_first_and_alone(form: str) -> None:
    """With one attempt at a time, no line overtakes one that was refused."""
    one = batcher(form, KEYED, is_ordered=True)
    one.add(chunk(*[b"x" * 49 + b"\n"] * 8))
    first = take_one(one, OLD_S)
    _, returned = one.settle(first, [1])
    one.put_back(returned, 50.0)

    assert one.take(49.0) is None
    assert [first.records[1]] == take_one(one, 50.0).records
