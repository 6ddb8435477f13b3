r"""The operator's regular expressions, which may be of any kind, over any bytes: pure.

They run in `regex`, which can be stopped and lets other threads run meanwhile: `re` holds the
interpreter, and one `(a+)+$` would stop every flow. Each line has LINE_S, and more if it is very
long; a line that takes longer is EXPIRED, and its block then goes line by line. `regex` counts
the processor time of the whole process, so a line is tried again if it was others who used it.
After EXPIRED_MAX of them lines have a hundredth of that, until CALM_LINES took no time to speak
of: so a log of nothing but such lines goes on at 2,000 lines a second. Ordinary lines take
microseconds.

Patterns are held against bytes: `.` is one byte, `\w` and `\d` are ASCII, text is UTF-8.
"""

from __future__ import annotations

import enum
import functools
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal, TypeVar

import pydantic
import regex

from kagent import options

LINE_S = 0.05  # of processor time, for one line and one pattern
HASTY_LINE_S = LINE_S / 100
BYTE_S = 20e-9  # more, for each byte of a line
SHARE = 8  # a line that had less than an eighth of its time for itself gets eight times as much
EXPIRED_MAX = 8  # lines that may take LINE_S each, until there is calm again
CALM_LINES = 10_000
LENGTH_MAX = 10_000  # characters of a pattern

Match = Any  # regex's are untyped
_Found = TypeVar("_Found")


class Expired(enum.Enum):
    """The type of EXPIRED."""

    EXPIRED = enum.auto()


EXPIRED: Final = Expired.EXPIRED  # in the place of a result: the line took too long


class _Pattern(options.Written):
    """Validates a pattern that the operator wrote."""

    is_typed = True
    expected = "a regular expression"

    def validate(self, value: str) -> str:
        """Return the pattern."""
        try:
            compile_pattern(value)
        except ValueError as error:
            raise options.NotAllowedError(f"a regular expression ({error})") from error
        return value


# The type of an option that is a pattern.
PatternText = Annotated[str, pydantic.Field(min_length=1, max_length=LENGTH_MAX), _Pattern()]


def compile_pattern(text: str) -> regex.Pattern[bytes]:
    """Return a pattern that is held against UTF-8.

    Raises:
        ValueError: it is none, and why.
    """
    try:
        return regex.compile(text.encode())
    except (regex.error, OverflowError, RecursionError) as error:
        raise ValueError(str(error) or type(error).__name__) from error


class UserPattern:
    """A compiled pattern that cannot run away."""

    def __init__(self, text: str) -> None:
        """Compile a pattern that is known to be right."""
        self.text = text
        self.pattern = compile_pattern(text)
        self._patience = EXPIRED_MAX  # lines that may still take LINE_S
        self._calm = 0  # lines since one took too long

    @property
    def groups(self) -> list[str]:
        """The names of its named groups, in their order."""
        index: dict[str, int] = self.pattern.groupindex
        return sorted(index, key=index.__getitem__)

    def each(
        self, lines: Sequence[bytes], method: Literal["match", "search", "fullmatch"] = "match"
    ) -> list[Match | Expired | None]:
        """Return the match of each line, None where there is none: 4 us a line."""
        return self.call_each(getattr(self.pattern, method), lines)

    def sub_each(
        self, replacement: bytes | Callable[[Match], bytes], lines: Sequence[bytes]
    ) -> list[bytes | Expired]:
        """Return each line with every match replaced; a text may refer to groups as in `re`."""
        return self.call_each(functools.partial(self.pattern.sub, replacement), lines)

    def call_each(
        self, call: Callable[..., _Found], lines: Sequence[bytes]
    ) -> list[_Found | Expired]:
        """Return what a method of the pattern says of each line, EXPIRED if it takes too long.

        Args:
            call: Takes the line, and `timeout` by name.
            lines: Any bytes.
        """
        try:
            limit_s = LINE_S if self._patience else HASTY_LINE_S
            found: list[_Found | Expired]
            found = list(map(functools.partial(call, timeout=limit_s), lines))
        except TimeoutError:
            return self._one_by_one(call, lines)
        self._calm += len(lines)
        if self._calm >= CALM_LINES:
            self._patience, self._calm = EXPIRED_MAX, 0
        return found

    def _one_by_one(
        self, call: Callable[..., _Found], lines: Sequence[bytes]
    ) -> list[_Found | Expired]:
        found: list[_Found | Expired] = []
        for line in lines:  # rare: a line of this block takes too long
            limit_s = LINE_S if self._patience else HASTY_LINE_S
            one = _call(call, line, limit_s + BYTE_S * len(line))
            if one is EXPIRED:
                self._patience, self._calm = max(0, self._patience - 1), 0
            found.append(one)
        return found


def _call(call: Callable[..., _Found], line: bytes, limit_s: float) -> _Found | Expired:
    """Return what a call says of a line; EXPIRED if it takes this thread too long."""
    for more in (1, SHARE):
        begun_s = time.thread_time()
        try:
            return call(line, timeout=limit_s * more)
        except TimeoutError:
            if time.thread_time() - begun_s > limit_s / SHARE:
                break
    return EXPIRED
