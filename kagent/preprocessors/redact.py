r"""Take out of records what is nobody's business, before it leaves the machine.

Law. What the built-in kinds (see `sensitive`) or a pattern find in a record's bytes is replaced;
its line end is not looked at. Then

    a character of UTF-8   is replaced as a whole
    JSON                   stays JSON: if it would not, the replacement stands within each string
                           that a find touches, whole escapes at a time, and in the place of each
                           number; what is between them stays
    escapes in JSON        hide nothing: strings with \/ or \uXXXX are also looked at without them

A pattern that takes too long leaves the record unparsed; the chain lets nothing of it out.

A block in which nothing is found costs a few calls; for the rest see `searching`. Finds are ranges
of the block's text, in which a newline stands between any two records.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import json
import operator
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, ClassVar

import orjson
import pydantic

from kagent import model, options, userpattern
from kagent.preprocessors import credentials, searching, sensitive, stage

_Ranges = list[credentials.Range]

_PAIR = rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPE = re.compile(rb"%b|\\u[0-9a-fA-F]{4}|\\." % _PAIR, re.DOTALL)
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_STRINGS = re.compile(_STRING, re.DOTALL)
_TOKEN = re.compile(rb'%b|[^\s,:{}\[\]"]++' % _STRING, re.DOTALL)
_BRACKETS = frozenset((b"{}", b"[]", b'""'))
_ENDS = operator.methodcaller("endswith", b"\n")
_HIDING = (rb"\u", rb"\/")
_LENIENT = (rb"\ud", rb"\uD", b"NaN", b"Infinity")  # json takes it, orjson does not
_NOTHING = b"\1"  # no kind has it in a find


def _judge(value: str) -> str:
    if any(one in '"\\' or not one.isprintable() for one in value):
        raise options.NotAllowedError(
            "text without quotes, backslashes and control characters", '"[redacted]"'
        )
    return value


class Redact(stage.Stage):
    """Replaces what must not leave the machine: built-in kinds, or what patterns match.

    Records that another preprocessor could not take apart are redacted, too, and so are dead
    letters. Of a record for which a pattern takes too long nothing leaves.
    """

    kinds: tuple[sensitive.Kind, ...] = ()
    """What to look for. `card_numbers`: 13 to 19 digits, also in groups, with the right check
    digit. `email_addresses`. `ip_addresses`: IPv4 and IPv6. `aws_keys`: ids of access keys, secret
    keys and session tokens. `bearer_tokens`: what follows `Bearer` and `Authorization:`, and JSON
    web tokens."""

    patterns: tuple[userpattern.PatternText, ...] = ()
    """Regular expressions of your own. All that one matches is replaced; with a group named
    `secret`, such as in `password=(?P<secret>[^\\s"]+)`, only what that group matches. In JSON
    they are held against the whole record; what one takes beyond a string is replaced, too."""

    replacement: Annotated[
        str, pydantic.Field(max_length=100), pydantic.AfterValidator(_judge)
    ] = "[redacted]"
    """What stands there instead; without quotes, backslashes and control characters."""

    for_unparsed: ClassVar[stage.ForUnparsed] = "always"

    @functools.cached_property
    def _searches(self) -> list[searching.Search]:
        return [searching.Search(text) for text in self.patterns]

    @pydantic.model_validator(mode="after")
    def _look_for_something(self) -> Redact:
        if not self.kinds and not self.patterns:
            raise options.NotAllowedError("'kinds', 'patterns' or both")
        return self

    @functools.cached_property
    def _bytes(self) -> bytes:
        return self.replacement.encode()

    def __call__(
        self,
        records: list[bytes],
        context: model.ChunkContext,
    ) -> list[model.Outcome]:
        """Return each record with what is found in it replaced."""
        outcomes = self._redacted(records)
        text = b"".join(records)
        if b"\\" in text and any(one in text for one in _HIDING):
            self._redact_hidden(outcomes)
        return outcomes

    def _redact_hidden(self, outcomes: list[model.Outcome]) -> None:
        """Redact in place what only shows when the escapes in JSON are resolved: 3 us a record."""
        indices, revealed = [], []
        for index, record in enumerate(outcomes):
            if isinstance(record, bytes) and any(one in record for one in _HIDING):
                shown = _reveal(record)
                if shown != record:
                    indices.append(index)
                    revealed.append(shown)
        for index, shown, outcome in zip(indices, revealed, self._redacted(revealed), strict=True):
            if outcome is not shown:  # otherwise it is left as it was written
                outcomes[index] = outcome

    def _redacted(self, records: list[bytes]) -> list[model.Outcome]:
        outcomes: list[model.Outcome] = list(records)
        separator = b"" if all(map(_ENDS, records)) else b"\n"
        text = separator.join(records)
        found = self._found_kinds(records, text, len(separator))
        for number, search in enumerate(self._searches):
            if search.may_be_in(text):
                for index, ranges in _found_pattern(search, records):
                    if ranges is userpattern.EXPIRED:
                        outcomes[index] = model.Unparsed(f"patterns[{number}] took too long")
                    elif ranges:
                        found.setdefault(index, []).extend(ranges)
        for index, ranges in found.items():  # about 2 us for a record in which something is
            if outcomes[index] is records[index]:
                outcomes[index] = self._replace(records[index], ranges)
        return outcomes

    def _found_kinds(
        self, records: Sequence[bytes], text: bytes, between: int
    ) -> dict[int, _Ranges]:
        """Return what the built-in kinds find, by the index of the record, as ranges of it.

        Args:
            records: The records.
            text: The same, a newline between any two.
            between: Whether the newline is one more byte, or each record ends with it.
        """
        everywhere = [one for kind in self.kinds for one in sensitive.KINDS[kind](text)]
        if b"\\" in text:  # what an escape ends with is no part of what stands behind it
            text = _without_escapes(text)
            everywhere += [one for kind in self.kinds for one in sensitive.KINDS[kind](text)]
        found: dict[int, _Ranges] = {}
        if everywhere:
            lengths = [len(record) + between for record in records]
            starts = list(itertools.accumulate(lengths, initial=0))
            for start, end in everywhere:
                index = bisect.bisect_right(starts, start) - 1
                found.setdefault(index, []).append((start - starts[index], end - starts[index]))
        return found

    def _replace(self, record: bytes, ranges: _Ranges) -> bytes:
        """Return a record with ranges replaced; JSON stays JSON."""
        replacement = self._bytes
        if len(ranges) == 1 and record.isascii():
            ((start, end),) = ranges
            redacted = b"%b%b%b" % (record[:start], replacement, record[end:])
        else:
            ranges = _merged(_whole_characters(record, *one) for one in ranges)
            redacted = _spliced(record, ((start, end, replacement) for start, end in ranges))
        if not _is_json(redacted) and _is_json(record):
            redacted = _spliced(record, self._pieces(record, ranges))
        return redacted

    def _pieces(self, record: bytes, ranges: _Ranges) -> Iterable[tuple[int, int, bytes]]:
        """Yield what is to be replaced within the strings and the other scalars of JSON."""
        replacement = self._bytes
        starts, ends = map(list, zip(*ranges, strict=True))
        for token in _TOKEN.finditer(record):
            first = bisect.bisect_right(ends, token.start())
            touching = ranges[first : bisect.bisect_left(starts, token.end(), first)]
            if not touching:
                continue
            if not token[0].startswith(b'"'):
                yield *token.span(), b'"%b"' % replacement
                continue
            low, high = token.start() + 1, token.end() - 1
            within = [(max(low, start), min(high, end)) for start, end in touching]
            for start, end in _whole_escapes(record, low, high, within):
                yield start, end, replacement


def _found_pattern(
    search: searching.Search, records: Sequence[bytes]
) -> Iterable[tuple[int, _Ranges | userpattern.Expired]]:
    """Yield the records in which a pattern is found, and where."""
    lines = searching.Lines(records)
    found = search.found_in(lines)
    indices = [index for index, one in enumerate(found) if one is True]
    yield from ((at, one) for at, one in enumerate(found) if one is userpattern.EXPIRED)
    has_secret = "secret" in search.pattern.groups

    def ranges_in(line: bytes, timeout: float) -> _Ranges:
        matches = search.pattern.pattern.finditer(line, timeout=timeout)
        if has_secret:
            found = [one for match in matches for one in match.spans("secret") or [match.span()]]
        else:
            found = [match.span() for match in matches]
        return [one for one in found if one[0] < one[1]]

    everything = search.pattern.call_each(ranges_in, [lines.all[index] for index in indices])
    yield from zip(indices, everything, strict=True)


def _without_escapes(text: bytes) -> bytes:
    """Return text of the same length, with bytes that are in no find in the place of escapes."""
    text = text.replace(b"\\\\", _NOTHING * 2)
    for character in (b'"', b"/", b"b", b"f", b"n", b"r", b"t"):
        text = text.replace(b"\\" + character, _NOTHING * 2)
    return re.sub(rb"\\u[0-9a-fA-F]{4}", _NOTHING * 6, text) if b"\\u" in text else text


def _reveal(record: bytes) -> bytes:
    """Return JSON with no more escapes in its strings than it needs; all else as it is."""
    if not _is_json(record):
        return record
    return _STRINGS.sub(_reveal_string, record)


def _reveal_string(match: re.Match[bytes]) -> bytes:
    if b"\\" not in match[0]:
        return match[0]
    try:
        return orjson.dumps(orjson.loads(match[0]))
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return match[0]  # half a pair: there is no character that it means


def _is_json(record: bytes) -> bool:
    """Return whether a record is a JSON object, array or string; a line of digits is no JSON."""
    body = record.strip()
    if body[:1] + body[-1:] not in _BRACKETS:
        return False
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        if not any(one in body for one in _LENIENT):
            return False
        try:
            json.loads(body)
        except (ValueError, RecursionError):
            return False
    return True


def _whole_characters(record: bytes, start: int, end: int) -> credentials.Range:
    """Return a range that cuts no character of UTF-8."""
    first = max(0, start - 3)
    while start > first and record[start] & 0xC0 == 0x80:
        start -= 1
    last = min(len(record), end + 3)
    while end < last and record[end] & 0xC0 == 0x80:
        end += 1
    return start, end


def _whole_escapes(record: bytes, first: int, last: int, ranges: _Ranges) -> _Ranges:
    """Return ranges of a string that cut no escape."""
    escapes = [one.span() for one in _ESCAPE.finditer(record, first, last)]
    starts = [start for start, _ in escapes]
    whole: _Ranges = []
    for start, end in ranges:
        low, high = start, end
        for at in (start, end):
            index = bisect.bisect_left(starts, at) - 1
            if index >= 0 and at < escapes[index][1]:  # within that escape
                low, high = min(low, escapes[index][0]), max(high, escapes[index][1])
        whole.append((low, high))
    return _merged(whole)


def _merged(ranges: Iterable[credentials.Range]) -> _Ranges:
    """Return ranges in order, those that touch as one, without empty ones."""
    merged: _Ranges = []
    for start, end in sorted(ranges):
        if start == end:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _spliced(record: bytes, pieces: Iterable[tuple[int, int, bytes]]) -> bytes:
    parts, at = [], 0
    for start, end, replacement in pieces:
        parts += [record[at:start], replacement]
        at = end
    parts.append(record[at:])
    return b"".join(parts)
