"""`Flow.step()` with partition keys: who goes where, packed or not, whatever happens to shards."""

from __future__ import annotations

import itertools
import logging
import random

import consumers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_batch import KEYED, OLD_S, take_all
from test_flow import Rig
from test_flow_packed import numbered
from test_pack import chunk, lines_of

from kagent import batch, errors, keys, kpl, model, pack

HASHES = 2**128
fast = settings(deadline=None, max_examples=60)


def shards(*cuts: int) -> tuple[model.ShardRange, ...]:
    """Return open shards that are cut at these hash keys."""
    edges = [0, *cuts, HASHES]
    return tuple(
        model.ShardRange(f"shard-{start}", start, end) for start, end in itertools.pairwise(edges)
    )


def packing(form: str, target_bytes: int = 500) -> pack.PackSettings | None:
    if form == "none":
        return None
    return pack.PackSettings(form, target_bytes, is_plain=True)  # type: ignore[arg-type]


# --- requests ---------------------------------------------------------------------------------

texts = st.text(max_size=12) | st.text(min_size=250, max_size=300)


@fast
@given(
    form=st.sampled_from(["none", "newline", "kpl"]),
    named=st.lists(texts, min_size=1, max_size=40),
    hash_key=st.sampled_from(["", "random", "17"]),
)
def test_every_line_goes_with_its_key_within_the_limits(
    form: str, named: list[str], hash_key: str
) -> None:
    """Request sizes count the keys in UTF-8; what has no key is given one."""
    chosen = batch.BatchSettings(
        OLD_S, 7, 2500, pack=packing(form), partition_key="{id}", hash_key=hash_key
    )
    one = batch.Batcher(chosen, KEYED, random.Random(1))
    one.note_shards(shards(HASHES // 2))
    part = chunk(*[b"line %d\n" % number for number in range(len(named))])
    part.keys = [keys.bounded(text) for text in named]
    expected = sorted(zip(part.keys, part.records, strict=True))
    one.add(part)

    taken = take_all(one, 0.0)

    found: list[tuple[str, bytes]] = []
    for request in taken:
        sizes = [len(data) for data in request.records]
        sizes += [len(key.encode()) for key in request.partition_keys]
        assert sum(sizes) == request.size_bytes
        assert sum(sizes) <= 2500 or len(request.records) == 1
        assert len(request.records) == len(request.partition_keys) <= 7
        assert all(request.partition_keys)
        for record, key in zip(request.records, request.partition_keys, strict=True):
            users = consumers.by_python([record])[0] if form == "kpl" else []
            if len(users) > 1 or record.startswith(consumers.MAGIC):
                found += [(user, line) for user, _, line in users]
            else:
                found += [(key, line) for line in lines_of(record, "newline")]
        if hash_key == "17":
            assert {"17"} == set(request.hash_keys)
        if hash_key == "random":
            assert all(int(key) < HASHES for key in request.hash_keys)
    named_only = [(key, line) for key, line in expected if key]
    assert len(expected) == len(found)
    assert set(named_only) <= set(found)
    for taken_one in taken:
        one.settle(taken_one, [])
    assert 0 == one.held_bytes


# --- flows ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["none", "newline"])
def test_path_is_the_partition_key_of_a_file_s_lines(form: str) -> None:
    """So all lines of a file are in one shard, packed or not."""
    one = Rig(packing=packing(form), limits=KEYED, partition_key="{path}")
    for name in ("a", "b"):
        one.write(f"/logs/{name}.log", f"{name}\n".encode() * 100)

    one.go_on()

    for request in one.destination.calls:
        for record, key in zip(request.records, request.partition_keys, strict=True):
            assert {key} == {f"/logs/{line.decode()}.log" for line in record.split()}
    assert 200 == b"".join(one.accepted).count(b"\n")


def test_captured_value_is_the_partition_key() -> None:
    """What the path says of its service, for example."""
    one = Rig(limits=KEYED, partition_key="{service}", capture="/(?P<service>[a-z]+)-[0-9]+[.]log")
    one.write("/logs/shop-17.log", b"1\n")

    one.go_on()

    assert [["shop"]] == [request.partition_keys for request in one.destination.calls]


def test_aggregating_by_key_waits_for_the_shards_and_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without them it could only guess; nothing is read, and the hint names the permission."""
    caplog.set_level(logging.INFO, "kagent")
    one = Rig(packing=packing("kpl"), limits=KEYED, partition_key="{path}")
    one.write("/logs/a.log", numbered(0, 50))
    one.flow.reports.put(
        model.StreamFacts(
            fault=errors.DeniedError("AccessDeniedException", "no DescribeStreamSummary"),
            shards_fault=errors.DeniedError("AccessDeniedException", "not allowed"),
        )
    )

    one.go_on()
    assert not one.destination.calls
    assert "kinesis:ListShards" in one.flow.condition.blocked
    assert "AccessDeniedException: not allowed" in caplog.text

    one.flow.reports.put(model.StreamFacts(shards=shards(HASHES // 2)))
    one.go_on()

    assert 50 == sum(len(lines_of(record, "kpl")) for record in one.accepted)
    assert "" == one.flow.condition.blocked
    assert "delivering again" in caplog.text


def test_one_key_for_all_is_told_with_advice(caplog: pytest.LogCaptureFixture) -> None:
    """The flow is as fast as the shard that all of it goes to."""
    one = Rig(records_max=1, limits=KEYED, partition_key="{path}")
    one.flow.reports.put(model.StreamFacts(shards=shards(*[HASHES // 4 * n for n in (1, 2, 3)])))
    one.write("/logs/a.log", numbered(0, 300))

    one.go_on(60.0)

    assert "records are uneven flow=web" in caplog.text
    assert "partition_key: random" in caplog.text


# --- shards that change -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("partition_key", "hash_key"),
    [("random", ""), ("{id}", ""), ("{path}", ""), ("record_hash", ""), ("{id}", "random")],
)
def test_split_between_packing_and_sending_drops_nothing(
    partition_key: str, hash_key: str
) -> None:
    """Whichever shard takes a record, Amazon's consumer library finds no line out of its range."""
    one = Rig(
        packing=packing("kpl", 3000),
        limits=KEYED,
        partition_key=partition_key,
        hash_key=hash_key,
        records_max=5,
    )
    before = shards(HASHES // 3)
    one.flow.reports.put(model.StreamFacts(shards=before))
    for number, name in enumerate("abc"):
        one.write(f"/logs/{name}.log", numbered(300 * number, 300 * number + 300))
    one.step()
    one.save()
    one.step(0.3)
    assert one.pending, "packed, and not sent yet"

    # Now each shard is split many times, and what was packed before is sent.
    chooser = random.Random(3)
    after = shards(*sorted(chooser.getrandbits(128) for _ in range(40)))
    one.go_on(20.0)

    taken, aggregated = 0, 0
    for request in one.destination.calls:
        hashes = request.hash_keys or [""] * len(request.records)
        for data, key, of in zip(request.records, request.partition_keys, hashes, strict=True):
            at = consumers.hash_of(key, of)
            (shard,) = (one for one in after if one.start <= at < one.end)
            taken += len(consumers.taken_by_client_library(data, shard.start, shard.end))
            aggregated += data.startswith(consumers.MAGIC)
    assert 900 == taken
    assert aggregated > 5


def test_port_of_the_library_drops_what_is_out_of_range() -> None:
    """The rule that the tests above rely on: one line outside, and the whole record is gone."""
    data = kpl.encode([("a", [b"1", b"2"])], str(HASHES // 2))

    assert [b"1", b"2"] == consumers.taken_by_client_library(data, HASHES // 2, HASHES)
    assert [] == consumers.taken_by_client_library(data, 0, HASHES // 2)
    assert [b"plain"] == consumers.taken_by_client_library(b"plain", 0, 1)
