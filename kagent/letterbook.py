"""Dead letters as an operator sees them: which there are, and what was tried with each.

Letters are taken out of a flow's file for good when their record was delivered or given up.
Before a letter is sent again that is noted beside the file and made durable, and afterwards what
became of it; so after a crash, or an answer that never came, it is known of each letter that it
may have arrived. Such a letter is *in doubt* and is not sent once more unless somebody says so.

    waiting    nothing was tried, or the service refused it: it may be sent
    in doubt   it was sent and nobody knows what became of it
    settled    it was delivered or given up; it is still in the file only after a crash

The folder's lock is held for moments, so a daemon that buries a letter hardly waits. The lock of
the book itself keeps two operators from sending the same letters.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Literal

from kagent import deadletter

State = Literal["waiting", "in doubt", "settled"]
_Key = tuple[str, int, int, int, float]

_NOTES = ".notes"  # added to the name of a flow's file
_LOCK = ".lock"
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


class BookInUseError(Exception):
    """Another command sends or drops letters of this folder."""


@dataclasses.dataclass(frozen=True, slots=True)
class Letter:
    """One letter as it stands in its file, and what is known of it."""

    time: float  # since the epoch, of its burial
    flow: str
    path: str
    tail_id: str
    start: int
    end: int
    reason: str
    data: bytes = dataclasses.field(repr=False)
    part: int = 0  # of a record that was too long, from 1 on
    state: State = "waiting"

    @property
    def id(self) -> str:
        """What names the record, here and at its readers."""
        part = f"/{self.part}" if self.part else ""
        return f"{self.tail_id}:{self.start}-{self.end}{part}"

    @property
    def key(self) -> _Key:
        """What tells it from another letter of the same bytes, buried at another time."""
        return self.tail_id, self.start, self.end, self.part, self.time


class LetterBook:
    """All letters of a folder. Only what `lock` is held for may change them."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def flows(self) -> list[str]:
        """Return the flows that have a file, by name; none if there is no folder.

        Raises:
            OSError: the folder cannot be read.
        """
        names: list[str] = []
        with contextlib.suppress(FileNotFoundError):
            names = os.listdir(self._directory)
        found = (deadletter.flow_of(name) for name in names)
        return sorted(flow for flow in found if flow is not None)

    def letters(self, flow: str) -> Iterator[Letter]:
        """Yield the letters of a flow that are not settled, the oldest first.

        Raises:
            OSError: the file cannot be read.
        """
        states = self._states(flow)
        for line in self._lines(deadletter.file_name(flow)):
            letter = _letter_in(line)
            if letter is not None and states.get(letter.key) != "settled":
                yield dataclasses.replace(letter, state=states.get(letter.key, "waiting"))

    def damage(self, flow: str) -> tuple[int, str]:
        """Return how many lines of a flow's file are no letters, and where that file is.

        A crash may have cut one short, whose record was then buried once more.

        Raises:
            OSError: the file cannot be read.
        """
        name = deadletter.file_name(flow)
        damaged = sum(_letter_in(line) is None for line in self._lines(name))
        return damaged, os.path.join(self._directory, name)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other commands from changing anything.

        Raises:
            BookInUseError: another one does.
            OSError: the folder cannot be written to.
        """
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        path = os.path.join(self._directory, _LOCK)
        file = os.open(path, _NEW_FLAGS, 0o600)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BookInUseError(path) from None
            yield
        finally:
            os.close(file)

    def note(self, letters: Iterable[Letter], state: State) -> None:
        """Make durable what is now known of letters of one flow.

        Raises:
            OSError: it is not durable.
        """
        noted = list(letters)
        if not noted:
            return
        lines = b"".join(
            json.dumps({"key": letter.key, "state": state}).encode("ascii") + b"\n"
            for letter in noted
        )
        name = deadletter.file_name(noted[0].flow) + _NOTES
        with deadletter.open_folder(self._directory) as folder:
            deadletter.append_durably(folder, name, lines)

    def take_out(self, flow: str, letters: Collection[Letter]) -> None:
        """Take letters out of a flow's file, and those that were settled before.

        Raises:
            OSError: they are still there.
        """
        name = deadletter.file_name(flow)
        states = self._states(flow)
        gone = {key for key, state in states.items() if state == "settled"}
        gone |= {letter.key for letter in letters}
        with deadletter.open_folder(self._directory) as folder:
            kept: set[_Key] = set()
            self._rewrite(folder, name, _without(self._lines(name), gone, kept))
            doubts = (
                json.dumps({"key": key, "state": state}).encode("ascii") + b"\n"
                for key, state in states.items()
                if key in kept and state != "waiting"
            )
            self._rewrite(folder, name + _NOTES, doubts)

    def _rewrite(self, folder: int, name: str, lines: Iterable[bytes]) -> None:
        """Replace a file of the folder by one of these lines; without any there is no file."""
        new, size = name + ".new", 0
        file = os.open(new, _NEW_FLAGS, 0o600, dir_fd=folder)
        try:
            for line in lines:
                deadletter.write_all(file, line)
                size += len(line)
            os.fsync(file)
        finally:
            os.close(file)
        if size:
            os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
        else:
            os.unlink(new, dir_fd=folder)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
        os.fsync(folder)

    def _states(self, flow: str) -> dict[_Key, State]:
        states: dict[_Key, State] = {}
        for line in self._lines(deadletter.file_name(flow) + _NOTES):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                noted = json.loads(line)
                tail_id, start, end, part, time = noted["key"]
                key = str(tail_id), int(start), int(end), int(part), float(time)
                states[key] = noted["state"]
        return states

    def _lines(self, name: str) -> Iterator[bytes]:
        """Yield the lines of a file of the folder; none if there is no such file."""
        try:
            file = os.open(os.path.join(self._directory, name), _READ_FLAGS)
        except FileNotFoundError:
            return
        with open(file, "rb") as opened:
            yield from opened


def _without(lines: Iterable[bytes], gone: Collection[_Key], kept: set[_Key]) -> Iterator[bytes]:
    """Yield what stays of a file, and note the letters that do.

    What is no letter stays as well: nobody knows what it was.
    """
    for line in lines:
        letter = _letter_in(line)
        if letter is not None and letter.key in gone:
            continue
        if letter is not None:
            kept.add(letter.key)
        yield line if line.endswith(b"\n") else line + b"\n"


def _letter_in(line: bytes) -> Letter | None:
    """Return the letter on a line; None for what a crash cut short."""
    try:
        fields: dict[str, Any] = json.loads(line)
        return Letter(
            float(fields["time"]),
            str(fields["flow"]),
            str(fields["path"]),
            str(fields["tail_id"]),
            int(fields["start"]),
            int(fields["end"]),
            str(fields["reason"]),
            base64.b64decode(fields["data"], validate=True),
            int(fields.get("part", 0)),
        )
    except (ValueError, KeyError, TypeError):
        return None
