"""A configuration file's bytes become text, and places in it.

Refuses what can be no configuration before a parser sees it: a directory, a FIFO that would block,
a file that is too large, bytes that are no UTF-8, control characters.
"""

from __future__ import annotations

import dataclasses
import os
import re
import stat

from kagent import errors, options
from kagent.config import nodes

FILE_BYTES_MAX = 1024**2

_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # what YAML counts as one
_CONTROL = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


class UnreadableError(Exception):
    """There is no configuration to be had from a file; carries the problem."""

    def __init__(self, problem: errors.Problem) -> None:
        self.problem = problem
        super().__init__(problem.message)


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """A file's text; `lines` are its lines without what ends them."""

    file: str  # as messages show it
    text: str
    lines: tuple[str, ...]
    shown: tuple[str, ...]  # lines as messages show them

    def place(self, line: int, column: int, width: int | None = 1) -> nodes.Place:
        """Return a place from a line and a column that count from 0.

        Args:
            line: May be the one behind the last line.
            column: Characters before the place.
            width: Characters that it covers; None for the rest of the line.
        """
        shown = self.shown[line] if line < len(self.shown) else ""
        if width is None:
            width = len(shown.rstrip()) - column
        return nodes.Place(self.file, line + 1, column + 1, max(1, width), shown)


def read(file: str) -> Text:
    """Read a file.

    Raises:
        UnreadableError: it cannot be read, or is no text.
    """
    shown = options.printable(file)
    try:
        text = _decode(shown, _read_bytes(file))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise UnreadableError(_about(shown, f"cannot be read: {reason}")) from None
    lines = tuple(_LINE_BREAK.split(text))
    return Text(shown, text, lines, tuple(map(_without_controls, lines)))


def _read_bytes(file: str) -> bytes:
    # Without O_NONBLOCK, opening a FIFO would wait for a writer.
    fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as opened:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise UnreadableError(_about(options.printable(file), "is no regular file"))
        data = opened.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        message = f"is larger than {options.format_size(FILE_BYTES_MAX)}, the most that is read"
        raise UnreadableError(_about(options.printable(file), message))
    return data


def _decode(shown: str, data: bytes) -> str:
    """Return the text of a file; a byte order mark is skipped."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        message = f"byte 0x{data[error.start]:02x} is no UTF-8; is it a text file?"
        raise UnreadableError(_behind(shown, before).absence("", message)) from None
    control = _CONTROL.search(text)
    if control:
        message = f"the character {options.printable(control[0])} is not allowed in YAML"
        before = text[: control.start()]
        raise UnreadableError(_behind(shown, before).absence("", message))
    return text


def _without_controls(line: str) -> str:
    """Return a line in which every character takes one column; a tab becomes a space."""
    if line.isprintable():
        return line
    return "".join(one if one.isprintable() else " " for one in line)


def _behind(shown: str, before: str) -> nodes.Place:
    lines = _LINE_BREAK.split(before)
    return nodes.Place(shown, len(lines), len(lines[-1]) + 1)


def _about(shown: str, message: str) -> errors.Problem:
    return errors.Problem(shown, 0, 0, "", message)
