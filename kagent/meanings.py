"""What an option means is the string below its field: for the schema and the reference page.

It is read from the source when somebody asks for a schema. pydantic would read it as each model is
declared (`use_attribute_docstrings`): that took a tenth of the time of every start of kagent.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pydantic
from pydantic_core import core_schema


class Described(pydantic.BaseModel):
    """A model in whose JSON schema the string below a field is the description of its key."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: pydantic.GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe the keys that have no other description."""
        described = handler(schema)
        properties = handler.resolve_ref_schema(described).get("properties", {})
        meant = _meanings(cls)
        for name, field in cls.model_fields.items():
            if name in meant:
                properties[field.alias or name].setdefault("description", meant[name])
        return described


def _meanings(model: type[Described]) -> dict[str, str]:
    """Return the strings below the fields of a model and of those that it derives from, by field.

    There is nothing where no source is, such as beside a file of bytecode only.
    """
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if issubclass(one, Described):
            found.update(_by_class(one.__module__).get(one.__qualname__, {}))
    return found


@functools.cache
def _by_class(module: str) -> Mapping[str, Mapping[str, str]]:
    """Return the meanings in a module by the qualified name of the class that they stand in."""
    try:
        source = inspect.getsource(sys.modules[module])
    except (OSError, TypeError, KeyError):
        return {}
    return {name: dict(_below_fields(node)) for name, node in _classes(ast.parse(source), "")}


def _classes(parent: ast.AST, prefix: str) -> Iterator[tuple[str, ast.ClassDef]]:
    for node in ast.iter_child_nodes(parent):
        below = prefix
        if isinstance(node, ast.ClassDef):
            yield prefix + node.name, node
            below = f"{prefix}{node.name}."
        elif isinstance(node, ast.FunctionDef):
            below = f"{prefix}{node.name}.<locals>."
        yield from _classes(node, below)


def _below_fields(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, below in zip(node.body, node.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            yield field.target.id, inspect.cleandoc(below.value.value)
