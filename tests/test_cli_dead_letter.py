"""`kagent dead-letter`: beside a running daemon, and without one."""

from __future__ import annotations

import base64
import json
import pathlib
from collections.abc import Iterator

import click.testing
import pytest
from daemon import CREDENTIALS, Daemon, running, wait_until

from kagent import cli, local

LONG = b"x" * 3000 + b"\n"
PART = LONG[:2049]  # what is longer than max_line is put aside in parts


@pytest.fixture
def daemon(tmp_path: pathlib.Path) -> Iterator[Daemon]:
    """A daemon that has put two long lines aside, in two parts each."""
    streams = {"web": local.StreamOptions(is_throttled=False)}
    with running(tmp_path, local.Service(local.ServiceOptions(streams=streams))) as one:
        source = {"paths": [f"{tmp_path}/log/*.log"], "start_at": "beginning", "max_line": "2KiB"}
        one.configure(one.flow(source=source, oversize="dead_letter"))
        one.path("a.log").write_bytes(b"1\n" + LONG + b"2\n" + LONG.replace(b"x", b"y") + b"3\n")
        one.start()
        one.wait_for_lines(3)
        wait_until(lambda: len(command(one, "list").stdout.splitlines()) == 4, "the letters")
        yield one


def command(daemon: Daemon, *arguments: str) -> click.testing.Result:
    line = ["dead-letter", arguments[0], "-c", str(daemon.config), *arguments[1:]]
    return click.testing.CliRunner().invoke(cli.main, line, env=dict(CREDENTIALS))


def test_letters_are_listed_resent_and_dropped_beside_a_running_daemon(daemon: Daemon) -> None:
    """What is resent arrives once and is gone; the daemon goes on burying."""
    listed = command(daemon, "list")
    found = json.loads(command(daemon, "list", "--json").stdout)

    assert 0 == listed.exit_code
    assert "web " in listed.stdout
    assert "2049 bytes: longer than max_line" in listed.stdout
    assert "4 letters, 6,002 bytes" in listed.stderr
    assert PART == base64.b64decode(found[0]["data"])

    sent = command(daemon, "resend", "--id", found[0]["id"])
    assert (0, "web: delivered 1 letter\n") == (sent.exit_code, sent.stdout)
    assert 1 == daemon.service.records("web").count(PART)
    with daemon.path("a.log").open("ab") as file:
        file.write(LONG.replace(b"x", b"z"))
    wait_until(lambda: len(command(daemon, "list").stdout.splitlines()) == 5, "two more")
    assert 2 == command(daemon, "drop").exit_code  # everything is said, not implied
    assert 1 == command(daemon, "drop", "--path", "/nowhere/*").exit_code
    dropped = command(daemon, "drop", "--all")

    assert (0, "dropped 5 letters\n") == (dropped.exit_code, dropped.stdout)
    assert 1 == daemon.service.records("web").count(PART)
    assert 0 == daemon.stop()


def test_an_answer_that_is_lost_leaves_a_letter_in_doubt(daemon: Daemon) -> None:
    """It is sent again only when somebody says so; the daemon need not run."""
    daemon.stop()
    daemon.service.set_faults(local.Faults(lose_share=1.0))
    lost = command(daemon, "resend", "--reason", "longer")
    daemon.service.set_faults(local.Faults())

    again = command(daemon, "resend")

    assert 1 == lost.exit_code
    assert (1, "web: delivered 0 letters\n") == (again.exit_code, again.stdout)
    assert "may have arrived already" in again.stderr
    assert "in doubt" in command(daemon, "list").stdout
    assert 1 == daemon.service.records("web").count(PART)
    assert 0 == command(daemon, "resend", "--in-doubt").exit_code
    assert 2 == daemon.service.records("web").count(PART)


def test_damaged_letters_are_not_passed_over_in_silence(daemon: Daemon) -> None:
    """Each command says that there are some, and leaves them."""
    daemon.stop()
    path = daemon.root / "state" / "dead-letter" / "web.jsonl"
    path.write_bytes(path.read_bytes() + b'{"time": 17\n')

    said = [command(daemon, *one) for one in (("list",), ("drop", "--all"), ("resend",))]

    assert all("web: 1 line is no letter" in one.stderr for one in said)
    assert "dropped 4 letters\n" == said[1].stdout
    assert b'{"time": 17\n' == path.read_bytes()


def test_wrong_usage_is_said(daemon: Daemon) -> None:
    """A flow that is not there, in words; without a permission, the hint of the service."""
    assert 2 == command(daemon, "resend", "--flow", "nope").exit_code
    daemon.service.set_faults(local.Faults(denied=("PutRecords",)))

    denied = command(daemon, "resend", "--flow", "web")

    assert 1 == denied.exit_code
    assert "hint: allow kinesis:PutRecords on the stream web" in denied.stderr
    assert "in doubt" not in command(daemon, "list").stdout
