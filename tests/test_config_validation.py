"""What a single key allows, and how a value that it does not allow is reported."""

from __future__ import annotations

import pathlib
from typing import Annotated

import pydantic
import pytest

from kagent import errors, options
from kagent.config import document, schema, validation

FLOW = """\
flows:
- name: a
  source: {paths: [/a]}
  destination: {kinesis: {stream: s}}
"""


def check_even(number: int) -> int:
    if number % 2:
        raise options.NotAllowedError("an even number")
    return number


class Other(options.Options):
    """What later parts may declare."""

    is_on: bool = False
    """A switch."""

    even: Annotated[int, pydantic.AfterValidator(check_even)] = 0
    free: Annotated[str, pydantic.Field(pattern="^x+$")] = "x"
    nested: dict[str, object] = pydantic.Field(default_factory=dict)


def problems(
    directory: pathlib.Path, content: str, model: type[pydantic.BaseModel] = schema.Root
) -> list[errors.Problem]:
    (directory / "k").write_text(content)
    found: list[errors.Problem] = []
    tree = document.read(str(directory / "k"), {"SECRET": "hunter2", "N": "0"}, found)
    assert tree is not None
    assert not found
    return sorted(validation.check(model, tree), key=lambda one: (one.line, one.column))


def told(found: list[errors.Problem]) -> list[str]:
    return [f"{one.line}:{one.column}: {one.key}: {one.message}" for one in found]


@pytest.mark.parametrize(
    ("content", "expected", "hint"),
    [
        pytest.param(
            "drain_timeout: 20",
            "1:16: drain_timeout: found 20, expected a duration with a unit, from 0ms to 1h",
            "Write for example 'drain_timeout: 20s'.",
            id="a number without its unit",
        ),
        pytest.param(
            "max_memory: 4 apples",
            "1:13: max_memory: found '4 apples', expected a size with a unit, "
            "from 8MiB to 1024GiB",
            "Write for example 'max_memory: 8MiB'.",
            id="an unknown unit",
        ),
        pytest.param(
            "log: {level: warn}",
            "1:14: log.level: found 'warn', "
            "expected one of 'debug', 'info', 'warning', 'error', or a mapping",
            "did you mean 'warning'?",
            id="nearly a choice",
        ),
        pytest.param(
            "log: {level: {default: infos}}",
            "1:24: log.level.default: found 'infos', "
            "expected one of 'debug', 'info', 'warning', 'error'",
            "did you mean 'info'?",
            id="nearly a choice in a mapping",
        ),
        pytest.param(
            "log: {format: xml}",
            "1:15: log.format: found 'xml', expected one of 'text', 'json'",
            "",
            id="no choice",
        ),
        pytest.param(
            "log: {level: 5}",
            "1:14: log.level: found 5, "
            "expected one of 'debug', 'info', 'warning', 'error', or a mapping",
            "",
            id="no choice at all",
        ),
        pytest.param(
            "aws: {region: 4}",
            "1:15: aws.region: found 4, expected text, not empty",
            "Quotes make it text: 'region: \"4\"'.",
            id="a number for text",
        ),
        pytest.param(
            "aws: {region: ''}",
            "1:15: aws.region: found '', expected text, not empty",
            "",
            id="no text",
        ),
        pytest.param(
            "state_dir: var/lib",
            "1:12: state_dir: found 'var/lib', expected an absolute path",
            "",
            id="a relative path",
        ),
        pytest.param(
            "forget: old",
            "1:9: forget: found 'old', expected a list",
            "Write 'forget: [\"old\"]'.",
            id="an item for a list",
        ),
        pytest.param(
            "forget: [no, -x]",
            "1:14: forget[1]: found '-x', "
            "expected 1 to 64 characters: letters, digits, then also '_', '.', '-'",
            "",
            id="no name",
        ),
        pytest.param(
            "forget: [1]",
            "1:10: forget[0]: found 1, "
            "expected 1 to 64 characters: letters, digits, then also '_', '.', '-'",
            "Quotes make it text: '\"1\"'.",
            id="a number for a name",
        ),
        pytest.param(
            "log: [text]",
            "1:6: log: found a list, expected a mapping",
            "",
            id="a list for a mapping",
        ),
        pytest.param(
            "aws: {region: [a]}",
            "1:15: aws.region: found a list, expected text, not empty",
            "",
            id="a list for text",
        ),
        pytest.param(
            "flows: [~]",
            "1:9: flows[0]: found ~, expected a mapping with 'name', 'source', 'destination'",
            "",
            id="null in a list",
        ),
    ],
)
def test_a_value_that_is_not_allowed_says_what_is(
    tmp_path: pathlib.Path, content: str, expected: str, hint: str
) -> None:
    """Where, which key, what was found, what is allowed, and what was probably meant."""
    found = problems(tmp_path, content)

    assert [expected] == told(found)
    assert hint == found[0].hint


@pytest.mark.parametrize(
    ("written", "digits"),
    [('"16"', "16"), ("010", "10"), ("1_00", "100")],
    ids=["quotes", "a leading zero", "an underscore"],
)
def test_a_number_that_yaml_may_misread_is_text(
    tmp_path: pathlib.Path, written: str, digits: str
) -> None:
    """Neither 8 nor 10: `010` is refused, and the hint shows what can be written."""
    found = problems(tmp_path, f"{FLOW}  max_in_flight: {written}")

    shown = written.strip('"')
    expected = "expected a whole number from 1 to 256"
    assert [f"5:18: flows[0].max_in_flight: found '{shown}', {expected}"] == told(found)
    assert found[0].hint.endswith(f"'max_in_flight: {digits}'.")


@pytest.mark.parametrize(
    ("content", "expected", "hint"),
    [
        pytest.param(
            "log: {levle: info}",
            "1:7: log.levle: unknown key",
            "did you mean 'level'? Allowed here: format, level.",
            id="a typing error",
        ),
        pytest.param(
            "log: {region: x}",
            "1:7: log.region: unknown key",
            "'region' belongs in aws. Allowed here: format, level.",
            id="a key of another part",
        ),
        pytest.param(
            "log: {paths: [x]}",
            "1:7: log.paths: unknown key",
            "'paths' belongs in flows[].source. Allowed here: format, level.",
            id="a key of a list's mappings",
        ),
        pytest.param(
            "log: {max_bytes: x}",
            "1:7: log.max_bytes: unknown key",
            "'max_bytes' belongs in dead_letter or flows[].source.multiline or flows[].pack or "
            "flows[].batch. Allowed here: format, level.",
            id="a key of several other parts",
        ),
        pytest.param(
            "log: {drain_timeout: 1s}",
            "1:7: log.drain_timeout: unknown key",
            "'drain_timeout' belongs in the top level. Allowed here: format, level.",
            id="a key of the top level",
        ),
        pytest.param(
            "log: {xyz: ~}",
            "1:7: log.xyz: unknown key",
            "Allowed here: format, level.",
            id="a key from nowhere, with nothing behind it",
        ),
        pytest.param(
            'log: {"\\e[2J": 1}',
            "1:7: log.\\x1b[2J: unknown key",
            "Allowed here: format, level.",
            id="a key that would clear the screen",
        ),
        pytest.param(
            f"log: {{{'k' * 100}: 1}}",
            f"1:7: log.{'k' * 60}...: unknown key",
            "Allowed here: format, level.",
            id="a key without end",
        ),
    ],
)
def test_an_unknown_key_says_which_are_known(
    tmp_path: pathlib.Path, content: str, expected: str, hint: str
) -> None:
    """A key that has no behaviour is refused, never ignored."""
    found = problems(tmp_path, content)

    assert [expected] == told(found)
    assert hint == found[0].hint


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(
            "source:",
            "2:3: flows[0].source: missing; expected a mapping with 'paths'",
            id="nothing",
        ),
        pytest.param(
            "x:", "2:3: flows[0].source: missing; expected a mapping with 'paths'", id="no key"
        ),
        pytest.param(
            "source: {}",
            "2:11: flows[0].source.paths: missing; expected a list with at least one item",
            id="inside",
        ),
    ],
)
def test_a_missing_key_is_reported_where_it_should_be(
    tmp_path: pathlib.Path, content: str, expected: str
) -> None:
    """At the mapping it is missing from, or at the key that has nothing behind it."""
    found = problems(tmp_path, f"flows:\n- {content}\n  name: a\n  destination: {{}}\n")

    missing = [one for one in found if one.message != "unknown key"]
    assert [expected] == told(missing)
    assert "" == missing[0].source_line


def test_the_value_of_a_variable_is_never_shown(tmp_path: pathlib.Path) -> None:
    """Who reads the message may not be who may read the secret."""
    found = problems(tmp_path, 'log: {level: "x${SECRET}"}\nmax_memory: ${N}\nforget: ${SECRET}')

    assert [
        (
            "1:14: log.level: found 'x${SECRET}', "
            "expected one of 'debug', 'info', 'warning', 'error', or a mapping"
        ),
        "2:13: max_memory: found '${N}', expected a size with a unit, from 8MiB to 1024GiB",
        "3:9: forget: found '${SECRET}', expected a list",
    ] == told(found)
    assert {"The value comes from the environment."} == {one.hint for one in found}


def test_a_long_value_is_cut_in_the_message(tmp_path: pathlib.Path) -> None:
    """A message is one line that a terminal can show."""
    found = problems(tmp_path, f"log: {{level: {'x' * 1000}}}")

    assert f"1:14: log.level: found '{'x' * 60}...', expected one of" == told(found)[0][:105]
    assert 168 == max(map(len, found[0].render().splitlines()[1:]))


def test_other_types_and_validators_are_reported_in_the_same_words(tmp_path: pathlib.Path) -> None:
    """What a later part of the configuration declares needs no words of its own."""
    found = problems(tmp_path, "is_on: on\neven: 3\nfree: y\nnested: 4\n", Other)

    assert [
        "1:8: is_on: found 'on', expected true or false",
        "2:7: even: found 3, expected an even number",
        "3:7: free: found 'y', expected text that matches ^x+$",
        "4:9: nested: found 4, expected a mapping",
    ] == told(found)


def test_a_right_tree_has_no_problems(tmp_path: pathlib.Path) -> None:
    """Nothing is reported of what is allowed."""
    assert [] == problems(tmp_path, FLOW)
