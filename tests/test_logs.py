"""How log lines look."""

from __future__ import annotations

import json
import logging

import pytest

from kagent import logs


def record(level: int, message: str, **more: object) -> logging.LogRecord:
    made = logging.LogRecord("kagent.flow", level, __file__, 1, message, (), None)
    made.created = 1_700_000_000.25
    made.__dict__.update(more)
    return made


def test_text_has_time_level_and_message() -> None:
    """A person reads when, how bad and what, in UTC."""
    line = logs.TextFormatter(is_journal=False).format(record(logging.WARNING, "file skipped"))

    assert line == "2023-11-14T22:13:20.250Z warning file skipped"


def test_the_journal_gets_a_priority_on_every_line() -> None:
    """The journal has its own time; a message of two lines keeps its priority on both."""
    line = logs.TextFormatter(is_journal=True).format(record(logging.ERROR, "one\ntwo"))

    assert line == "<3>one\n<3>two"


def test_json_is_one_object_a_line_with_the_traceback_of_a_bug() -> None:
    """A machine finds each part under its key, and a traceback does not break the line."""
    bug = record(logging.ERROR, "flow failed")
    bug.exc_info = (RuntimeError, RuntimeError("our bug"), None)

    line = logs.JsonFormatter().format(bug)

    assert "\n" not in line
    found = json.loads(line)
    assert found["message"] == "flow failed"
    assert found["level"] == "error"
    assert "RuntimeError: our bug" in found["traceback"]


@pytest.mark.parametrize(
    ("form", "environ"),
    [
        pytest.param("text", {}, id="text"),
        pytest.param("text", {"JOURNAL_STREAM": "1:2"}, id="another stream than stderr"),
        pytest.param("json", {}, id="json"),
    ],
)
def test_only_kagent_says_info(
    form: str, environ: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Kagent's own lines have the configured level; libraries are heard from warnings on."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        logs.configure("info", form, environ)  # type: ignore[arg-type]
        logging.getLogger("kagent.flow").info("ours")
        logging.getLogger("botocore").info("theirs")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.getLogger("kagent").setLevel(logging.NOTSET)

    said = capfd.readouterr().err
    assert "ours" in said
    assert "theirs" not in said


def test_json_survives_a_name_that_is_no_unicode() -> None:
    """Half of a surrogate pair, from a file's name, is escaped and costs no record."""
    line = logs.JsonFormatter().format(record(logging.INFO, "path=\udcff.log"))

    assert json.loads(line)["message"] == "path=\\udcff.log"
