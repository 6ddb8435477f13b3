"""Which lines belong to one record: pure.

Law: a record is one line, whatever it is, and every line after it that goes on. Whether a line
goes on is decided by itself and the lines of its record before it, never by what follows it; so
records do not depend on how the bytes were read, and whoever begins at the end of a record finds
the same ones as before. `framing` ends a record as well where it would grow too long, and its
remainder begins a record like any other line.

Built-in presets are one regular expression for a whole record, and find all records of a block in
one call. They run in `re`; every repetition is possessive, so that none can run away. Patterns of
the operator run as `userpattern` says; a line that takes too long is taken as not matching, and
is counted.
"""

from __future__ import annotations

import bisect
import io
import itertools
import re
from collections.abc import Callable
from typing import Annotated, Protocol

import pydantic

from kagent import frame, options, userpattern

LINES_MAX = 50_000  # of one record, whatever is configured
BLOCK_S = 0.1  # when so long is over, what is left of a block waits for the next turn
_LINES_AT_ONCE = 64

PRESETS: tuple[frame.Preset, ...] = ("java", "python", "go", "ruby", "csv")


class MultilineOptions(options.Options):
    """Which lines belong to one record; `multiline: java` is short for `{preset: java}`."""

    model_config = pydantic.ConfigDict(
        json_schema_extra={
            options.EXPECTED_KEY: f"one of {', '.join(map(repr, PRESETS))}, or a mapping"
        }
    )

    preset: frame.Preset | None = None
    """A built-in set of patterns; it stands without `start`, `continuation` and `end`."""

    start: str | None = pydantic.Field(default=None, min_length=1, max_length=1000)
    """A regular expression that matches the beginning of a record's first line. All patterns are
    held against a line's beginning; write `.*` in front to look further."""

    continuation: str | None = pydantic.Field(default=None, min_length=1, max_length=1000)
    """One that matches the beginning of every further line; with `start` as well, a line that
    matches `start` is a first line."""

    end: str | None = pydantic.Field(default=None, min_length=1, max_length=1000)
    """One that matches the beginning of a record's last line."""

    max_lines: int = pydantic.Field(default=5000, ge=2, le=LINES_MAX)
    """Lines of one record; the next one begins another."""

    max_bytes: Annotated[int, options.Size(1024, 10 * 1024**2)] | None = None
    """Bytes of one record in the file; `max_line` when left out."""

    timeout: Annotated[float, options.Duration(0.25, 3600.0)] = 5.0
    """When a file has not grown for so long, its last record is complete."""

    def resolve(self) -> frame.Multiline:
        """Return the values; the record's limit is the line's unless it is lower."""
        return frame.Multiline(
            self.preset,
            self.start,
            self.continuation,
            self.end,
            self.max_lines,
            self.max_bytes or 10 * 1024**2,
            self.timeout,
        )


Setting = Annotated[MultilineOptions, options.Named("preset", PRESETS)] | None

# --- presets: \n is a line's end, [ \t] begins what is indented -------------------------------

_LINE = rb"[^\n]*+\n"
_BLANK = rb"\r?\n"

# A logger writes the message, then `java.io.IOException: text` in a line of its own, then frames.
_JAVA_GOES_ON = (
    rb"[ \t]"
    rb"|(?:Caused by|Suppressed|Wrapped by): "
    rb"|\.\.\. \d+ (?:more|common frames omitted)"
    rb"|(?:[A-Za-z_$][\w$]*+\.)++[\w$]*(?:Exception|Error|Throwable|ThreadDeath)[\w$]*+(?::|\r?$)"
)
_JAVA = rb"%(line)b(?:(?:%(goes_on)b)%(line)b)*+"

# Frames are indented, then comes `ValueError: text`; chained traces have blank lines between.
_PYTHON_GOES_ON = (
    rb"[ \t]"
    rb"|Traceback \(most recent call last\):"
    rb"|During handling of the above exception, another exception occurred:"
    rb"|The above exception was the direct cause of the following exception:"
)
_PYTHON_TRACE = (
    rb"[^\n]*?Traceback \(most recent call last\):\r?\n(?:[ \t]%(line)b)*+"
    rb"(?:[A-Za-z_][\w.]*+(?::%(line)b|%(blank)b)(?:[ \t]%(line)b)*+"
    rb"(?:%(blank)b(?:(?:During handling|The above exception)%(line)b(?:%(blank)b)?+)?+)?+)?+"
)
_PYTHON = rb"(?:%(trace)b|%(line)b)(?:(?=%(goes_on)b)(?:%(trace)b|%(line)b))*+"

# `panic: text`, blank, `goroutine 1 [running]:`, then function and indented place in turn.
_GO_GOES_ON = rb"[ \t]|goroutine \d++ [^\n]*\]:\r?$"
_GO_INSIDE = (
    rb"(?:[ \t]%(line)b|%(blank)b|goroutine \d++ %(line)b|\[signal %(line)b|created by %(line)b"
    rb"|\.\.\.%(line)b|runtime stack:%(blank)b|exit status \d++%(blank)b|goexit%(line)b"
    rb"|[^\s(]++\([^\n]*\)\r?\n)*+"
)
_GO = (
    rb"(?:%(opens)b%(line)b%(inside)b"
    rb"|goroutine \d++ [^\n]*\]:\r?\n%(inside)b|%(line)b)"
    rb"(?:[ \t]%(line)b|goroutine \d++ [^\n]*\]:\r?\n%(inside)b)*+"
)

# `a.rb:3:in 'm': text (Class)`, then frames; a cause follows in the same form.
_RUBY_FRAME = rb"[^\s:]++:\d++:in [`'][^'\n]*'\r?\n"
_RUBY_HEAD = rb"[^\s:]++:\d++:in [`'][^'\n]*': [^\n]*\([A-Z][\w:]*+\)\r?\n"
_RUBY_GOES_ON = rb"[ \t]|[^\s:]++:\d++:in [`'][^'\n]*'\r?$"
_RUBY = rb"%(line)b(?:[ \t]++from %(line)b(?:%(head)b)?+|[ \t]%(line)b|%(frame)b)*+"

_GO_OPENS = rb"(?:panic|fatal error|runtime|unexpected fault address|SIG[A-Z]++): "

# A quote opens a field at the field's beginning; a doubled one within is one of its characters.
_CSV = (
    rb"""[^"\n]*+(?:(?<![^,;\t|\n])"[^"]*+(?:""[^"]*+)*+"[^"\n]*+"""
    rb"""|(?<=[^,;\t|\n])"[^"\n]*+)*+\n"""
)


def _filled(pattern: bytes, **parts: bytes) -> bytes:
    known = {b"line": _LINE, b"blank": _BLANK}
    known |= {
        name.encode(): part % known if b"%(" in part else part for name, part in parts.items()
    }
    return pattern % known


class Grouping(Protocol):
    """Finds records in text of which every line is complete, from a record's first line on."""

    expired: int  # lines taken as not matching because they took too long; counted once

    def lengths(self, text: bytes, skipped: int) -> list[int]:
        """Return the records' sizes; the last one may go on in what follows.

        They are fewer bytes than the text if there was no time for all of it; then there was
        for some lines more than in the call before.

        Args:
            text: Whole lines.
            skipped: How many lines stand before them since the first one not taken.
        """
        ...

    def first(self, text: bytes, at: int, end: int) -> int:
        """Return where the record that begins at `at` ends, `end` if not before it.

        The text is the one whose lengths were asked for last, and `at` a line's beginning.
        """
        ...

    def is_complete(self, record: bytes) -> bool:
        """Return whether a record ends with its last line, whatever follows."""
        ...

    def surely_goes_on(self, text: bytes, skipped: int) -> bool:
        """Return whether every line of text goes on in any record; False in doubt.

        Args:
            text: Whole lines.
            skipped: How many lines stand before them since the first one not taken.
        """
        ...

    def note_taken(self, lines: int | None) -> None:
        """Note that so many first lines will not come again; None: that others will come."""
        ...


def grouping_of(one: frame.Multiline | None, monotonic: Callable[[], float]) -> Grouping:
    """Return what groups lines; without multi-line, each is a record."""
    if one is None:
        return PresetGrouping(_LINE, None)
    if one.preset is None:
        return PatternGrouping(one, monotonic)
    return PresetGrouping(*_PRESETS[one.preset], is_csv=one.preset == "csv")


# By preset: a whole record; how a line begins that goes on whatever its record is; how one begins
# or what it holds if others go on after it. A text without any has records of one line only.
_PRESETS: dict[str, tuple[bytes, bytes | None, bytes | None, bytes]] = {
    "java": (_filled(_JAVA, goes_on=_JAVA_GOES_ON), _JAVA_GOES_ON, None, b""),
    "python": (
        _filled(_PYTHON, goes_on=_PYTHON_GOES_ON, trace=_PYTHON_TRACE),
        _PYTHON_GOES_ON,
        None,
        b"Traceback (most recent call last):",
    ),
    "go": (
        _filled(_GO, inside=_GO_INSIDE, opens=_GO_OPENS),
        _GO_GOES_ON,
        _GO_OPENS + rb"|goroutine \d++ [^\n]*\]:\r?$",
        b"",
    ),
    "ruby": (_filled(_RUBY, head=_RUBY_HEAD, frame=_RUBY_FRAME), _RUBY_GOES_ON, None, b""),
    "csv": (_CSV, None, None, b""),
}


class PresetGrouping:
    """A built-in pattern of a whole record."""

    def __init__(
        self,
        record: bytes,
        goes_on: bytes | None,
        opens: bytes | None = None,
        marker: bytes = b"",
        *,
        is_csv: bool = False,
    ) -> None:
        """Compile the pattern, and those that say whether it is needed at all."""
        self.expired = 0
        self._is_csv = is_csv
        self._record = re.compile(record, re.MULTILINE)
        # A record that is open at the end is what is left.
        self._records = re.compile(rb"%b|[\s\S]++\Z" % record, re.MULTILINE)
        self._goes_on = re.compile(goes_on, re.MULTILINE) if goes_on else None
        # The newline in front makes the search a memchr: 0.1 us a line.
        seconds = b"|".join(one for one in (goes_on, opens) if one)
        self._second = re.compile(rb"\n(?:%b)" % seconds, re.MULTILINE) if seconds else None
        self._run = (
            None
            if goes_on is None
            else re.compile(rb"(?:(?:%b)[^\n]*+\n)*+" % goes_on, re.MULTILINE)
        )
        self._opening = None if opens is None else re.compile(opens, re.MULTILINE)
        self._marker = marker

    def records(self, text: bytes) -> list[bytes]:
        """Return the records themselves, with one call where any of them may have two lines."""
        if self._is_single(text):
            return io.BytesIO(text).readlines()
        return self._records.findall(text)

    def lengths(self, text: bytes, skipped: int) -> list[int]:
        """Return the records' sizes."""
        return list(map(len, self.records(text)))

    def first(self, text: bytes, at: int, end: int) -> int:
        """Return where the record that begins at `at` ends; `end` if it is open there."""
        found = self._record.match(text, at, end)
        return end if found is None else found.end()

    def is_complete(self, record: bytes) -> bool:
        """Return whether no line can follow: of a CSV record, that no quote is open."""
        if self._is_csv:
            found = self._record.match(record)
            return found is not None and found.end() == len(record)
        return self._goes_on is None

    def surely_goes_on(self, text: bytes, skipped: int) -> bool:
        """Return whether every line goes on: within an open quote, what holds no quote."""
        if self._is_csv:
            return b'"' not in text
        found = self._run.match(text) if self._run else None
        return found is not None and found.end() == len(text)

    def note_taken(self, lines: int | None) -> None:
        """Nothing is remembered."""

    def _is_single(self, text: bytes) -> bool:
        """Return whether no record of a text has two lines, for certain."""
        if self._is_csv:
            return b'"' not in text
        if self._second is None:
            return True
        if self._second.search(text) or (self._marker and self._marker in text):
            return False
        return self._opening is None or self._opening.match(text) is None


_GOES_ON, _ENDS = 1, 2


class PatternGrouping:
    """The operator's patterns; remembers what it found out about lines that come again.

    A line goes on if `continuation` matches it and `start` does not, each if there is one; the
    line that `end` matches is the last one. Patterns are held against the line's beginning.
    """

    def __init__(self, one: frame.Multiline, monotonic: Callable[[], float]) -> None:
        """Compile the patterns, which are known to be right."""
        self.expired = 0
        self._start, self._continuation, self._end = (
            userpattern.UserPattern(text) if text else None
            for text in (one.start, one.continuation, one.end)
        )
        self._monotonic = monotonic
        self._flags: list[int] = []  # of the lines from the first one not taken on
        self._last: list[int] = []  # of the lines of the last text
        self._ends: list[int] = []  # where they end in it

    def lengths(self, text: bytes, skipped: int) -> list[int]:
        """Return the records' sizes, of as many lines as there was time for."""
        lines = io.BytesIO(text).readlines()
        begun = self._monotonic()
        while len(self._flags) < skipped + len(lines):
            at = len(self._flags) - skipped
            self._flags += self._look_at(lines[at : at + _LINES_AT_ONCE])
            if self._monotonic() - begun > BLOCK_S:
                break
        self._last = self._flags[skipped : skipped + len(lines)]
        self._ends = list(itertools.accumulate(map(len, lines[: len(self._last)])))
        before = [0, *self._last]
        firsts = [
            end - len(line)
            for end, line, flag, earlier in zip(
                self._ends, lines, self._last, before, strict=False
            )
            if not flag & _GOES_ON or earlier & _ENDS
        ]
        bounds = [0, *(one for one in firsts if one), *self._ends[-1:]]
        return [end - start for start, end in itertools.pairwise(bounds)]

    def first(self, text: bytes, at: int, end: int) -> int:
        """Return where the record that begins at `at` ends."""
        line = bisect.bisect_right(self._ends, at)
        while self._ends[line] < end and not self._last[line] & _ENDS:
            line += 1
            if not self._last[line] & _GOES_ON:
                return self._ends[line - 1]
        return min(end, self._ends[line])

    def is_complete(self, record: bytes) -> bool:
        """Return whether the last line that was looked at ends its record."""
        return bool(self._last[-1] & _ENDS)

    def surely_goes_on(self, text: bytes, skipped: int) -> bool:
        """Return whether every line goes on and none ends; that is remembered in any case.

        But not where the lines before were forgotten: what is remembered has no gaps.
        """
        flags = self._look_at(io.BytesIO(text).readlines())
        if len(self._flags) >= skipped:
            self._flags[skipped:] = flags
        return all(flag == _GOES_ON for flag in flags)

    def note_taken(self, lines: int | None) -> None:
        """Forget what was found out about lines that went out."""
        del self._flags[:lines]

    def _look_at(self, lines: list[bytes]) -> list[int]:
        """Return what each line does in a record."""
        goes_on = (
            self._match(self._continuation, lines) if self._continuation else [True] * len(lines)
        )
        if self._start:
            starts = self._match(self._start, lines)
            goes_on = [a and not b for a, b in zip(goes_on, starts, strict=True)]
        if not self._end:
            return list(map(int, goes_on))
        ends = self._match(self._end, lines)
        return [a * _GOES_ON + b * _ENDS for a, b in zip(goes_on, ends, strict=True)]

    def _match(self, pattern: userpattern.UserPattern, lines: list[bytes]) -> list[bool]:
        """Return which lines a pattern matches."""
        found = pattern.each(lines)
        expired = found.count(userpattern.EXPIRED)
        self.expired += expired
        if expired:
            return [one is not None and one is not userpattern.EXPIRED for one in found]
        return [one is not None for one in found]
