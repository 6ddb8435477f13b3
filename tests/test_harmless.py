"""Files that must not harm, planted among the logs of a real file system.

Whoever may write to a log directory may plant anything there under a name that a pattern matches:
it neither blocks nor leaks nor hinders the others, and what is a log is read whatever its name.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import shutil
import socket
from collections.abc import Callable

import pytest
from real_files import Host, lines

from kagent import system


class MeddlingFiles(system.OsFiles):
    """The real file system; somebody else acts between a look and the next call."""

    def __init__(self) -> None:
        self.before_open: Callable[[str], None] = lambda path: None

    def open(self, path: str, base: str) -> int:
        self.before_open(path)
        return super().open(path, base)


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Host:
    """A flow over logs/*/*.log, and a secret that only kagent may read."""
    one = Host(tmp_path, paths=(f"{tmp_path}/logs/*/*.log",))
    one.files = MeddlingFiles()
    one.write("logs/web/good.log", b"good")
    one.write("secret/secret.log", b"secret")
    return one


def plant_fifo(path: str) -> None:
    os.mkfifo(path)


def plant_socket(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as one, contextlib.chdir(os.path.dirname(path)):
        one.bind(os.path.basename(path))


def plant_device(path: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a device")
    try:
        os.mknod(path, 0o20666, os.makedev(1, 5))  # zeros without end
    except PermissionError:
        pytest.skip("this machine does not let us make devices")


def plant_link(path: str) -> None:
    os.symlink("../../secret/secret.log", path)


def plant_loop(path: str) -> None:
    os.symlink(os.path.basename(path), path)


PLANTS = [plant_fifo, plant_socket, plant_device, plant_link, plant_loop, os.mkdir]


@pytest.mark.parametrize("plant", PLANTS)
def test_what_is_no_regular_file_is_said_and_left_alone(
    host: Host, plant: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody waits for it, nothing of it is shipped, and it is said once."""
    plant(str(host.directory / "logs/web/bad.log"))
    host.start()

    with caplog.at_level(logging.WARNING):
        found = host.run(15.0)

    assert lines([b"good"]) == found
    assert 1 == len([one for one in caplog.messages if "bad.log" in one])


@pytest.mark.parametrize("plant", PLANTS)
def test_what_takes_a_file_s_place_before_it_is_opened_is_not_read(
    host: Host, plant: Callable[[str], None]
) -> None:
    """A scan saw a log; what is opened is something else by then."""
    bad = host.write("logs/web/bad.log", b"bad")

    def replace(path: str) -> None:
        if path == str(bad) and bad.is_file() and not bad.is_symlink():
            bad.unlink()
            plant(str(bad))

    host.files.before_open = replace  # type: ignore[attr-defined]
    host.start()

    assert lines([b"good"]) == host.run()


def test_directory_that_is_swapped_for_a_link_leads_nowhere(host: Host) -> None:
    """The component that the wildcard matched is opened by itself, and refused."""
    host.write("logs/app/secret.log", b"harmless")
    app = host.directory / "logs/app"

    def swap(path: str) -> None:
        if path.endswith("app/secret.log") and not app.is_symlink():
            shutil.move(app, host.directory / "away")
            os.symlink(host.directory / "secret", app)

    host.files.before_open = swap  # type: ignore[attr-defined]
    host.start()

    assert lines([b"good"]) == host.run(15.0)


def test_link_in_a_matched_component_leads_nowhere(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """Not as a directory on the way, either, which is said once; a real one is entered."""
    os.symlink(host.directory / "secret", host.directory / "logs/app")
    host.write("logs/mail/a.log", b"mail")
    host.start()

    assert sorted(lines([b"good", b"mail"])) == sorted(host.run(1500.0))
    said = [one for one in caplog.messages if f"path={host.directory}/logs/app " in one]
    assert len(said) == 1
    assert "is a link, and links that a wildcard matched are not followed" in said[0]


def test_link_in_a_component_that_is_written_out_is_followed(tmp_path: pathlib.Path) -> None:
    """The operator put it there, or wrote its name himself."""
    os.symlink("real", tmp_path / "logs")
    host = Host(tmp_path, paths=(f"{tmp_path}/logs/*.log",))
    host.write("real/a.log", b"a")
    host.start()

    assert lines([b"a"]) == host.run()


def test_hard_links_are_one_file(host: Host) -> None:
    """It is shipped once, by whatever name it grows, and outlives each of its names."""
    good = host.directory / "logs/web/good.log"
    os.link(good, good.with_name("again.log"))
    host.start()
    first = host.run()
    host.write("logs/web/again.log", b"more")
    second = host.run()
    good.unlink()
    host.write("logs/web/again.log", b"still")
    third = host.run()

    assert [lines([b"good"]), lines([b"more"]), lines([b"still"])] == [first, second, third]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(b"a\nb.log", id="newline"),
        pytest.param(b"\xff\xfe.log", id="no UTF-8"),
        pytest.param(b"\x1b[2J.log", id="control characters"),
        pytest.param(b"'; drop table checkpoint; --.log", id="quotes"),
        pytest.param(b"-rf .log", id="a dash and a space"),
        pytest.param(b"x" * 248 + b".log", id="as long as a name may be"),
    ],
)
def test_log_is_read_whatever_its_name(
    host: Host, name: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Its position is saved and found again; what is logged of it cannot forge a line."""
    path = os.fsencode(host.directory / "logs/web") + b"/" + name
    with open(path, "wb") as file:
        file.write(b"one\n")
    host.start()
    with caplog.at_level(logging.INFO):
        first = host.run()
        host.stop()
        with open(path, "ab") as file:
            file.write(b"two\n")
        host.start()
        second = host.run()

    assert sorted(lines([b"good", b"one"])) == sorted(first)
    assert lines([b"two"]) == second
    assert all(message.isprintable() and message.isascii() for message in caplog.messages)
    os.rename(path, path + b".1")
    assert [] == host.run()


# --- searches -----------------------------------------------------------------------------------


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_search_for_a_generation_is_harmed_by_nothing_planted(
    host: Host, plant: Callable[[str], None], when: str
) -> None:
    """Under a name that `rotated` means, there already or put there before it is opened."""
    good = host.write("logs/web/good.log", b"x" * 1100)
    host.start()
    host.run()
    host.stop()
    host.write("logs/web/good.log", b"rest")
    good.rename(f"{good}.2")
    host.write("logs/web/good.log", b"new")
    bad = pathlib.Path(f"{good}.1")
    if when == "before":
        plant(str(bad))
    else:
        bad.write_bytes(b"bad\n")

        def replace(path: str) -> None:
            if path == str(bad) and bad.is_file() and not bad.is_symlink():
                bad.unlink()
                plant(str(bad))

        host.files.before_open = replace  # type: ignore[attr-defined]
    host.start()

    assert sorted(lines([b"rest", b"new"])) == sorted(host.run(30.0))


def test_search_does_not_leave_through_a_directory_that_became_a_link(host: Host) -> None:
    """The directory of a lost file was swapped: what the link leads to is nobody's generation."""
    good = host.write("logs/web/good.log", b"x" * 1100)
    host.start()
    host.run()
    host.stop()
    shutil.copy(good, host.directory / "secret/good.log.1")
    with (host.directory / "secret/good.log.1").open("ab") as file:
        file.write(b"secret\n")
    shutil.rmtree(host.directory / "logs/web")
    os.symlink(host.directory / "secret", host.directory / "logs/web")
    host.start()

    assert [] == host.run(30.0)
