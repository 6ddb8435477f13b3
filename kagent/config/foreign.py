"""The options of a preprocessor that is not ours, held against its model.

Such a model may be anything that pydantic allows: what is allowed is said in pydantic's words, at
the line and column of what is wrong. YAML has lists, and no tuples or sets, so pydantic may
convert; a key that the model does not know is a mistake, even where the model would pass over it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator

import pydantic

from kagent import errors, options, preprocessors
from kagent.config import nodes


def check(model: type[pydantic.BaseModel], given: nodes.Mapping) -> Iterator[errors.Problem]:
    """Yield what is wrong with options according to their model."""
    known = _known_keys(model)
    if model.model_config.get("extra") != "allow":
        for key in given.entries:
            if key not in known:
                yield _unknown(given, key, known)
    written = {key: entry for key, entry in given.entries.items() if key in known}
    plain = preprocessors.plain(nodes.plain(given))
    assert isinstance(plain, dict)
    try:
        model.model_validate({key: plain[key] for key in written})
    except pydantic.ValidationError as error:
        for found in error.errors(include_url=False, include_input=False):
            if found["type"] != "extra_forbidden" or len(found["loc"]) > 1:
                yield _problem(given, found["loc"], found["type"], found["msg"])
    except Exception as error:  # noqa: BLE001 -- the operator's code
        why = options.printable(preprocessors.describe(error))
        yield given.place.problem(given.path, f"the preprocessor refuses its options: {why}")


def _known_keys(model: type[pydantic.BaseModel]) -> list[str]:
    """Return the keys that a model looks at."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        by_alias = field.validation_alias or field.alias
        if isinstance(by_alias, pydantic.AliasChoices):
            found += [one for one in by_alias.choices if isinstance(one, str)]
        else:
            found.append(by_alias if isinstance(by_alias, str) else name)
        if model.model_config.get("populate_by_name") or model.model_config.get(
            "validate_by_name"
        ):
            found.append(name)
    return found


def _unknown(given: nodes.Mapping, key: str, known: list[str]) -> errors.Problem:
    entry = given.entries[key]
    hint = f"Allowed here: {', '.join(sorted(known))}." if known else "It has no options."
    close = difflib.get_close_matches(key, known, n=1)
    if close:
        hint = f"did you mean '{close[0]}'? {hint}"
    return entry.place.problem(entry.node.path, "unknown key", hint)


def _problem(
    given: nodes.Mapping, steps: tuple[str | int, ...], kind: str, message: str
) -> errors.Problem:
    """Return a problem at the node that steps lead to, or at the last one on the way there."""
    node: nodes.Node = given
    for at, step in enumerate(steps):
        if isinstance(node, nodes.Mapping) and step in node.entries:
            node = node.entries[str(step)].node
        elif isinstance(node, nodes.Sequence) and isinstance(step, int):
            node = node.items[step]
        elif kind == "missing" and at == len(steps) - 1:
            path = nodes.child_path(node.path, str(step))
            return node.place.absence(path, "missing")
        # Else it names a member of a union: there is no node for it.
    text = options.printable(message.removeprefix("Value error, "))
    found = f"found {node.shown}: " if isinstance(node, nodes.Scalar) else ""
    return node.place.problem(node.path, f"{found}{text[:1].lower()}{text[1:]}")
