"""Make JSON objects of rows of separated values."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Annotated, Literal

import pydantic

from kagent import model, options
from kagent.preprocessors import conversion, flat, jsontext, rows, stage

_HEADERS_MAX = 256  # different ones whose writers are kept
_Name = Annotated[str, pydantic.Field(min_length=1, max_length=256)]


class CsvToJson(stage.Stage):
    """Makes a JSON object of each row, with a member for each column."""

    columns: Literal["header"] | tuple[_Name, ...] = pydantic.Field(
        json_schema_extra={options.EXPECTED_KEY: "'header', or a list of names"}
    )
    """The columns' names, in their order; or `header`, for the last of the lines that the
    source's `header_lines` counts. Of two alike the last value counts."""

    delimiter: str = pydantic.Field(default=",", min_length=1, max_length=16)
    r"""What stands between two columns, one character or more; `"\t"` is a tab."""

    quoting: Literal["rfc4180", "none"] = "rfc4180"
    """rfc4180: a value in quotes may hold delimiters, doubled quotes and, with `multiline: csv`,
    newlines. none: quotes are characters like any other, as for the Java agent."""

    empty: Literal["keep", "nullify", "nullify_trailing"] = "keep"
    """What becomes of a column with nothing in it. keep: it is empty text; nullify: it is null;
    nullify_trailing: those at the row's end are null, as in the Java agent."""

    missing: Literal["nullify", "unparsed"] = "nullify"
    """What becomes of a row with fewer columns: the others are null, or it is unparsed."""

    extra: Literal["unparsed", "drop"] = "unparsed"
    """What becomes of a row with more columns: it is unparsed, or the others are left out."""

    types: dict[_Name, conversion.Type] = pydantic.Field(default_factory=dict)
    """Types of columns that are no strings: `{bytes: int}`; int, float or bool. An empty value is
    null; a row with another value than one of its type is unparsed."""

    @pydantic.field_validator("columns")
    @classmethod
    def _check_columns(cls, columns: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not columns:
            raise options.NotAllowedError("'header', or a list of at least one name")
        return columns

    @pydantic.field_validator("delimiter")
    @classmethod
    def _check_delimiter(cls, delimiter: str) -> str:
        if any(one in delimiter for one in '"\r\n\0'):
            raise options.NotAllowedError("text without quotes, newlines and NULs", ",")
        return delimiter

    @pydantic.model_validator(mode="after")
    def _check(self) -> CsvToJson:
        unknown = [] if self.columns == "header" else sorted(set(self.types) - set(self.columns))
        if unknown:
            raise options.NotAllowedError(f"only columns in 'types': {', '.join(self.columns)}")
        return self

    def __call__(
        self, records: list[bytes], context: model.ChunkContext
    ) -> Sequence[model.Outcome]:
        """Return an object for each row."""
        names = self._names(context)
        if isinstance(names, str):
            return [model.Unparsed(names)] * len(records)
        writer = self._writer(names)
        return jsontext.by_blocks(
            records,
            functools.partial(self._read_block, writer, names),
            functools.partial(self._read_one, writer, names),
        )

    def _names(self, context: model.ChunkContext) -> tuple[str, ...] | str:
        """Return the columns' names; or why there are none."""
        if self.columns != "header":
            return self.columns
        if not context.header:
            return "the header line is not known"
        line = jsontext.line_of(context.header[-1]).removeprefix(b"\xef\xbb\xbf")
        fields = self._splitter.split(line)
        if isinstance(fields, str):
            return f"in the header line, {fields}"
        return tuple(
            field.decode("utf-8", "replace") if field else f"column_{number}"
            for number, field in enumerate(fields, 1)
        )

    @functools.cached_property
    def _splitter(self) -> rows.Splitter:
        return rows.Splitter(self.delimiter, has_quotes=self.quoting == "rfc4180")

    @functools.cached_property
    def _writers(self) -> dict[tuple[str, ...], flat.Writer]:
        return {}

    def _writer(self, names: tuple[str, ...]) -> flat.Writer:
        found = self._writers.get(names)
        if found is None:
            if len(self._writers) >= _HEADERS_MAX:
                self._writers.clear()
            found = self._writers[names] = flat.Writer(names, self.types)
        return found

    # --- rows ---------------------------------------------------------------------------------

    def _read_one(
        self, writer: flat.Writer, names: tuple[str, ...], record: bytes
    ) -> model.Outcome:
        fields = self._splitter.split(jsontext.line_of(record))
        if isinstance(fields, str):
            return model.Unparsed(fields)
        count = len(fields)
        if count > len(names) and self.extra == "unparsed":
            return model.Unparsed(f"{count} columns instead of {len(names)}")
        if count < len(names) and self.missing == "unparsed":
            return model.Unparsed(f"{count} columns instead of {len(names)}")
        if self.empty != "nullify":
            kept = count
            if self.empty == "nullify_trailing" and count > 1:
                while kept and fields[kept - 1] is None:
                    kept -= 1
            fields = [field or b"" for field in fields[:kept]]
        missing = len(names) - len(fields)
        return writer.write([*fields, *[None] * missing][: len(names)])

    def _read_block(
        self, writer: flat.Writer, names: tuple[str, ...], records: Sequence[bytes]
    ) -> list[bytes] | None:
        """Return the objects of rows that have as many columns as the first one."""
        first = self._splitter.split(jsontext.line_of(records[0]))
        count = len(first)
        is_wanted = count == len(names) or (count < len(names) and self.missing == "nullify")
        block = self._splitter.split_block(records, count) if is_wanted else None
        if block is None:
            return None
        if self.empty == "nullify":
            markers = dict.fromkeys(range(count), b"")
        else:
            markers = {at: b"" for at in range(count) if names[at] in self.types}
        if self.empty == "nullify_trailing" and any(
            not any(row[-block.width :]) for row in block.rows
        ):
            return None
        found = writer.write_block(block.rows, range(count), markers, block.width)
        if found is None or not block.has_doubled:
            return found
        return [one.replace(rows.DOUBLED, b'\\"') for one in found]
