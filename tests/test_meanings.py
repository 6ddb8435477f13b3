"""The string below a field is what a schema says of its key."""

from __future__ import annotations

import importlib
import pathlib
import py_compile

import pydantic
import pytest

from kagent import meanings


class Outer(meanings.Described):
    size: int = 0
    """How large,
    in bytes."""

    class Inner(meanings.Described):
        size: int = 0
        """Of the inner one."""

    inner: Inner | None = None
    """What is in it."""


class Derived(Outer):
    color: str = pydantic.Field("", alias="colour")
    """Of the whole."""

    plain: int = 0

    said: int = pydantic.Field(0, description="Said otherwise.")
    """Not this."""


def descriptions(model: type[pydantic.BaseModel]) -> dict[str, str | None]:
    properties = model.model_json_schema()["properties"]
    return {key: child.get("description") for key, child in properties.items()}


def test_keys_are_described_also_derived_ones() -> None:
    """By the string right below the field, wherever it is declared, under the key's own name."""
    assert {
        "size": "How large,\nin bytes.",
        "inner": "What is in it.",
        "colour": "Of the whole.",
        "plain": None,
        "said": "Said otherwise.",
    } == descriptions(Derived)
    assert {"size": "Of the inner one."} == descriptions(Outer.Inner)


def test_classes_in_functions_are_described() -> None:
    """Of two with one name, each by its own string."""

    class Outer(meanings.Described):
        size: int = 0
        """Of the one in here."""

    assert {"size": "Of the one in here."} == descriptions(Outer)


def test_bytecode_alone_has_no_meanings(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the source was left out, a schema has no descriptions, and is one."""
    source = tmp_path / "sourceless.py"
    source.write_text(
        "from kagent import meanings\n"
        "class Own(meanings.Described):\n"
        "    size: int = 0\n"
        '    """How large."""\n'
    )
    py_compile.compile(str(source), cfile=str(tmp_path / "sourceless.pyc"))
    source.unlink()
    monkeypatch.syspath_prepend(tmp_path)

    assert {"size": None} == descriptions(importlib.import_module("sourceless").Own)
