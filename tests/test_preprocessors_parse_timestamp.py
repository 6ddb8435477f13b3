"""The times of records become a field of theirs."""

from __future__ import annotations

import json
import re
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagent import model
from kagent.preprocessors import parse_timestamp

CONTEXT = model.ChunkContext("/a", "id", [0], [1], read_time=1764158400.0)
UNPARSED = model.Unparsed


def make(**options: Any) -> parse_timestamp.ParseTimestamp:
    return parse_timestamp.ParseTimestamp.model_validate({"formats": ["iso8601"], **options})


def run(record: bytes, **options: Any) -> model.Outcome:
    (outcome,) = make(**options)([record], CONTEXT)
    return outcome


TIME = "2026-11-26 01:02:03.5"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (b'{"t":"2026-11-26 01:02:03.5","a": 1.50}\n',
         b'{"t":"2026-11-26 01:02:03.5","a": 1.50,"timestamp":"2026-11-26T01:02:03.5Z"}\n'),
        (b'{"t":"2026-11-26"}', b'{"t":"2026-11-26","timestamp":"2026-11-26T00:00:00Z"}\n'),
        (b' {"timestamp":7,"t":"2026-11-26"} \r\n',
         b'{"timestamp":"2026-11-26T00:00:00Z","t":"2026-11-26"}\n'),
        (b'{"t":"x","t":"2026-11-26"}\n',
         b'{"t":"x","t":"2026-11-26","timestamp":"2026-11-26T00:00:00Z"}\n'),
        (b'{"\\u0074":"2026\\u002d11-26"}\n',
         b'{"\\u0074":"2026\\u002d11-26","timestamp":"2026-11-26T00:00:00Z"}\n'),
        (b'{\n "t": "2026-11-26"\n}\n',
         b'{"t":"2026-11-26","timestamp":"2026-11-26T00:00:00Z"}\n'),
        (b'{"t":"2026-11-26","b":"\xff"}\n',
         '{"t":"2026-11-26","b":"\ufffd","timestamp":"2026-11-26T00:00:00Z"}\n'.encode()),
        (b'{"t":"now"}\n', UNPARSED("'t' is no time in any of the formats")),
        (b'{"t":true}\n', UNPARSED("'t' is no time in any of the formats")),
        (b'{"t":["2026-11-26"]}\n', UNPARSED("'t' is no time in any of the formats")),
        (b'{"t":null}\n', UNPARSED("'t' is missing")),
        (b'{"a":{"t":"2026-11-26"}}\n', UNPARSED("'t' is missing")),
        (b"2026-11-26 text\n", UNPARSED("no JSON object")),
        (b"[]", UNPARSED("no JSON object")),
        (b"", UNPARSED("no JSON object")),
        (b'{"t":"2026-11-26"', UNPARSED("no JSON object")),
    ],
)  # fmt: skip
def test_a_field_of_an_object(record: bytes, expected: model.Outcome) -> None:
    """All else stays as it is written; the part that failed is said, never the content."""
    assert expected == run(record, field="t")


@pytest.mark.parametrize(
    ("options", "record", "expected"),
    [
        ({"field": "a.t"}, b'{"a":{"t":"2026-11-26"}}\n',
         b'{"a":{"t":"2026-11-26"},"timestamp":"2026-11-26T00:00:00Z"}\n'),
        ({"field": "t", "into": "t"}, b'{"t":"2026-11-26","a":1}\n',
         b'{"t":"2026-11-26T00:00:00Z","a":1}\n'),
        ({"field": "t", "into": '%d"'}, b'{"t":"2026-11-26"}\n',
         b'{"t":"2026-11-26","%d\\"":"2026-11-26T00:00:00Z"}\n'),
        ({"field": "t", "formats": ["epoch"]}, b'{"t":1764158400.25}\n',
         b'{"t":1764158400.25,"timestamp":"2025-11-26T12:00:00.25Z"}\n'),
        ({"field": "t", "formats": ["epoch"]}, b'{"t":1764158400.0}\n',
         b'{"t":1764158400.0,"timestamp":"2025-11-26T12:00:00Z"}\n'),
        ({"field": "t", "formats": ["epoch_ns"]}, b'{"t":1764158400000000001}\n',
         b'{"t":1764158400000000001,"timestamp":"2025-11-26T12:00:00.000000001Z"}\n'),
        ({"field": "t", "formats": ["apache", "epoch_ms"]}, b'{"t":"1764158400007"}\n',
         b'{"t":"1764158400007","timestamp":"2025-11-26T12:00:00.007Z"}\n'),
        ({"field": "t", "timezone": "Asia/Tokyo"}, b'{"t":"2026-11-26 09:00"}\n',
         b'{"t":"2026-11-26 09:00","timestamp":"2026-11-26T00:00:00Z"}\n'),
        ({}, b"2026-11-26 01:02:03,5 \"x\"\r\n",
         b'{"message":"2026-11-26 01:02:03,5 \\"x\\"","timestamp":"2026-11-26T01:02:03.5Z"}\n'),
        ({"message": "100%", "into": "@timestamp", "formats": ["syslog"]}, b"Nov  6 16:10:02 \xff",
         '{"100%":"Nov  6 16:10:02 \ufffd","@timestamp":"2025-11-06T16:10:02Z"}\n'.encode()),
        ({}, b"no time", UNPARSED("no time at the beginning")),
        ({}, b"", UNPARSED("no time at the beginning")),
        ({"on_failure": "keep"}, b"no time\n", b"no time\n"),
        ({"field": "t", "on_failure": "keep"}, b'{"t":"?"}\n', b'{"t":"?"}\n'),
        ({"field": "t", "on_failure": "keep"}, b"\xff", b"\xff"),
    ],
)  # fmt: skip
def test_options(options: dict[str, Any], record: bytes, expected: model.Outcome) -> None:
    """Where the time is, how it is written, where it goes, and what becomes of those without."""
    assert expected == run(record, **options)


VALUES = st.none() | st.booleans() | st.integers() | st.text() | st.just("2026-11-26 01:02:03.25")


@given(
    st.dictionaries(st.sampled_from(["t", "a", "timestamp", "é"]), VALUES, max_size=4),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.sampled_from(["", "\n", "\r\n"]),
    st.sampled_from(["timestamp", "t"]),
)
def test_objects_are_what_update_makes_of_them(
    value: dict[str, Any], indent: int | None, is_ascii: bool, end: str, into: str
) -> None:
    """However they are written."""
    record = json.dumps(value, indent=indent, ensure_ascii=is_ascii) + end

    outcome = run(record.encode(), field="t", into=into)

    if value.get("t") == "2026-11-26 01:02:03.25":
        assert isinstance(outcome, bytes)
        expected = {**value, into: "2026-11-26T01:02:03.25Z"}
        assert list(expected.items()) == list(json.loads(outcome).items())
        assert outcome.endswith(b"}\n")
        assert 1 == outcome.count(b"\n")
    else:
        assert isinstance(outcome, model.Unparsed)


@given(
    st.lists(
        st.binary(max_size=30)
        | st.sampled_from([b'{"t":"2026-11-26"}\n', b'{"t":"2026-11-26 01:02:03.%d"}' % 7])
    )
)
def test_a_block_is_as_each_record_alone(records: list[bytes]) -> None:
    """For any bytes, in a field and at the beginning."""
    for options in ({"field": "t"}, {"formats": ["iso8601", "epoch"]}):
        alone = [run(record, **options) for record in records]

        assert alone == make(**options)(records, CONTEXT)


def test_a_large_record_is_read_like_a_small_one() -> None:
    """A mebibyte behind the time, and in its place."""
    filler = b"x" * 2**20

    assert run(b'{"t":"2026-11-26","m":"%b"}\n' % filler, field="t") == (
        b'{"t":"2026-11-26","m":"%b","timestamp":"2026-11-26T00:00:00Z"}\n' % filler
    )
    assert isinstance(run(b'{"t":"%b"}\n' % filler, field="t"), model.Unparsed)
    assert isinstance(run(b"1" * 2**20, formats=["epoch", "%Y%m%d"]), model.Unparsed)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"formats": []}, "at least 1"),
        ({"formats": ["rfc"]}, "one of iso8601, apache, syslog, epoch"),
        ({"formats": ["%H:%M"]}, "no month and day"),
        ({"timezone": "Mars"}, "a time zone that this machine knows"),
        ({"into": "message"}, "'into' and 'message' to be different"),
        ({"field": ""}, "at least 1"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], expected: str) -> None:
    """With what is allowed."""
    with pytest.raises(pydantic.ValidationError, match=re.escape(expected)):
        make(**options)


def test_equal_options_make_equal_stages() -> None:
    """Used or not."""
    one, other = (make(field="t") for _ in "ab")
    one([b'{"t":"2026-11-26"}'], CONTEXT)

    assert one == other
