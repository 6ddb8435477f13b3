"""Take the lines of a log apart, by a format that kagent knows or by a pattern of the operator."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Literal

import pydantic

from kagent import model, options
from kagent.preprocessors import (
    conversion,
    formats,
    jsonlines,
    logfmt,
    readers,
    stage,
    syslog,
    web_formats,
)

FormatName = Literal[
    "common_apache",
    "combined_apache",
    "apache_error",
    "nginx",
    "nginx_error",
    "syslog",
    "rfc3339_syslog",
    "alb",
    "logfmt",
    "json",
]
FORMATS: Mapping[FormatName, formats.Format] = {
    "common_apache": web_formats.COMMON_APACHE,
    "combined_apache": web_formats.COMBINED_APACHE,
    "apache_error": web_formats.APACHE_ERROR,
    "nginx": web_formats.NGINX,
    "nginx_error": web_formats.NGINX_ERROR,
    "syslog": syslog.RFC3164,
    "rfc3339_syslog": syslog.RFC3339,
    "alb": web_formats.ALB,
}

_FieldName = Annotated[str, pydantic.Field(min_length=1, max_length=256)]


class LogToJson(stage.Stage):
    """Takes lines apart, by a known format or by a pattern, and makes a JSON object of each."""

    format: FormatName
    """What a line looks like. Fields of a format that the Java agent knows have its names."""

    fields: tuple[_FieldName, ...] | None = None
    """Other names for the fields that every line of the format has, in their order."""

    types: dict[_FieldName, conversion.Type] = pydantic.Field(default_factory=dict)
    """Types of fields that are no strings: `{bytes: int}`; int, float or bool. An empty value is
    null; a line with another value than one of its type is unparsed."""

    dash: Literal["null", "keep"] | None = None
    """What a field becomes that is `-`. When left out, null for access logs, `apache_error` and
    `alb`, and kept for the others, as in the Java agent."""

    def __call__(
        self,
        records: list[bytes],
        context: model.ChunkContext,  # noqa: ARG002
    ) -> list[model.Outcome]:
        """Return an object for each record."""
        return self._reader.read(records)

    @pydantic.model_validator(mode="after")
    def _check(self) -> LogToJson:
        """Check the names against the format's."""
        of = FORMATS.get(self.format)
        if of is None:
            if self.fields is not None or self.dash is not None:
                raise options.NotAllowedError(
                    f"no 'fields' and no 'dash' with format '{self.format}'"
                )
            return self
        if self.fields is not None and len(self.fields) != len(of.always):
            raise options.NotAllowedError(
                f"{len(of.always)} names in 'fields', for {', '.join(of.always)}"
            )
        unknown = [name for name in self.types if name not in self._reader.names]
        if unknown:
            known = ", ".join(self._reader.names)
            raise options.NotAllowedError(f"only fields in 'types': {known}")
        return self

    @functools.cached_property
    def _reader(self) -> readers.Reader:
        if self.format == "json":
            return jsonlines.JsonReader(self.types)
        if self.format == "logfmt":
            return logfmt.LogfmtReader(self.types)
        is_syslog = self.format in {"syslog", "rfc3339_syslog"}
        reader = syslog.SyslogReader if is_syslog else readers.FormatReader
        is_dash_null = None if self.dash is None else self.dash == "null"
        return reader(FORMATS[self.format], self.fields, self.types, is_dash_null=is_dash_null)
