"""`batch`: requests stay within every limit, in the order of the law, and nothing goes astray."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import random
import weakref
from collections.abc import Sequence

import hypothesis
import pytest
from hypothesis import strategies as st

from kagent import batch, model

TAIL = "a" * 32
KEYED = model.BatchLimits(500, 5 * 1024**2, 1024**2, has_partition_keys=True)
PLAIN = model.BatchLimits(500, 4 * 1024**2, 1024**2, has_partition_keys=False)
KEY_BYTES = 8
fast = hypothesis.settings(deadline=None, max_examples=80)


class Column(list[bytes]):
    """A list that can be watched: it says whether the chunk it belongs to is still held."""


def chunk(
    *records: bytes, start: int = 0, read_time: float = 0.0, skipped: Sequence[int] = ()
) -> model.Chunk:
    """Return a chunk of the records; `skipped` bytes are dropped before record 0, 1, ..."""
    gaps = [*skipped, *[0] * (len(records) + 1 - len(skipped))]
    starts, ends, at = [], [], start
    for gap, record in zip(gaps, records, strict=False):
        starts.append(at + gap)
        at += gap + len(record)
        ends.append(at)
    end = at + gaps[len(records)]
    columns = Column(records), starts, ends
    return model.Chunk(TAIL, *columns, start, end, sum(gaps[: len(records) + 1]), read_time)


OLD_S = 10.0  # by then every record of read_time 0 has waited long enough


def batcher(
    limits: model.BatchLimits = PLAIN,
    *,
    max_age_s: float = OLD_S,
    records_max: int = 3,
    bytes_max: int = 1000,
    is_ordered: bool = False,
) -> batch.Batcher:
    settings = batch.BatchSettings(max_age_s, records_max, bytes_max, is_ordered)
    return batch.Batcher(settings, limits, random.Random(1))


def take_all(one: batch.Batcher, now: float) -> list[model.Batch]:
    taken = []
    while (found := one.take(now + OLD_S)) is not None:
        taken.append(found)
    return taken


def records_of(batches: Sequence[model.Batch]) -> list[list[bytes]]:
    return [one.records for one in batches]


def check_tiles(pieces: Sequence[model.Chunk], whole: Sequence[model.Chunk]) -> None:
    """Assert that pieces, sorted by place, are exactly the chunks: bytes, records and drops."""
    pieces = sorted(pieces, key=lambda piece: piece.start)
    at = whole[0].start
    for piece in pieces:
        assert piece.start == at
        covered = sum(piece.ends) - sum(piece.starts)
        assert piece.end - piece.start - covered == piece.dropped_bytes
        at = piece.end
    assert whole[-1].end == at
    for column in ("records", "starts", "ends"):
        joined = [value for piece in pieces for value in getattr(piece, column)]
        assert [value for one in whole for value in getattr(one, column)] == joined


sizes = st.lists(st.integers(1, 40), min_size=1, max_size=8)
skips = st.lists(st.integers(0, 3), max_size=9)


@st.composite
def chunk_runs(draw: st.DrawFn) -> list[model.Chunk]:
    """Return chunks that follow each other in one file; no two records are alike."""
    run: list[model.Chunk] = []
    number = 0
    for lengths in draw(st.lists(sizes, min_size=1, max_size=5)):
        records = []
        for length in lengths:
            records.append(str(number).encode().ljust(length + 3, b"."))
            number += 1
        skipped = draw(skips)[: len(records) + 1]
        run.append(chunk(*records, start=run[-1].end if run else 0, skipped=skipped))
    return run


def batch_of(chunks: Sequence[model.Chunk], *, has_keys: bool = False) -> model.Batch:
    records = [record for one in chunks for record in one.records]
    keys = [f"{number:08}" for number in range(len(records))] if has_keys else []
    size = sum(map(len, records)) + sum(map(len, keys))
    return model.Batch(records, keys, list(chunks), size)


# --- limits -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "limits", [pytest.param(KEYED, id="kinesis"), pytest.param(PLAIN, id="firehose")]
)
@fast
@hypothesis.given(run=chunk_runs(), records_max=st.integers(1, 6), bytes_max=st.integers(10, 150))
def test_every_request_is_within_the_limits_and_every_record_goes_once(
    limits: model.BatchLimits, run: list[model.Chunk], records_max: int, bytes_max: int
) -> None:
    """Only a record that alone is more than max_bytes exceeds it; order is the order read."""
    one = batcher(limits, records_max=records_max, bytes_max=bytes_max)
    for added in run:
        one.add(added)

    taken = take_all(one, 0.0)

    for found in taken:
        sent_bytes = sum(map(len, found.records)) + sum(map(len, found.partition_keys))
        assert len(found.records) <= records_max
        assert sent_bytes <= bytes_max or len(found.records) == 1
        assert sent_bytes == found.size_bytes
        assert found.records == [record for part in found.chunks for record in part.records]
        assert len(found.partition_keys) == (len(found.records) if limits is KEYED else 0)
    check_tiles([part for found in taken for part in found.chunks], run)
    expected = [record for part in run for record in part.records]
    assert expected == [record for found in taken for record in found.records]
    assert one.next_due() is None


@fast
@hypothesis.given(run=chunk_runs(), bytes_max=st.integers(20, 150))
def test_request_is_as_full_as_the_limits_allow(run: list[model.Chunk], bytes_max: int) -> None:
    """The first record of the next request would not have fit into this one."""
    one = batcher(KEYED, records_max=5, bytes_max=bytes_max)
    for added in run:
        one.add(added)

    taken = take_all(one, 0.0)

    for found, following in itertools.pairwise(taken):
        next_bytes = len(following.records[0]) + KEY_BYTES
        assert len(found.records) == 5 or found.size_bytes + next_bytes > bytes_max


def test_lone_record_larger_than_max_bytes_goes_all_the_same() -> None:
    """max_bytes is an operator's wish; a record that never went would block everything."""
    one = batcher(bytes_max=10)
    one.add(chunk(b"x" * 50, b"y"))

    taken = take_all(one, 0.0)

    assert [[b"x" * 50], [b"y"]] == records_of(taken)
    assert [50, 1] == [found.size_bytes for found in taken]


def test_request_holds_no_more_than_the_pace_allows() -> None:
    """What is left goes in later ones; a record that is larger than the room goes alone."""
    one = batcher(max_age_s=0.0, records_max=10)
    one.add(chunk(*[b"12345"] * 6))

    first, second, third = one.take(1.0, 2, None), one.take(1.0, None, 11), one.take(1.0, 5, 1)

    assert [2, 2, 1] == [len(one.records) for one in (first, second, third) if one]
    rest = one.take(1.0, 1000, 10**9)
    assert rest is not None
    assert 1 == len(rest.records)


def test_partition_keys_are_even_and_as_long_as_announced() -> None:
    """Each record has a random key of eight hexadecimal digits, which count as its bytes."""
    one = batcher(KEYED, records_max=500)
    one.add(chunk(*[b"x"] * 50))

    (found,) = take_all(one, 0.0)

    assert KEY_BYTES == one.key_bytes
    assert {KEY_BYTES} == {len(key) for key in found.partition_keys}
    assert len(set(found.partition_keys)) > 45
    assert 50 * (1 + KEY_BYTES) == found.size_bytes


def test_record_that_goes_again_gets_another_key() -> None:
    """A refused record may have met a hot shard: with a new key it meets another one."""
    one = batcher(KEYED)
    one.add(chunk(b"x"))
    (first,) = take_all(one, 0.0)

    one.put_back(first.chunks, 0.0)
    (second,) = take_all(one, 0.0)

    assert first.partition_keys != second.partition_keys


@pytest.mark.parametrize(
    ("records_max", "bytes_max"),
    [pytest.param(501, 1000, id="records"), pytest.param(500, 4 * 1024**2 + 1, id="bytes")],
)
def test_settings_beyond_the_destination_are_refused(records_max: int, bytes_max: int) -> None:
    """What one request may hold is the service's word, whatever the operator wished."""
    with pytest.raises(AssertionError):
        batcher(records_max=records_max, bytes_max=bytes_max)


# --- when -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "records",
    [pytest.param([b"a"], id="one record"), pytest.param([b"a" * 999], id="one byte is left")],
)
def test_fresh_records_wait_for_max_age(records: list[bytes]) -> None:
    """A record waits so long for others, counted from the read, and not a moment longer."""
    one = batcher()
    one.add(chunk(*records, read_time=100.0))

    early = one.take(109.999)

    assert (None, 110.0) == (early, one.next_due())
    assert records == take_one(one, 110.0).records


@pytest.mark.parametrize(
    "records",
    [
        pytest.param([b"a", b"b", b"c"], id="by records"),
        pytest.param([b"a" * 1000], id="by bytes"),
    ],
)
def test_full_request_waits_for_nothing(records: list[bytes]) -> None:
    """It goes as soon as it was read."""
    one = batcher()
    one.add(chunk(*records, read_time=100.0))

    assert 100.0 == one.next_due()
    assert records == take_one(one, 100.0).records


def take_one(one: batch.Batcher, now: float) -> model.Batch:
    found = one.take(now)
    assert found is not None
    return found


def test_what_is_left_of_a_full_request_waits_again() -> None:
    """Records that were taken count no more, neither by number nor by bytes."""
    one = batcher()
    one.add(chunk(b"a" * 1000, b"b", read_time=100.0))
    one.add(chunk(b"c" * 10, start=1001, read_time=101.0))

    assert [b"a" * 1000] == take_one(one, 101.0).records
    assert one.take(101.0) is None
    assert 110.0 == one.next_due()


def test_partition_keys_count_for_being_full() -> None:
    """Two records of 492 bytes and their keys are 1000 bytes."""
    one = batcher(KEYED)
    one.add(chunk(b"a" * 492, b"b" * 492, read_time=100.0))

    assert 100.0 == one.next_due()


def test_age_is_that_of_the_oldest_record() -> None:
    """What is left of a chunk keeps the time at which it was read."""
    one = batcher()
    one.add(chunk(b"1", b"2", read_time=100.0))
    one.add(chunk(b"3", b"4", read_time=105.0))

    first = take_one(one, 105.0)

    assert [b"1", b"2", b"3"] == first.records
    assert 115.0 == one.next_due()


@fast
@hypothesis.given(
    steps=st.lists(
        st.tuples(st.sampled_from(["add", "refuse", "halve", "suspect"]), st.integers(0, 9))
    ),
    is_ordered=st.booleans(),
    is_full=st.booleans(),
    now=st.integers(0, 30),
)
def test_batch_is_given_exactly_when_it_is_announced(
    steps: list[tuple[str, int]], is_ordered: bool, is_full: bool, now: int
) -> None:
    """Whoever waits until next_due gets a batch, and whoever asks before it gets none."""
    one = batcher(records_max=1 if is_full else 500, is_ordered=is_ordered)
    for what, time in steps:
        added = chunk(b"x", read_time=float(min(time, now)))
        if what == "add":
            one.add(added)
        elif what == "refuse":
            one.put_back([added], float(time))
        elif what == "halve":
            one.put_back_whole(dataclasses.replace(batch_of([added]), is_whole=True), float(time))
        else:
            one.put_back_last(batch_of([added]), float(time))

    for _ in range(len(steps)):
        due = one.next_due()
        found = one.take(float(now))

        assert (due is not None and due <= now) == (found is not None)


def test_only_halves_are_put_back_whole() -> None:
    """A batch that may be mixed with others is put back as chunks."""
    with pytest.raises(AssertionError):
        batcher().put_back_whole(batch_of([chunk(b"x")]), 0.0)


def test_ordered_refused_records_go_alone_and_fresh_ones_wait() -> None:
    """With one attempt at a time, no fresh record overtakes a refused one."""
    one = batcher(records_max=6, is_ordered=True)
    one.add(chunk(b"fresh", start=10, read_time=0.0))
    one.put_back([chunk(b"refused")], 50.0)

    assert 50.0 == one.next_due()
    assert one.take(49.9) is None
    assert [[b"refused"], [b"fresh"]] == records_of([take_one(one, 50.0), take_one(one, 50.0)])


def test_rest_of_a_refused_chunk_keeps_its_place() -> None:
    """What does not fit one request is the first of the next one."""
    one = batcher(records_max=2)
    one.put_back([chunk(b"1", b"2", b"3"), chunk(b"4", start=10)], 0.0)

    taken = take_all(one, 0.0)

    assert [[b"1", b"2"], [b"3", b"4"]] == records_of(taken)


def test_records_that_do_not_fit_the_rest_of_a_request_wait_for_the_next() -> None:
    """A large refused record behind a small one is not squeezed in."""
    one = batcher(bytes_max=20)
    one.put_back([chunk(b"small"), chunk(b"x" * 18, start=10)], 0.0)

    taken = [take_one(one, 0.0), take_one(one, 0.0)]

    assert [[b"small"], [b"x" * 18]] == records_of(taken)


# --- dividing ---------------------------------------------------------------------------------


@fast
@hypothesis.given(run=chunk_runs(), data=st.data())
def test_accepted_and_refused_records_tile_the_batch(
    run: list[model.Chunk], data: st.DataObject
) -> None:
    """Any set of refused records: every byte is in exactly one piece, on the right side."""
    whole = batch_of(run)
    indices = st.integers(0, len(whole.records) - 1)
    refused = sorted(data.draw(st.sets(indices)))

    accepted, returned = batch.divide(whole, refused)

    check_tiles([*accepted, *returned], run)
    expected = [whole.records[index] for index in refused]
    assert expected == [record for part in returned for record in part.records]
    assert all(len(part) for part in [*accepted, *returned])


def test_accepted_batch_is_divided_without_a_copy() -> None:
    """The normal case costs nothing: the chunks come back as they are."""
    run = [chunk(b"1", b"2"), chunk(b"3", start=2)]

    accepted, returned = batch.divide(batch_of(run), [])

    assert all(one is other for one, other in zip(run, accepted, strict=True))
    assert [] == returned


@fast
@hypothesis.given(
    run=chunk_runs().filter(lambda run: sum(map(len, run)) > 1), has_keys=st.booleans()
)
def test_halves_tile_the_batch(run: list[model.Chunk], has_keys: bool) -> None:
    """Halving goes on down to one record; each half knows its keys, size and chunks."""
    whole = batch_of(run, has_keys=has_keys)

    first, second = batch.halve(whole)

    assert whole.records == first.records + second.records
    assert whole.partition_keys == first.partition_keys + second.partition_keys
    assert whole.size_bytes == first.size_bytes + second.size_bytes
    assert abs(len(first.records) - len(second.records)) <= 1
    assert first.is_whole
    assert second.is_whole
    for half in (first, second):
        assert half.records == [record for part in half.chunks for record in part.records]
    check_tiles([*first.chunks, *second.chunks], run)


# --- memory -----------------------------------------------------------------------------------


@fast
@hypothesis.given(run=chunk_runs(), data=st.data())
def test_held_bytes_return_to_zero(run: list[model.Chunk], data: st.DataObject) -> None:
    """However records are cut, refused and sent again, what was added is released in the end."""
    one = batcher(KEYED, records_max=4, bytes_max=100)
    for added in run:
        one.add(added)
    count, size = sum(map(len, run)), sum(len(record) for part in run for record in part.records)
    assert size + count * model.RECORD_OVERHEAD_BYTES == one.held_bytes

    for turn in range(1000):
        found = one.take(turn + OLD_S)
        if found is None:
            break
        is_refusing = turn < 10
        indices = st.sets(st.integers(0, len(found.records) - 1))
        refused = sorted(data.draw(indices)) if is_refusing else []
        accepted, returned = batch.divide(found, refused)
        one.put_back(returned, float(turn))
        for part in accepted:
            one.release(part)

    assert 0 == one.held_bytes
    assert one.next_due() is None


def test_records_that_are_only_held_are_never_taken() -> None:
    """Dead letters take memory until they are on disk, and go to no destination."""
    one = batcher()
    held = chunk(b"dead")

    one.hold(held)

    assert 4 + model.RECORD_OVERHEAD_BYTES == one.held_bytes
    assert one.next_due() is None
    one.release(held)
    assert 0 == one.held_bytes


def test_more_is_never_released_than_was_held() -> None:
    """A record that is released twice is our own bug."""
    with pytest.raises(AssertionError):
        batcher().release(chunk(b"x"))


def test_one_slow_record_does_not_keep_its_whole_block_alive() -> None:
    """Slices refer to no parent: a refused record holds its own bytes and nothing else."""
    one = batcher(records_max=3)
    added = chunk(b"1", b"2", b"3")
    column = weakref.ref(added.records)
    one.add(added)
    del added

    found = take_one(one, 0.0)
    _, returned = batch.divide(found, [1])
    del found
    gc.collect()

    assert column() is None
    assert [[b"2"]] == [part.records for part in returned]


def test_slices_carry_time_and_attempts() -> None:
    """Age and refusals are of the records, so every slice has them."""
    whole = chunk(b"1", b"2", read_time=7.0)
    whole.attempts = 3

    part = whole.slice(1, 2)

    assert (7.0, 3) == (part.read_time, part.attempts)


def test_ordered_halves_keep_the_order_of_their_records() -> None:
    """With one attempt at a time, halves of halves and a half that waits are never overtaken."""
    one = batcher(records_max=4, is_ordered=True)
    one.add(chunk(b"1", b"2", b"3", b"4"))
    one.put_back_halves(take_one(one, 0.0), 1.0)
    one.put_back_halves(take_one(one, 1.0), 1.0)

    first = take_one(one, 1.0)
    one.put_back_whole(first, 5.0)

    assert one.take(2.0) is None
    assert 5.0 == one.next_due()
    order = [take_one(one, 5.0).records for _ in range(3)]
    assert [[b"1"], [b"2"], [b"3", b"4"]] == order
