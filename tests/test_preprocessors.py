"""The table of preprocessors, the operator's own, and the small built-in ones."""

from __future__ import annotations

import pytest

from kagent import model, preprocessors
from kagent.preprocessors import add_brackets

CONTEXT = model.ChunkContext("/a", "id", [0], [1])


@pytest.mark.parametrize("name", preprocessors.BUILT_IN)
def test_every_built_in_preprocessor_is_what_the_contract_says(name: str) -> None:
    """A model with options and a meaning, whose instances are called."""
    of_stage = preprocessors.options_model(name)

    assert of_stage is not None
    assert of_stage.__doc__
    assert callable(of_stage.__call__)
    assert name in preprocessors.names()


def test_a_name_that_is_none_is_not_found() -> None:
    """Neither built in nor an entry point."""
    assert preprocessors.find("nope") is None
    with pytest.raises(KeyError):
        preprocessors.options_model("nope")


@pytest.mark.parametrize(
    ("newline", "record", "expected"),
    [
        ("after", b"hello\n", b"{hello}\n"),
        ("after", b"hello", b"{hello}"),
        ("after", b"\n", b"{}\n"),
        ("after", b"a\nb\n", b"{a\nb}\n"),
        ("inside", b"hello\n", b"{hello\n}"),
        ("inside", b"", b"{}"),
    ],
)
def test_brackets_stand_around_a_record(newline: str, record: bytes, expected: bytes) -> None:
    """The newline goes behind them, or stays inside as the Java agent has it."""
    stage = add_brackets.AddBrackets(newline=newline)  # type: ignore[arg-type]

    assert [expected] == stage([record], CONTEXT)
