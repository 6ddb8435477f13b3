"""Dead letters on a real file system: durable, bounded, never glued together, never elsewhere."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakes
import pytest
from test_checkpoint_database import fill, small_disk

from kagent import deadletter, model

__all__ = ["small_disk"]  # a fixture

LETTER = model.DeadLetter("web", "a" * 32, "/var/log/a.log", 100, 105, "too long", b"12345")
STRANGE = model.DeadLetter("web", "a" * 32, "/caf\udce9", 0, 4, "not taken", b'\x00\xff"\n')


def letters_in(folder: Path, max_bytes: int = 1024**2) -> deadletter.DeadLetters:
    return deadletter.DeadLetters(str(folder), max_bytes, fakes.FakeClock())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "dead-letter"


@pytest.fixture
def letters(folder: Path) -> deadletter.DeadLetters:
    return letters_in(folder)


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines that are JSON, as a reader of the file does."""
    found = []
    for line in path.read_bytes().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def test_letter_tells_where_it_came_from_and_holds_every_byte(
    letters: deadletter.DeadLetters, folder: Path
) -> None:
    """Any bytes under any name come back from one line of JSON."""
    error = letters.append([LETTER, STRANGE])

    first, second = lines(folder / "web.jsonl")
    assert error == ""
    assert first == {
        "time": 1_700_001_000.0,
        "flow": "web",
        "path": "/var/log/a.log",
        "tail_id": "a" * 32,
        "start": 100,
        "end": 105,
        "reason": "too long",
        "data": "MTIzNDU=",
    }
    assert (second["path"], base64.b64decode(second["data"])) == (STRANGE.path, STRANGE.data)


def test_letters_are_for_their_owner_alone(letters: deadletter.DeadLetters, folder: Path) -> None:
    """A letter is a log line, which may hold anything."""
    letters.append([LETTER])

    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "web.jsonl")]
    assert modes == [0o700, 0o600]


def test_flow_cannot_name_a_file_elsewhere(letters: deadletter.DeadLetters, folder: Path) -> None:
    """Whatever a flow is called, its file lies in the folder."""
    error = letters.append([model.DeadLetter("../a b", "a" * 32, "/a.log", 0, 5, "", b"")])

    assert error == ""
    assert os.listdir(folder) == ["..%2Fa%20b.jsonl"]
    assert os.listdir(folder.parent) == ["dead-letter"]


def test_line_that_a_crash_cut_short_is_not_glued_to_the_next(
    letters: deadletter.DeadLetters, folder: Path
) -> None:
    """The half line stays one unreadable line; the letters around it are whole."""
    letters.append([LETTER])
    with open(folder / "web.jsonl", "ab") as file:
        file.write(b'{"time": 18000000')

    error = letters.append([STRANGE])

    assert error == ""
    assert [line["start"] for line in lines(folder / "web.jsonl")] == [100, 0]
    assert (folder / "web.jsonl").read_bytes().count(b"\n") == 3


def test_full_folder_refuses_and_says_what_helps(folder: Path) -> None:
    """The bound counts all flows' letters; nothing is deleted to make room, all or none go in."""
    letters = letters_in(folder, 500)
    assert letters.append([LETTER]) == ""
    before = (folder / "web.jsonl").read_bytes()
    other = model.DeadLetter("audit", "b" * 32, "/b.log", 0, 5, "", b"12345")

    error = letters.append([other, other])

    assert error == (
        f"dead-letter folder is full: {folder} holds {len(before)} bytes, 500 are allowed;"
        " hint: resend or drop letters, or raise dead_letter.max_bytes"
    )
    assert os.listdir(folder) == ["web.jsonl"]
    assert letters.append([other]) == ""


def test_full_disk_leaves_no_half_letter(small_disk: Path) -> None:
    """A write that runs out of space is taken back; when there is room it goes in once."""
    letters = letters_in(small_disk / "dead-letter", 1024**3)
    letters.append([LETTER])
    fill(small_disk)
    large = model.DeadLetter("web", "a" * 32, "/a.log", 0, 9000, "", b"x" * 9000)

    error = letters.append([STRANGE, large])

    assert error.startswith("cannot write dead letters: ")
    assert error.endswith("web.jsonl: No space left on device")
    assert len(lines(small_disk / "dead-letter/web.jsonl")) == 1
    (small_disk / "ballast").unlink()
    assert letters.append([STRANGE, large]) == ""
    assert [line["end"] for line in lines(small_disk / "dead-letter/web.jsonl")] == [105, 4, 9000]


def plant_link(path: Path) -> None:
    path.symlink_to("../elsewhere")


@pytest.mark.parametrize(
    ("plant", "reason"),
    [
        pytest.param(plant_link, "Too many levels of symbolic links", id="a link"),
        pytest.param(os.mkfifo, "not a regular file", id="a FIFO"),
        pytest.param(Path.mkdir, "Is a directory", id="a directory"),
    ],
)
def test_planted_name_is_refused(
    letters: deadletter.DeadLetters, folder: Path, plant: Callable[[Path], None], reason: str
) -> None:
    """Nothing is written where a link leads, and a FIFO without a reader does not block."""
    folder.mkdir()
    plant(folder / "web.jsonl")

    error = letters.append([LETTER])

    assert error == f"cannot write dead letters: {folder}/web.jsonl: {reason}"
    assert not (folder.parent / "elsewhere").exists()


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A file in the way blocks the flow with a reason instead of losing the letter."""
    (tmp_path / "file").touch()

    error = letters_in(tmp_path / "file").append([LETTER])

    assert error == f"cannot write dead letters: {tmp_path}/file/web.jsonl: File exists"


APPEND = """
import sys
from pathlib import Path
import test_deadletter as examples
print(examples.letters_in(Path(sys.argv[1])).append([examples.LETTER]))
"""


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_letter_whose_fsync_failed_is_not_there(folder: Path, error: str) -> None:
    """What is not known to be on disk was not written: the flow tries again, once in the file."""
    inject = ["strace", "-f", "-o", os.devnull, "-e", f"inject=fsync:error={error}:when=1"]
    arguments = [*inject, sys.executable, "-c", APPEND, str(folder)]
    try:
        said = subprocess.run(
            arguments, capture_output=True, text=True, cwd=Path(__file__).parent, check=True
        ).stdout
    except FileNotFoundError:
        pytest.skip("strace is not installed: apt-get install strace, as .ci/run does")
    except subprocess.CalledProcessError:
        pytest.skip("this machine does not let strace trace")

    assert said.startswith("cannot write dead letters: ")
    assert (folder / "web.jsonl").read_bytes() == b""
