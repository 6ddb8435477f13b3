"""Generates `config/kagent.schema.json`, for editors, and `config/reference.md`, for people.

Both say what the models of `schema` declare, and nothing else. `python -m kagent.config.reference`
writes them; with `--check` it only says whether they are up to date.
"""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from kagent import options
from kagent.config import allowed, nodes, schema

DIRECTORY = pathlib.Path(__file__).parents[2] / "config"

_PREAMBLE = """\
# Configuration reference

Generated from the code by `python -m kagent.config.reference`; do not edit. `kagent.yaml` beside
this page is a commented example, `kagent.schema.json` tells an editor the same as this page.

Sizes are written with B, KB, MB, GB (powers of 1000) or KiB, MiB, GiB (powers of 1024), durations
with ms, s, m, h or d; a bare number is an error. A key with nothing or `null` behind it has its
default. Only `true` and `false` are Booleans, numbers are decimal, and everything else is text.

In values, `${NAME}` is an environment variable, `${NAME:-default}` the default if that is unset or
empty, and `$${` a literal `${`. What is put in is read like text written there: without quotes it
may be a number, in quotes it is text. YAML aliases (`&a`, `*a`) and merge keys (`<<`) are allowed.
"""


def files() -> dict[str, str]:
    """Return the generated files' contents by name."""
    return {
        "kagent.schema.json": json.dumps(json_schema(), indent=2) + "\n",
        "reference.md": reference_page(),
    }


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a configuration file."""
    root = _tidy(schema.Root.model_json_schema())
    defaults = _tidy(
        schema.FlowDefaults.model_json_schema(ref_template="#/$defs/Default{model}"),
        drop={"required"},
    )
    for name, definition in defaults.pop("$defs").items():
        root["$defs"][f"Default{name}"] = definition
    defaults["description"] = root["properties"]["defaults"]["description"]
    root["properties"]["defaults"] = defaults
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root}


def _tidy(part: Any, drop: Collection[str] = ()) -> Any:
    """Return a part of a schema as an editor is best told.

    Names of Python's are left out, what is allowed is added to descriptions, defaults are as they
    are written, and a text with a variable is allowed everywhere.

    Args:
        part: The part.
        drop: Keywords to leave out besides.
    """
    if isinstance(part, list):
        return [_tidy(one, drop) for one in part]
    if not isinstance(part, dict):
        return part
    tidy: dict[str, Any] = {
        keyword: {name: _tidy(one, drop) for name, one in value.items()}
        if keyword in {"properties", "$defs"}
        else _tidy(value, drop)
        for keyword, value in part.items()
        if keyword not in {"title", "default", options.EXPECTED_KEY, *drop}
    }
    if "description" in tidy:
        tidy["description"] = _one_line(tidy["description"])
    if options.EXPECTED_KEY in part:
        expected = f"Expected: {part[options.EXPECTED_KEY]}."
        tidy["description"] = f"{tidy.get('description', '')} {expected}".strip()
    if "pattern" in part:
        tidy["pattern"] = rf"{part['pattern']}|\$\{{"
    if _is_default_shown(part):
        tidy["default"] = _written_default(part)
    return tidy


def reference_page() -> str:
    """Return the reference page as Markdown."""
    root = schema.Root.model_json_schema()
    return "\n".join([_PREAMBLE, *_section("", root, root)])


def _section(path: str, part: allowed.Schema, root: allowed.Schema) -> Iterator[str]:
    """Yield the lines on one mapping, then those on the mappings in it."""
    yield f"## {f'`{path}`' if path else 'The file'}\n"
    yield f"{_one_line(part['description'])}\n"
    yield "| key | allowed | default | meaning |"
    yield "|---|---|---|---|"
    inner: list[tuple[str, allowed.Schema]] = []
    for key, child in part["properties"].items():
        below = _below(nodes.child_path(path, key), child, root)
        inner.extend(below)
        what = allowed.describe(child, root)
        what += "".join(f", see `{name}`" for name, _ in below)
        default = "required" if key in part.get("required", []) else ""
        if _is_default_shown(child):
            written = _written_default(child)
            is_shown = not isinstance(written, str) or written.isprintable()
            default = f"`{written if is_shown else json.dumps(written)}`"
        meaning = child.get("description", "")
        yield f"| `{key}` | {_cell(what)} | {_cell(default)} | {_cell(meaning)} |"
    other = part.get("additionalProperties")
    if other:
        what, meaning = allowed.describe(other, root), other["description"]
        yield f"| `NAME` | {_cell(what)} |  | {_cell(meaning)} |"
    yield ""
    for name, below_part in inner:
        yield from _section(name, below_part, root)


def _below(
    path: str, part: allowed.Schema, root: allowed.Schema
) -> list[tuple[str, allowed.Schema]]:
    """Return the mapping behind a key or in its list, with its path; none for other values."""
    part = allowed.resolve(part, root)
    if "items" in part:
        path, part = f"{path}[]", allowed.resolve(part["items"], root)
    return [(path, part)] if "properties" in part else []


def _is_default_shown(part: allowed.Schema) -> bool:
    return part.get("default") is not None and "$ref" not in part


def _written_default(part: allowed.Schema) -> object:
    """Return a default as an operator would write it: 1048576 bytes are '1MiB'."""
    default = part["default"]
    if isinstance(default, bool):
        return str(default).lower()
    if part.get("pattern") == options.SIZE_PATTERN:
        return options.format_size(default)
    if part.get("pattern") == options.DURATION_PATTERN:
        return options.format_duration(default)
    return default


def _cell(text: str) -> str:
    return _one_line(text).replace("|", "\\|")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def main(arguments: Sequence[str]) -> int:
    """Write the files, or with --check return 1 and name those that are not up to date."""
    outdated = [
        name
        for name, content in files().items()
        if not (DIRECTORY / name).exists() or (DIRECTORY / name).read_text() != content
    ]
    is_check = "--check" in arguments
    for name in outdated:
        if not is_check:
            (DIRECTORY / name).write_text(files()[name])
        sys.stderr.write(f"{name}: {'not up to date' if is_check else 'written'}\n")
    return 1 if outdated and is_check else 0


if __name__ == "__main__":  # pragma: no cover
    sys.exit(main(sys.argv[1:]))
