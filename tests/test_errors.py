"""`errors`: what an operator reads says where, which, what and what would help."""

from __future__ import annotations

import pytest

from kagent import errors

LINE = "      max_aeg: 60s"


def problem(**parts: object) -> errors.Problem:
    known: dict[str, object] = {
        "file": "/etc/kagent.yaml",
        "line": 14,
        "column": 7,
        "key": "flows[1].batch.max_aeg",
        "message": "unknown key",
    }
    return errors.Problem(**{**known, **parts})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        pytest.param(
            {},
            ["/etc/kagent.yaml:14:7: flows[1].batch.max_aeg: unknown key"],
            id="place, key and message",
        ),
        pytest.param(
            {"key": ""}, ["/etc/kagent.yaml:14:7: unknown key"], id="the document as a whole"
        ),
        pytest.param(
            {"line": 0, "key": "", "message": "cannot read it"},
            ["/etc/kagent.yaml: cannot read it"],
            id="the file as a whole",
        ),
        pytest.param(
            {"source_line": LINE, "width": 7, "hint": "did you mean 'max_age'?"},
            [
                "/etc/kagent.yaml:14:7: flows[1].batch.max_aeg: unknown key",
                "   14 |       max_aeg: 60s",
                "      |       ^^^^^^^",
                "   did you mean 'max_age'?",
            ],
            id="the line and a hint",
        ),
        pytest.param(
            {"source_line": LINE, "width": 100},
            [
                "/etc/kagent.yaml:14:7: flows[1].batch.max_aeg: unknown key",
                "   14 |       max_aeg: 60s",
                "      |       ^^^^^^^^^^^^",
            ],
            id="a value of several lines is underlined to the end of the first",
        ),
        pytest.param(
            {"source_line": "key:", "column": 5, "width": 0},
            [
                "/etc/kagent.yaml:14:5: flows[1].batch.max_aeg: unknown key",
                "   14 | key:",
                "      |     ^",
            ],
            id="nothing is underlined by one sign",
        ),
    ],
)
def test_problem_is_rendered_for_an_operator(
    parts: dict[str, object], expected: list[str]
) -> None:
    """The form that the conventions promise, line by line."""
    text = problem(**parts).render()

    assert expected == text.split("\n")


def test_long_line_is_shown_around_the_place() -> None:
    """160 characters, with the place in their middle and the sign below it."""
    source = "a" * 500 + "HERE" + "b" * 500

    _, shown, below = problem(source_line=source, column=501, width=4).render().split("\n")

    assert "   14 | " + "a" * 80 + "HERE" + "b" * 76 == shown
    assert "      | " + " " * 80 + "^^^^" == below


def test_all_problems_come_at_once_sorted_by_place() -> None:
    """By file, line and column, and a summary last."""
    problems = [
        problem(file="b.yaml", line=1, column=1, key="", message="four"),
        problem(file="a.yaml", line=9, column=2, key="", message="three"),
        problem(file="a.yaml", line=9, column=1, key="", message="two"),
        problem(file="a.yaml", line=0, column=1, key="", message="one"),
    ]

    error = errors.ConfigError(problems)

    assert ["one", "two", "three", "four"] == [one.message for one in error.problems]
    assert [
        "a.yaml: one",
        "a.yaml:9:1: two",
        "a.yaml:9:2: three",
        "b.yaml:1:1: four",
        "kagent: 4 problems in a.yaml and b.yaml",
    ] == str(error).split("\n\n")


def test_one_problem_is_singular() -> None:
    """The summary counts in English."""
    error = errors.ConfigError([problem(file="a.yaml")])

    assert str(error).endswith("\n\nkagent: 1 problem in a.yaml")


def test_checkpoint_error_carries_a_hint() -> None:
    """Path, cause and what the operator can do."""
    error = errors.CheckpointError("/var/lib/kagent/db", "is damaged", "restore it")

    assert "/var/lib/kagent/db: is damaged; hint: restore it" == str(error)
    assert ("/var/lib/kagent/db", "restore it") == (error.path, error.hint)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        pytest.param("no such stream", "ResourceNotFound: no such stream", id="with a message"),
        pytest.param("", "ResourceNotFound", id="without"),
    ],
)
def test_destination_error_names_the_code_first(message: str, expected: str) -> None:
    """The code is what an operator looks up; hint and message stand by themselves."""
    error = errors.NotFoundError("ResourceNotFound", message, "create the stream")

    assert expected == str(error)
    assert ("ResourceNotFound", message, "create the stream") == (
        error.code,
        error.message,
        error.hint,
    )


@pytest.mark.parametrize(
    "kind",
    [
        errors.ThrottledError,
        errors.UnavailableError,
        errors.DeniedError,
        errors.NotFoundError,
        errors.RejectedError,
    ],
    ids=lambda kind: kind.__name__,
)
def test_kinds_of_answers_are_told_apart(kind: type[errors.DestinationError]) -> None:
    """Each is a DestinationError and none is another kind: a flow does something else on each."""
    kinds = errors.DestinationError.__subclasses__()

    matching = [other for other in kinds if isinstance(kind("Code"), other)]

    assert [kind] == matching
