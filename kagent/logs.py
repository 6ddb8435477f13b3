"""How log lines look on stderr: text for people, JSON for machines, priorities for the journal."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import Literal

import orjson

# The priorities of sd-daemon(3): the journal reads them from a line's start.
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}


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


def configure(level: str, form: Literal["text", "json"], environ: Mapping[str, str]) -> None:
    """Send kagent's log lines to stderr, and nothing else there.

    Args:
        level: debug, info, warning or error.
        form: The lines' form.
        environ: JOURNAL_STREAM says whether stderr is the journal.
    """
    handler = logging.StreamHandler(sys.stderr)
    formatter = (
        JsonFormatter() if form == "json" else TextFormatter(is_journal=_is_journal(environ))
    )
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("kagent").setLevel(level.upper())


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
