"""The id of a record: the same when it comes again, and never that of another line."""

from __future__ import annotations

import pathlib
import signal
from collections.abc import Iterator

import pytest
import site_packages
from daemon import Daemon, running, wait_until

from kagent import local

OWN = """\
from kagent import values

def with_id(records, context):
    ids = values.column("id", context)
    return [f"{one} ".encode() + record for one, record in zip(ids, records)]
"""


@pytest.fixture
def daemon(tmp_path: pathlib.Path) -> Iterator[Daemon]:
    """A daemon that puts the id before every line, and saves seldom."""
    service = local.Service(
        local.ServiceOptions(streams={"web": local.StreamOptions(is_throttled=False)})
    )
    with running(tmp_path, service) as one:
        one.environ["PYTHONPATH"] = str(site_packages.install(tmp_path, OWN, "with_id"))
        one.configure(one.flow(preprocess=["with_id"]), checkpoint={"interval": "1m"})
        yield one


def ids_by_line(daemon: Daemon) -> dict[bytes, set[bytes]]:
    """Return every line that arrived, with the ids that it came with."""
    found: dict[bytes, set[bytes]] = {}
    for line in daemon.lines:
        name, _, text = line.partition(b" ")
        found.setdefault(text, set()).add(name)
    return found


def test_a_line_that_comes_again_after_a_kill_has_its_id(daemon: Daemon) -> None:
    """Positions are lost, and the id is not: a consumer drops the second one."""
    path = daemon.path("a.log")
    path.write_bytes(b"one\ntwo\n")
    daemon.start()
    daemon.wait_for_lines(2)
    daemon.stop(signal.SIGKILL)
    daemon.start()
    wait_until(lambda: len(daemon.lines) == 4, "the lines once more")
    with path.open("ab") as log:
        log.write(b"three\n")
    wait_until(lambda: len(daemon.lines) == 5, "a third line")

    assert 0 == daemon.stop()
    found = ids_by_line(daemon)
    assert [1, 1, 1] == [len(ids) for ids in found.values()]
    assert 3 == len(set.union(*found.values()))


def test_a_line_in_the_place_of_one_that_a_power_cut_took_has_another_id(daemon: Daemon) -> None:
    """What was shipped beyond the saved position may be gone after the machine started anew."""
    path = daemon.path("a.log")
    path.write_bytes(b"one\n")
    daemon.start()
    daemon.wait_for_lines(1)
    assert 0 == daemon.stop()
    daemon.start()
    with path.open("ab") as log:
        log.write(b"lost\n")
    daemon.wait_for_lines(2)
    daemon.stop(signal.SIGKILL)

    path.write_bytes(b"one\nmore\n")
    (daemon.root / "state" / "boot_id").write_text("another")
    daemon.start()
    wait_until(lambda: b"more\n" in ids_by_line(daemon), "the new line")

    assert 0 == daemon.stop()
    found = ids_by_line(daemon)
    (lost,), (more,) = found[b"lost\n"], found[b"more\n"]
    assert lost.partition(b":")[2] == more.partition(b":")[2]
    assert lost != more
    assert 1 == len(found[b"one\n"])
