"""Call a preprocessor with a block, and hold it to the contract of model.Preprocessor.

A stage that raises, or returns what it must not, is called again record by record: only the
culprits are unparsed. What a stage says of a record in an exception is never passed on: it may
quote what is private.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os.path
import threading
from collections.abc import Iterable
from typing import Protocol

from kagent import model, preprocessors

_ALLOWED = {bytes, model.Unparsed, type(None)}
_POISON = model.Unparsed("did not return, twice", is_poison=True)


class Guard(Protocol):
    """Is told where the process may die, and knows where it died before."""

    @property
    def is_wary(self) -> bool:
        """It died before: ask `judge` of every block."""
        ...

    def judge(self, preprocessor: str, context: model.ChunkContext) -> list[bool] | None:
        """Return which of a block's records are poison, if they must go one by one; else None."""
        ...

    def around(
        self, preprocessor: str, context: model.ChunkContext
    ) -> contextlib.AbstractContextManager[None]:
        """Return what is entered around a call."""
        ...


def call(
    one: preprocessors.Stage,
    records: list[bytes],
    context: model.ChunkContext,
    guard: Guard | None = None,
) -> list[model.Outcome]:
    """Return what a stage makes of records: as many outcomes, of the right types.

    Args:
        one: The stage.
        records: One or more.
        context: What is known of them.
        guard: Watches over calls of stages that are not ours.
    """
    if one.is_built_in:
        guard = None
    poison: list[bool] | None = None
    if guard is not None and guard.is_wary:
        poison = guard.judge(one.name, context)
    if poison is None:
        try:
            return _attempt(one, records, context, guard)
        except _StageError as failed:
            if len(records) == 1:
                return [model.Unparsed(failed.part)]
    outcomes: list[model.Outcome] = []
    for index, record in enumerate(records):  # rare: the stage is in error
        if poison is not None and poison[index]:
            outcomes.append(_POISON)
            continue
        try:
            outcomes += _attempt(one, [record], context.select([index]), guard)
        except _StageError as failed:
            outcomes.append(model.Unparsed(failed.part))
    return outcomes


def _attempt(
    one: preprocessors.Stage,
    records: list[bytes],
    context: model.ChunkContext,
    guard: Guard | None,
) -> list[model.Outcome]:
    if guard is None:
        return _checked(one, records, context)
    with guard.around(one.name, context):
        return _checked(one, records, context)


class _StageError(Exception):
    """A stage raised, or returned what it must not."""

    def __init__(self, part: str) -> None:
        self.part = part
        super().__init__(part)


def _checked(
    one: preprocessors.Stage, records: list[bytes], context: model.ChunkContext
) -> list[model.Outcome]:
    """Call a stage; what is given back has as many outcomes as there are records.

    Raises:
        _StageError: it raised, or returned something else.
    """
    if not one.is_built_in:  # a copy: what it does to its arguments must not be done to ours
        records = list(records)
        starts, ends = tuple(context.starts), tuple(context.ends)
        context = dataclasses.replace(
            context,
            starts=starts,
            ends=ends,
            captured=dict(context.captured),
            header=tuple(context.header),
            columns={},
        )
    count = len(records)
    try:
        found = one.preprocessor(records, context)
        # One more than wanted shows that there are too many; a generator may never end.
        outcomes = list(itertools.islice(_iterable(found), count + 1))
    except _StageError:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and _is_main_thread():
            raise
        raise _StageError(_raised(error)) from error
    if len(outcomes) != count:
        more = "more" if len(outcomes) > count else str(len(outcomes))
        raise _StageError(f"returned {more} outcomes for {count} records")
    kinds = set(map(type, outcomes)) - _ALLOWED
    if kinds:
        name = min(kind.__name__ for kind in kinds)
        raise _StageError(f"returned {name} for a record, not bytes or None")
    return outcomes


def _raised(error: BaseException) -> str:
    """Return what was raised and where; the text of an exception may quote the record."""
    what = f"raised {type(error).__name__}"
    place = error.__traceback__
    if place is None or place.tb_next is None:  # the first frame is ours
        return what
    while place.tb_next is not None:
        place = place.tb_next
    file = os.path.basename(place.tb_frame.f_code.co_filename)
    return f"{what} at {file}:{place.tb_lineno}"


def _iterable(found: object) -> Iterable[model.Outcome]:
    if found is None or isinstance(found, str | bytes | bytearray | memoryview | dict | set):
        raise _StageError(f"returned {type(found).__name__}, not a list")
    return found  # type: ignore[return-value]  # iterating it raises TypeError if it is none


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
