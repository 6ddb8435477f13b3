"""Named values of records: `{path}`, `{host}`, `{offset}`, `{id}`, `{read_time}`, captured groups.

Pure. Fields, partition keys and whatever else an operator may fill with a value take it from here.
A value is a whole text in braces, `"{path}"`; elsewhere but in fields, which put values between
other words, any other text means itself.

A column is computed once for a chunk, and only when somebody asks for it.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable

from kagent import model

NAMES = ("path", "host", "offset", "id", "read_time")

# What EC2 says of the instance; empty where it says nothing, or nothing yet.
INSTANCE_NAMES = (
    "instance_id",
    "instance_type",
    "region",
    "availability_zone",
    "account_id",
    "ami_id",
    "private_ip",
)

_WRITTEN = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")

# One value for all records of a chunk, or one for each.
Column = str | list[str] | list[int]


def name_of(text: str) -> str | None:
    """Return the name that a text such as '{path}' stands for; None if it means itself."""
    match = _WRITTEN.fullmatch(text)
    return match[1] if match else None


def parts_of(text: str) -> list[str]:
    """Return the parts of a text such as '{host}: x': those at odd places are names of values."""
    return _WRITTEN.split(text)


def is_known(name: str, captured: Iterable[str]) -> bool:
    """Return whether a flow that captures these groups has a value of that name."""
    return name in NAMES or name in captured


def record_id(tail_id: str, start: int, end: int) -> str:
    """Return the id of a record: the same whenever the same bytes are sent again."""
    return f"{tail_id}:{start}-{end}"


def column(name: str, context: model.ChunkContext) -> Column:
    """Return a value by its name: one for all records, or a list with one for each.

    `offset` is numbers, everything else text; bytes of a path that are no UTF-8 are U+FFFD.

    Raises:
        KeyError: there is no value of that name.
    """
    found = context.columns.get(name)
    if found is None:
        found = context.columns[name] = _compute(name, context)
    return found  # type: ignore[return-value]  # what _compute returned


def texts(name: str, context: model.ChunkContext) -> list[str]:
    """Return a value as one text for each record."""
    found = column(name, context)
    return [found] * len(context.starts) if isinstance(found, str) else list(map(str, found))


def _compute(name: str, context: model.ChunkContext) -> Column:
    if name == "offset":
        return list(context.starts)
    if name == "id":
        head = f"{context.tail_id}:"
        part = f"/{context.part}" if context.part else ""
        return [
            f"{head}{start}-{end}{part}"
            for start, end in zip(context.starts, context.ends, strict=True)
        ]
    if name == "path":
        return readable(context.path)
    if name == "host":
        return context.host.name
    if name == "read_time":
        return iso_time(context.read_time)
    if name in INSTANCE_NAMES:
        return readable(context.host.instance.get(name, ""))
    return readable(context.captured[name])


def readable(text: str) -> str:
    """Return text that is UTF-8: the bytes of a path that are not become U+FFFD."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def iso_time(time_s: float) -> str:
    """Return seconds since the epoch as '2026-11-26T00:30:00.123Z'."""
    moment = dt.datetime.fromtimestamp(round(time_s * 1000) / 1000, dt.UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
