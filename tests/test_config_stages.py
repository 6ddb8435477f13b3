"""The items of `preprocess`: what is accepted, and what is said of the others."""

from __future__ import annotations

import pathlib

import pytest

from kagent import config, errors


def load(directory: pathlib.Path, preprocess: str) -> config.Config:
    path = directory / "k"
    path.write_text(
        "flows:\n- name: a\n  source: {paths: [/a]}\n  destination: {kinesis: {stream: s}}\n"
        f"  preprocess:\n{preprocess}\n"
    )
    return config.load(str(path), {})


@pytest.mark.parametrize(
    ("preprocess", "expected"),
    [
        pytest.param(
            "  - add_bracket",
            "[0]: unknown preprocessor\n    6 |   - add_bracket\n      |     ^^^^^^^^^^^\n"
            "   did you mean 'add_brackets'? Known here: ",
            id="unknown",
        ),
        pytest.param(
            "  - add_brackets: {newlin: inside}",
            "[0].add_brackets.newlin: unknown key\n"
            "    6 |   - add_brackets: {newlin: inside}\n      |                    ^^^^^^\n"
            "   did you mean 'newline'? Allowed here: newline.",
            id="unknown option",
        ),
        pytest.param(
            "  - add_brackets: {newline: in}",
            "[0].add_brackets.newline: found 'in', expected one of 'after', 'inside'",
            id="wrong value",
        ),
        pytest.param(
            "  - add_brackets: 3",
            "[0].add_brackets: found 3, expected a mapping of options",
            id="no mapping",
        ),
        pytest.param(
            "  - add_brackets:\n    newline: inside",
            "[0]: found a mapping, expected the name of a preprocessor, or a mapping of that "
            "name to its options",
            id="options not below the name",
        ),
        pytest.param(
            "  - csv_to_json: {columns: header}",
            "[0].csv_to_json.columns: found 'header', but the source has no 'header_lines'",
            id="no header to take names from",
        ),
        pytest.param(
            "  - csv_to_json: {columns: [a], types: {a: integer}}",
            "[0].csv_to_json.types.a: found 'integer', expected one of 'string', 'int', 'float', "
            "'bool'",
            id="wrong value of a free key",
        ),
        pytest.param(
            "  - csv_to_json: {columns: [a], types: {'': int}}",
            "[0].csv_to_json.types.: found '' as a key, expected text, not empty",
            id="wrong free key",
        ),
        pytest.param(
            "  - csv_to_json: {columns: heder}",
            "[0].csv_to_json.columns: found 'heder', expected 'header', or a list of names\n"
            "    6 |   - csv_to_json: {columns: heder}\n      |                            ^^^^^\n"
            "   did you mean 'header'?\n\nkagent: 1 problem",
            id="none of the alternatives, said once",
        ),
        pytest.param(
            "  - csv_to_json: {columns: [1]}",
            "[0].csv_to_json.columns: found a list, expected 'header', or a list of names",
            id="a wrong item in one of the alternatives",
        ),
        pytest.param(
            "  - add_metadata: {fields: {a: '{pth}'}}",
            "there is no value {pth}\n    6 |   - add_metadata: {fields: {a: '{pth}'}}\n"
            "      |     ^^^^^^^^^^^^\n   did you mean '{path}'? Known here: {path}, {host}, ",
            id="a value that there is not",
        ),
        pytest.param(
            "  - csv_to_json",
            "[0].csv_to_json.columns: missing; expected 'header', or a list of names",
            id="all of the alternatives are missing",
        ),
        pytest.param(
            "  - parse_timestamp: {formats: [iso]}",
            "k:6:33: flows[0].preprocess[0].parse_timestamp.formats[0]: found 'iso', expected ",
            id="a wrong item makes its list not too short",
        ),
        pytest.param(
            "  - log_to_json: {format: syslog, pattern: (?P<a>.)}",
            "[0].log_to_json: found a mapping, expected either 'format' or 'pattern'",
            id="two ways to read a line",
        ),
        pytest.param("  - 5", "[0]: found 5, expected the name", id="a number"),
        pytest.param("  - []", "[0]: found an empty list, expected the name", id="a list"),
        pytest.param(
            "  - x\n" * 33, "preprocess: found a list, expected at most 32", id="too many"
        ),
    ],
)
def test_a_wrong_item_is_said_with_its_place(
    tmp_path: pathlib.Path, preprocess: str, expected: str
) -> None:
    """Line, column, key, what is allowed, and what was meant."""
    with pytest.raises(errors.ConfigError) as raised:
        load(tmp_path, preprocess)

    assert expected in str(raised.value)


@pytest.mark.parametrize(
    "preprocess",
    ["  - add_brackets", "  - add_brackets:", "  - add_brackets: {newline: after}"],
)
def test_a_name_alone_means_default_options(tmp_path: pathlib.Path, preprocess: str) -> None:
    """Equal items make equal flows, which a reload leaves alone."""
    one, other = load(tmp_path, preprocess), load(tmp_path, "  - add_brackets: {}")

    assert one.flows == other.flows
    assert ("add_brackets",) == tuple(stage.name for stage in one.flows[0].preprocess)


@pytest.mark.parametrize(
    ("capture", "expected"),
    [
        ("(a", "capture: found '(a', expected a regular expression (missing ) at position 2)"),
        ("a", "capture: found 'a', expected a pattern with named groups"),
        ("(?P<host>a)", "capture: {host} is a value that there is in any case"),
    ],
)
def test_a_pattern_that_captures_nothing_is_refused(
    tmp_path: pathlib.Path, capture: str, expected: str
) -> None:
    """It has a group with a name, and the name is free."""
    path = tmp_path / "k"
    path.write_text(
        f"flows:\n- name: a\n  source: {{paths: [/a], capture: '{capture}'}}\n"
        "  destination: {kinesis: {stream: s}}\n"
    )

    with pytest.raises(errors.ConfigError) as raised:
        config.load(str(path), {})

    assert expected in str(raised.value)
    assert "1 problem" in str(raised.value)


def test_a_header_of_no_number_is_said_and_nothing_else(tmp_path: pathlib.Path) -> None:
    """Not even beside columns that come from it."""
    path = tmp_path / "k"
    path.write_text(
        "flows:\n- name: a\n  source: {paths: [/a], header_lines: {}}\n"
        "  destination: {kinesis: {stream: s}}\n  preprocess: [csv_to_json: {columns: header}]\n"
    )

    with pytest.raises(errors.ConfigError) as raised:
        config.load(str(path), {})

    assert "header_lines: found an empty mapping, expected a whole number" in str(raised.value)
    assert "1 problem" in str(raised.value)
