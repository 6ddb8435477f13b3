"""The items of `preprocess`: what a flow's preprocessors are, and what their options must be.

Which preprocessors there are is known on the machine only, so their options are no part of the
schema's models: each is held against its own here, with the line and column of what is wrong.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pydantic
from pydantic_core import core_schema

from kagent import errors, options, preprocessors, userpattern, values
from kagent.config import foreign, nodes, validation

STAGES_MAX = 32  # of one flow
_EXPECTED = "the name of a preprocessor, or a mapping of that name to its options"


class Written:
    """Takes an item of `preprocess` as it is written; `check` judges it, `resolve` builds it."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: pydantic.GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Accept everything."""
        return core_schema.any_schema()

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: pydantic.GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe the built-in ones; others are a matter of the machine."""
        names = {"type": "string", options.EXPECTED_KEY: _EXPECTED}
        return {"anyOf": [handler(_built_in_model().__pydantic_core_schema__), names]}


def _built_in_model() -> type[pydantic.BaseModel]:
    """Return a model with the options of every built-in preprocessor, for schema and reference."""
    fields: dict[str, Any] = {}
    for name in preprocessors.BUILT_IN:
        of_stage = preprocessors.options_model(name)
        assert of_stage is not None
        meaning = (of_stage.__doc__ or "").strip()
        fields[name] = (of_stage | None, pydantic.Field(default=None, description=meaning))
    model: type[pydantic.BaseModel] = pydantic.create_model(
        "Preprocessor",
        __config__=pydantic.ConfigDict(
            json_schema_extra={
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": {},
                options.EXPECTED_KEY: _EXPECTED,
            }
        ),
        __doc__="One preprocessor by its name, with its options; or the name alone. Others than "
        "the built-in ones are found under the entry point `kagent.preprocessors`.",
        **fields,
    )
    return model


def check(flow: nodes.Mapping) -> Iterator[errors.Problem]:
    """Yield what is wrong with a flow's preprocessors."""
    groups = captured(flow)
    yield from _check_capture(flow, groups)
    items = nodes.items_of(flow.get("preprocess"))
    if len(items) > STAGES_MAX:
        node = flow.get("preprocess")
        assert node is not None
        yield validation.not_allowed(node, f"at most {STAGES_MAX} preprocessors")
        return
    for item in items:
        yield from _check_item(item, groups)


def resolve(written: object) -> preprocessors.Stage:
    """Return the stage that an item means in which `check` found nothing wrong."""
    if isinstance(written, str):
        return preprocessors.make(written, {})
    assert isinstance(written, dict)
    ((name, given),) = written.items()
    return preprocessors.make(name, given or {})


def captured(flow: nodes.Mapping) -> list[str]:
    """Return the names of the groups that a flow captures of paths."""
    text = nodes.text_of(flow.get("source", "capture"))
    try:
        return userpattern.UserPattern(text).groups if text else []
    except ValueError:
        return []  # the model refuses it


def _check_capture(flow: nodes.Mapping, captured: Sequence[str]) -> Iterator[errors.Problem]:
    node = flow.get("source", "capture")
    text = nodes.text_of(node)
    if node is None or not text:
        return
    taken = [name for name in captured if name in (*values.NAMES, *values.INSTANCE_NAMES)]
    if taken:
        message = f"{{{taken[0]}}} is a value that there is in any case"
        yield node.place.problem(node.path, message, "Give the group another name.")
    elif not captured and _is_right(text):
        yield validation.not_allowed(node, "a pattern with named groups", "(?P<name>...) is one.")


def _is_right(text: str) -> bool:
    try:
        userpattern.compile_pattern(text)
    except ValueError:
        return False
    return True


def _check_item(item: nodes.Node, captured: Sequence[str]) -> Iterator[errors.Problem]:
    if isinstance(item, nodes.Mapping) and len(item.entries) == 1:
        ((name, entry),) = item.entries.items()
        place, given = entry.place, entry.node
        path = given.path
    elif nodes.text_of(item):
        name, place, path = nodes.text_of(item) or "", item.place, item.path
        given = nodes.Mapping(f"{item.path}.{options.printable(name)}", item.place)
    else:
        hint = ""
        if isinstance(item, nodes.Mapping) and len(item.entries) > 1:
            hint = "Options stand below the name, further to the right; each preprocessor is an "
            hint += "item of its own, with '- ' before its name."
        yield validation.not_allowed(item, _EXPECTED, hint)
        return
    try:
        found = preprocessors.find(name)
    except preprocessors.NotLoadableError as error:
        why = options.printable(str(error))
        yield place.problem(path, f"the preprocessor cannot be loaded: {why}")
        return
    if found is None:
        yield _unknown(place, path, name)
        return
    yield from _check_options(name, place, given, captured)


def _unknown(place: nodes.Place, path: str, name: str) -> errors.Problem:
    known = preprocessors.names()
    hint = f"Known here: {', '.join(known)}."
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        hint = f"did you mean '{close[0]}'? {hint}"
    return place.problem(path, "unknown preprocessor", hint)


def _check_options(
    name: str, place: nodes.Place, given: nodes.Node, captured: Sequence[str]
) -> Iterator[errors.Problem]:
    if nodes.is_nothing(given):
        given = nodes.Mapping(given.path, place)
    if not isinstance(given, nodes.Mapping):
        yield validation.not_allowed(given, "a mapping of options")
        return
    of_stage = preprocessors.options_model(name)
    if of_stage is None:
        if given.entries:
            yield place.problem(given.path, f"'{name}' takes no options")
        return
    is_ours = name in preprocessors.BUILT_IN
    problems = validation.check(of_stage, given) if is_ours else [*foreign.check(of_stage, given)]
    yield from problems
    if problems:
        return
    plain = nodes.plain(given)
    assert isinstance(plain, dict)
    yield from _check_made(name, place, given, plain, captured)


def _check_made(
    name: str,
    place: nodes.Place,
    given: nodes.Mapping,
    plain: Mapping[str, object],
    captured: Sequence[str],
) -> Iterator[errors.Problem]:
    """Check what only a stage itself can say, and the named values that it refers to."""
    try:
        made = preprocessors.make(name, plain)
    except preprocessors.NotLoadableError as error:
        why = options.printable(str(error))
        yield place.problem(given.path, f"the preprocessor refuses its options: {why}")
        return
    for value in made.value_names:
        if not values.is_known(value, (*captured, *values.INSTANCE_NAMES)):
            names = (*values.NAMES, *captured, *values.INSTANCE_NAMES)
            hint = f"Known here: {', '.join(f'{{{one}}}' for one in names)}."
            close = difflib.get_close_matches(value, names, n=1)
            if close:
                hint = f"did you mean '{{{close[0]}}}'? {hint}"
            yield place.problem(given.path, f"there is no value {{{value}}}", hint)
