"""Take the lines of a log apart, by a format that kagent knows or by a pattern of the operator."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Literal

import pydantic

from kagent import model, options, userpattern
from kagent.preprocessors import (
    conversion,
    formats,
    jsonlines,
    logfmt,
    pattern_reader,
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

    format: FormatName | None = None
    """What a line looks like. Fields of a format that the Java agent knows have its names."""

    pattern: userpattern.PatternText | None = None
    """Instead of a format, a regular expression that must match the whole line; its named groups
    are the fields. A line that takes too long is unparsed."""

    fields: tuple[_FieldName, ...] | None = None
    """Other names for the fields that every line of the format has, in their order; for a pattern,
    the names of all its groups."""

    types: dict[_FieldName, conversion.Type] = pydantic.Field(default_factory=dict)
    """Types of fields that are no strings: `{bytes: int}`; int, float or bool. An empty value is
    null; a line with another value than one of its type is unparsed."""

    dash: Literal["keep", "nullify"] | None = None
    """What a field becomes that is `-`. keep: it stays; nullify: it is null. When left out, it is
    null for access logs, `apache_error` and `alb`, as in the Java agent, and stays otherwise."""

    def __call__(
        self,
        records: list[bytes],
        context: model.ChunkContext,
    ) -> list[model.Outcome]:
        """Return an object for each record."""
        return self._reader.read(records)

    @pydantic.model_validator(mode="after")
    def _check(self) -> LogToJson:
        """Check the names against those of the format or pattern."""
        if (self.format is None) == (self.pattern is None):
            raise options.NotAllowedError("either 'format' or 'pattern'")
        if self.format in {"json", "logfmt"}:
            if self.fields is not None or self.dash is not None:
                raise options.NotAllowedError(
                    f"no 'fields' and no 'dash' with format '{self.format}'"
                )
            return self
        self._check_fields()
        unknown = [name for name in self.types if name not in self._reader.names]
        if unknown:
            known = ", ".join(self._reader.names)
            raise options.NotAllowedError(f"only fields in 'types': {known}")
        return self

    def _check_fields(self) -> None:
        if self.pattern is None:
            always = FORMATS[self.format].always if self.format else ()
            if self.fields is not None and len(self.fields) != len(always):
                raise options.NotAllowedError(
                    f"{len(always)} names in 'fields', for {', '.join(always)}"
                )
            return
        compiled = userpattern.compile_pattern(self.pattern)
        if self.fields is None and not compiled.groupindex:
            raise options.NotAllowedError(
                "a pattern with named groups, such as '(?P<status>[0-9]+)', or 'fields'"
            )
        if self.fields is not None and len(self.fields) != compiled.groups:
            raise options.NotAllowedError(
                f"{compiled.groups} names in 'fields', one for each group of the pattern"
            )

    @functools.cached_property
    def _reader(self) -> readers.Reader:
        if self.pattern is not None:
            return pattern_reader.PatternReader(
                self.pattern, self.fields, self.types, is_dash_null=self.dash == "nullify"
            )
        assert self.format is not None
        if self.format == "json":
            return jsonlines.JsonReader(self.types)
        if self.format == "logfmt":
            return logfmt.LogfmtReader(self.types)
        is_syslog = self.format in {"syslog", "rfc3339_syslog"}
        reader = syslog.SyslogReader if is_syslog else readers.FormatReader
        is_dash_null = None if self.dash is None else self.dash == "nullify"
        return reader(FORMATS[self.format], self.fields, self.types, is_dash_null=is_dash_null)
