"""The command line: what is found, what is imported, and how every command ends."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import click.testing
import pytest

from kagent import cli, errors

EMPTY = "flows: []\n"


def test_the_command_is_found_and_does_not_load_what_it_does_not_need(
    tmp_path: pathlib.Path,
) -> None:
    """`python -m kagent` starts fast: neither AWS's libraries nor the demo's are imported."""
    (tmp_path / "kagent.yaml").write_text(EMPTY)
    arguments = [sys.executable, "-X", "importtime", "-m", "kagent", "test-config"]
    environ = os.environ | {"KAGENT_CONFIG": str(tmp_path / "kagent.yaml")}

    done = subprocess.run(arguments, env=environ, capture_output=True, text=True, check=True)

    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert done.stdout.startswith(f"{tmp_path}/kagent.yaml: ok; 0 flows")
    assert "kagent.config" in imported
    assert not {"boto3", "botocore", "rich", "kagent.agent", "kagent.local"} & imported


def test_a_closed_pipe_ends_the_command_quietly(tmp_path: pathlib.Path) -> None:
    """`kagent test-config | head -1` prints no traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    (tmp_path / "kagent.yaml").write_text(EMPTY)
    arguments = [sys.executable, "-m", "kagent", "test-config", "--json"]
    environ = os.environ | {"KAGENT_CONFIG": str(tmp_path / "kagent.yaml")}

    done = subprocess.run(
        arguments, env=environ, stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)

    assert (1, b"") == (done.returncode, done.stderr)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param(["--version"], 0, "kagent 0.", id="its version"),
        pytest.param(["--help"], 0, "test-config", id="its commands"),
        pytest.param(["tset-config"], 2, "No such command", id="an unknown command"),
        pytest.param(["test-config", "--loud"], 2, "No such option", id="an unknown option"),
    ],
)
def test_the_command_line_explains_itself(arguments: list[str], code: int, said: str) -> None:
    """Wrong usage is exit 2."""
    result = click.testing.CliRunner().invoke(cli.main, arguments)

    assert code == result.exit_code
    assert said in result.output


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        pytest.param(
            errors.CheckpointError("/s/db", "is damaged", "restore it"),
            78,
            "kagent: /s/db: is damaged; hint: restore it\n",
            id="a damaged database",
        ),
        pytest.param(
            errors.AlreadyRunningError("another daemon runs"),
            1,
            "kagent: another daemon runs\n",
            id="a second daemon",
        ),
        pytest.param(
            errors.ConfigError([errors.Problem("k", 0, 0, "", "is wrong")]),
            78,
            "k: is wrong\n\nkagent: 1 problem in k\n",
            id="a wrong configuration",
        ),
    ],
)
def test_an_operator_s_error_has_its_exit_code(
    error: Exception, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command ends the same way; nothing is said on stdout, and no traceback at all."""

    def fail() -> int:
        raise error

    with pytest.raises(SystemExit) as caught:
        cli._leave(fail)

    assert code == caught.value.code
    assert ("", said) == capsys.readouterr()
