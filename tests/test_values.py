"""Named values: what each is, and that it is computed once."""

from __future__ import annotations

import pytest

from kagent import model, values


def context(**more: object) -> model.ChunkContext:
    given: dict[str, object] = {
        "path": "/logs/web.log",
        "tail_id": "ab",
        "starts": [0, 10],
        "ends": [10, 25],
        "captured": {"app": "web"},
        "read_time": 1.7e9 + 0.25,
        "host": model.HostFacts("h1"),
    }
    return model.ChunkContext(**(given | more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("path", "/logs/web.log"),
        ("host", "h1"),
        ("offset", [0, 10]),
        ("id", ["ab:0-10", "ab:10-25"]),
        ("read_time", "2023-11-14T22:13:20.250Z"),
        ("app", "web"),
    ],
)
def test_each_name_has_its_value(name: str, expected: object) -> None:
    """One text for all records, or a list with one for each."""
    assert expected == values.column(name, context())


def test_texts_are_as_many_as_records() -> None:
    """Numbers become text, a value of all records is repeated."""
    assert ["0", "10"] == values.texts("offset", context())
    assert ["h1", "h1"] == values.texts("host", context())


def test_a_column_is_computed_once_a_chunk_and_anew_for_a_selection() -> None:
    """The second question is answered from memory; other records have other values."""
    whole = context()

    first = values.column("id", whole)

    assert first is values.column("id", whole)
    assert ["ab:10-25"] == values.column("id", whole.select([1]))


def test_bytes_of_a_path_that_are_no_text_are_replaced() -> None:
    """JSON takes no surrogates."""
    assert "/a\ufffd" == values.column("path", context(path="/a\udcff"))


def test_an_unknown_name_has_no_value() -> None:
    """The configuration refuses it before."""
    with pytest.raises(KeyError):
        values.column("nope", context())


@pytest.mark.parametrize(
    ("text", "expected"),
    [("{path}", "path"), ("path", None), ("{a} {b}", None), ("{}", None), ("x{path}", None)],
)
def test_only_a_whole_text_in_braces_is_a_name(text: str, expected: str | None) -> None:
    """This is no template."""
    assert expected == values.name_of(text)


def test_known_are_the_built_in_names_and_the_captured_ones() -> None:
    """A flow knows its groups."""
    assert values.is_known("path", ())
    assert values.is_known("app", ["app"])
    assert not values.is_known("app", [])


def test_a_record_id_says_tail_and_range() -> None:
    """The form that consumers see."""
    assert "ab:1-2" == values.record_id("ab", 1, 2)
