"""A shard that takes a hundredth of the others, under a running daemon: the others go on."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest
from daemon import Daemon, running, wait_until

from kagent import local

SHARDS = 4
LINES = [b"line %d\n" % number for number in range(2400)]


@pytest.fixture
def daemon(tmp_path: pathlib.Path) -> Iterator[Daemon]:
    """A daemon, not started, and a stream whose first shard takes 10 records a second."""
    slow = local.StreamOptions(shards=SHARDS, shard_shares={0: 0.01})
    with running(tmp_path, local.Service(local.ServiceOptions(streams={"web": slow}))) as one:
        one.path("a.log").write_bytes(b"".join(LINES))
        yield one


def by_shard(daemon: Daemon) -> list[int]:
    counted = daemon.service.counts()["streams"]["web"]["records_by_shard"]
    return [counted[f"shardId-{number:012d}"] for number in range(SHARDS)]


def keyed(daemon: Daemon, partition_key: str) -> dict[str, object]:
    return daemon.flow(destination={"kinesis": {"stream": "web", "partition_key": partition_key}})


def test_with_random_keys_refused_records_go_to_other_shards(daemon: Daemon) -> None:
    """Every line arrives long before the slow shard could have taken its quarter."""
    daemon.configure(keyed(daemon, "random"))

    daemon.start()
    daemon.wait_for_lines(len(LINES))
    assert daemon.stop() == 0

    assert sorted(LINES) == sorted(daemon.lines)
    assert by_shard(daemon)[0] < len(LINES) / SHARDS / 2


def test_with_fixed_keys_records_of_other_shards_overtake(daemon: Daemon) -> None:
    """Those of the slow shard wait aside for their turn; nothing of them is lost or doubled."""
    daemon.configure(keyed(daemon, "record_hash"))
    expected = sum(1 for line in LINES if _shard_of(line) != 0)

    daemon.start()
    wait_until(lambda: sum(by_shard(daemon)[1:]) == expected, "the other shards' lines")
    waiting = len(LINES) - expected - by_shard(daemon)[0]
    daemon.stop()

    assert waiting > (len(LINES) - expected) / 2
    assert len(set(daemon.lines)) == len(daemon.lines)
    assert all(_shard_of(line) == 0 for line in set(LINES) - set(daemon.lines))


def _shard_of(line: bytes) -> int:
    import hashlib

    from kagent import keys

    digest = hashlib.md5(keys.hash_key_of(line).encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest) * SHARDS >> 128
