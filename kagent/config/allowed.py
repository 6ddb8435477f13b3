"""What a JSON schema allows, in the words of a message and of the reference page. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kagent import options

Schema = Mapping[str, Any]

_PATTERNS = {
    "^/": "an absolute path",
    r"^[a-zA-Z0-9_.-]+$": "letters, digits, '_', '.', '-'",
    r"^[A-Za-z0-9][A-Za-z0-9_.-]*$": "letters, digits, then also '_', '.', '-'",
    r"^https?://[^/\s]+/?$": "an address such as https://host:port",
    r"^http://[^/\s]+/?$": "an address such as http://host:port",
    r"^arn:[^:]+:iam::[0-9]{12}:role/.+$": "an ARN such as arn:aws:iam::123456789012:role/name",
    r"^[\w+=,.@-]+$": "letters, digits, '_', '+', '=', ',', '.', '@', '-'",
}


def describe(schema: Schema, root: Schema) -> str:
    """Return what is allowed: 'a whole number from 1 to 500', "one of 'a', 'b'".

    Args:
        schema: Of the value.
        root: The schema that its references are looked up in.
    """
    if options.EXPECTED_KEY in schema:  # of a union, it is said of all that it allows
        return str(schema[options.EXPECTED_KEY])
    schema = resolve(schema, root)
    if options.EXPECTED_KEY in schema:
        return str(schema[options.EXPECTED_KEY])
    choices = choices_of(schema)
    if choices:
        return one_of(choices)
    return _WORDS[schema["type"]](schema)


def choices_of(schema: Schema) -> Sequence[str]:
    """Return the values that are allowed, as far as they can be named."""
    if "anyOf" in schema:
        return [choice for one in schema["anyOf"] for choice in choices_of(one)]
    choices: Sequence[str] = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return choices


def resolve(schema: Schema, root: Schema) -> Schema:
    """Return a schema with its reference followed, and as if it did not allow null."""
    while "anyOf" in schema:
        schema = next(one for one in schema["anyOf"] if one.get("type") != "null")
    if "$ref" in schema:
        definition: Schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
        return definition
    return schema


def one_of(choices: Iterable[str]) -> str:
    """Return choices as a message names them."""
    quoted = [f"'{choice}'" for choice in choices]
    return f"one of {', '.join(quoted)}" if len(quoted) > 1 else quoted[0]


def _string(schema: Schema) -> str:
    low, high = schema.get("minLength", 0), schema.get("maxLength")
    pattern = schema.get("pattern")
    known = _PATTERNS.get(pattern, f"text that matches {pattern}") if pattern else ""
    if not high:
        return known or ("text" if low == 0 else "text, not empty")
    return f"{low} to {high} characters" + (f": {known}" if known else "")


def _integer(schema: Schema) -> str:
    return f"a whole number from {schema['minimum']} to {schema['maximum']}"


def _list(schema: Schema) -> str:
    return "a list with at least one item" if schema.get("minItems") else "a list"


def _mapping(schema: Schema) -> str:
    if schema.get("maxProperties") == 1:
        return one_of(schema["properties"])
    required = ", ".join(f"'{key}'" for key in schema.get("required", []))
    return f"a mapping with {required}" if required else "a mapping"


_WORDS = {
    "string": _string,
    "integer": _integer,
    "boolean": lambda _: "true or false",
    "array": _list,
    "object": _mapping,
}
