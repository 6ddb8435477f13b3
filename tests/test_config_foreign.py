"""Options of preprocessors that are not ours: any model, and where a mistake stands."""

from __future__ import annotations

import datetime as dt
import enum
import pathlib
from typing import Annotated, Literal

import pydantic
import pytest

from kagent import errors, preprocessors
from kagent.config import document, foreign, nodes


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Inner(pydantic.BaseModel):
    a: int
    b: list[str] = []


class Zoo(pydantic.BaseModel):
    """Fields of all kinds that our own options never have."""

    words: list[str] = []
    n: int = 3
    f: float = 1.5
    either: int | str = 3
    d: dict[str, int] = {}
    i: Inner | None = None
    c: Color = Color.RED
    t: dt.timedelta = dt.timedelta(1)
    s: set[str] = set()
    many: list[Inner] = []
    other: int = pydantic.Field(default=1, alias="aliased")
    above: Annotated[int, pydantic.Field(gt=3)] = 5
    literal: Literal[1, 2] = 1

    @pydantic.field_validator("n")
    @classmethod
    def _judge(cls, value: int) -> int:
        if value == 13:
            raise ValueError("Unlucky\x1b")
        if value == 14:
            raise ZeroDivisionError
        return value


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")


class Closed(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", populate_by_name=True)

    one: int = pydantic.Field(default=1, alias="uno")


def check(
    directory: pathlib.Path, model: type[pydantic.BaseModel], text: str
) -> list[errors.Problem]:
    (directory / "k").write_text(f"own: {text}\n")
    problems: list[errors.Problem] = []
    root = document.read(str(directory / "k"), {}, problems)
    assert root is not None
    given = root.get("own")
    assert isinstance(given, nodes.Mapping)
    return [*problems, *foreign.check(model, given)]


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "{words: [a, b], s: [a]}",
        "{n: 5, f: 2, d: {a: 1}, c: blue, t: PT3S, literal: 2}",
        "{i: {a: 1, b: [x]}, many: [{a: 1}, {a: 2}]}",
        "{aliased: 4, either: x, above: 4}",
    ],
)
def test_what_pydantic_takes_is_taken(tmp_path: pathlib.Path, text: str) -> None:
    """Lists, though YAML's become tuples here, and whatever is converted."""
    assert [] == check(tmp_path, Zoo, text)


@pytest.mark.parametrize(
    ("text", "column", "key", "message"),
    [
        ("{words: a}", 14, "own.words", "found 'a': input should be a valid list"),
        ("{words: [x, 1]}", 18, "own.words[1]", "found 1: input should be a valid string"),
        ("{n: 13}", 10, "own.n", "found 13: unlucky\\x1b"),
        ("{n: 14}", 6, "own", "the preprocessor refuses its options: ZeroDivisionError"),
        ("{d: {a: x}}", 14, "own.d.a", "found 'x': input should be a valid integer"),
        ("{i: {}}", 10, "own.i.a", "missing"),
        ("{i: 3}", 10, "own.i", "found 3: input should be a valid dictionary"),
        ("{c: green}", 10, "own.c", "found 'green': input should be 'red' or 'blue'"),
        ("{many: [{a: 1}, {a: x}]}", 26, "own.many[1].a", "found 'x': input should be a valid"),
        ("{above: 2}", 14, "own.above", "found 2: input should be greater than 3"),
        ("{literal: 3}", 16, "own.literal", "found 3: input should be 1 or 2"),
        ("{wordz: 3}", 7, "own.wordz", "unknown key"),
        ("{other: 3}", 7, "own.other", "unknown key"),
    ],
)
def test_a_mistake_is_said_at_its_place(
    tmp_path: pathlib.Path, text: str, column: int, key: str, message: str
) -> None:
    """In pydantic's words; a key that a model would pass over is one, too."""
    (problem,) = check(tmp_path, Zoo, text)

    assert (1, column, key) == (problem.line, problem.column, problem.key)
    assert problem.message.startswith(message)


def test_the_members_of_a_union_stand_at_one_place(tmp_path: pathlib.Path) -> None:
    """None of them is a key."""
    found = check(tmp_path, Zoo, "{either: []}")

    assert {("own.either", 15)} == {(problem.key, problem.column) for problem in found}


def test_a_model_says_itself_whether_it_takes_any_key(tmp_path: pathlib.Path) -> None:
    """And by which names."""
    assert [] == check(tmp_path, Open, "{anything: 1}")
    assert [] == check(tmp_path, Closed, "{one: 1}")
    assert [] == check(tmp_path, Closed, "{uno: 1}")
    (problem,) = check(tmp_path, Closed, "{on: 1}")
    assert "did you mean 'one'? Allowed here: one, uno." == problem.hint


def test_lists_go_to_foreign_models_and_all_else_stays() -> None:
    """At any depth."""
    assert {"a": [1, {"b": ["x"]}], "c": "y"} == preprocessors.plain(
        {"a": (1, {"b": ("x",)}), "c": "y"}
    )
