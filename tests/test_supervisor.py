"""Flows that fail are rebuilt alone; changed configurations replace only what they change."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import pathlib
import shutil
import threading
from collections.abc import Iterator

import pytest
import yaml
from daemon import wait_until
from fakes import FakeDeadLetters, FakeDestination

from kagent import (
    adoption,
    checkpoint,
    config,
    errors,
    idle,
    inheritance,
    model,
    supervisor,
    system,
)
from kagent.destinations import kinesis


class FaultyFiles(system.OsFiles):
    """The real file system, in which some reads show a bug of ours, or hang."""

    def __init__(self) -> None:
        self.faults: list[str] = []  # a read of a file that begins with it fails, once
        self.may_read = threading.Event()  # reads hang until it is set
        self.may_read.set()

    def read(self, handle: int, offset: int, size: int) -> bytes:
        self.may_read.wait()
        data = super().read(handle, offset, size)
        for begin in self.faults:
            if super().read(handle, 0, len(begin)) == begin.encode():
                self.faults.remove(begin)
                raise RuntimeError("a bug of ours")
        return data


class FastClock(system.SystemClock):
    """The real time, which passes five times as fast: pauses and patience are over sooner."""

    def monotonic(self) -> float:
        return 5.0 * super().monotonic()

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        return super().wait(event, timeout_s / 5.0)


@dataclasses.dataclass
class Rig:
    """A supervisor on a real directory and database; its destinations are lists."""

    root: pathlib.Path
    files: FaultyFiles
    store: checkpoint.CheckpointStore
    thread: checkpoint.CheckpointThread
    flows: supervisor.Supervisor
    accepted: dict[str, FakeDestination]

    def load(self, *names: str, **more: object) -> config.Config:
        return load(self.root, *names, **more)

    def lines(self, name: str) -> bytes:
        return b"".join(self.accepted[name].accepted)


def load(root: pathlib.Path, *names: str, called: str = "", **more: object) -> config.Config:
    """Return a configuration of one flow a name, from log/NAME.log to the stream NAME.

    `called` is the name of the first flow, if it is not that of its file and stream.
    """
    flows = [
        {
            "name": called if called and name == names[0] else name,
            "source": {"paths": [f"{root}/log/{name}.log"], "start_at": "beginning"},
            "destination": {"kinesis": {"stream": name}},
            "batch": {"max_age": "10ms"},
            **more,
        }
        for name in names
    ]
    path = root / "kagent.yaml"
    path.write_text(
        yaml.safe_dump({"state_dir": str(root / "state"), "drain_timeout": "5s", "flows": flows})
    )
    return config.load(str(path), {})


@pytest.fixture
def rig(tmp_path: pathlib.Path) -> Iterator[Rig]:
    """Two flows, a and b, that are running."""
    (tmp_path / "log").mkdir()
    for name in ("a", "b"):
        (tmp_path / "log" / f"{name}.log").write_text(f"{name} 0\n")
    loaded = load(tmp_path, "a", "b")
    files = FaultyFiles()
    store = checkpoint.CheckpointStore(loaded.state_dir)
    store.open()
    adoption.carry_out(adoption.plan(loaded, store), loaded, store)
    thread = checkpoint.CheckpointThread(store, FakeDeadLetters(), 0.1, system.SystemClock())
    thread.start()
    accepted: dict[str, FakeDestination] = {}

    def make(options: object, _aws: object, _max_in_flight: int) -> FakeDestination:
        return accepted.setdefault(options.stream, FakeDestination(kinesis.LIMITS))  # type: ignore[attr-defined]

    flows = supervisor.Supervisor(loaded, files, FastClock(), thread, make)
    flows.start({name: inheritance.Estate() for name in ("a", "b")})
    one = Rig(tmp_path, files, store, thread, flows, accepted)
    wait_until(lambda: one.lines("a") == b"a 0\n" and one.lines("b") == b"b 0\n", "first lines")
    yield one
    flows.end(lambda: None)
    assert thread.stop(10)
    store.close()


def append(rig: Rig, name: str, text: str) -> None:
    with (rig.root / "log" / f"{name}.log").open("a") as file:
        file.write(text)


def test_a_flow_that_fails_is_rebuilt_and_the_other_notices_nothing(rig: Rig) -> None:
    """A bug in one flow's step ends that flow's life only; its successor sends nothing twice."""
    rig.files.faults.append("a 0")
    append(rig, "a", "a 1\n")
    wait_until(lambda: not rig.files.faults, "the fault")
    append(rig, "b", "b 1\n")
    wait_until(lambda: rig.lines("b") == b"b 0\nb 1\n", "the other flow's line")

    def is_rebuilt() -> bool:
        rig.flows.supervise()
        return rig.lines("a") == b"a 0\na 1\n"

    wait_until(is_rebuilt, "the line after the fault")
    assert rig.flows.is_ready
    assert rig.accepted["a"].accepted == [b"a 0\n", b"a 1\n"]


def test_a_failed_flow_keeps_its_deleted_file(rig: Rig) -> None:
    """The successor goes on through the descriptor of a file that has no name any more."""
    path = rig.root / "log" / "a.log"
    with path.open("a", buffering=1) as file:
        path.unlink()
        rig.files.faults.append("a 0")
        file.write("a 1\n")
        wait_until(lambda: not rig.files.faults, "the fault")

        def is_rebuilt() -> bool:
            rig.flows.supervise()
            return rig.lines("a") == b"a 0\na 1\n"

        wait_until(is_rebuilt, "the line in the deleted file")


def test_a_flow_that_cannot_even_be_closed_keeps_its_deleted_file(rig: Rig) -> None:
    """When its end fails, too, the rows come from the database and the descriptors go along."""
    path = rig.root / "log" / "a.log"
    with path.open("a", buffering=1) as file:
        path.unlink()
        rig.files.faults += ["a 0"] * 3  # of the step, of the last steps and of the last row
        file.write("a 1\n")

        def is_rebuilt() -> bool:
            rig.flows.supervise()
            return {b"a 0\n", b"a 1\n"} == set(rig.accepted["a"].accepted)  # like a crash

        wait_until(is_rebuilt, "the line in the deleted file")


def test_what_a_flow_that_cannot_be_closed_was_told_by_ends_with_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel tells nobody of its files any more: a user has few such descriptors."""
    others = count_inotify()
    monkeypatch.setattr(idle, "FILES_MIN", 0)
    wait_until(lambda: count_inotify() == others + 2, "both files to be watched")
    path = rig.root / "log" / "a.log"
    with path.open("a", buffering=1) as file:
        path.unlink()
        rig.files.faults += ["a 0"] * 3
        file.write("a 1\n")

        def is_rebuilt() -> bool:
            rig.flows.supervise()
            return b"a 1\n" in rig.accepted["a"].accepted

        wait_until(is_rebuilt, "the line in the deleted file")

    assert count_inotify() == others + 1


def count_inotify() -> int:
    links = []
    for one in pathlib.Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            links.append(os.readlink(one))
    return links.count("anon_inode:inotify")


def test_a_reload_replaces_what_it_changes_only(rig: Rig) -> None:
    """A removed flow ends, a new one begins, an unchanged one goes on, and nothing comes twice."""
    (rig.root / "log" / "c.log").write_text("c 0\n")
    loaded = rig.load("a", "c")

    done = rig.flows.replace(loaded, lambda: None)

    assert supervisor.Replaced(added=1, changed=0, removed=1) == done
    assert {"a", "c"} == set(rig.flows.conditions)
    append(rig, "a", "a 1\n")
    wait_until(lambda: rig.lines("a") == b"a 0\na 1\n", "the unchanged flow's line")
    wait_until(lambda: rig.lines("c") == b"c 0\n", "the new flow's line")
    assert rig.lines("b") == b"b 0\n"


def test_a_flow_comes_back_where_it_was(rig: Rig) -> None:
    """A removed flow is no error, and goes on from its positions when it is configured again."""
    rig.flows.replace(rig.load("b"), lambda: None)
    append(rig, "a", "a 1\n")
    rig.thread.ask(lambda _store: None, 10)

    rig.flows.replace(rig.load("a", "b"), lambda: None)

    wait_until(lambda: rig.lines("a") == b"a 0\na 1\n", "the line written meanwhile")


def test_deltas_add_up_to_the_counters(rig: Rig) -> None:
    """What is handed out for the metrics since the last call is what happened since then."""
    wait_until(lambda: rig.flows.conditions["a"].counts.five.records_sent == 1, "the first one")
    first = dict(rig.flows.take_deltas())
    append(rig, "a", "a 1\n")
    wait_until(lambda: rig.flows.conditions["a"].counts.five.records_sent == 2, "the record")

    second = dict(rig.flows.take_deltas())

    assert first["KinesisStream:a"].records_sent == 1
    assert second["KinesisStream:a"].records_sent == 1
    assert second["KinesisStream:b"].records_sent == 0


def test_directories_are_hinted_to_the_flows_that_scan_them(rig: Rig) -> None:
    """A hint makes a flow look at once; one about another directory reaches nobody."""
    assert {str(rig.root / "log")} == rig.flows.directories

    (rig.root / "log" / "b.log").rename(rig.root / "log" / "b.old")
    (rig.root / "log" / "b.log").write_text("b 1\n")
    rig.flows.hint(str(rig.root / "log"))
    rig.flows.hint("/nowhere")

    wait_until(lambda: rig.lines("b") == b"b 0\nb 1\n", "the line of the new file")


def test_a_flow_renamed_by_a_reload_takes_everything_along(rig: Rig) -> None:
    """Its last rows and its open descriptors, also of a deleted file, go to the new name."""
    path = rig.root / "log" / "a.log"
    with path.open("a", buffering=1) as file:
        path.unlink()
        rig.flows.hint(str(path.parent))

        done = rig.flows.replace(rig.load("a", "b", called="site"), lambda: None)
        file.write("a 1\n")

        assert supervisor.Replaced(added=0, changed=1, removed=0) == done
        assert {"site", "b"} == set(rig.flows.conditions)
        wait_until(lambda: rig.lines("a") == b"a 0\na 1\n", "the line in the deleted file")
    known = rig.thread.ask(lambda store: [one.name for one in store.flows()], 10)
    assert known == ["b", "site"]
    assert rig.thread.ask(lambda store: store.load("a"), 10) == ([], set())


def test_rows_that_are_nobodys_are_not_resumed(rig: Rig) -> None:
    """A new flow begins with nothing, even if rows of its name were left without a flow."""
    rows, scanned = rig.thread.ask(lambda store: store.load("a"), 10)
    (rig.root / "log" / "c.log").hardlink_to(rig.root / "log" / "a.log")
    snapshot = model.FlowSnapshot("c", 1, tuple(rows), (), tuple(scanned))
    rig.thread.ask(lambda store: store.write([snapshot]), 10)

    rig.flows.replace(rig.load("a", "b", "c"), lambda: None)

    wait_until(lambda: rig.lines("c") == b"a 0\n", "all lines of the new flow")


def test_a_reload_goes_on_while_a_flow_hangs(rig: Rig) -> None:
    """A flow that is stuck in a read holds up nothing but its own successor."""
    rig.files.may_read.clear()
    append(rig, "a", "a 1\n")
    append(rig, "b", "b 1\n")

    done = rig.flows.replace(rig.load("b", max_in_flight=2), lambda: None)

    assert supervisor.Replaced(added=0, changed=1, removed=1) == done
    rig.files.may_read.set()

    def is_succeeded() -> bool:
        rig.flows.supervise()
        return rig.lines("b") == b"b 0\nb 1\n" and set(rig.flows.conditions) == {"b"}

    wait_until(is_succeeded, "the successor")


def test_no_count_is_lost_when_a_flow_is_replaced(rig: Rig) -> None:
    """What a life counted since the last call is handed out after it has ended."""
    wait_until(lambda: rig.flows.conditions["a"].counts.five.records_sent == 1, "the first one")

    rig.flows.replace(rig.load("b"), lambda: None)

    assert sum(five.records_sent for label, five in rig.flows.take_deltas() if "a" in label) >= 1


def test_flow_is_rebuilt_for_the_limits_of_its_stream(rig: Rig) -> None:
    """A stream that takes larger records gets them; nothing is sent twice for it."""
    rig.flows.tell("a", model.StreamFacts(record_bytes_max=4 * 1024**2))
    before = rig.flows.conditions["a"]
    wait_until(lambda: supervised(rig) and _limit(rig, "a") == 4 * 1024**2, "the successor")

    append(rig, "a", "a 1\n")
    wait_until(lambda: rig.lines("a") == b"a 0\na 1\n", "the next line")
    append(rig, "b", "b 1\n")
    wait_until(lambda: rig.lines("b") == b"b 0\nb 1\n", "the other flow's")

    assert 1024**2 == _limit(rig, "b")
    assert before is not rig.flows.conditions["a"]


def test_facts_that_change_no_limit_are_told_to_the_running_flow(rig: Rig) -> None:
    """And to its successors."""
    facts = model.StreamFacts("ACTIVE", "on-demand", record_bytes_max=1024**2)

    rig.flows.tell("a", facts)
    rig.flows.tell("gone", facts)

    flow = rig.flows._slots["a"].life.flow
    wait_until(lambda: flow.facts is facts, "the facts")
    assert flow is rig.flows._slots["a"].life.flow


def test_rest_of_a_deleted_file_is_not_lost_at_a_stop(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """An archive or a copy may hold it: how much it is, is said, and that it is looked for."""
    caplog.set_level(logging.INFO, "kagent")
    rig.accepted["a"].setback = errors.ThrottledError("Throttled", "as the test wants it")
    append(rig, "a", "a 1\n")
    wait_until(lambda: rig.accepted["a"].calls[1:], "the second call")

    unlink(rig, "a", caplog)
    rig.flows.end(lambda: None)

    said = [one for one in caplog.records if f"path={rig.root}/log/a.log " in one.getMessage()]
    assert "file closed flow=a" in said[-1].getMessage()
    assert "offset=4 size=8 bytes_not_shipped=4; it was deleted" in said[-1].getMessage()
    assert "next start" in said[-1].getMessage()
    assert {logging.INFO, logging.WARNING} == {one.levelno for one in said}


def test_rest_of_a_deleted_file_is_lost_with_its_flow(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """A flow that is taken out of the configuration has no next start."""
    caplog.set_level(logging.INFO, "kagent")
    rig.accepted["a"].setback = errors.ThrottledError("Throttled", "as the test wants it")
    append(rig, "a", "a 1\n")
    wait_until(lambda: rig.accepted["a"].calls[1:], "the second call")
    unlink(rig, "a", caplog)

    rig.flows.replace(rig.load("b"), lambda: None)

    said = [one for one in caplog.messages if "bytes lost" in one]
    assert len(said) == 1
    assert f"flow=a path={rig.root}/log/a.log offset=4 bytes=4" in said[0]


def test_nothing_is_said_at_a_stop_of_what_is_shipped(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """A deleted file to its end, and a copy of it that took its place and was deleted, too."""
    caplog.set_level(logging.INFO, "kagent")
    text = "".join(f"a {number}\n" for number in range(1, 1000))
    append(rig, "a", text)
    wait_until(lambda: rig.lines("a") == b"a 0\n" + text.encode(), "all lines")
    place = rig.root / "log" / "a.log"
    shutil.copyfile(place, rig.root / "copy")
    os.replace(rig.root / "copy", place)
    wait_until(lambda: caplog.text.count("file opened flow=a") == 1, "the copy")
    wait_until(lambda: "file unlinked" in caplog.text, "the deletion")
    unlink(rig, "a", caplog)

    rig.flows.end(lambda: None)

    assert {logging.INFO} == {one.levelno for one in caplog.records}


def unlink(rig: Rig, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Delete a log, and wait until that was noticed."""
    caplog.clear()
    (rig.root / "log" / f"{name}.log").unlink()
    wait_until(lambda: "file unlinked" in caplog.text, "the deletion")


def supervised(rig: Rig) -> bool:
    rig.flows.supervise()
    return True


def _limit(rig: Rig, name: str) -> int:
    return rig.flows._slots[name].life.limits.record_bytes_max
