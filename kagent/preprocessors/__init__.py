"""The preprocessors that there are: built in, by a table, or the operator's own, by entry point.

A preprocessor is a class, a pydantic model whose fields are its options, and whose instances are
called with records (see model.Preprocessor); or, without options, a plain function. Built-in ones
are one module each and imported when a configuration names them. Others are found under their
names in the entry point group `kagent.preprocessors`; a built-in name is always the built-in one.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

import pydantic

from kagent import model
from kagent.preprocessors import stage

ENTRY_POINTS = "kagent.preprocessors"

BUILT_IN: Mapping[str, tuple[str, str]] = {  # by name: the module, the class in it
    "add_brackets": ("add_brackets", "AddBrackets"),
    "add_metadata": ("add_metadata", "AddMetadata"),
    "csv_to_json": ("csv_to_json", "CsvToJson"),
    "filter": ("filter", "Filter"),
    "log_to_json": ("log_to_json", "LogToJson"),
    "parse_timestamp": ("parse_timestamp", "ParseTimestamp"),
    "redact": ("redact", "Redact"),
    "single_line": ("single_line", "SingleLine"),
}


class NotLoadableError(Exception):
    """The operator's preprocessor cannot be imported, or is none; says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """One step of a flow's `preprocess`; equal if a flow need not be built anew for it."""

    name: str
    preprocessor: model.Preprocessor
    is_built_in: bool

    @property
    def for_unparsed(self) -> stage.ForUnparsed:
        """Which records it also gets that an earlier stage could not take apart."""
        found: stage.ForUnparsed = getattr(self.preprocessor, "for_unparsed", "never")
        return found if found in {"wrapped", "always"} else "never"

    @property
    def value_names(self) -> Iterable[str]:
        """The named values that its options refer to."""
        return tuple(getattr(self.preprocessor, "value_names", ()))

    @property
    def needs_instance(self) -> bool:
        """EC2 instance data or tags are wanted."""
        return bool(getattr(self.preprocessor, "needs_instance", False))

    @property
    def needs_tags(self) -> bool:
        """Tags of the EC2 instance are wanted."""
        return bool(getattr(self.preprocessor, "needs_tags", False))


def names() -> list[str]:
    """Return the names of all preprocessors that there are on this machine, built-in ones first.

    Cheap: nothing is imported for it.
    """
    others = {one.name for one in importlib.metadata.entry_points(group=ENTRY_POINTS)}
    return [*BUILT_IN, *sorted(others - set(BUILT_IN))]


def find(name: str) -> type[pydantic.BaseModel] | model.Preprocessor | None:
    """Return a preprocessor's class, or its function if it has no options; None if there is none.

    Raises:
        NotLoadableError: it is the operator's, and cannot be imported or used.
    """
    if name in BUILT_IN:
        module, of_class = BUILT_IN[name]
        imported = importlib.import_module(f"kagent.preprocessors.{module}")
        found: type[pydantic.BaseModel] = getattr(imported, of_class)
        return found
    entries = importlib.metadata.entry_points(group=ENTRY_POINTS, name=name)
    return next(map(_load, entries), None)


def options_model(name: str) -> type[pydantic.BaseModel] | None:
    """Return the model whose fields are a preprocessor's options; None if it takes none.

    Raises:
        NotLoadableError: see `find`.
        KeyError: there is no preprocessor of that name.
    """
    found = find(name)
    if found is None:
        raise KeyError(name)
    return found if is_model(found) else None


def make(name: str, written: Mapping[str, object]) -> Stage:
    """Return a stage from options that were found right.

    Raises:
        NotLoadableError: the operator's own class refused them after all.
    """
    found = find(name)
    assert found is not None
    if not is_model(found):
        function: Any = found
        return Stage(name, function, is_built_in=False)
    is_built_in = name in BUILT_IN
    try:
        made: Any = found.model_validate(
            written if is_built_in else plain(written), strict=is_built_in
        )
    except Exception as error:
        raise NotLoadableError(describe(error)) from error
    return Stage(name, made, is_built_in)


def plain(written: object) -> object:
    """Return options with lists in the place of tuples, as a model that is not ours expects."""
    if isinstance(written, Mapping):
        return {key: plain(value) for key, value in written.items()}
    return [plain(value) for value in written] if isinstance(written, tuple) else written


def describe(error: BaseException) -> str:
    """Return an exception of somebody else's code as a message names it."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def is_model(found: object) -> TypeGuard[type[pydantic.BaseModel]]:
    """Return whether a preprocessor has options."""
    return isinstance(found, type) and issubclass(found, pydantic.BaseModel)


def _load(entry: importlib.metadata.EntryPoint) -> Any:
    try:
        found = entry.load()
    except (Exception, SystemExit) as error:
        raise NotLoadableError(describe(error)) from error
    if not callable(found):
        raise NotLoadableError(f"{entry.value} is no function and no class")
    if isinstance(found, type) and not is_model(found):
        raise NotLoadableError(
            f"{entry.value} is a class, but no pydantic model whose fields are its options"
        )
    if is_model(found) and "__call__" not in dir(found):
        raise NotLoadableError(f"{entry.value} has no method __call__(records, context)")
    return found
