"""`OsFiles` on a real file system, among what one who may write to a log directory can plant."""

from __future__ import annotations

import errno
import math
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kagent import model, system


@pytest.fixture
def base(tmp_path: Path) -> str:
    return str(tmp_path)


@pytest.fixture
def files() -> system.OsFiles:
    return system.OsFiles()


def read_whole(files: system.OsFiles, path: str, base: str) -> bytes:
    handle = files.open(path, base)
    try:
        return files.read(handle, 0, 1 << 20)
    finally:
        files.close(handle)


def count_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# --- opening ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "below",
    [
        pytest.param("", id="the base itself"),
        pytest.param("/a.log", id="a file in the base"),
        pytest.param("/host/web/a.log", id="a file two directories down"),
        pytest.param("/host//web/a.log", id="a doubled slash"),
    ],
)
def test_regular_file_opens_at_any_depth_below_the_base(
    files: system.OsFiles, tmp_path: Path, below: str
) -> None:
    """However many components a wildcard matched, the file at the end is opened."""
    base = str(tmp_path / "base")
    Path(base + below).parent.mkdir(parents=True, exist_ok=True)
    Path(base + below).write_bytes(b"one\n")

    data = read_whole(files, base + below, base)

    assert data == b"one\n"


def test_root_is_a_base(files: system.OsFiles, tmp_path: Path) -> None:
    """A pattern whose first component is a wildcard has the base '/'."""
    path = tmp_path / "a.log"
    path.write_bytes(b"one\n")

    data = read_whole(files, os.path.realpath(path), "/")

    assert data == b"one\n"


def test_links_are_followed_in_the_base(files: system.OsFiles, tmp_path: Path) -> None:
    """What the operator wrote out may be a link, the file itself too."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.log").write_bytes(b"one\n")
    (tmp_path / "logs").symlink_to("real")
    (tmp_path / "current.log").symlink_to("real/a.log")
    logs, current = str(tmp_path / "logs"), str(tmp_path / "current.log")

    data = [read_whole(files, f"{logs}/a.log", logs), read_whole(files, current, current)]

    assert data == [b"one\n", b"one\n"]
    assert files.status(current, current).kind == "file"
    assert [entry.name for entry in files.list_directory(logs, logs)] == ["a.log"]


def test_planted_links_are_refused_below_the_base(files: system.OsFiles, tmp_path: Path) -> None:
    """A link that a wildcard matched, as directory or as file, leads nowhere."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "a.log").write_bytes(b"secret\n")
    base = tmp_path / "base"
    base.mkdir()
    (base / "host").symlink_to(secret)
    (base / "b.log").symlink_to(secret / "a.log")
    before = count_descriptors()

    with pytest.raises(NotADirectoryError) as directory:
        files.open(f"{base}/host/a.log", str(base))
    with pytest.raises(NotADirectoryError) as listed:
        files.list_directory(f"{base}/host", str(base))
    with pytest.raises(OSError, match="a link, not followed") as file:
        files.open(f"{base}/b.log", str(base))

    assert directory.value.filename == f"{base}/host/a.log"
    assert listed.value.filename == f"{base}/host"
    assert (file.value.errno, file.value.filename) == (errno.ELOOP, f"{base}/b.log")
    assert files.status(f"{base}/b.log", str(base)).kind == "link"
    assert count_descriptors() == before


def test_fifo_and_directory_neither_block_nor_open(files: system.OsFiles, base: str) -> None:
    """A FIFO without a writer would block a plain open for ever; nothing but a file is read."""
    os.mkfifo(f"{base}/fifo.log")
    Path(base, "directory.log").mkdir()
    before = count_descriptors()

    for name in ("fifo.log", "directory.log"):
        with pytest.raises(OSError, match="not a regular file") as refused:
            files.open(f"{base}/{name}", base)
        assert (refused.value.errno, refused.value.filename) == (errno.EINVAL, f"{base}/{name}")

    assert count_descriptors() == before


def test_socket_does_not_open(files: system.OsFiles, base: str) -> None:
    """The system itself refuses to open a socket."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{base}/socket.log")

        with pytest.raises(OSError, match="No such device or address") as refused:
            files.open(f"{base}/socket.log", base)

    assert refused.value.errno == errno.ENXIO


def test_missing_file_is_named_by_its_whole_path(files: system.OsFiles, base: str) -> None:
    """The message of an error that comes from one component still names the whole path."""
    Path(base, "host").mkdir()

    with pytest.raises(FileNotFoundError) as missing:
        files.open(f"{base}/host/a.log", base)

    assert missing.value.filename == f"{base}/host/a.log"


@pytest.fixture
def as_nobody() -> Iterator[None]:
    """The test runs as a user who owns nothing; the file system is what asks for permission."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    os.setegid(65534)
    os.seteuid(65534)
    yield
    os.seteuid(0)
    os.setegid(0)


@pytest.fixture
def two_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A base whose directory `host` may be passed but not listed; one of its files is closed."""
    host = tmp_path / "host"
    host.mkdir()
    for name, mode in (("open.log", 0o644), ("closed.log", 0o600)):
        (host / name).write_bytes(b"one\n")
        (host / name).chmod(mode)
    host.chmod(0o711)
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)  # the directories above are root's alone
    return "."


def test_permission_is_asked_of_files_and_to_pass_of_directories(
    files: system.OsFiles, two_owners: str, as_nobody: None
) -> None:
    """A directory that may be passed but not listed does not hide its readable file."""
    data = read_whole(files, "./host/open.log", two_owners)

    assert data == b"one\n"
    with pytest.raises(PermissionError):
        files.open("./host/closed.log", two_owners)
    with pytest.raises(PermissionError):
        files.list_directory("./host", two_owners)


def test_path_outside_its_base_is_our_own_mistake(files: system.OsFiles, base: str) -> None:
    """'/var/log2' is not below '/var/log', whatever the letters say."""
    with pytest.raises(AssertionError):
        files.open(f"{base}2/a.log", base)


# --- listing and status -----------------------------------------------------------------------


def test_listing_tells_kinds_without_following_links(files: system.OsFiles, base: str) -> None:
    """A link is a link whatever it points at, and a dangling one is no error."""
    Path(base, "a.log").touch()
    Path(base, "host").mkdir()
    Path(base, "dangling.log").symlink_to("nowhere")
    Path(base, "link").symlink_to("host")
    os.mkfifo(f"{base}/fifo.log")

    entries = {entry.name: entry.kind for entry in files.list_directory(base, base)}

    assert entries == {
        "a.log": "file",
        "host": "directory",
        "dangling.log": "link",
        "link": "link",
        "fifo.log": "other",
    }


def test_name_that_is_no_utf8_survives(files: system.OsFiles, base: str) -> None:
    """A file name is bytes; it comes and goes as text with surrogates."""
    path = os.fsdecode(os.fsencode(base) + b"/caf\xe9.log")
    Path(path).write_bytes(b"one\n")

    (entry,) = files.list_directory(base, base)

    assert read_whole(files, f"{base}/{entry.name}", base) == b"one\n"


def test_listing_a_file_is_an_error(files: system.OsFiles, base: str) -> None:
    """A directory that became a file between two scans is told by the error."""
    Path(base, "a.log").touch()

    with pytest.raises(NotADirectoryError):
        files.list_directory(f"{base}/a.log", base)


def test_status_of_a_path_and_of_its_handle_agree(files: system.OsFiles, base: str) -> None:
    """Identity, size, time and kind are the same seen by name and by handle."""
    path = f"{base}/a.log"
    Path(path).write_bytes(b"one\ntwo\n")
    os.utime(path, ns=(0, 1_234_567_890))
    handle = files.open(path, base)

    by_name, by_handle = files.status(path, base), files.handle_status(handle)

    files.close(handle)
    inode = os.stat(path)
    identity = model.FileIdentity(inode.st_dev, inode.st_ino)
    assert by_name == by_handle
    assert by_name == model.FileStatus("file", identity, 8, 1_234_567_890, 1)


def test_status_tells_kinds(files: system.OsFiles, base: str) -> None:
    """A directory and a device are told apart from a file; the base itself may be either."""
    kinds = [files.status(base, base).kind, files.status("/dev/null", "/dev").kind]

    assert kinds == ["directory", "other"]


def test_unlinked_file_has_no_links(files: system.OsFiles, base: str) -> None:
    """A file that was deleted while open is known by its link count."""
    Path(base, "a.log").touch()
    handle = files.open(f"{base}/a.log", base)
    Path(base, "a.log").unlink()

    found = files.handle_status(handle)

    files.close(handle)
    assert found.links == 0


# --- reading ----------------------------------------------------------------------------------


def test_read_returns_the_bytes_asked_for_and_fewer_at_the_end(
    files: system.OsFiles, base: str
) -> None:
    """Any range is read by offset; at the end of the file fewer bytes come, behind it none."""
    Path(base, "a.log").write_bytes(b"0123456789")
    handle = files.open(f"{base}/a.log", base)

    pieces = [files.read(handle, offset, 4) for offset in (0, 3, 8, 10, 99)]

    files.close(handle)
    assert pieces == [b"0123", b"3456", b"89", b"", b""]


def test_read_goes_on_when_the_system_stops_short(files: system.OsFiles) -> None:
    """A read that ends before the end of the file is continued: /proc gives a page at a time."""
    path = "/proc/kallsyms"
    if not os.path.exists(path):
        pytest.skip("this machine does not have a file in /proc that is longer than a page")
    handle = files.open(path, "/proc")
    assert len(os.pread(handle, 20_000, 0)) < 20_000

    data = files.read(handle, 0, 20_000)

    files.close(handle)
    assert len(data) == 20_000


def test_size_is_the_present_one(files: system.OsFiles, base: str) -> None:
    """Growth and truncation are seen through a handle that was opened before."""
    path = Path(base, "a.log")
    path.write_bytes(b"0123")
    handle = files.open(str(path), base)

    sizes = [files.size(handle)]
    path.write_bytes(b"0123456789")
    sizes.append(files.size(handle))
    os.truncate(path, 1)
    sizes.append(files.size(handle))

    files.close(handle)
    assert sizes == [4, 10, 1]


def test_handles_are_not_inherited(files: system.OsFiles, base: str) -> None:
    """A child process gets none of the log files, and no read of ours can block."""
    Path(base, "a.log").touch()

    handle = files.open(f"{base}/a.log", base)

    is_inheritable, is_blocking = os.get_inheritable(handle), os.get_blocking(handle)
    files.close(handle)
    assert (is_inheritable, is_blocking) == (False, False)


# --- the clock --------------------------------------------------------------------------------


def test_clock_ascends_and_knows_the_date() -> None:
    """`monotonic` never goes back, `time` counts from 1970."""
    clock = system.SystemClock()

    first, second = clock.monotonic(), clock.monotonic()

    assert first <= second
    assert clock.time() > 1_700_000_000


def test_clock_waits_for_an_event_or_the_time() -> None:
    """`wait` tells whether the event came, and takes an endless time for an answer."""
    clock = system.SystemClock()
    event = threading.Event()

    was_late = clock.wait(event, 0.001)
    event.set()
    was_set = clock.wait(event, math.inf)

    assert (was_late, was_set) == (False, True)


def test_freed_memory_is_kept_for_the_next_block() -> None:
    """A block that was freed is not cleared by the kernel again: few page faults, in a child."""
    script = (
        "import resource, sys;"
        "from kagent import system;"
        "'keep' in sys.argv and system.keep_freed_memory();"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt;"
        "[len(bytearray(300_000 + n % 7 * 200_000)) for n in range(300)];"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)"
    )

    def faults(*arguments: str) -> int:
        command = [sys.executable, "-c", script, *arguments]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert 2 * faults("keep") < faults()
