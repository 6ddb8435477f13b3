"""How log lines look."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Literal

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


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    """Undo what `configure` does: the log of a process is one for all tests."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for one in ("kagent", "kagent.flow.web", "kagent.flow.web.api", "kagent.flow.audit"):
        logging.getLogger(one).setLevel(logging.NOTSET)


@pytest.mark.usefixtures("_logging_as_before")
@pytest.mark.parametrize(
    ("form", "environ"),
    [
        pytest.param("text", {}, id="text"),
        pytest.param("text", {"JOURNAL_STREAM": "1:2"}, id="another stream than stderr"),
        pytest.param("json", {}, id="json"),
    ],
)
def test_only_kagent_says_info(
    form: Literal["text", "json"], environ: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Kagent's own lines have the configured level; libraries are heard from warnings on."""
    wanted = logs.LogOptions(format=form)

    logs.configure(wanted, ["web"], environ)
    logs.of_flow("web").info("ours")
    logging.getLogger("kagent.agent").info("ours, too")
    logging.getLogger("botocore").info("theirs")

    said = capfd.readouterr().err
    assert "ours" in said
    assert "ours, too" in said
    assert "theirs" not in said


@pytest.mark.usefixtures("_logging_as_before")
def test_each_flow_has_its_own_level_until_the_next(capfd: pytest.CaptureFixture[str]) -> None:
    """A flow that is not named has the default, also one whose name begins like another's."""
    flows = ["web", "web.api", "audit"]
    loggers = [logging.getLogger("kagent.agent"), *map(logs.of_flow, flows)]
    levels = {"default": "warning", "web": "debug", "audit": "error"}
    said: list[list[str]] = []

    for level in (levels, "warning"):
        logs.configure(logs.LogOptions.model_validate({"level": level}), flows, {})
        for one in loggers:
            one.debug("debug from %s", one.name)
            one.warning("warning from %s", one.name)
        said.append([line.partition(" ")[2] for line in capfd.readouterr().err.splitlines()])

    assert [
        "warning warning from kagent.agent",
        "debug debug from kagent.flow.web",
        "warning warning from kagent.flow.web",
        "warning warning from kagent.flow.web.api",
    ] == said[0]
    assert [f"warning warning from {one.name}" for one in loggers] == said[1]


def test_json_survives_a_name_that_is_no_unicode() -> None:
    """Half of a surrogate pair, from a file's name, is escaped and costs no record."""
    line = logs.JsonFormatter().format(record(logging.INFO, "path=\udcff.log"))

    assert json.loads(line)["message"] == "path=\\udcff.log"
