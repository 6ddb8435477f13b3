"""A tree of nodes is held against a model; what pydantic finds is said in kagent's words.

Pydantic decides what is wrong and where. What is allowed there comes from the model's JSON schema,
so that a message and the reference page never differ, and what was found comes from the node, so
that the value of a variable is never shown.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Sequence

import pydantic
import pydantic_core

from kagent import errors, options
from kagent.config import allowed, nodes


def check(
    model: type[pydantic.BaseModel], root: nodes.Mapping, *, may_lack: bool = False
) -> list[errors.Problem]:
    """Return what is wrong with a tree according to a model.

    Args:
        model: What the tree should be.
        root: The tree.
        may_lack: Required keys may be missing, because others will be merged with the tree.
    """
    try:
        model.model_validate(nodes.plain(root), strict=True)
    except pydantic.ValidationError as error:
        schema = model.model_json_schema()
        found = error.errors(include_url=False, include_input=False)
        problems = [
            _translate(root, schema, one["type"], one["loc"], one.get("ctx", {}))
            for one in found
            if not (may_lack and one["type"] == "missing") and not _is_echo(one, found)
        ]
        return list(dict.fromkeys(problems))  # each alternative of a union has its say
    return []


def _is_echo(one: pydantic_core.ErrorDetails, found: list[pydantic_core.ErrorDetails]) -> bool:
    """Return whether a list is found too short only because of what is wrong with its items."""
    loc = one["loc"]
    return one["type"] == "too_short" and any(
        len(other["loc"]) > len(loc) and other["loc"][: len(loc)] == loc for other in found
    )


def missing(parent: nodes.Mapping, key: str, expected: str) -> errors.Problem:
    """Return the problem that a mapping lacks a key, or has nothing behind it."""
    path = nodes.child_path(parent.path, key)
    return parent.place_of(key).absence(path, f"missing; expected {expected}")


def not_allowed(node: nodes.Node, expected: str, hint: str = "") -> errors.Problem:
    """Return the problem that a value is not what is expected."""
    if isinstance(node, nodes.Scalar) and node.is_substituted:
        hint = "The value comes from the environment."
    return node.place.problem(node.path, f"found {node.shown}, expected {expected}", hint)


def _translate(
    root: nodes.Mapping,
    schema: allowed.Schema,
    kind: str,
    steps: tuple[str | int, ...],
    context: dict[str, object],
) -> errors.Problem:
    """Return a problem for one of pydantic's errors: its kind, place and context."""
    if kind in {"missing", "extra_forbidden"}:
        key = str(steps[-1])
        parent, parent_schema = _follow(root, schema, steps[:-1])
        parent_schema = allowed.resolve(parent_schema, schema)
        assert isinstance(parent, nodes.Mapping)
        if kind == "extra_forbidden":
            return unknown(parent, key, parent_schema["properties"], _homes(root, schema, key))
        expected = allowed.describe(parent_schema["properties"][key], schema)
        return missing(parent, key, expected)
    node, node_schema = _follow(root, schema, steps)
    if steps and steps[-1] == "[key]":
        expected = allowed.describe({"type": "string", "minLength": 1}, schema)
        return node.place.problem(node.path, f"found '{steps[-2]}' as a key, expected {expected}")
    error = context.get("error")
    if isinstance(error, options.NotAllowedError):
        hint = f"Write for example '{_label(node)}{error.example}'." if error.example else ""
        return not_allowed(node, error.expected, _meant(node, node_schema) or hint)
    return not_allowed(
        node, allowed.describe(node_schema, schema), _hint(node, node_schema, schema)
    )


def _follow(
    root: nodes.Mapping, schema: allowed.Schema, steps: tuple[str | int, ...]
) -> tuple[nodes.Node, allowed.Schema]:
    """Return the node that steps lead to, and its schema, not resolved.

    Pydantic also steps into the alternatives of a union, and into a key: there it ends.
    """
    node: nodes.Node = root
    node_schema = schema
    for step in steps:
        resolved = allowed.resolve(node_schema, schema)
        if isinstance(step, int) and isinstance(node, nodes.Sequence) and "items" in resolved:
            node, node_schema = node.items[step], resolved["items"]
        elif isinstance(node, nodes.Mapping) and step in node.entries:
            assert isinstance(step, str)
            others = resolved.get("additionalProperties") or {}
            node_schema = resolved.get("properties", {}).get(step, others)
            node = node.entries[step].node
        else:
            break
    return node, node_schema


def unknown(
    parent: nodes.Mapping, key: str, known: Collection[str], homes: Sequence[str] = ()
) -> errors.Problem:
    """Return the problem that a mapping has a key that is none, and what may have been meant."""
    hint = f"Allowed here: {', '.join(sorted(known))}."
    close = difflib.get_close_matches(key, known, n=1)
    if close:
        hint = f"did you mean '{close[0]}'? {hint}"
    elif homes:
        hint = f"'{key}' belongs in {' or '.join(homes)}. {hint}"
    entry = parent.entries[key]
    return entry.place.problem(entry.node.path, "unknown key", hint)


def _homes(root: nodes.Mapping, schema: allowed.Schema, key: str) -> list[str]:
    """Return the paths of all mappings that have a key."""

    def search(part: allowed.Schema, path: str) -> Iterator[str]:
        part = allowed.resolve(part, schema)
        if "items" in part:
            yield from search(part["items"], f"{path}[]")
        for name, child in part.get("properties", {}).items():
            if name == key:
                yield path or "the top level"
            yield from search(child, nodes.child_path(path, name))

    homes = list(search(schema, root.path))
    # 'metrics.cloudwatch.aws' is one more 'aws': the first stands for all.
    return [one for one in homes if not any(one.endswith(f".{other}") for other in homes)]


def _hint(node: nodes.Node, node_schema: allowed.Schema, root: allowed.Schema) -> str:
    """Return what was probably meant by a value that is not allowed."""
    if not isinstance(node, nodes.Scalar) or nodes.is_nothing(node):
        return ""
    text = options.printable(node.written)
    schema = allowed.resolve(node_schema, root)
    if allowed.choices_of(schema):
        return _meant(node, schema)
    if schema["type"] == "array":
        return f"Write '{_label(node)}[\"{text}\"]'."
    if schema["type"] == "string" and not isinstance(node.value, str):
        return f"Quotes make it text: '{_label(node)}\"{text}\"'."
    digits = text.replace("_", "").lstrip("0")
    if schema["type"] == "integer" and digits.isdecimal() and isinstance(node.value, str):
        return f"A number has no quotes, leading zeros or '_': '{_label(node)}{digits}'."
    return ""


def _meant(node: nodes.Node, schema: allowed.Schema) -> str:
    """Return which of the values that can be named was probably meant."""
    if not isinstance(node, nodes.Scalar):
        return ""
    text = options.printable(node.written)
    close = difflib.get_close_matches(text, allowed.choices_of(schema), n=1)
    return f"did you mean '{close[0]}'?" if close else ""


def _label(node: nodes.Node) -> str:
    """Return the key of a node as it is written before its value; nothing for a list's item."""
    key = node.path.rpartition(".")[2]
    return "" if key.endswith("]") else f"{key}: "
