r"""Ship only some of the records: by patterns on the line, by fields of JSON objects, or by both.

Law. A record is dropped if something excludes it, or if something is to be included and nothing
includes it. What is no JSON object has no fields: nothing about fields excludes it, and where
fields include, it is kept: what cannot be judged is not dropped.

Patterns are searched for anywhere in the record, its line end aside. A field is `a`, or `a.b` for
`b` within the object `a`. Its value is compared as text, so that 404 and "404" are the same; a
pattern is searched for in that text, which of lists and objects is compact JSON. A pattern that
takes too long, on which the answer hangs, leaves the record unparsed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import orjson
import pydantic

from kagent import model, options, userpattern
from kagent.preprocessors import jsontext, searching, stage

# Whether something holds of a record; None if that cannot be said.
_Verdict = bool | userpattern.Expired | None
_Object = dict[str, Any]

_TOO_LONG = model.Unparsed("a pattern took too long")
_EXPECTED = "a value, or a list of values: texts, numbers, true, false; null only in a list"


class _Values(options.Written):
    """Validates one value or several."""

    expected = _EXPECTED

    def schema(self) -> dict[str, Any]:
        """Describe a value, or a list of values."""
        scalar = {"type": ["string", "number", "boolean", "null"]}
        some = {"type": "array", "items": scalar, "minItems": 1}
        return {"oneOf": [scalar, some]}

    def validate(self, value: object) -> tuple[object, ...]:
        """Return the values."""
        values = tuple(value) if isinstance(value, list | tuple) else (value,)
        if not values or not all(isinstance(one, str | int | float | None) for one in values):
            raise options.NotAllowedError(_EXPECTED, "[debug, trace]")
        return values


class Condition(options.Options):
    """What a field is to be."""

    field: Annotated[str, pydantic.Field(min_length=1)]
    """The name of a member of the object; `a.b` is the member `b` of the object `a`."""

    equals: Annotated[tuple[object, ...] | None, _Values()] = None
    """One of these values; as text, so that 404 and "404" are the same. null is also a field that
    is not there."""

    pattern: userpattern.PatternText | None = None
    """A regular expression that is found in the value."""

    @pydantic.model_validator(mode="after")
    def _say_what(self) -> Condition:
        if (self.equals is None) == (self.pattern is None):
            raise options.NotAllowedError("'equals' or 'pattern'")
        return self

    @functools.cached_property
    def _search(self) -> searching.Search | None:
        return searching.Search(self.pattern) if self.pattern is not None else None

    @functools.cached_property
    def _texts(self) -> frozenset[str | None]:
        return frozenset(_text_of(one) for one in self.equals or ())

    @functools.cached_property
    def needles(self) -> tuple[bytes, ...]:
        """One of these stands in every record for which this holds, or a backslash; () if not."""
        if self.equals is None or any(
            text is None or not text.isascii() or not text.isalpha() for text in self._texts
        ):
            return ()  # a number may be written in many ways
        return tuple((text or "").encode() for text in self._texts)

    def holds_of(self, objects: Sequence[_Object]) -> list[_Verdict]:
        """Return for each object whether it is so."""
        values = [jsontext.look_up(one, self.field) for one in objects]
        if self._search is None:
            return [
                not isinstance(value, dict | list) and _text_of(value) in self._texts
                for value in values
            ]
        texts = [_text_of(value) for value in values]
        lines = [(text or "").encode() for text in texts]
        found = self._search.found_in(searching.Lines(lines, have_ends=False))
        return [False if text is None else one for text, one in zip(texts, found, strict=True)]


class Filter(stage.Stage):
    """Drops records: all but the ones that are included, and those that are excluded.

    What is dropped is counted. What is no JSON object is neither included nor excluded by fields:
    it is kept.
    """

    include: tuple[userpattern.PatternText, ...] = ()
    """Regular expressions: a record in which none is found is dropped."""

    exclude: tuple[userpattern.PatternText, ...] = ()
    """Regular expressions: a record in which one is found is dropped."""

    include_fields: tuple[Condition, ...] = ()
    """A JSON object for which none of these, and none of `include`, holds is dropped."""

    exclude_fields: tuple[Condition, ...] = ()
    """A JSON object for which one of these holds is dropped."""

    @pydantic.model_validator(mode="after")
    def _filter_by_something(self) -> Filter:
        if not (self.include or self.exclude or self.include_fields or self.exclude_fields):
            names = "'include', 'exclude', 'include_fields' or 'exclude_fields'"
            raise options.NotAllowedError(names)
        return self

    @functools.cached_property
    def _include(self) -> list[searching.Search]:
        return [searching.Search(text) for text in self.include]

    @functools.cached_property
    def _exclude(self) -> list[searching.Search]:
        return [searching.Search(text) for text in self.exclude]

    def __call__(
        self,
        records: list[bytes],
        context: model.ChunkContext,
    ) -> list[model.Outcome]:
        """Return the records that are kept, and None for the others."""
        outcomes: list[model.Outcome] = list(records)
        if self._exclude:
            _decide(outcomes, _found(self._exclude, records), _excluded)
        if self.exclude_fields:
            _decide(outcomes, self._excluded_by_fields(records), _excluded)
        if self._include or self.include_fields:
            verdicts = _found(self._include, records)
            if self.include_fields:
                by_fields = _judge(self.include_fields, records, range(len(records)))
                verdicts = list(map(_either, verdicts, by_fields))
            _decide(outcomes, verdicts, _included)
        return outcomes

    def _excluded_by_fields(self, records: Sequence[bytes]) -> list[_Verdict]:
        needles = [one for condition in self.exclude_fields for one in condition.needles]
        indices: Sequence[int] = range(len(records))
        if all(condition.needles for condition in self.exclude_fields):
            needles.append(b"\\")
            text = b"\n".join(records)
            needles = [needle for needle in needles if needle in text]
            indices = [
                index  # 0.1 us a record
                for index, record in enumerate(records)
                if any(needle in record for needle in needles)
            ]
        return _judge(self.exclude_fields, records, indices)


def _excluded(verdict: _Verdict) -> model.Unparsed | bool | None:
    """Return whether a record is kept: True, None if it is dropped, or why nobody knows."""
    return _TOO_LONG if verdict is userpattern.EXPIRED else None if verdict else True


def _included(verdict: _Verdict) -> model.Unparsed | bool | None:
    return _TOO_LONG if verdict is userpattern.EXPIRED else None if verdict is False else True


def _decide(
    outcomes: list[model.Outcome],
    verdicts: Sequence[_Verdict],
    decide: Callable[[_Verdict], model.Unparsed | bool | None],
) -> None:
    """Carry verdicts out; what is dropped stays so."""
    kept = {verdict for verdict in set(verdicts) if decide(verdict) is True}
    if len(kept) == len(set(verdicts)):
        return
    for index, verdict in enumerate(verdicts):
        if verdict not in kept and outcomes[index] is not None:
            decided = decide(verdict)
            assert decided is None or isinstance(decided, model.Unparsed)
            outcomes[index] = decided


def _either(first: _Verdict, second: _Verdict) -> _Verdict:
    """Return whether one of two holds; what is not known matters if the other does not hold."""
    if first is True or second is True:
        return True
    if first is userpattern.EXPIRED or second is userpattern.EXPIRED:
        return userpattern.EXPIRED
    return None if first is None or second is None else False


def _found(searches: Sequence[searching.Search], records: Sequence[bytes]) -> list[_Verdict]:
    """Return for each record whether one of the patterns is found in it."""
    verdicts: list[_Verdict] = [False] * len(records)
    if not searches:
        return verdicts
    lines = searching.Lines(records)
    for search in searches:
        found = search.found_in(lines)
        if any(found):
            verdicts = list(map(_either, verdicts, found)) if any(verdicts) else list(found)
    return verdicts


def _judge(
    conditions: Sequence[Condition], records: Sequence[bytes], indices: Sequence[int]
) -> list[_Verdict]:
    """Return whether one of the conditions holds; None of what is no object, or not in indices."""
    verdicts: list[_Verdict] = [None] * len(records)
    loaded = [(index, jsontext.loads_object(records[index])) for index in indices]
    objects = [one for _, one in loaded if one is not None]
    held: list[_Verdict] = [False] * len(objects)
    for condition in conditions:
        held = list(map(_either, held, condition.holds_of(objects)))
    at = [index for index, one in loaded if one is not None]
    for index, verdict in zip(at, held, strict=True):
        verdicts[index] = verdict
    return verdicts


def _text_of(value: object) -> str | None:
    """Return a value as text; None for null."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, int):
        return str(value)
    return orjson.dumps(value).decode()
