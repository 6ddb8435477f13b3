"""Read the time of a record, as its log writes it, and write it as ISO 8601 in UTC into a field.

The time stands in a field of a JSON object, or at the beginning of a line, which then becomes an
object with the line as its `message`. The rest of an object stays as it is written.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Annotated, Literal

import orjson
import pydantic

from kagent import model, options
from kagent.preprocessors import jsontext, stage, timeformats, timestamps

START_BYTES = 64  # of a line, in which its time stands

_EXPECTED = f"one of {', '.join(timeformats.NAMES)}, or a format such as '%Y-%m-%d %H:%M:%S'"
_NO_OBJECT = model.Unparsed("no JSON object")
_NO_TIME = model.Unparsed("no time at the beginning")


class _Format(options.Written):
    """Validates a format."""

    is_typed = True
    expected = _EXPECTED

    def validate(self, value: str) -> str:
        """Return the format."""
        try:
            timestamps.Format(value)
        except timeformats.UnknownError as error:
            raise options.NotAllowedError(f"{_EXPECTED} ({error})") from error
        return value


def _judge_zone(value: str) -> str:
    try:
        timestamps.zone_of(value)
    except timeformats.UnknownError as error:
        raise options.NotAllowedError(
            "'UTC', 'local', an offset such as '+02:00', or a time zone that this machine knows",
            "Europe/Berlin",
        ) from error
    return value


class ParseTimestamp(stage.Stage):
    """Reads the time of a record and writes it as ISO 8601 in UTC into a field."""

    formats: Annotated[
        tuple[Annotated[str, pydantic.Field(min_length=1, max_length=200), _Format()], ...],
        pydantic.Field(min_length=1),
    ]
    """How times are written; tried in this order. `iso8601`; `apache`, as in
    `07/Mar/2004:16:10:02 -0800`; `syslog`, as in `Mar  7 16:10:02`, whose year is that of the time
    of reading, or the one before; `epoch`, `epoch_ms`, `epoch_us`, `epoch_ns`; or a text with the
    directives of strptime, with English names."""

    field: Annotated[str, pydantic.Field(min_length=1)] | None = None
    """The field of a JSON object that holds the time; `a.b` is the member `b` of the object `a`.
    Left out: the time stands at the beginning of the line."""

    into: Annotated[str, pydantic.Field(min_length=1, max_length=255)] = "timestamp"
    """The field that gets the time; it may be the same."""

    message: Annotated[str, pydantic.Field(min_length=1, max_length=255)] = "message"
    """The field that gets the line, when the time stands at its beginning."""

    timezone: Annotated[str, pydantic.AfterValidator(_judge_zone)] = "UTC"
    """Of times that name none: UTC, local (this machine's), an offset, or a name."""

    on_failure: Literal["unparsed", "keep"] = "unparsed"
    """What becomes of a record without a time that can be read: it is unparsed, see `on_no_match`,
    or goes on as it is."""

    @pydantic.model_validator(mode="after")
    def _tell_apart(self) -> ParseTimestamp:
        if self.field is None and self.into == self.message:
            raise options.NotAllowedError("'into' and 'message' to be different")
        return self

    @functools.cached_property
    def _reader(self) -> timestamps.Reader:
        return timestamps.Reader(self.formats, timestamps.zone_of(self.timezone))

    def __call__(
        self, records: list[bytes], context: model.ChunkContext
    ) -> Sequence[model.Outcome]:
        """Return each record with its time: 1.5 us for an object of 200 bytes."""
        self._reader.set_time(context.read_time)
        outcomes = (
            [self._of_line(record) for record in records]
            if self.field is None
            else [self._of_object(record) for record in records]
        )
        if self.on_failure == "unparsed":
            return outcomes
        return [
            outcome if isinstance(outcome, bytes) else record
            for outcome, record in zip(outcomes, records, strict=True)
        ]

    def _of_object(self, record: bytes) -> model.Outcome:
        field = self.field
        assert field is not None
        try:
            found = orjson.loads(record)
        except orjson.JSONDecodeError:
            record = jsontext.readable(record)
            found = jsontext.loads_object(record)
        if type(found) is not dict:
            return _NO_OBJECT
        value = found.get(field)
        if value is None:
            value = jsontext.look_up(found, field)
        if type(value) is not str:
            if type(value) not in {int, float}:
                return model.Unparsed(f"'{field}' is missing" if value is None else self._none)
            value = repr(value).removesuffix(".0")
        time = self._reader.read(value)
        if time is None:
            return model.Unparsed(self._none)
        into = self.into
        if into not in found and record.endswith(b"}\n") and record.find(b"\n") == len(record) - 1:
            return self._template % (record[:-2], time.encode())
        body = record.strip(b" \t\r\n")
        if b"\n" in body:
            body = jsontext.compact(body)
        return jsontext.put(body, [(into, b'"%b"' % time.encode())]) + b"\n"

    @functools.cached_property
    def _template(self) -> bytes:
        return b'%%b,%b"%%b"}\n' % jsontext.key(self.into).replace(b"%", b"%%")

    @functools.cached_property
    def _line_template(self) -> bytes:
        message, into = (
            jsontext.key(name).replace(b"%", b"%%") for name in (self.message, self.into)
        )
        return b'{%b%%b,%b"%%b"}\n' % (message, into)

    @functools.cached_property
    def _none(self) -> str:
        return f"'{self.field}' is no time in any of the formats"

    def _of_line(self, record: bytes) -> model.Outcome:
        line = jsontext.line_of(record)
        time = self._reader.start_of(line[:START_BYTES].decode("latin-1"))
        if time is None:
            return _NO_TIME
        return self._line_template % (jsontext.string(line), time.encode())
