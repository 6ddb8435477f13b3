"""Values that an operator writes with a unit, and the base of every options model.

Sizes and durations are parsed here once, so that validation, schema and reference page agree.
A bare number where a unit is expected is an error: 4 what?
"""

from __future__ import annotations

import abc
import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import pydantic
from pydantic_core import core_schema

from kagent import meanings

_SIZE_FACTORS = {
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}
_DURATION_FACTORS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER_PATTERN = r"[0-9]{1,15}(\.[0-9]{1,9})?"
SIZE_PATTERN = f"^{_NUMBER_PATTERN} ?({'|'.join(_SIZE_FACTORS)})$"
DURATION_PATTERN = f"^{_NUMBER_PATTERN} ?({'|'.join(_DURATION_FACTORS)})$"
_NUMBER_WITH_UNIT = re.compile(f"(?P<number>{_NUMBER_PATTERN}) ?(?P<unit>[A-Za-z]+)")

EXPECTED_KEY = "x-expected"  # in a JSON schema: what is allowed, as a message says it


class NotAllowedError(ValueError):
    """A value that an operator wrote is not allowed.

    Says what is, and never what was found: the value may be a secret, and who reports the problem
    knows how to show it. Validators of options models raise this.
    """

    def __init__(self, expected: str, example: str = "") -> None:
        self.expected = expected
        self.example = example
        super().__init__(f"expected {expected}")


class Options(meanings.Described):
    """A frozen model whose unknown keys are errors; every part of the configuration is one."""

    model_config = pydantic.ConfigDict(
        extra="forbid",
        frozen=True,
        defer_build=True,  # a model that only stands in others has no validator made for itself
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _leave_out_nothing(cls, written: object) -> object:
        """Drop known keys that have nothing, or null, behind them: their defaults hold."""
        if not isinstance(written, dict):
            return written
        return {
            key: value
            for key, value in written.items()
            if value is not None or key not in cls.model_fields
        }


def printable(text: str) -> str:
    r"""Return text in which no character can break a line, move a cursor or hide another.

    Control and format characters become escapes; bytes that were no UTF-8, which Python keeps as
    surrogates, become `\xNN`.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escape(one) for one in text)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def parse_size(value: object) -> int:
    """Return the bytes that a text such as '4MiB' or '25 KB' means; KB is 1000, KiB 1024.

    Raises:
        NotAllowedError: the text has no unit, an unknown one, or is not a number.
    """
    return round(_parse(value, _SIZE_FACTORS, "a size", "4MiB"))


def parse_duration(value: object) -> float:
    """Return the seconds that a text such as '250ms', '10s', '5m', '1h' or '30d' means.

    Raises:
        NotAllowedError: the text has no unit, an unknown one, or is not a number.
    """
    return _parse(value, _DURATION_FACTORS, "a duration", "60s")


def _parse(value: object, factors: Mapping[str, float], what: str, example: str) -> float:
    match = _NUMBER_WITH_UNIT.fullmatch(value) if isinstance(value, str) else None
    if match is None or match["unit"] not in factors:
        raise NotAllowedError(f"{what} with a unit ({', '.join(factors)})", example)
    return float(match["number"]) * factors[match["unit"]]


def format_size(size_bytes: int) -> str:
    """Return a size in the largest binary unit that divides it: 16777216 is '16MiB'."""
    for unit in ("GiB", "MiB", "KiB"):
        factor = _SIZE_FACTORS[unit]
        if size_bytes >= factor and size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    return f"{size_bytes}B"


def format_duration(duration_s: float) -> str:
    """Return a duration in the largest unit that divides it: 300 is '5m'."""
    for unit in ("d", "h", "m", "s"):
        factor = _DURATION_FACTORS[unit]
        if duration_s >= factor and duration_s % factor == 0:
            return f"{int(duration_s // factor)}{unit}"
    return f"{round(duration_s * 1000)}ms"


class Written(abc.ABC):
    """Marks a field by what an operator may write there: how it is judged, and said to editors."""

    is_typed: ClassVar[bool] = False  # `validate` gets what the field's type and bounds let pass

    @property
    @abc.abstractmethod
    def expected(self) -> str:
        """What is allowed, as a message says it."""

    @abc.abstractmethod
    def validate(self, value: Any) -> Any:
        """Return what was meant; raise NotAllowedError if it is not allowed."""

    def schema(self) -> dict[str, Any] | None:
        """Return the JSON schema of what is accepted; None: that of the field's type."""
        return None

    def __get_pydantic_core_schema__(
        self, source: Any, handler: pydantic.GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Validate what was written; a default, declared as what is meant, is not validated."""
        if self.is_typed:
            return core_schema.no_info_after_validator_function(self.validate, handler(source))
        return core_schema.no_info_plain_validator_function(self.validate)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: pydantic.GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe what is accepted, for editors and the reference page."""
        return {**(self.schema() or handler(schema)), EXPECTED_KEY: self.expected}


@dataclasses.dataclass(frozen=True, slots=True)
class Size(Written):
    """Marks an int field as a size in bytes that is written with its unit, from low to high."""

    low: int
    high: int

    def schema(self) -> dict[str, Any]:
        """Describe the text that is accepted."""
        return {"type": "string", "pattern": SIZE_PATTERN}

    @property
    def expected(self) -> str:
        """What is allowed, as a message says it."""
        return f"a size with a unit, from {format_size(self.low)} to {format_size(self.high)}"

    def validate(self, value: object) -> int:
        """Return the bytes; raise NotAllowedError if it is no size or out of range."""
        examples = (f"{value}MiB", f"{value}KiB", f"{value}B", "4MiB", format_size(self.low))
        return round(
            _parse_within(parse_size, value, self.low, self.high, self.expected, examples)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Duration(Written):
    """Marks a float field as a duration in seconds that is written with its unit."""

    low_s: float
    high_s: float

    def schema(self) -> dict[str, Any]:
        """Describe the text that is accepted."""
        return {"type": "string", "pattern": DURATION_PATTERN}

    @property
    def expected(self) -> str:
        """What is allowed, as a message says it."""
        low, high = format_duration(self.low_s), format_duration(self.high_s)
        return f"a duration with a unit, from {low} to {high}"

    def validate(self, value: object) -> float | None:
        """Return the seconds (a subclass also None); raise NotAllowedError if not in range."""
        examples = (f"{value}s", f"{value}m", "60s", format_duration(self.high_s))
        return _parse_within(
            parse_duration, value, self.low_s, self.high_s, self.expected, examples
        )


@dataclasses.dataclass(frozen=True, slots=True)
class DurationOrNever(Duration):
    """Marks a field as a duration in seconds, or None, which is written 'never'."""

    def schema(self) -> dict[str, Any]:
        """Describe the text that is accepted."""
        return {"type": "string", "pattern": f"^never$|{DURATION_PATTERN}"}

    @property
    def expected(self) -> str:
        """What is allowed, as a message says it."""
        low, high = format_duration(self.low_s), format_duration(self.high_s)
        return f"'never', or a duration with a unit, from {low} to {high}"

    def validate(self, value: object) -> float | None:
        """Return the seconds, None for 'never'; raise NotAllowedError for all else."""
        return None if value == "never" else Duration.validate(self, value)


@dataclasses.dataclass(frozen=True, slots=True)
class Named:
    """Marks a model that is also written as one name, short for `{key: name}`.

    `nothing` is a name for no model at all.
    """

    key: str
    names: tuple[str, ...]
    nothing: str = ""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: pydantic.GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Validate what was written: a name, or a mapping."""
        return core_schema.no_info_wrap_validator_function(self._validate, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: pydantic.GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe both; the mapping first, which says what is in it."""
        return {"anyOf": [handler(schema), {"enum": list(self.names), "type": "string"}]}

    def _validate(
        self, value: object, validate: core_schema.ValidatorFunctionWrapHandler
    ) -> object:
        if not isinstance(value, str):
            return validate(value)
        if value not in self.names:
            example = next(name for name in self.names if name != self.nothing)
            raise NotAllowedError(
                f"one of {', '.join(map(repr, self.names))}, or a mapping", example
            )
        return None if value == self.nothing else validate({self.key: value})


def _parse_within(
    parse: Callable[[object], float],
    value: object,
    low: float,
    high: float,
    expected: str,
    examples: Sequence[str],
) -> float:
    """Return what a text means if that is within `[low, high]`.

    Raises:
        NotAllowedError: it is not; carries the first of the examples that is.
    """
    number = _number_within(parse, value, low, high)
    if number is None:
        allowed = (x for x in examples if _number_within(parse, x, low, high) is not None)
        raise NotAllowedError(expected, next(allowed))
    return number


def _number_within(
    parse: Callable[[object], float], value: object, low: float, high: float
) -> float | None:
    try:
        number = parse(value)
    except NotAllowedError:
        return None
    return number if low <= number <= high else None
