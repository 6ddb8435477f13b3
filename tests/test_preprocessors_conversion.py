"""A log's text as a number or Boolean, digit by digit."""

from __future__ import annotations

import json

import hypothesis
import pytest
from hypothesis import strategies as st

from kagent.preprocessors import conversion


@pytest.mark.parametrize(
    ("to", "value", "expected"),
    [
        ("int", b"0", b"0"),
        ("int", b"007", b"7"),
        ("int", b"-0", b"0"),
        ("int", b"+12", b"12"),
        ("int", b"-00012", b"-12"),
        ("int", b"12345678901234567890123", b"12345678901234567890123"),
        ("int", b"1.0", None),
        ("int", b"-", None),
        ("int", b"1 ", None),
        ("int", b"0x1", None),
        ("int", "\u0661".encode(), None),
        ("float", b"1", b"1"),
        ("float", b"01.50", b"1.50"),
        ("float", b".5", b"0.5"),
        ("float", b"-.5e-3", b"-0.5e-3"),
        ("float", b"5.", b"5"),
        ("float", b"1E6", b"1E6"),
        ("float", b"e5", None),
        ("float", b".", None),
        ("float", b"-", None),
        ("float", b"nan", None),
        ("float", b"1,5", None),
        ("bool", b"TRUE", b"true"),
        ("bool", b"0", b"false"),
        ("bool", b"yes", b"true"),
        ("bool", b"maybe", None),
    ],
)
def test_a_value_is_of_its_type_or_is_not(
    to: conversion.Type, value: bytes, expected: bytes | None
) -> None:
    """No digit is lost, and nothing is guessed."""
    assert expected == conversion.convert(to, value)


@hypothesis.given(st.sampled_from(["int", "float"]), st.text("+-0123.eE", min_size=1, max_size=8))
def test_numbers_are_what_python_reads(to: conversion.Type, value: str) -> None:
    """And JSON."""
    converted = conversion.convert(to, value.encode())

    try:
        expected: float | None = int(value) if to == "int" else float(value)
    except ValueError:
        expected = None
    assert expected == (None if converted is None else json.loads(converted))


@pytest.mark.parametrize("to", ["int", "float", "bool"])
@hypothesis.given(st.data())
def test_a_plain_column_is_one_that_needs_no_conversion(
    to: conversion.Type, data: st.DataObject
) -> None:
    """What a block leaves as it is, is what a single record would become."""
    one = st.text("-01.eEtrufals", min_size=1, max_size=5) | st.sampled_from(["true", "false"])
    values = [value.encode() for value in data.draw(st.lists(one, min_size=1, max_size=3))]

    is_plain = conversion.PLAIN[to].fullmatch(b"".join(value + b"\n" for value in values))

    if is_plain:
        shown = [conversion.convert(to, value) for value in values]
        assert values == shown
