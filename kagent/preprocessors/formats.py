"""What a format of logs is: a table of parts, and the patterns made of them. Pure.

A format is a sequence of parts, each a regular expression that never gives back what it took
(atomic and possessive): so a pattern is linear in the line whatever stands in it, and the first
part that fails is the reason why a line does not match. Patterns are held against one line,
without what ends it, and must match all of it; they run in `re`.

Most formats have other patterns for blocks of records, framed by NUL (see jsontext.framed). They
are made of negated single characters, which `re` skips over three times faster than classes. They
may match fewer lines than the exact one, but never other values, as far as these lines hold no
NUL, one newline, and no quotes but those of the pattern: whoever uses them must see to that.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A piece of a format; `name` is what a message calls it."""

    name: str
    pattern: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Fast:
    """A pattern for many lines; it has a group for each of `names`, in the order of the fields.

    Other fields are not in the lines that it matches. Those in `markers` may be there with the
    value that says that there is none: '-', or nothing for a group that took no part.
    """

    pattern: bytes
    names: tuple[str, ...]
    markers: Mapping[str, bytes] = dataclasses.field(default_factory=dict, hash=False)

    @property
    def framed(self) -> re.Pattern[bytes]:
        """The pattern for framed records."""
        return re.compile(rb"\0%b\n(?=\0)" % self.pattern)

    @property
    def quotes(self) -> int:
        """How many quotes there are at least in a line that it matches."""
        return re.sub(rb"\[\^[^\]]*\]", b"", self.pattern).count(b'"')


@dataclasses.dataclass(frozen=True, slots=True)
class Format:
    """How a line is taken apart.

    `fast` are patterns for many lines, the likeliest first. A field that is `optional` is left out
    where a line has none, others are null. `null` is what stands for null in the log.
    """

    names: tuple[str, ...]
    parts: tuple[Part, ...]
    fast: tuple[Fast, ...] = ()
    null: bytes | None = None
    optional: frozenset[str] = frozenset()

    @property
    def exact(self) -> re.Pattern[bytes]:
        """The pattern for one line; use fullmatch."""
        return _compile(self.parts)

    @property
    def always(self) -> tuple[str, ...]:
        """The fields that every line has; they come first."""
        return tuple(name for name in self.names if name not in self.optional)

    def begins(self, line: bytes, parts: int) -> bool:
        """Return whether a line begins with the first parts."""
        return _compile(self.parts[:parts]).match(line) is not None

    def failed_part(self, line: bytes) -> str:
        """Return the name of the first part that does not match, for a line that does not."""
        at = 0
        for part in self.parts:
            match = _compile_part(part.pattern).match(line, at)
            if match is None:
                return f"'{part.name}' does not match"
            at = match.end()
        return "more follows the last field"


@functools.cache
def _compile(parts: tuple[Part, ...]) -> re.Pattern[bytes]:
    return re.compile(b"".join(b"(?>%b)" % part.pattern for part in parts))


@functools.cache
def _compile_part(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(b"(?>%b)" % pattern)


def words(text: str) -> tuple[str, ...]:
    """Return the words of a text."""
    return tuple(text.split())


# --- parts ------------------------------------------------------------------------------------

TOKEN = rb"(?P<%b>[^ \n]++)"
NUMBER = rb"(?P<%b>[+-]?+[0-9]++|-)"
REST = Part("what follows", rb"(?: [^\n]*+)?+")


def token(name: str, before: bytes = b" ") -> Part:
    """Return a part without blanks."""
    return Part(name, before + TOKEN % name.encode())


def quoted(name: str, ended_by: bytes = rb"[ \n]|\Z", before: bytes = b" ") -> Part:
    r"""Return a part in quotes; quotes in it are escaped, or are followed by something else.

    Writers that do not escape quotes are as common as those that do; so a quote ends the field if
    what must follow follows.
    """
    inner = rb'[^"\\\n]++|\\[^\n]|"(?!%b)' % ended_by
    return Part(name, rb'%b"(?P<%b>(?:%b)*+)"' % (before, name.encode(), inner))
