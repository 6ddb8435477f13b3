"""Strings, objects and their members, as bytes."""

from __future__ import annotations

import json
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from kagent.preprocessors import jsontext

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text('ab{},:\\"[', max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
objects = st.dictionaries(st.text('ab.{}"\\', max_size=3), values, max_size=4)


@hypothesis.given(st.binary())
def test_a_string_holds_the_text_with_replacements(value: bytes) -> None:
    """What any parser reads back is the text that the bytes are."""
    assert value.decode("utf-8", "replace") == json.loads(jsontext.string(value))


def test_a_string_is_written_as_the_java_agent_does() -> None:
    """Short escapes, capitals in the others, everything else as it is."""
    text = '"\\/\b\f\n\r\t\x1b\x7f é\u2028😀'.encode()

    expected = r'"\"\\/\b\f\n\r\t\u001B' + '\x7f é\u2028😀"'
    assert expected.encode() == jsontext.string(text)


@hypothesis.given(objects, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_members_are_found_where_they_stand(
    value: dict[str, Any], indent: int | str | None, is_ascii: bool
) -> None:
    """However an object is written, and whatever its strings hold."""
    record = json.dumps(value, indent=indent, ensure_ascii=is_ascii).encode() + b"\n"

    found = jsontext.members(record)

    assert list(value) == [member.name for member in found]
    assert list(value.values()) == [
        json.loads(record[member.value_start : member.value_end]) for member in found
    ]
    assert value == json.loads(jsontext.compact(record))


@hypothesis.given(objects, objects)
def test_put_adds_and_replaces_members(value: dict[str, Any], new: dict[str, Any]) -> None:
    """What a dictionary would be, in the same order; the newline stays."""
    record = json.dumps(value, indent=2).encode() + b"\n"

    result = jsontext.put(record, [(name, json.dumps(one).encode()) for name, one in new.items()])

    assert result.endswith(b"\n")
    assert list((value | new).items()) == list(json.loads(result).items())


def test_put_changes_nothing_else() -> None:
    """Digits, white space and doubles stay as they are."""
    record = b'{ "a": 1.50, "b": 1, "b" : 2e0 }\n'

    assert b'{ "a": 1.50, "b": 1, "b" : 3 ,"c":[]}\n' == jsontext.put(
        record, [("b", b"3"), ("c", b"[]")]
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a", {"b": {"c": 1}}),
        ("a.b", {"c": 1}),
        ("a.b.c", 1),
        ("a.x", None),
        ("a.b.c.d", None),
        ("x.y", 2),
    ],
)
def test_a_name_with_dots_looks_into_objects(name: str, expected: object) -> None:
    """A member of that very name comes first."""
    assert expected == jsontext.look_up({"a": {"b": {"c": 1}}, "x.y": 2, "x": {"y": 3}}, name)


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([b"a\n", b"b\n"], b"\0a\n\0b\n\0"),
        ([b"a", b"b"], b"\0a\n\0b\n\0"),
        ([b"a\r\n", b"b\n"], b"\0a\n\0b\n\0"),
        ([b"a\r", b"b"], b"\0a\n\0b\n\0"),
        ([b"a", b"\r"], b"\0a\n\0\n\0"),
        ([b"a\r\nb\r\n"], b"\0a\r\nb\n\0"),
    ],
)
def test_records_are_framed_without_what_ends_them(records: list[bytes], expected: bytes) -> None:
    """Newlines are stripped or not, and carriage returns never stay."""
    assert expected == jsontext.framed(records)


@hypothesis.given(st.lists(st.binary(max_size=6), min_size=1, max_size=3))
def test_plain_means_that_nothing_is_to_be_escaped(records: list[bytes]) -> None:
    """If each record has its newline, which whoever asks must know."""
    text = jsontext.framed(records)
    hypothesis.assume(text.count(b"\n") >= len(records))

    is_plain = jsontext.is_plain(text, len(records), 0)

    lines = [line.removesuffix(b"\n") for line in text.split(b"\0")[1:-1]]
    needs_nothing = all(jsontext.string(line) == b'"%b"' % line for line in lines)
    assert is_plain == (needs_nothing and len(lines) == len(records))


@hypothesis.given(st.lists(st.binary(max_size=6), min_size=1, max_size=3))
def test_escaped_records_can_stand_in_strings(records: list[bytes]) -> None:
    """Each for itself, as if it had been taken apart first."""
    escaped = jsontext.escaped(jsontext.framed(records), len(records))

    if escaped is not None:
        lines = escaped[1:-2].split(b"\n\0")
        assert [jsontext.string(jsontext.line_of(record)) for record in records] == [
            b'"%b"' % line.replace(b'"', b'\\"') for line in lines
        ]
