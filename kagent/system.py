"""The operating system as the rest of kagent sees it: `OsFiles` and `SystemClock`.

The only module that touches `os` and `time` for the files that are tailed; a test puts a fake in
its place. It never writes, and it decides nothing: errors leave as the system raised them, with
the whole path in them.

A log directory often belongs to the account that is being logged, and whoever may write there may
plant anything under a name that a pattern matches: a link to /etc/shadow, a FIFO that blocks the
reader, a directory `x.log`. Hence each component below `base`, the part that the operator wrote
out, is opened by itself, relative to its parent's descriptor and without following links, and what
comes out must be a regular file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import stat
import threading
import time
from collections.abc import Sequence
from typing import Literal

from kagent import model

_Kind = Literal["file", "directory", "link", "other"]
_KINDS: dict[int, _Kind] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
}
KEPT_BYTES = 4 * 1024**2
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h of glibc
HANDLES_MAX = 1_000_000  # where nothing limits it
_FILE_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LIST_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_PATH asks for no more than the right to pass through, as opening by the whole path would.
_PASS_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class OsFiles:
    """The real file system; implements `model.Files`. A handle is a file descriptor."""

    def list_directory(self, path: str, base: str) -> list[model.DirectoryEntry]:
        """Return the entries of a directory; components below `base` must not be links."""
        directory = _open_below(path, base, _LIST_FLAGS)
        try:
            with os.scandir(directory) as entries:
                return [
                    model.DirectoryEntry(entry.name, _entry_kind(entry), entry.inode())
                    for entry in entries
                ]
        finally:
            os.close(directory)

    def status(self, path: str, base: str) -> model.FileStatus:
        """Return the status of a path; a link in the last component counts only within `base`.

        Links in the components before are not looked for: it is asked for every matched file at
        every scan, and a status leaks nothing. Opening is what is guarded.
        """
        return _file_status(os.stat(path, follow_symlinks=path == base))

    def real_path(self, path: str) -> str:
        """Return a path without links, as they lead now; what is not there stays as it is."""
        return os.path.realpath(path)

    def is_as_seen(self, seen: model.Sighting) -> bool:
        """Return whether file, size and mtime at a path are those of a sighting: 3 us."""
        try:
            found = os.stat(seen.path, follow_symlinks=seen.path == seen.base)
        except OSError:
            return False
        return (
            found.st_size == seen.size
            and found.st_mtime_ns == seen.mtime_ns
            and found.st_ino == seen.identity.inode
            and found.st_dev == seen.identity.device
        )

    def open(self, path: str, base: str) -> int:
        """Open a regular file for reading without blocking, and return its descriptor.

        Components below `base` are opened one by one and must not be links.

        Raises:
            OSError: as the system does; EINVAL if the path is no regular file.
        """
        handle = _open_below(path, base, _FILE_FLAGS)
        if stat.S_ISREG(os.fstat(handle).st_mode):
            return handle
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", path)

    def handle_status(self, handle: int) -> model.FileStatus:
        """Return the status of an open file; `links` is 0 when it was unlinked."""
        return _file_status(os.fstat(handle))

    def size(self, handle: int) -> int:
        """Return the size of an open file; five times cheaper than `fstat`."""
        return os.lseek(handle, 0, os.SEEK_END)

    def data_start(self, handle: int, offset: int) -> int:
        """Return where data begins at or behind an offset, the file's end if nowhere.

        Blocks count as data as a whole; a file system that knows no holes has none.
        """
        try:
            return os.lseek(handle, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return max(offset, self.size(handle))
            if error.errno == errno.EINVAL:
                return offset
            raise

    def free_share(self, handle: int) -> float:
        """Return which part of an open file's file system is free to those without privileges."""
        found = os.fstatvfs(handle)
        return found.f_bavail / found.f_blocks if found.f_blocks else 1.0

    def growth(self) -> model.Growth:
        """Return what tells of files that are written to."""
        from kagent import inotify  # ctypes: 5 ms and a megabyte that only many files need

        return inotify.Inotify()

    def sizes(self, handles: Sequence[int]) -> list[int]:
        """Return the sizes of open files: 0.3 us each, a fifth less than with `map`."""
        lseek, end = os.lseek, os.SEEK_END
        return [lseek(handle, 0, end) for handle in handles]

    def read(self, handle: int, offset: int, size: int) -> bytes:
        """Return up to `size` bytes at `offset`, fewer only at the end of the file.

        A read may stop short of both, on a network file system for example; only one that gives
        nothing says that the file ends there.
        """
        data = os.pread(handle, size, offset)
        while data and len(data) < size:
            more = os.pread(handle, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def close(self, handle: int) -> None:
        """Give a descriptor back."""
        os.close(handle)


def keep_freed_memory() -> None:
    """Let glibc keep up to KEPT_BYTES of what was freed, for the next block.

    By default it gives each block back to the kernel, which clears a page at each first touch:
    with blocks and bodies of hundreds of KiB a third of the flow's CPU time. And by default each
    of the first threads has memory of its own, which no other one uses: two such arenas are
    enough where a lock keeps threads apart anyhow. To be called before there are threads.
    """
    import ctypes  # 5 ms and a megabyte that only the daemon needs

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
        mallopt(parameter, KEPT_BYTES)
    mallopt(_M_ARENA_MAX, 2)


def give_back_memory() -> None:
    """Give the kernel what was freed for good, after something large was built: 2 ms."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def raise_handles_max() -> int:
    """Let this process hold as many files open as it is allowed to; return the number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # the kernel's own limit may be lower
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return handles_max()


def handles_max() -> int:
    """Return how many files this process may hold open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return HANDLES_MAX if soft == resource.RLIM_INFINITY else min(soft, HANDLES_MAX)


class SystemClock:
    """The real time; implements `model.Clock`."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    def time(self) -> float:
        """Return seconds since the epoch, for people and for file times."""
        return time.time()

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait for an event at most that long, or for ever, and return whether it was set."""
        return event.wait(min(timeout_s, threading.TIMEOUT_MAX))


def _open_below(path: str, base: str, flags: int) -> int:
    """Open `path`; links are followed in `base`, refused in every component below it."""
    components = _components_below(path, base)
    handle = os.open(base, _PASS_FLAGS if components else flags)
    for number, component in enumerate(components, start=1):
        parent = handle
        component_flags = flags if number == len(components) else _PASS_FLAGS
        try:
            handle = os.open(component, component_flags | os.O_NOFOLLOW, dir_fd=parent)
        except OSError as error:
            # The system names the component alone, and a link as one too many.
            reason = "a link, not followed" if error.errno == errno.ELOOP else error.strerror
            raise OSError(error.errno, reason, path) from None
        finally:
            os.close(parent)
    return handle


def _components_below(path: str, base: str) -> list[str]:
    assert path == base or path.startswith(base.rstrip("/") + "/"), (path, base)
    return [component for component in path[len(base) :].split("/") if component]


def _entry_kind(entry: os.DirEntry[str]) -> _Kind:
    if entry.is_file(follow_symlinks=False):  # most are: asked first
        return "file"
    if entry.is_symlink():
        return "link"
    return "directory" if entry.is_dir(follow_symlinks=False) else "other"


def _file_status(found: os.stat_result) -> model.FileStatus:
    return model.FileStatus(
        kind=_KINDS.get(stat.S_IFMT(found.st_mode), "other"),
        identity=model.FileIdentity(found.st_dev, found.st_ino),
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        links=found.st_nlink,
    )
