r"""Reads times as logs write them, and writes them as ISO 8601 in UTC: pure.

The digits of the fraction stay as they are, as many as there were. English names of months and
days are read, whatever the locale. Where a format has no year, it is the latest year in which the
time is at most a day ahead of the time of reading, by dates: so December's last lines, read in
January, are last year's. Where a format and a text name no zone, it is the reader's.

The law of the caches. Reading again what was read gives what it gave: a text is remembered; and a
text that differs in the digits of its fraction alone gives the same but for these digits. The
latter is used only where a point or a comma before digits can mean nothing but a fraction, in the
format that fits and in those tried before. Where the year is guessed, nothing is remembered beyond
a day.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
import zoneinfo
from collections.abc import Mapping, Sequence

from kagent.preprocessors import timeformats

CACHE_MAX = 10_000  # texts
TEXT_MAX = 256  # characters; what is longer is no time
FRACTION_MAX = 9  # digits: nanoseconds
DAY_S = 86400
_YEARS_BACK = 8  # to the 29th of February before; 1896 to 1904 had none
_DIGITS = "0123456789"

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]

_MISSING = object()


@dataclasses.dataclass(frozen=True, slots=True)
class Read:
    """A time: what stands before the fraction, its digits, and where these stand in the text."""

    second: str  # such as 2026-11-26T00:30:00
    fraction: str
    span: tuple[int, int] = (-1, -1)

    @property
    def text(self) -> str:
        """The time as ISO 8601."""
        return f"{self.second}.{self.fraction}Z" if self.fraction else f"{self.second}Z"


class Format:
    """One way to write times."""

    def __init__(self, written: str) -> None:
        """Compile the name of a built-in format, or a text with directives as of `strptime`.

        Raises:
            UnknownError: it is none of them.
        """
        self._epoch_digits = timeformats.EPOCH.get(written)
        pattern = timeformats.pattern_of(written)
        self._whole = re.compile(pattern, re.ASCII)
        behind = "[0-9A-Za-z]"
        if self._epoch_digits is not None:  # a day or an address is no number of seconds
            behind += r"|[.,:/-]\d"
        self._start = re.compile(f"{pattern}(?!{behind})", re.ASCII)
        groups = self._whole.groupindex
        self.guesses_year = not {"Y", "y", "s"} & groups.keys()
        self.is_marked = written in timeformats.NAMES or not re.search(r"[.,](?!%[fL])", written)

    def read(self, text: str, zone: dt.tzinfo | None, today: int) -> Read | None:
        """Return the time that a text is; None if it is none.

        Args:
            text: All of it must be read.
            zone: Of a time that names none; None is this machine's.
            today: The day of reading, from the epoch.
        """
        return self._read(self._whole.fullmatch(text), zone, today)

    def start_of(self, text: str) -> str | None:
        """Return the beginning of a text that looks like a time; None if none does."""
        match = self._start.match(text)
        return match[0] if match else None

    def _read(
        self, match: re.Match[str] | None, zone: dt.tzinfo | None, today: int
    ) -> Read | None:
        if match is None:
            return None
        found = match.groupdict()
        fraction = found.get("f") or ""
        try:
            if self._epoch_digits is not None:
                return _read_epoch(found["s"], fraction, self._epoch_digits)
            seconds = _seconds(found, zone, today)
            if seconds is None:
                return None
            span = match.span("f") if fraction else (-1, -1)
            return Read(_iso(seconds), fraction, span)
        except (ValueError, OverflowError, OSError):
            return None  # no such day, or beyond the years 1 to 9999


class Reader:
    """Reads times in one of some formats; an instance serves one thread."""

    def __init__(self, formats: Sequence[str], zone: dt.tzinfo | None) -> None:
        """Take formats that are right, in the order in which they are tried."""
        self._formats = [Format(one) for one in formats]
        self._zone = zone
        self._guesses_year = any(one.guesses_year for one in self._formats)
        self._texts: dict[str, str | None] = {}
        self._seconds: dict[tuple[str, str, int, str], str] = {}
        self._today = 0

    def set_time(self, time_s: float) -> None:
        """Say when what follows is read, in seconds since the epoch."""
        today = int(time_s // DAY_S)
        if today != self._today:
            self._today = today
            if self._guesses_year:
                self._texts.clear()
                self._seconds.clear()

    def read(self, text: str) -> str | None:
        """Return the time that a text is, as ISO 8601 in UTC; None if it is none."""
        if len(text) > TEXT_MAX:
            return None
        known = self._texts.get(text, _MISSING)
        if known is not _MISSING:
            return known  # type: ignore[return-value]  # what was put in
        head, mark, tail = text.partition(".")
        if not mark:
            head, mark, tail = text.partition(",")
        rest = tail.lstrip(_DIGITS)
        fraction = tail[: len(tail) - len(rest)]
        key = head, mark, len(fraction), rest  # %L is no shorter one
        if 0 < len(fraction) <= FRACTION_MAX:
            second = self._seconds.get(key)
            if second is not None:
                return f"{second}.{fraction}Z"
        return self._read_anew(text, key)

    def start_of(self, text: str) -> str | None:
        """Return the time that a text begins with, as `read` does."""
        for one in self._formats:
            start = one.start_of(text)
            if start is not None:
                found = self.read(start)
                if found is not None:
                    return found
        return None

    def _read_anew(self, text: str, key: tuple[str, str, int, str]) -> str | None:
        if len(self._texts) >= CACHE_MAX:
            self._texts.clear()
        if len(self._seconds) >= CACHE_MAX:
            self._seconds.clear()
        is_marked = True
        for one in self._formats:
            is_marked = is_marked and one.is_marked
            found = one.read(text, self._zone, self._today)
            if found is None:
                continue
            at, digits = len(key[0]) + 1, key[2]
            if is_marked and digits and found.span == (at, at + digits):
                self._seconds[key] = found.second
            else:
                self._texts[text] = found.text
            return found.text
        self._texts[text] = None
        return None


def zone_of(name: str) -> dt.tzinfo | None:
    """Return a time zone by its name or offset; None for 'local', this machine's.

    Raises:
        UnknownError: there is none of that name here.
    """
    if name == "local":
        return None
    if name == "UTC":
        return dt.UTC
    if re.fullmatch(r"[+-]\d\d:[0-5]\d", name, re.ASCII):
        return dt.timezone(_offset(name)) if int(name[1:3]) < 24 else _unknown(name)
    try:
        return zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return _unknown(name)


def _unknown(name: str) -> dt.tzinfo:
    raise timeformats.UnknownError(name)


def _seconds(found: Mapping[str, str | None], zone: dt.tzinfo | None, today: int) -> int | None:
    """Return a time in seconds since the epoch; None if no year fits."""
    if found.get("s"):
        return int(found["s"] or "")
    second = int(found.get("S") or 0)
    leap = max(0, second - 59)  # the clock shows 60 or 61: the seconds after the 59th
    clock = (_hour(found), int(found.get("M") or 0), second - leap)
    written = (found.get("z") or "").strip()
    if written:
        zone = dt.UTC if written[0] not in "+-" else dt.timezone(_offset(written))
    year = found.get("Y")
    if year is None and found.get("y"):
        year = f"{'19' if (found['y'] or '') > '68' else '20'}{found['y']}"
    if year is not None:
        return _timestamp(_day(int(year), found), clock, zone) + leap
    newest = dt.date.fromordinal(dt.date(1970, 1, 1).toordinal() + today + 1)
    for guessed in range(newest.year, newest.year - _YEARS_BACK - 1, -1):
        try:
            day = _day(guessed, found)
        except ValueError:
            continue  # the 29th of February
        if day <= newest:
            return _timestamp(day, clock, zone) + leap
    return None


def _day(year: int, found: Mapping[str, str | None]) -> dt.date:
    if found.get("j"):
        day = dt.date(year, 1, 1) + dt.timedelta(int(found["j"] or "") - 1)
        if day.year != year:
            raise ValueError("no leap year")
        return day
    name = (found.get("b") or "").lower()
    month = 1 + _MONTHS.index(name[:3]) if name else int(found["m"] or "")
    return dt.date(year, month, int(found["d"] or ""))


def _hour(found: Mapping[str, str | None]) -> int:
    if found.get("I"):
        return int(found["I"] or "") % 12 + 12 * ((found["p"] or "").lower() == "pm")
    return int(found.get("H") or 0)


def _timestamp(day: dt.date, clock: tuple[int, int, int], zone: dt.tzinfo | None) -> int:
    moment = dt.datetime(day.year, day.month, day.day, *clock, tzinfo=zone)
    if zone is None:
        moment = moment.astimezone()
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return (moment - epoch) // dt.timedelta(seconds=1)


def _offset(written: str) -> dt.timedelta:
    digits = written[1:].replace(":", "")
    minutes = 60 * int(digits[:2]) + int(digits[2:] or 0)
    return dt.timedelta(minutes=-minutes if written[0] == "-" else minutes)


def _read_epoch(whole: str, fraction: str, digits: int) -> Read:
    seconds, rest = divmod(int(whole), 10**digits)
    return Read(_iso(seconds), f"{rest:0{digits}d}{fraction}" if digits else fraction)


def _iso(seconds: int) -> str:
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)
    return moment.isoformat()[:19]
