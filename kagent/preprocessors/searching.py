r"""Which of many lines a pattern of the operator's is found in: pure.

One call for the whole block where that says exactly what a search in each line says, and one for
each line where it may not. What a pattern is, is seen by reading it from left to right; whatever
is not understood costs the fast ways, never the meaning:

    every match has these bytes      a line without them is not searched
    it is nothing but these bytes    no pattern is needed
    no match depends on what stands  lines are searched together, `^` and `$` at the ends of each;
    before or behind the line        a match within one line is a match of that line
    it is one of several of these    each is searched for by itself: none slows down the others

Lines have no line end; one that holds a newline is searched by itself, as are all of its block.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import itertools
import operator
import re
from collections.abc import Sequence

import regex

from kagent import userpattern
from kagent.preprocessors import jsontext

CHOICES_MAX = 16
TOGETHER_S = 0.2  # for a block; a pattern that takes longer goes line by line from then on

_ENDS = operator.methodcaller("endswith", b"\n")
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
    choices: tuple[str, ...] = ()


class Search:
    """A pattern that is searched for in many lines; an instance serves one thread."""

    def __init__(self, text: str) -> None:
        """Take a pattern that is known to be right."""
        self.pattern = userpattern.UserPattern(text)
        self.shape = examine(text)
        self._choices = [Search(one) for one in self.shape.choices]
        self._together: regex.Pattern[bytes] | None = None
        if self.shape.is_local and not self.shape.is_literal:
            self._together = regex.compile(b"(%b)[^\\n]*+" % text.encode(), regex.MULTILINE)

    def may_be_in(self, text: bytes) -> bool:
        """Return False if the pattern is found in no part of a text: 0.03 us a line."""
        if self._choices:
            return any(choice.may_be_in(text) for choice in self._choices)
        return self.shape.literal in text

    def found_in(self, lines: Lines) -> list[bool | userpattern.Expired]:
        """Return for each line whether the pattern is found; EXPIRED if that takes too long."""
        if self._choices:
            every = [choice.found_in(lines) for choice in self._choices]
            every = [found for found in every if any(found)] or every[:1]
            return every[0] if len(every) == 1 else list(map(_any, zip(*every, strict=True)))
        literal = self.shape.literal
        if literal not in lines.text:
            return [False] * len(lines)
        if self.shape.is_literal:
            return [literal in line for line in lines.all]
        if self._together is not None and lines.are_apart:
            try:
                found = self._search_together(lines)
            except TimeoutError:
                found = self._together = None
            if found is not None:
                return found
        if not literal:
            return self._search_each(lines.all)
        found = [False] * len(lines)
        indices = [index for index, line in enumerate(lines.all) if literal in line]
        outcomes = self._search_each([lines.all[index] for index in indices])
        for index, outcome in zip(indices, outcomes, strict=True):
            found[index] = outcome
        return found

    def _search_each(self, lines: Sequence[bytes]) -> list[bool | userpattern.Expired]:
        return [
            one if one is userpattern.EXPIRED else one is not None
            for one in self.pattern.each(lines, "search")
        ]

    def _search_together(self, lines: Lines) -> list[bool | userpattern.Expired] | None:
        """Search all lines at once; None if a match goes over the end of its line."""
        found: list[bool | userpattern.Expired] = [False] * len(lines)
        starts = lines.starts
        assert self._together is not None
        after = 0
        # About 1 us for each line in which it is found; the others cost what the pattern costs.
        for match in self._together.finditer(lines.text, timeout=TOGETHER_S):
            after = bisect.bisect_right(starts, match.start(), after)
            if match.end(1) >= starts[after]:
                return None
            found[after - 1] = True
        return found


class Lines:
    """Records without their line ends, as a list and as one text, a newline between any two."""

    def __init__(self, records: Sequence[bytes], *, have_ends: bool = True) -> None:
        """Take records, or lines that have no end; what is not asked for is not made."""
        self._count = len(records)
        self._records: Sequence[bytes] | None = None
        text = b"".join(records)
        if have_ends and records and are_lines(records, text):
            if b"\r" in text:
                text = text.replace(b"\r\n", b"\n")
            else:
                self._records = records
            self.text = text[:-1]
            self.are_apart = True  # no line holds a newline
            return
        self.all = [jsontext.line_of(record) for record in records] if have_ends else records
        self.text = b"\n".join(self.all)
        self.are_apart = self.text.count(b"\n") == len(records) - 1

    def __len__(self) -> int:
        """Return how many there are."""
        return self._count

    @functools.cached_property
    def all(self) -> Sequence[bytes]:
        """The lines."""
        return self.text.split(b"\n")

    @functools.cached_property
    def starts(self) -> Sequence[int]:
        """Where each line starts in the text, and where another one would."""
        if self._records is not None:
            return list(itertools.accumulate(map(len, self._records), initial=0))
        return list(itertools.accumulate((len(line) + 1 for line in self.all), initial=0))


def are_lines(records: Sequence[bytes], text: bytes) -> bool:
    """Return whether each record, joined in `text`, ends with a newline and has no other one."""
    return text.count(b"\n") == len(records) and all(map(_ENDS, records))


def _any(found: Sequence[bool | userpattern.Expired]) -> bool | userpattern.Expired:
    if True in found:
        return True
    return userpattern.EXPIRED if userpattern.EXPIRED in found else False


def examine(text: str) -> Shape:
    """Return what a pattern's text says of its matches; what is not understood says nothing."""
    runs, is_local, is_literal = [""], True, True
    begins = [0]  # of the choices at the top
    depth = at = 0
    while at < len(text):
        character, found = text[at], _atom(text, at)
        if found is None:
            return Shape()
        end, atom = found
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "|" and depth == 0:
            begins.append(end)
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
    if len(begins) > 1:
        return Shape(is_local=is_local, choices=_choices(text, begins) if is_local else ())
    literal = max(runs, key=len)
    return Shape(literal.encode(), is_literal and bool(literal), is_local)


def _atom(text: str, at: int) -> tuple[int, str] | None:
    """Return where a part of a pattern ends, and the character that it means, if it is one."""
    character = text[at]
    if character == "\\":
        atom = _escaped(text[at + 1 : at + 2])
        return None if atom is None else (at + 2, atom)
    if character in "[(":
        match = (_SET if character == "[" else _GROUP).match(text, at)
        return None if match is None else (match.end(), "")
    if character in "{*+?":
        return None
    return at + 1, "" if character in ").^$|" else character


def _choices(text: str, begins: Sequence[int]) -> tuple[str, ...]:
    ends = [*(begin - 1 for begin in begins[1:]), len(text)]
    choices = tuple(text[begin:end] for begin, end in zip(begins, ends, strict=True))
    return choices if len(choices) <= CHOICES_MAX and all(choices) else ()


def _escaped(character: str) -> str | None:
    """Return the character that an escape means, "" for one of a class, None if not known."""
    if character in _CLASSES or character in _CONTROLS:
        return ""
    if not character or (character.isascii() and character.isalnum()) or not character.isascii():
        return None
    return character
