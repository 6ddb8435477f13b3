"""Hints on a real file system: they come for names that change, and their absence is no error."""

from __future__ import annotations

import logging
import os
import queue
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kagent import watch

PATIENCE_S = 10.0


class Hints:
    """The directories that were hinted at, in order."""

    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[str] = queue.SimpleQueue()

    def wait_for(self, directory: Path) -> None:
        while self.queue.get(timeout=PATIENCE_S) != str(directory):
            pass

    def drain(self) -> list[str]:
        return [self.queue.get() for _ in range(self.queue.qsize())]


@pytest.fixture
def hints() -> Hints:
    return Hints()


@pytest.fixture
def opened(hints: Hints) -> Iterator[watch.Watch]:
    watching = watch.Watch(hints.queue.put)
    watching.open()
    yield watching
    watching.close()


def create(path: Path) -> None:
    (path / "b.log").touch()


def rename(path: Path) -> None:
    (path / "a.log").rename(path / "a.log.1")


def move_away(path: Path) -> None:
    (path / "a.log").rename(path.parent / "a.log")


def delete(path: Path) -> None:
    (path / "a.log").unlink()


def make_directory(path: Path) -> None:
    (path / "host").mkdir()


@pytest.mark.parametrize("change", [create, rename, move_away, delete, make_directory])
def test_name_that_changes_is_hinted(
    opened: watch.Watch, hints: Hints, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    """Each step of a rotation makes its directory worth a look."""
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "a.log").touch()
    opened.set_directories({str(logs)})

    change(logs)

    hints.wait_for(logs)


def test_writing_and_reading_are_not_hinted(
    opened: watch.Watch, hints: Hints, tmp_path: Path
) -> None:
    """Growth is asked of the file; a hint a write would cost more than shipping the line."""
    log = tmp_path / "a.log"
    log.touch()
    opened.set_directories({str(tmp_path)})

    with open(log, "ab") as file:
        file.write(b"one\n")
    log.read_bytes()
    log.chmod(0o600)
    (tmp_path / "last").touch()

    assert hints.queue.get(timeout=PATIENCE_S) == str(tmp_path)
    assert hints.drain() == []


def test_directory_is_hinted_by_the_name_it_was_given(
    opened: watch.Watch, hints: Hints, tmp_path: Path
) -> None:
    """Behind a link the hint still names what the flow knows."""
    (tmp_path / "real").mkdir()
    (tmp_path / "logs").symlink_to("real")
    opened.set_directories({str(tmp_path / "logs")})

    create(tmp_path / "real")

    hints.wait_for(tmp_path / "logs")


def test_directory_that_is_no_longer_wanted_is_silent(
    opened: watch.Watch, hints: Hints, tmp_path: Path
) -> None:
    """Watches follow the configuration, and a second name of one directory survives the first."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    (tmp_path / "alias").symlink_to("new")
    opened.set_directories({str(tmp_path / name) for name in ("old", "new", "alias")})

    for _ in range(2):  # the alias lost its watch with the name, and has it back at the next scan
        opened.set_directories({str(tmp_path / "alias")})
    create(tmp_path / "old")
    create(tmp_path / "new")

    assert hints.queue.get(timeout=PATIENCE_S) == str(tmp_path / "alias")


def test_directory_that_is_made_again_is_watched_again(
    opened: watch.Watch, hints: Hints, tmp_path: Path
) -> None:
    """A deleted and a replaced directory are watched under the same name from the next scan on."""
    logs = tmp_path / "logs"
    logs.mkdir()
    opened.set_directories({str(logs)})
    logs.rmdir()
    hints.wait_for(logs)
    logs.mkdir()
    wait_until_watched_anew(opened, logs)
    logs.rename(tmp_path / "moved")
    logs.mkdir()
    opened.set_directories({str(logs)})
    hints.drain()

    create(logs)

    hints.wait_for(logs)


def wait_until_watched_anew(opened: watch.Watch, logs: Path) -> None:
    """Call set_directories, as scans do, until watchdog has ended its dead watch."""
    observer = opened._observer
    assert observer is not None
    for emitter in list(observer.emitters):
        emitter.join(PATIENCE_S)
    opened.set_directories({str(logs)})


def test_directory_that_is_not_there_hinders_no_other(
    opened: watch.Watch, hints: Hints, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A missing directory is the scan's to tell; here it is passed over without a word."""
    (tmp_path / "b").mkdir()
    opened.set_directories({str(tmp_path / "a"), str(tmp_path / "b")})

    create(tmp_path / "b")

    hints.wait_for(tmp_path / "b")
    assert caplog.records == []


# --- limits -----------------------------------------------------------------------------------


@pytest.fixture
def no_descriptors(tmp_path: Path) -> Iterator[None]:
    """No file can be opened: what inotify says when its instances are used up."""
    import watchdog.observers.inotify  # noqa: F401 - an import opens files

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_inotify_there_are_no_hints_and_one_warning(
    no_descriptors: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The limit of instances costs latency, and the log says so."""
    watching = watch.Watch(lambda directory: None)

    watching.open()
    watching.set_directories({str(tmp_path)})
    watching.close()

    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert "inotify instance limit" in warning.getMessage()


def test_without_watchdog_there_are_no_hints_and_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A platform without inotify ships logs all the same."""
    monkeypatch.setitem(sys.modules, "watchdog.observers.inotify", None)
    watching = watch.Watch(lambda directory: None)

    watching.open()
    watching.set_directories({str(tmp_path)})
    watching.close()

    assert len(caplog.records) == 1


def test_more_directories_than_threads_are_worth_are_polled(
    opened: watch.Watch, hints: Hints, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The number of watches is bounded; the rest is left to the scan, and said once."""
    directories = [tmp_path / f"{number:03}" for number in range(258)]
    for directory in directories:
        directory.mkdir()
    before = set(threading.enumerate())  # some may be about to end

    for _ in range(2):
        opened.set_directories({str(directory) for directory in directories})

    assert len(set(threading.enumerate()) - before) == 256
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "cannot watch all directories reason='more than 256 directories'"
    ]
    create(directories[0])
    hints.wait_for(directories[0])


LIMITED = """
import logging, queue, sys
from pathlib import Path
from kagent import watch
Path("/proc/sys/user/max_inotify_watches").write_text("1")
print("limited")
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
hints = queue.SimpleQueue()
watching = watch.Watch(hints.put)
watching.open()
for _ in range(2):
    watching.set_directories(set(sys.argv[1:]))
Path(sys.argv[1], "a.log").touch()
print("hint", hints.get(timeout=10))
"""


def test_limit_of_watches_leaves_those_that_exist(tmp_path: Path) -> None:
    """When the kernel gives no more watches, the ones it gave go on, and the log says so once."""
    names = [str(tmp_path / name) for name in "abc"]
    for name in names:
        os.mkdir(name)
    # A user namespace has a limit of its own, so that no one else on this machine meets it.
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", LIMITED, *names]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if "limited" not in finished.stdout:
        pytest.skip("this machine does not give a user namespace with limits of its own")

    said = finished.stdout.splitlines()

    assert said[1].startswith("WARNING cannot watch all directories reason='[Errno 28] ")
    assert said[2:] == [f"hint {names[0]}"]


NO_INSTANCE = """
import logging, sys
from pathlib import Path
from kagent import watch
Path("/proc/sys/user/max_inotify_instances").write_text("0")
print("limited")
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
watching = watch.Watch(print)
watching.open()
for _ in range(2):
    watching.set_directories(set(sys.argv[1:]))
Path(sys.argv[1], "a.log").touch()
watching.close()
print("closed")
"""


def test_without_an_instance_of_inotify_it_is_said_once(tmp_path: Path) -> None:
    """When the user has as many as the kernel allows, the scan finds all by itself."""
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", NO_INSTANCE]
    finished = subprocess.run(
        [*command, str(tmp_path)], capture_output=True, text=True, check=False
    )
    if "limited" not in finished.stdout:
        pytest.skip("this machine does not give a user namespace with limits of its own")

    said = finished.stdout.splitlines()

    assert said[1].startswith("WARNING cannot watch all directories reason='[Errno 24] ")
    assert said[2:] == ["closed"]
    assert "" == finished.stderr
