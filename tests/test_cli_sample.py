"""`kagent test-config --sample`: what goes to stdout, what to stderr, and the exit code.

A process of its own is started where descriptors, threads or exit handlers matter.
"""

from __future__ import annotations

import base64
import json
import os
import pathlib
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import click.testing
import pytest
import site_packages

from kagent import cli

ONE = """\
flows:
- name: web
  source: {paths: [/logs/web.log]}
  destination: {kinesis: {stream: s}}
  preprocess: [own]
"""
TWO = (
    ONE
    + """\
- name: db
  source: {paths: [/logs/db.log]}
  destination: {kinesis: {stream: s}}
- name: db2
  source: {paths: [/logs/d*.log], exclude: [dx.log]}
  destination: {kinesis: {stream: t}}
"""
)
OWN = """\
import atexit, os, sys, threading

number = 3

def late():
    while True:
        os.write(1, b"late")

if "last" in os.environ.get("SAMPLE_HAS", ""):
    threading.Thread(target=late, daemon=True).start()
    atexit.register(print, "at the end")

print("imported")

def own(records, context):
    print("called")
    sys.stdout.write("no newline")
    os.write(1, b"written")
    outcomes = {b"d": None, b"s": "text", b"x": b"\\xff\\x1b\\n", b"g": b"\\n"}
    for record in records:
        if record.startswith(b"e"):
            raise SystemExit(0)
    return (outcomes.get(record[:1], record) for record in records)
"""


@pytest.fixture
def own(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pathlib.Path]:
    """Return a directory that holds a package with a preprocessor, as pip would install it."""
    monkeypatch.syspath_prepend(site_packages.install(tmp_path, OWN, "own", "broken", "number"))
    yield tmp_path
    sys.modules.pop("own_module", None)


def command(directory: pathlib.Path, content: str) -> list[str]:
    """Write a configuration; return the command's arguments, to which an option is added."""
    (directory / "k.yaml").write_text(content)
    return ["test-config", "-c", str(directory / "k.yaml")]


def run(
    directory: pathlib.Path, content: str, sample: bytes | str, *arguments: str
) -> click.testing.Result:
    """Run the command on bytes, which come through stdin, or on a path."""
    path, piped = ("-", sample) if isinstance(sample, bytes) else (sample, None)
    line = [*command(directory, content), "--sample", path, *arguments]
    return click.testing.CliRunner().invoke(cli.main, line, input=piped)


def environ(directory: pathlib.Path, **more: str) -> dict[str, str]:
    """Return the environment of a process that finds the package."""
    return {**os.environ, "PYTHONPATH": str(directory / "site"), **more}


def test_raw_is_exactly_the_bytes_that_would_be_sent(own: pathlib.Path) -> None:
    """A preprocessor that prints, leaves or returns text corrupts nothing; the sums are told."""
    result = subprocess.run(
        [sys.executable, "-m", "kagent", *command(own, ONE), "--sample", "-", "--raw"],
        input=b"a\ndrop\ns\x1b\nexit\nx\ng\nlast",
        capture_output=True,
        check=False,
        env=environ(own, SAMPLE_HAS="last"),
        timeout=60,
    )

    expected = b'a\n{"message":"s\\u001b"}\n{"message":"exit"}\n\xff\x1b\n\nlast'
    assert (expected, 0) == (result.stdout, result.returncode)
    said = result.stderr.decode().replace("late", "")
    for text in ("imported\n", "called\n", "written", "at the end\n"):
        assert text in said
    assert "warning: 2 records were unparsed; on_no_match: wrap\n" in said
    sums = f"7 records of 23 bytes; 6 would be sent with {len(expected)} bytes, 1 dropped, "
    assert f"flow web: {sums}0 dead-lettered\n" in said


def test_people_see_what_is_sent_and_of_what_it_was_made(own: pathlib.Path) -> None:
    """No control character of a log reaches the terminal."""
    result = run(own, ONE, b"a\ndrop\ns\x1b\nx\n")

    assert (
        "0-2 sent: a\\n\n"
        "2-7 dropped by own\n"
        "    source: drop\\n\n"
        "7-10 unparsed by own (returned str for a record, not bytes or None), "
        'sent: {"message":"s\\u001b"}\\n\n'
        "    source: s\\x1b\\n\n"
        "10-12 sent: \\xff\\x1b\\n\n"
        "    source: x\\n\n"
    ) == result.stdout


def test_json_is_one_object_a_record(own: pathlib.Path) -> None:
    """With the data as text where it is text, and always in base64."""
    result = run(own, ONE, b"a\ndrop\ns\nx\n", "--json")

    found = [json.loads(line) for line in result.stdout.splitlines()]
    part = "returned str for a record, not bytes or None"
    assert [
        {"start": 0, "end": 2, "fate": "sent", "data": "a\n"},
        {"start": 2, "end": 7, "fate": "dropped", "why": "by own"},
        {
            "start": 7,
            "end": 9,
            "fate": "sent",
            "unparsed_by": "own",
            "part": part,
            "data": '{"message":"s"}\n',
        },
        {"start": 9, "end": 11, "fate": "sent"},
    ] == [{key: value for key, value in one.items() if key != "data_base64"} for one in found]
    assert b"\xff\x1b\n" == base64.b64decode(found[3]["data_base64"])


@pytest.mark.parametrize(
    ("content", "sample", "arguments", "code", "message"),
    [
        (ONE, b"a\n", ("--strict",), 0, ""),
        (ONE, b"s\n", (), 0, "warning: 1 record was unparsed"),
        (ONE, b"s\n", ("--strict",), 1, "warning: 1 record was unparsed"),
        (ONE, b"drop\n", ("--strict",), 0, ""),
        (ONE, b"", ("--raw",), 0, "0 records of 0 bytes"),
        (ONE, b"a\n", ("--at", "1"), 0, ""),
        (ONE, b"a\n", ("--at", "2"), 1, "there is no byte 2: the sample ends at 2"),
        (ONE, b"a\n", ("--at", "-1"), 2, "--at"),
        (ONE, b"a\n", ("--flow", "nope"), 2, "There is no flow 'nope'; there are: web."),
        (ONE, b"a\n", ("--raw", "--json"), 2, "--raw and --json exclude each other."),
        (ONE, "/nope\x1b", (), 2, "Cannot read /nope\\x1b: No such file or directory."),
        (ONE, "/", (), 2, "Cannot read /: Is a directory."),
        (TWO, b"a\n", (), 2, "No flow's paths match -. Say which is meant with --flow NAME: web,"),
        (TWO, b"a\n", ("--flow", "db"), 0, ""),
        ("flows: []\n", b"a\n", (), 2, "has no flows"),
        (ONE.replace("own", "broken"), b"a\n", (), 78, "the preprocessor cannot be loaded: "),
        (ONE.replace("own", "number"), b"a\n", (), 78, "is no function and no class"),
        (ONE.replace("own", "own: {a: 1}"), b"a\n", (), 78, "'own' takes no options"),
    ],
)
def test_the_exit_code_says_what_is_wrong(
    own: pathlib.Path,
    content: str,
    sample: bytes | str,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    """0 fine, 1 the answer is no, 2 wrong usage, 78 wrong configuration."""
    result = run(own, content, sample, *arguments)

    assert (code, True) == (result.exit_code, message in result.stderr), result.stderr
    if code:
        assert result.stdout == "" or "--strict" in arguments


def test_options_for_a_sample_need_one(own: pathlib.Path) -> None:
    """They mean nothing without."""
    for option in (["--raw"], ["--at", "1"], ["--flow", "web"]):
        result = click.testing.CliRunner().invoke(cli.main, [*command(own, ONE), *option])

        assert 2 == result.exit_code
        assert "say what to do with a --sample" in result.stderr


def test_the_flow_is_told_by_the_path_where_that_is_clear(own: pathlib.Path) -> None:
    """One that ships it, and does not exclude it; several are a question."""
    content = textwrap.dedent(TWO).replace("/logs/", f"{own}/")
    for name in ("db.log", "dx.log", "dy.log", "web.log"):
        (own / name).write_bytes(b"a\n")

    said = {
        name: run(own, content, str(own / name), "--raw")
        for name in ("db.log", "dx.log", "dy.log", "web.log")
    }

    assert [2, 2, 0, 0] == [one.exit_code for one in said.values()]
    assert "Several flows ship" in said["db.log"].stderr
    assert ": db, db2. Say which with --flow NAME." in said["db.log"].stderr
    assert "No flow's paths match" in said["dx.log"].stderr
    assert "flow db2: " in said["dy.log"].stderr
    assert "flow web: " in said["web.log"].stderr


def test_a_plain_check_keeps_stdout_clean_too(own: pathlib.Path) -> None:
    """Importing a preprocessor may print."""
    result = subprocess.run(
        [sys.executable, "-m", "kagent", *command(own, ONE), "--json"],
        capture_output=True,
        check=False,
        env=environ(own),
    )

    assert ["own"] == json.loads(result.stdout)["flows"][0]["preprocess"]


def test_a_reader_that_leaves_is_no_fault(own: pathlib.Path) -> None:
    """As in `... --raw | head -1`."""
    (own / "many").write_bytes(b"a line\n" * 200_000)
    sample = ["--sample", str(own / "many"), "--raw"]
    with subprocess.Popen(
        [sys.executable, "-m", "kagent", *command(own, ONE), *sample],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ(own),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()

        said = process.stderr.read()

    assert b"Traceback" not in said


def test_what_a_sample_cannot_have_is_said(own: pathlib.Path) -> None:
    """EC2 is not asked: a note, and no warning that --strict would count."""
    content = ONE.replace("[own]", "[add_metadata: {ec2: [region]}]")

    result = run(own, content, b"a\n", "--raw", "--strict")

    assert (0, b'{"message":"a"}\n') == (result.exit_code, result.stdout_bytes)
    assert "note: EC2 is not asked for a sample" in result.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("more", [["--sample", "k.yaml", "--raw"], ["--sample", "k.yaml"], []])
def test_a_full_disk_under_stdout_is_said(own: pathlib.Path, more: list[str]) -> None:
    """In one line, with exit code 1."""
    (own / "k.yaml").write_text(ONE)
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            [sys.executable, "-m", "kagent", "test-config", "-c", "k.yaml", *more],
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=own,
            env={**os.environ, "PYTHONPATH": f"{own / 'site'}:{os.getcwd()}"},
            check=False,
        )

    assert 1 == result.returncode
    assert b"kagent: the output cannot be written: No space left on device\n" in result.stderr
    assert b"Traceback" not in result.stderr
