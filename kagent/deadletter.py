"""Records that the service will never take: one append-only file a flow, durable before it counts.

A span settles once its dead letter is on disk, so a letter is as precious as a position: it is
fsynced, a line that a crash cut short is never glued to the next, and a folder that is full or not
writable refuses, which blocks the flow, and never makes room by deleting. Letters hold log lines,
so the folder is 0700 and its files are 0600. Letters are put here by the checkpoint thread alone;
`letterbook` reads them and takes them out, also while a daemon runs: both lock the folder.

A line is a JSON object: `time` (seconds since 1970), `flow`, `path`, `tail_id`, `start`, `end`,
`reason`, and `data` in base64. Readers skip a line that is no JSON: what a crash cut short.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import json
import os
import stat
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Annotated

import pydantic

from kagent import model, options

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A link or FIFO that someone planted is neither followed nor waited for.
_FILE_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class DeadLetterOptions(options.Options):
    """Where records go that the service will never take, and how much of them is kept."""

    dir: str | None = pydantic.Field(default=None, pattern="^/")
    """Their directory, `dead-letter` in `state_dir` when left out."""

    max_bytes: Annotated[int, options.Size(1024**2, 1024**4)] = 1024**3
    """How much is kept; a flow whose dead letter finds no room is blocked until there is."""


class DeadLetters:
    """The folder of dead letters. Keeps nothing open: letters are rare."""

    def __init__(self, directory: str, max_bytes: int, clock: model.Clock) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._clock = clock

    def append(self, letters: Sequence[model.DeadLetter]) -> str:
        """Put letters of one flow on disk; return an empty text, or why none of them is there.

        All or none: when it fails midway the file is cut back, so that the next try does not
        write a letter twice.
        """
        lines = b"".join(self._line(letter) for letter in letters)
        name = file_name(letters[0].flow)
        try:
            with open_folder(self._directory) as folder:
                used = sum(_size(folder, entry) for entry in os.listdir(folder))
                if used + len(lines) > self._max_bytes:
                    return (
                        f"dead-letter folder is full: {self._directory} holds {used} bytes,"
                        f" {self._max_bytes} are allowed; hint: resend or drop letters,"
                        " or raise dead_letter.max_bytes"
                    )
                append_durably(folder, name, lines)
        except OSError as error:
            path = os.path.join(self._directory, name)
            return f"cannot write dead letters: {path}: {error.strerror}"
        return ""

    def _line(self, letter: model.DeadLetter) -> bytes:
        """Return a letter as one line, in ASCII: json escapes what is no UTF-8 in a path."""
        fields = {
            "time": round(self._clock.time(), 3),
            "flow": letter.flow,
            "path": letter.path,
            "tail_id": letter.tail_id,
            "start": letter.start,
            "end": letter.end,
            "reason": letter.reason,
            "data": base64.b64encode(letter.data).decode("ascii"),
        }
        if letter.part:
            fields["part"] = letter.part
        return json.dumps(fields).encode("ascii") + b"\n"


def file_name(flow: str) -> str:
    """Return the name of the file that holds a flow's letters."""
    return urllib.parse.quote(os.fsencode(flow), safe="") + ".jsonl"


def count_of_tail(path: str, tail_id: str) -> tuple[int, int]:
    """Return how many letters of a tail a file holds, and how many bytes of the log they are.

    Raises:
        OSError: the file cannot be read; one that does not exist holds none.
    """
    spans = set()  # a crash may leave a letter twice
    needle = tail_id.encode("ascii")
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        for line in file:
            if needle not in line:
                continue
            with contextlib.suppress(ValueError, KeyError, TypeError):
                letter = json.loads(line)
                if letter["tail_id"] == tail_id:
                    spans.add((int(letter["start"]), int(letter["end"])))
    return len(spans), sum(end - start for start, end in spans)


def flow_of(name: str) -> str | None:
    """Return the flow whose letters a file of that name holds; None if it holds none."""
    stem = name.removesuffix(".jsonl")
    return None if stem == name else os.fsdecode(urllib.parse.unquote_to_bytes(stem))


@contextlib.contextmanager
def open_folder(path: str) -> Iterator[int]:
    """Open the folder, made if there is none, for one who writes: the others wait meanwhile."""
    os.makedirs(path, mode=0o700, exist_ok=True)
    folder = os.open(path, _FOLDER_FLAGS)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(folder)


def _size(folder: int, name: str) -> int:
    return os.stat(name, dir_fd=folder, follow_symlinks=False).st_size


def append_durably(folder: int, name: str, lines: bytes) -> None:
    """Append to a file of the folder, creating it, and fsync; when that fails cut it back."""
    file = os.open(name, _FILE_FLAGS, 0o600, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        size = os.lseek(file, 0, os.SEEK_END)
        try:
            if size and os.pread(file, 1, size - 1) != b"\n":
                lines = b"\n" + lines  # a crash cut the last line short: it ends here
            write_all(file, lines)
            os.fsync(file)
            os.fsync(folder)  # the file's name, too
        except OSError:
            os.ftruncate(file, size)
            raise
    finally:
        os.close(file)


def write_all(file: int, data: bytes) -> None:
    """Write all of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
