"""Sizes, durations, the base of every options model, and text that is safe to print."""

from __future__ import annotations

from typing import Annotated

import hypothesis
import hypothesis.strategies as st
import pydantic
import pytest

from kagent import options

SIZE = options.Size(1024, 10 * 1024**2)
DURATION = options.Duration(0.0, 900.0)


class Part(options.Options):
    """A part of a configuration."""

    size: Annotated[int, SIZE] = 2048
    """How large."""

    age: Annotated[float, DURATION] | None = None


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        pytest.param("0B", 0, id="bytes"),
        pytest.param("25KB", 25_000, id="powers of 1000"),
        pytest.param("4MiB", 4 * 1024**2, id="powers of 1024"),
        pytest.param("1.5 KiB", 1536, id="a fraction and a space"),
        pytest.param("2GB", 2_000_000_000, id="GB"),
    ],
)
def test_a_size_means_its_bytes(text: str, size_bytes: int) -> None:
    """A number with a unit is a size, KB being 1000 and KiB 1024 bytes."""
    assert size_bytes == options.parse_size(text)


@pytest.mark.parametrize(
    ("text", "duration_s"),
    [
        pytest.param("250ms", 0.25, id="milliseconds"),
        pytest.param("10s", 10.0, id="seconds"),
        pytest.param("1.5 h", 5400.0, id="a fraction and a space"),
        pytest.param("30d", 30 * 86400.0, id="days"),
    ],
)
def test_a_duration_means_its_seconds(text: str, duration_s: float) -> None:
    """A number with a unit is a duration."""
    assert duration_s == options.parse_duration(text)


@pytest.mark.parametrize(
    "value",
    [4, 4.0, True, None, "", "4", "MiB", "4mib", "4 XB", "-4KiB", "1e3KiB", "4KiB\n", "٤KiB"],
)
def test_what_is_no_size_is_refused_without_showing_it(value: object) -> None:
    """A bare number, an unknown unit and everything else is refused; the value may be a secret."""
    with pytest.raises(options.NotAllowedError) as caught:
        options.parse_size(value)

    assert "expected a size with a unit (B, KB, MB, GB, KiB, MiB, GiB)" == str(caught.value)
    assert "4MiB" == caught.value.example


@pytest.mark.parametrize(
    ("marker", "value", "expected", "example"),
    [
        pytest.param(SIZE, 4, "from 1KiB to 10MiB", "4MiB", id="a bare number gets MiB"),
        pytest.param(SIZE, 64, "from 1KiB to 10MiB", "64KiB", id="or KiB, if MiB is too much"),
        pytest.param(SIZE, 20480, "from 1KiB to 10MiB", "20480B", id="or B, if KiB is"),
        pytest.param(SIZE, "11MiB", "from 1KiB to 10MiB", "4MiB", id="a size that is too large"),
        pytest.param(SIZE, "1B", "from 1KiB to 10MiB", "4MiB", id="a size that is too small"),
        pytest.param(
            options.Size(1024**3, 1024**4), "x", "from 1GiB to 1024GiB", "1GiB", id="4MiB is not"
        ),
        pytest.param(DURATION, "20", "from 0ms to 15m", "20s", id="a bare number gets s"),
        pytest.param(DURATION, "1h", "from 0ms to 15m", "60s", id="a duration that is too long"),
        pytest.param(
            options.Duration(86400.0, 864000.0), "?", "from 1d to 10d", "10d", id="60s is not"
        ),
    ],
)
def test_a_value_out_of_range_says_the_range_and_an_allowed_example(
    marker: options.Size | options.Duration, value: object, expected: str, example: str
) -> None:
    """The example keeps the number that was written, if some unit makes it an allowed value."""
    with pytest.raises(options.NotAllowedError) as caught:
        marker.validate(value)

    assert str(caught.value).endswith(expected)
    assert example == caught.value.example
    assert marker.validate(example)


@hypothesis.given(st.integers(min_value=0, max_value=10**15 - 1))
def test_a_formatted_size_means_the_same_size(size_bytes: int) -> None:
    """What format_size writes, parse_size reads."""
    assert size_bytes == options.parse_size(options.format_size(size_bytes))


@hypothesis.given(st.integers(min_value=0, max_value=2**40))
def test_a_formatted_duration_means_the_same_duration(duration_ms: int) -> None:
    """What format_duration writes, parse_duration reads."""
    text = options.format_duration(duration_ms / 1000)

    assert duration_ms / 1000 == pytest.approx(options.parse_duration(text))


def test_a_key_with_nothing_behind_it_has_its_default() -> None:
    """`size:` with nothing behind it is as if the line were not there."""
    assert Part() == Part.model_validate({"size": None, "age": None})


def test_an_unknown_key_with_nothing_behind_it_is_still_unknown() -> None:
    """Leaving out what is empty does not hide a mistyped key."""
    with pytest.raises(pydantic.ValidationError, match="extra_forbidden"):
        Part.model_validate({"sice": None})


def test_what_is_no_mapping_is_left_to_pydantic() -> None:
    """A list where options are expected is an error of its type."""
    with pytest.raises(pydantic.ValidationError, match="model_type"):
        Part.model_validate(["size"])


def test_the_schema_says_what_is_allowed_and_what_a_field_means() -> None:
    """One declaration gives validation, schema and meaning."""
    properties = Part.model_json_schema()["properties"]

    assert "How large." == properties["size"]["description"]
    assert SIZE.expected == properties["size"][options.EXPECTED_KEY]
    assert options.DURATION_PATTERN == properties["age"]["anyOf"][0]["pattern"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("/var/log/größe 日本.log", "/var/log/größe 日本.log", id="letters stay"),
        pytest.param("a\nb\t\x1b[31m", r"a\nb\t\x1b[31m", id="control characters"),
        pytest.param(b"caf\xe9".decode("utf-8", "surrogateescape"), r"caf\xe9", id="no UTF-8"),
        pytest.param("fdp.\u202egol", r"fdp.\u202egol", id="one that turns the direction"),
    ],
)
def test_printable_text_cannot_move_the_cursor(text: str, shown: str) -> None:
    """What no terminal should get is escaped; all else is as it was."""
    assert shown == options.printable(text)
