"""What of kagent's log is written, and how it looks: text, JSON, or priorities for the journal."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

import orjson
import pydantic

from kagent import options

Level = Literal["debug", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")

# The priorities of sd-daemon(3): the journal reads them from a line's start.
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}


class LevelOptions(options.Options):
    """The least level of each flow; `level: debug` is short for `{default: debug}`."""

    model_config = pydantic.ConfigDict(
        extra="allow",  # names of flows, checked where flows are known
        json_schema_extra={
            options.EXPECTED_KEY: f"one of {', '.join(map(repr, LEVELS))}, or a mapping"
        },
    )
    __pydantic_extra__: dict[
        str, Annotated[Level | None, pydantic.Field(description="The level of the flow NAME.")]
    ]

    default: Level = "info"
    """The level of every flow that is not named here, and of what is said of no flow."""

    def of(self, flow: str) -> Level:
        """Return the level of a flow."""
        assert self.model_extra is not None
        level: Level | None = self.model_extra.get(flow)
        return level or self.default


class LogOptions(options.Options):
    """What the daemon says of itself on stderr."""

    level: Annotated[LevelOptions, options.Named("default", LEVELS)] = pydantic.Field(
        default=LevelOptions(), json_schema_extra={"default": "info"}
    )
    """The least level that is written: of all lines, or flow by flow of those that say
    `flow=NAME`."""

    format: Literal["text", "json"] = "text"
    """One line of key=value pairs, or one JSON object, for each event."""


class TextFormatter(logging.Formatter):
    """`time level message`, or `<priority>message` where the journal adds the time itself."""

    def __init__(self, *, is_journal: bool) -> None:
        """Choose the form once."""
        super().__init__()
        self._is_journal = is_journal

    def format(self, record: logging.LogRecord) -> str:
        """Return one log line; a bug of ours brings its traceback."""
        text = super().format(record)
        if self._is_journal:
            priority = _PRIORITIES.get(record.levelno, 3)
            return "\n".join(f"<{priority}>{line}" for line in text.splitlines())
        return f"{_utc(record.created)} {record.levelname.lower()} {text}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one log line."""
        fields = {
            "time": _utc(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        # A message may hold what UTF-8 cannot: half of a surrogate pair, from a file's name.
        clean = {
            key: text.encode(errors="backslashreplace").decode() for key, text in fields.items()
        }
        return orjson.dumps(clean).decode()


def of_flow(name: str) -> logging.Logger:
    """Return the logger of every line that says `flow=NAME`: each flow has one, and a level."""
    return logging.getLogger(f"kagent.flow.{name}")


def configure(wanted: LogOptions, flows: Iterable[str], environ: Mapping[str, str]) -> None:
    """Send kagent's log lines to stderr, and nothing else there; at any time, for what follows.

    Args:
        wanted: Levels and form.
        flows: The names of all flows. One that is not among them keeps the level it had: it may
            be ending, and has something to say.
        environ: JOURNAL_STREAM says whether stderr is the journal.
    """
    handler = logging.StreamHandler(sys.stderr)
    is_json = wanted.format == "json"
    formatter = JsonFormatter() if is_json else TextFormatter(is_journal=_is_journal(environ))
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("kagent").setLevel(wanted.level.default.upper())
    for flow in flows:  # each, as logging takes 'web.api' for a part of 'web'
        of_flow(flow).setLevel(wanted.level.of(flow).upper())


def _is_journal(environ: Mapping[str, str]) -> bool:
    """Return whether stderr is the journal; see JOURNAL_STREAM in systemd.exec(5)."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


def _utc(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"
