r"""Which of many lines a pattern of the operator's is found in: pure.

One call for the whole block where that says exactly what a search in each line says, and one for
each line where it may not. What a pattern is, is seen by reading it from left to right; whatever
is not understood costs the fast ways, never the meaning:

    every match has these bytes      a line without them is not searched
    it is nothing but these bytes    no pattern is needed
    no match depends on what stands  lines are searched together, `^` and `$` at the ends of each;
    before or behind the line        a match within one line is a match of that line

Lines have no line end; one that holds a newline is searched by itself, as are all of its block.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import re
from collections.abc import Sequence

import regex

from kagent import userpattern

TOGETHER_S = 0.2  # for a block; a pattern that takes longer goes line by line from then on

_CLASSES = frozenset("dDwWsSb")
_CONTROLS = frozenset("ntrfv")
_GROUP = re.compile(r"\((?:\?:|\?P?<[A-Za-z_]\w*>)?(?!\?)")
_SET = re.compile(r"\[\^?\]?(?:[^\]\\\[]|\\[^A-Za-z0-9]|\\[dDwWsSntrfv])*\]")
_COUNT = re.compile(r"[*+?]|\{\d+(?:,\d*)?\}|\{,\d+\}")


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """What a pattern's text says of its matches; see the module."""

    literal: bytes = b""
    is_literal: bool = False
    is_local: bool = False


class Search:
    """A pattern that is searched for in many lines; an instance serves one thread."""

    def __init__(self, text: str) -> None:
        """Take a pattern that is known to be right."""
        self.pattern = userpattern.UserPattern(text)
        self.shape = examine(text)
        self._together: regex.Pattern[bytes] | None = None
        if self.shape.is_local and not self.shape.is_literal:
            self._together = regex.compile(b"(%b)[^\\n]*+" % text.encode(), regex.MULTILINE)

    def found_in(self, lines: Sequence[bytes], text: bytes) -> list[bool | userpattern.Expired]:
        """Return for each line whether the pattern is found there; EXPIRED if that takes too long.

        Args:
            lines: Without line ends.
            text: The same, a newline between any two.
        """
        literal = self.shape.literal
        if literal and literal not in text:
            return [False] * len(lines)
        if self.shape.is_literal:
            return [literal in line for line in lines]
        if self._together is not None and text.count(b"\n") == len(lines) - 1:
            try:
                found = self._search_together(lines, text)
            except TimeoutError:
                found = self._together = None
            if found is not None:
                return found
        if not literal:
            return self._search_each(lines)
        found = [False] * len(lines)
        indices = [index for index, line in enumerate(lines) if literal in line]
        outcomes = self._search_each([lines[index] for index in indices])
        for index, outcome in zip(indices, outcomes, strict=True):
            found[index] = outcome
        return found

    def _search_each(self, lines: Sequence[bytes]) -> list[bool | userpattern.Expired]:
        return [
            one if one is userpattern.EXPIRED else one is not None
            for one in self.pattern.each(lines, "search")
        ]

    def _search_together(
        self, lines: Sequence[bytes], text: bytes
    ) -> list[bool | userpattern.Expired] | None:
        """Search all lines at once; None if a match goes over the end of its line."""
        found: list[bool | userpattern.Expired] = [False] * len(lines)
        lengths = map(len, lines)
        ends = list(itertools.accumulate(lengths, lambda end, more: end + 1 + more, initial=-1))
        assert self._together is not None
        index = 0
        # About 1 us for each line in which it is found; the others cost what the pattern costs.
        for match in self._together.finditer(text, timeout=TOGETHER_S):
            index = bisect.bisect_left(ends, match.start(), index)
            if match.end(1) > ends[index]:
                return None
            found[index - 1] = True
        return found


def examine(text: str) -> Shape:
    """Return what a pattern's text says of its matches; what is not understood says nothing."""
    runs, is_local = [""], True
    is_literal, has_choice, depth, at = True, False, 0, 0
    while at < len(text):
        character = text[at]
        if character == "\\":
            end = at + 2
            atom = _escaped(text[at + 1 : end])
            if atom is None:
                return Shape()
        elif character in "[(":
            match = (_SET if character == "[" else _GROUP).match(text, at)
            if match is None:
                return Shape()
            end, atom = match.end(), ""
            depth += character == "("
        elif character in "{*+?":
            return Shape()
        else:
            end, atom = at + 1, "" if character in ").^$|" else character
            depth -= character == ")"
            has_choice |= character == "|" and depth == 0
        count = _COUNT.match(text, end) if character not in "(|^" else None
        if depth == 0 and atom and (count is None or count[0] == "+"):
            runs[-1] += atom
        if count is not None:
            end = count.end()
            is_local &= text[end : end + 1] != "+"
            end += text[end : end + 1] in {"+", "?"}
        if not atom or count is not None or depth:
            is_literal = False
            runs.append("")
        at = end
    literal = "" if has_choice else max(runs, key=len)
    return Shape(literal.encode(), is_literal and bool(literal), is_local)


def _escaped(character: str) -> str | None:
    """Return the character that an escape means, "" for one of a class, None if not known."""
    if character in _CLASSES or character in _CONTROLS:
        return ""
    if not character or (character.isascii() and character.isalnum()) or not character.isascii():
        return None
    return character
