"""Times: what is read, what is not, and that remembering changes nothing."""

from __future__ import annotations

import datetime as dt
import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kagent.preprocessors import timeformats, timestamps

NOON = 1764158400.0  # 2025-11-26 12:00 UTC


def read(text: str, *formats: str, zone: str = "UTC", now: float = NOON) -> str | None:
    reader = timestamps.Reader(formats, timestamps.zone_of(zone))
    reader.set_time(now)
    return reader.read(text)


@pytest.mark.parametrize(
    ("written", "text", "expected"),
    [
        ("iso8601", "2026-11-26T00:52:08Z", "2026-11-26T00:52:08Z"),
        ("iso8601", "2026-11-26T00:52:08.123456789+02:00", "2026-11-25T22:52:08.123456789Z"),
        ("iso8601", "2026-11-26 00:52:08,120", "2026-11-26T00:52:08.120Z"),
        ("iso8601", "2026-11-26 00:52:08 -0530", "2026-11-26T06:22:08Z"),
        ("iso8601", "20261126T005208z", "2026-11-26T00:52:08Z"),
        ("iso8601", "2026-11-26T00:52+01", "2026-11-25T23:52:00Z"),
        ("iso8601", "2026-11-26", "2026-11-26T00:00:00Z"),
        ("iso8601", "2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("iso8601", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("iso8601", "0001-01-01T00:00:00+01:00", None),
        ("iso8601", "2026-02-29T00:00:00Z", None),
        ("iso8601", "2026-11-26T24:00:00Z", None),
        ("iso8601", "2026-11-26T00:52:08.Z", None),
        ("iso8601", "2026-11-26T00:52:08.1234567890Z", None),
        ("iso8601", " 2026-11-26T00:52:08Z", None),
        ("iso8601", "2026-11-26T00:52:08Z\n", None),
        ("iso8601", "٢٠٢٦-11-26", None),
        ("iso8601", "", None),
        ("apache", "07/Mar/2004:16:10:02 -0800", "2004-03-08T00:10:02Z"),
        ("apache", "07/mar/2004:16:10:02.5 +00:00", "2004-03-07T16:10:02.5Z"),
        ("apache", "07/Mrz/2004:16:10:02 -0800", None),
        ("apache", "31/Apr/2004:16:10:02 -0800", None),
        ("syslog", "Nov  6 16:10:02", "2025-11-06T16:10:02Z"),
        ("syslog", "Nov 26 16:10:02.25", "2025-11-26T16:10:02.25Z"),
        ("syslog", "Feb 29 00:00:00", "2024-02-29T00:00:00Z"),
        ("syslog", "Feb 30 00:00:00", None),
        ("epoch", "1764158400", "2025-11-26T12:00:00Z"),
        ("epoch", "1764158400.125", "2025-11-26T12:00:00.125Z"),
        ("epoch_ms", "1764158400007", "2025-11-26T12:00:00.007Z"),
        ("epoch_ms", "1764158400007.5", "2025-11-26T12:00:00.0075Z"),
        ("epoch_us", "1764158400000001", "2025-11-26T12:00:00.000001Z"),
        ("epoch_ns", "1764158400000000001", "2025-11-26T12:00:00.000000001Z"),
        ("epoch", "253402300799", "9999-12-31T23:59:59Z"),
        ("epoch", "253402300800", None),
        ("epoch", "-1", None),
        ("epoch", "1e9", None),
        ("%d.%m.%Y %H:%M:%S", "26.11.2026 00:52:08", "2026-11-26T00:52:08Z"),
        ("%m/%d/%y %I:%M %p", "3/7/69 12:05 AM", "1969-03-07T00:05:00Z"),
        ("%m/%d/%y %I:%M %p", "3/7/68 12:05 pm", "2068-03-07T12:05:00Z"),
        ("[%a %b %d %T.%f %Y]", "[Fri Dec 16 01:46:23.005 2005]", "2005-12-16T01:46:23.005Z"),
        ("%Y-%j", "2024-366", "2024-12-31T00:00:00Z"),
        ("%Y-%j", "2025-366", None),
        ("%s.%L", "1764158400.125", "2025-11-26T12:00:00.125Z"),
        ("%B %-d, %Y", "november 6, 2026", "2026-11-06T00:00:00Z"),
        ("%FT%T%z", "2026-11-26T00:52:08-02:30", "2026-11-26T03:22:08Z"),
        ("%F %T %Z", "2026-11-26 00:52:08 GMT", "2026-11-26T00:52:08Z"),
        ("%d%%%m %H", "1%2 3", "2025-02-01T03:00:00Z"),
        ("%e %h", "26 Nov", "2025-11-26T00:00:00Z"),
    ],
)  # fmt: skip
def test_formats(written: str, text: str, expected: str | None) -> None:
    """All of the text is read, digits of the fraction are kept, days must exist."""
    assert expected == read(text, written)


@pytest.mark.parametrize(
    ("now", "text", "expected"),
    [
        ("2026-01-01T00:00:05", "Dec 31 23:59:59", "2025-12-31T23:59:59Z"),
        ("2025-12-31T23:59:58", "Jan  1 00:00:01", "2026-01-01T00:00:01Z"),
        ("2025-12-31T23:59:58", "Jan  2 00:00:01", "2025-01-02T00:00:01Z"),
        ("2026-11-26T12:00:00", "Mar  1 00:00:00", "2026-03-01T00:00:00Z"),
        ("2026-11-26T12:00:00", "Nov 27 23:00:00", "2026-11-27T23:00:00Z"),
        ("2026-11-26T12:00:00", "Nov 28 00:00:00", "2025-11-28T00:00:00Z"),
        ("2027-02-28T12:00:00", "Feb 29 00:00:00", "2024-02-29T00:00:00Z"),
        ("2103-02-28T12:00:00", "Feb 29 00:00:00", "2096-02-29T00:00:00Z"),
    ],
)
def test_a_time_without_a_year_is_of_the_year_of_reading_or_before(
    now: str, text: str, expected: str
) -> None:
    """At most a day ahead: clocks differ, and the local date may be tomorrow's."""
    moment = dt.datetime.fromisoformat(now).replace(tzinfo=dt.UTC).timestamp()

    assert expected == read(text, "syslog", now=moment)


def test_a_new_day_forgets_what_a_year_was_guessed_for() -> None:
    """A daemon that runs through the turn of the year reads on rightly."""
    reader = timestamps.Reader(["syslog"], dt.UTC)
    found = []
    for now in ("2025-12-31T12:00:00", "2026-01-03T12:00:00"):
        reader.set_time(dt.datetime.fromisoformat(now).replace(tzinfo=dt.UTC).timestamp())
        found += [reader.read("Jan  3 10:00:00.5"), reader.read("Jan  3 10:00:00.6")]

    assert ["2025-01-03T10:00:00.5Z", "2025-01-03T10:00:00.6Z",
            "2026-01-03T10:00:00.5Z", "2026-01-03T10:00:00.6Z"] == found  # fmt: skip


@pytest.mark.parametrize(
    ("zone", "text", "expected"),
    [
        ("Europe/Berlin", "2026-07-01 12:00:00", "2026-07-01T10:00:00Z"),
        ("Europe/Berlin", "2026-01-01 12:00:00.5", "2026-01-01T11:00:00.5Z"),
        ("Europe/Berlin", "2026-01-01 12:00:00Z", "2026-01-01T12:00:00Z"),
        ("Europe/Berlin", "2026-10-25 02:30:00", "2026-10-25T00:30:00Z"),
        ("+05:30", "2026-01-01 00:00:00", "2025-12-31T18:30:00Z"),
        ("-00:30", "2026-01-01 00:00:00", "2026-01-01T00:30:00Z"),
    ],
)
def test_the_zone_is_for_times_that_name_none(zone: str, text: str, expected: str) -> None:
    """Of the two that a clock shows when summer ends, it is the first."""
    assert expected == read(text, "iso8601", zone=zone)


def test_local_is_the_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the system has it."""
    monkeypatch.setenv("TZ", "XXX-03:00")
    time.tzset()
    try:
        assert "2026-01-01T09:00:00Z" == read("2026-01-01 12:00:00", "iso8601", zone="local")
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("name", ["Europe/Nowhere", "", "../etc/passwd", "+25:00", "UTC+1"])
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    """Names and offsets alike."""
    with pytest.raises(timeformats.UnknownError):
        timestamps.zone_of(name)


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("%H:%M:%S", "no month and day"),
        ("%Y-%m", "no month and day"),
        ("%Y-%m-%d %Q", "no directive %Q"),
        ("%Y-%m-%d %", "no directive %"),
        ("%Y-%m-%d %d", "%d stands twice"),
        ("%y-%b-%m-%d %I", "%I needs %p"),
        ("iso", "no month and day"),
    ],
)
def test_a_format_that_cannot_be_is_refused(written: str, why: str) -> None:
    """With the reason."""
    with pytest.raises(timeformats.UnknownError, match=why):
        timestamps.Format(written)


STRPTIME = [
    "%Y-%m-%d %H:%M:%S", "%d/%b/%Y:%H:%M:%S %z", "%a %B %d %I.%M %p %Y", "%y%m%d%H%M%S",
    "%Y %j %H", "%m.%d.%Y,%H:%M:%S.%f", "%S %M %H %d %m %Y", "x%Yy%mz%d\t%f",
]  # fmt: skip
MOMENTS = st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2060, 1, 1))  # noqa: DTZ001 -- the text names no zone


@given(MOMENTS, st.sampled_from(STRPTIME), st.integers(0, 30), st.sampled_from("0123456789 :-/x."))
def test_what_strptime_reads_is_read_as_strptime_reads_it(
    moment: dt.datetime, written: str, at: int, other: str
) -> None:
    """Also if a character is another: then neither may read it, or both as the same."""
    text = moment.replace(tzinfo=dt.timezone(dt.timedelta(hours=-3))).strftime(written)
    text = text[:at] + other + text[at + 1 :] if at < len(text) else text
    try:
        found = dt.datetime.strptime(text, written)  # noqa: DTZ007 -- nor does it here
        if found.tzinfo is None:
            found = found.replace(tzinfo=dt.UTC)
        expected = found.astimezone(dt.UTC).isoformat()[:19]
    except (ValueError, OverflowError):
        expected = None

    outcome = read(text, written)

    if expected is None and outcome is not None:
        assert "%S" in written
        assert re.search("6[01]", text)  # a leap second, which datetime has not
    else:
        assert expected == (outcome and outcome[:19])


FORMATS = [
    "iso8601", "apache", "syslog", "epoch", "epoch_ms", "%d.%m.%Y %H:%M:%S.%f", "%Y-%m-%d %H.%M",
    "%Y-%m-%d %H.%f", "%s,%L", "%b %d, %Y", "%d,%m,%Y",
]  # fmt: skip
TEXTS = st.one_of(
    st.sampled_from(["2026-11-26 00.%d", "2026-11-26 00:52:08.%d", "26.11.2026 00:52:08.%d",
                     "1764158400.%d", "1764158400,%d", "Nov 26 00:52:08.%d", "Nov %d, 2026",
                     "%d.11.2026 01:02:03.5", "26,%d,2026", "07/Mar/2004:16:10:02.%d -0800"])
    .flatmap(
        lambda text: st.integers(0, 10**10).map(lambda number: text.replace("%d", str(number)))
    ),
    st.text("0123456789.,:- TZ", max_size=24),
)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(st.sampled_from(FORMATS), min_size=1, max_size=4), st.lists(TEXTS, max_size=12))
@example(["%s,%L"], ["1764158400,100", "1764158400,0"])
def test_what_is_remembered_is_what_would_be_read(formats: list[str], texts: list[str]) -> None:
    """By a reader that has never read anything."""
    reader = timestamps.Reader(formats, dt.UTC)
    reader.set_time(NOON)

    for text in [*texts, *texts]:
        assert read(text, *formats) == reader.read(text)


def test_memory_is_bounded() -> None:
    """However many times there are, and however long a text is that is none."""
    reader = timestamps.Reader(["epoch", "iso8601"], dt.UTC)
    for number in range(timestamps.CACHE_MAX + 5):
        reader.read(str(number))
        reader.read(f"x{number}.5")
        reader.read(f"{2000 + number % 7000}-01-01T00:00:{number % 60:02d}.5Z")

    assert reader.read("9" * 300) is None
    assert len(reader._texts) <= timestamps.CACHE_MAX
    assert len(reader._seconds) <= timestamps.CACHE_MAX


@pytest.mark.parametrize(
    ("written", "line", "expected"),
    [
        ("iso8601", "2026-11-26 00:52:08,123 INFO x", "2026-11-26T00:52:08.123Z"),
        ("iso8601", "2026-11-26T00:52:08Z", "2026-11-26T00:52:08Z"),
        ("iso8601", "2026-11-26 00:52:08 -10 degrees", "2026-11-26T00:52:08Z"),
        ("iso8601", "2026-11-26 00:52:08 Zebra", "2026-11-26T00:52:08Z"),
        ("iso8601", "2026-11-261", None),
        ("syslog", "Nov  6 16:10:02 host sshd[1]: x", "2025-11-06T16:10:02Z"),
        ("[%d/%b/%Y:%H:%M:%S %z]", "[07/Mar/2004:16:10:02 -0800] GET", "2004-03-08T00:10:02Z"),
        ("epoch", "1764158400.125 squid", "2025-11-26T12:00:00.125Z"),
        ("epoch", "1764158400x", None),
        ("epoch", "1764158400: squid", "2025-11-26T12:00:00Z"),
        ("epoch", "2026-02-30 00:00:00", None),
        ("epoch", "26.11.2026 09:00:01", None),
        ("epoch_ms", "10.1.2.3 GET", None),
        ("iso8601", "x 2026-11-26", None),
    ],
)
def test_a_time_at_the_beginning_of_a_line(written: str, line: str, expected: str | None) -> None:
    """Ends where the line goes on with something that is no letter and no digit."""
    reader = timestamps.Reader([written], dt.UTC)
    reader.set_time(NOON)

    assert expected == reader.start_of(line)
