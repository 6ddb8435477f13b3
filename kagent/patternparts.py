r"""Say which part of a pattern a line failed at, without a word of the line.

A pattern such as `(?P<host>\S+) (?P<status>\d+)` is cut behind each of its named groups. The
longest of these beginnings that still matches says how far a line goes: "after 'host'". What
cannot be cut like that, because alternatives stand at its top or a flag changes what its parts
mean, gives no part. Pure; meant for lines that failed, and for a bounded number of them.
"""

from __future__ import annotations

import bisect
import contextlib
import re

from kagent import userpattern

_GROUP = re.compile(r"\(\?P?<([A-Za-z_]\w*)>")


class Parts:
    """The beginnings of a pattern."""

    def __init__(self, text: str) -> None:
        """Cut a pattern that is known to be right."""
        self._names: list[str] = []
        self._beginnings: list[userpattern.UserPattern] = []
        for name, end in named_ends(text):
            with contextlib.suppress(ValueError):
                self._beginnings.append(userpattern.UserPattern(text[:end]))
                self._names.append(name)

    def failed_at(self, line: bytes) -> str:
        """Return where a line that does not match fails: "before 'host'", "after 'host'".

        Empty if the pattern has no parts.
        """
        if not self._names:
            return ""

        def fails(index: int) -> bool:
            (found,) = self._beginnings[index].each([line])
            return found is None or found is userpattern.EXPIRED

        # If a beginning matches, so does each shorter one.
        reached = bisect.bisect_left(range(len(self._names)), True, key=fails)
        if reached == 0:
            return f"before or in '{self._names[0]}'"
        return f"after '{self._names[reached - 1]}'"


def named_ends(text: str) -> list[tuple[str, int]]:
    """Return the named groups at a pattern's top, each with the index behind it.

    Nothing is returned for a pattern that cannot be cut: see above.
    """
    found: list[tuple[str, int]] = []
    opened: list[str] = []  # of each open group its name, empty for one without
    at = 0
    while at < len(text):
        character = text[at]
        if character == "\\":
            at += 2
        elif character == "[":
            at = _class_end(text, at)
        elif character == "(":
            group = _GROUP.match(text, at)
            if text.startswith("(?", at) and _is_flag(text, at + 2):
                return []
            opened.append(group[1] if group else "")
            at = group.end() if group else at + 1
        elif character == ")":
            name = opened.pop() if opened else ""
            at = _quantifier_end(text, at + 1)
            if name and not opened:
                found.append((name, at))
        elif character == "|" and not opened:
            return []
        else:
            at += 1
    return found


def _is_flag(text: str, at: int) -> bool:
    """Return whether `(?` opens global flags, such as `(?x)`, or a comment."""
    return text[at : at + 1] == "#" or re.match(r"[a-zA-Z0-9]*\)", text[at:]) is not None


def _class_end(text: str, at: int) -> int:
    """Return the index behind a character class that opens at an index."""
    at += 1
    if text[at : at + 1] == "^":
        at += 1
    if text[at : at + 1] == "]":
        at += 1
    while at < len(text) and text[at] != "]":
        at += 2 if text[at] == "\\" else 1
    return at + 1


def _quantifier_end(text: str, at: int) -> int:
    match = re.compile(r"(?:[*+?]|\{\d*,?\d*\})[+?]?").match(text, at)
    return match.end() if match else at
