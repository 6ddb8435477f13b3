"""What the keys that make records must be to each other."""

from __future__ import annotations

import pathlib

import pytest

from kagent import config, errors, frame


def load(directory: pathlib.Path, source: str) -> config.Config:
    path = directory / "k"
    path.write_text(
        f"flows:\n- name: a\n  destination: {{kinesis: {{stream: s}}}}\n"
        f"  source:\n    paths: [/a]\n{source}"
    )
    return config.load(str(path), {})


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param(
            "    multiline: jaba",
            "multiline: found 'jaba', expected one of 'java', 'python', 'go', 'ruby', 'csv', "
            "or a mapping",
            id="no preset",
        ),
        pytest.param(
            "    multiline: {}",
            "multiline: missing; expected 'preset', or one of 'start', 'continuation', 'end'",
            id="neither preset nor patterns",
        ),
        pytest.param(
            "    multiline: {preset: java, end: x}",
            "multiline.end: a preset has patterns of its own",
            id="preset and patterns",
        ),
        pytest.param(
            "    multiline: {start: '(a'}",
            "multiline.start: '(a' is no regular expression: missing ) at position 2",
            id="no regular expression",
        ),
        pytest.param(
            "    multiline: {start: a, strat: a}",
            "multiline.strat: unknown key",
            id="unknown key in the mapping",
        ),
        pytest.param(
            "    multiline: {start: a, timeout: 1}",
            "multiline.timeout: found 1, expected a duration with a unit, from 250ms to 1h",
            id="a number without a unit",
        ),
        pytest.param(
            "    multiline: {start: a, max_bytes: 2MiB}",
            "multiline.max_bytes: found '2MiB', expected at most 1MiB, as 'max_line'",
            id="a record longer than a line",
        ),
        pytest.param(
            '    multiline: java\n    delimiter: "\\0"',
            "delimiter: '\\x00' cannot stand beside 'multiline'",
            id="multi-line and a delimiter",
        ),
        pytest.param(
            "    decode: cri\n    encoding: utf-16",
            "encoding: 'utf-16' cannot stand beside 'decode'",
            id="decode and an encoding",
        ),
        pytest.param(
            '    decode: docker\n    delimiter: "\\r\\n"',
            "delimiter: '\\r\\n' cannot stand beside 'decode'",
            id="decode and a delimiter",
        ),
        pytest.param(
            "    delimiter: ''",
            "delimiter: found '', expected 1 to 16 characters",
            id="an empty delimiter",
        ),
        pytest.param(
            '    delimiter: "\\u2028"',
            "delimiter: found '\\u2028', expected characters up to U+00FF: "
            "each of them is one byte of the file",
            id="a delimiter that is no bytes",
        ),
        pytest.param(
            "    final_line: 5",
            "final_line: found 5, expected 'never', or a duration with a unit, from 1s to 30d",
            id="final_line without a unit",
        ),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: pathlib.Path, source: str, expected: str) -> None:
    """With what is allowed, and never with a traceback."""
    with pytest.raises(errors.ConfigError) as caught:
        load(tmp_path, source)

    (problem,) = caught.value.problems
    assert f"flows[0].source.{expected}" == f"{problem.key}: {problem.message}"


def test_problems_of_other_keys_stay_theirs(tmp_path: pathlib.Path) -> None:
    """A value that its own key does not allow is no second problem."""
    with pytest.raises(errors.ConfigError) as caught:
        load(
            tmp_path, "    max_line: x\n    multiline: {start: 4, max_bytes: x}\n    delimiter: 4"
        )

    assert 4 == len(caught.value.problems)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("", frame.Frame(), id="nothing"),
        pytest.param(
            "    multiline: go",
            frame.Frame(multiline=frame.Multiline("go", bytes_max=10 * 1024**2)),
            id="a preset",
        ),
        pytest.param(
            "    multiline: {preset: go, max_lines: 9, max_bytes: 64KiB, timeout: 2s}",
            frame.Frame(
                multiline=frame.Multiline("go", lines_max=9, bytes_max=65536, timeout_s=2.0)
            ),
            id="a preset with bounds",
        ),
        pytest.param(
            '    delimiter: "\\0"\n    terminator: strip\n    header_lines: 2',
            frame.Frame("\0", is_stripped=True, header_lines=2),
            id="NUL",
        ),
        pytest.param(
            '    delimiter: "\\u2028"\n    encoding: utf-16le',
            frame.Frame("\u2028", encoding="utf-16le"),
            id="a character in UTF-16",
        ),
        pytest.param(
            "    multiline: null\n    final_line: never", frame.Frame(), id="null and never"
        ),
    ],
)
def test_what_is_written_is_what_is_meant(
    tmp_path: pathlib.Path, source: str, expected: frame.Frame
) -> None:
    """Escapes, short forms, defaults."""
    (flow,) = load(tmp_path, source).flows

    assert expected == flow.source.records()


def test_digest_is_empty_for_lines_as_they_stand() -> None:
    """An update must not make positions of plain files meaningless; all else differs."""
    frames = [
        frame.Frame(),
        frame.Frame("\0"),
        frame.Frame(is_stripped=True),
        frame.Frame(encoding="utf-16"),
        frame.Frame(decode="cri"),
        frame.Frame(header_lines=1),
        frame.Frame(multiline=frame.Multiline("java")),
        frame.Frame(multiline=frame.Multiline("java", lines_max=7)),
        frame.Frame(multiline=frame.Multiline(start="x")),
    ]

    assert "" == frames[0].digest
    assert len(frames) == len({one.digest for one in frames})
