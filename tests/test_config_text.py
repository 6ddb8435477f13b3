"""A configuration file's bytes: what is text, and what can be no configuration."""

from __future__ import annotations

import os
import pathlib

import pytest

from kagent.config import text


def refusal(path: str) -> str:
    with pytest.raises(text.UnreadableError) as caught:
        text.read(path)
    return caught.value.problem.render()


def test_lines_are_what_yaml_counts_as_lines(tmp_path: pathlib.Path) -> None:
    """A parser's line number finds the right line, whatever ends lines."""
    (tmp_path / "k").write_bytes("\ufeffa\nb\r\nc\rd\u2028e\x85f".encode())

    source = text.read(str(tmp_path / "k"))

    assert ("a", "b", "c", "d", "e", "f") == source.lines


@pytest.mark.parametrize(
    ("line", "column", "width", "shown"),
    [
        pytest.param(0, 2, 1, ("a b", 1, 3, 1), id="one column for a tab"),
        pytest.param(1, 2, None, ("cd ef ", 2, 3, 3), id="the rest of the line"),
        pytest.param(2, 0, 1, ("", 3, 1, 1), id="behind the last line"),
    ],
)
def test_a_place_shows_its_line(
    tmp_path: pathlib.Path, line: int, column: int, width: int | None, shown: tuple[object, ...]
) -> None:
    """Lines and columns are counted from 1 by people, and every character takes one column."""
    (tmp_path / "k").write_text("a\tb\ncd\u202eef ")

    place = text.read(str(tmp_path / "k")).place(line, column, width)

    assert shown == (place.text, place.line, place.column, place.width)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"a: \x07", ":1:4: the character \\x07 is not allowed in YAML", id="a bell"),
        pytest.param(b"a: 1\n\0", ":2:1: the character \\x00 is not allowed in YAML", id="a NUL"),
        pytest.param(b"a\nb: \xff", ":2:4: byte 0xff is no UTF-8; is it a text file?", id="Latin"),
        pytest.param(
            b"\xff\xfea\0", ":1:1: byte 0xff is no UTF-8; is it a text file?", id="UTF-16"
        ),
        pytest.param(b"#" * 1048577, ": is larger than 1MiB, the most that is read", id="large"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: pathlib.Path, data: bytes, expected: str) -> None:
    """A binary file, one in another encoding and a log file are named for what they are."""
    (tmp_path / "k").write_bytes(data)

    assert f"{tmp_path}/k{expected}" == refusal(str(tmp_path / "k"))


def test_a_directory_is_no_configuration(tmp_path: pathlib.Path) -> None:
    """Whoever names the directory is told that it is one."""
    assert f"{tmp_path}: cannot be read: Is a directory" == refusal(str(tmp_path))


def test_a_fifo_is_no_configuration_and_does_not_block(tmp_path: pathlib.Path) -> None:
    """Opening a FIFO for reading would wait for ever for someone to write."""
    os.mkfifo(tmp_path / "fifo")

    assert f"{tmp_path}/fifo: is no regular file" == refusal(str(tmp_path / "fifo"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/nowhere/k.yaml", "/nowhere/k.yaml: cannot be read: No such file or directory"),
        ("/\0", "/\\x00: cannot be read: embedded null byte"),
        ("/nowhere/\x1b[2J", "/nowhere/\\x1b[2J: cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_opened_says_why(path: str, expected: str) -> None:
    """The system's own reason is given, and the name cannot play with the terminal."""
    assert expected == refusal(path)
