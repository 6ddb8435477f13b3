"""The command line: what commands there are, their options, and their exit codes.

One module per command does the work and is imported when its command runs, so that a command that
only reads the configuration does not pay for AWS's libraries. Data goes to stdout, everything else
to stderr. Exit codes: 0 ok, 1 the answer is no, 2 wrong usage, 78 the configuration or the
checkpoint database is wrong.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click

from kagent import errors

EX_NO = 1
EX_CONFIG = 78  # sysexits.h; systemd does not restart on it, see kagent.service

_config_option = click.option(
    "-c",
    "--config",
    "config_option",
    metavar="FILE",
    help="The configuration; else $KAGENT_CONFIG, else /etc/kagent/kagent.yaml.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kagent", message="kagent %(version)s")
def main() -> None:
    """Ship log files to Amazon Kinesis and Amazon Data Firehose without losing a line."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # escape what the terminal's encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")


@main.command("run")
@_config_option
def _run(config_option: str | None) -> None:
    """Run the daemon in the foreground; logs go to stderr.

    SIGTERM drains and stops, SIGHUP reads the configuration again.
    """
    from kagent.cli import run

    _leave(lambda: run.run(config_option))


@main.command("test-config")
@_config_option
@click.option("--strict", "is_strict", is_flag=True, help="Exit 1 when there is a warning.")
@click.option(
    "--aws", "is_aws", is_flag=True, help="Ask AWS, too, and exit 1 when something is wrong there."
)
@click.option(
    "--json", "is_json", is_flag=True, help="Print one JSON document, or one object a record."
)
@click.option(
    "--sample",
    metavar="FILE|-",
    help="Show what a flow would make of each record of a file, as if the file were finished.",
)
@click.option("--flow", metavar="NAME", help="The flow; else the only one, or by FILE's path.")
@click.option(
    "--at", type=click.IntRange(min=0), metavar="OFFSET", help="Only the record at that byte."
)
@click.option(
    "--raw", "is_raw", is_flag=True, help="Write the bytes that would be sent, and nothing else."
)
def _test_config(
    config_option: str | None,
    sample: str | None,
    flow: str | None,
    at: int | None,
    *,
    is_strict: bool,
    is_aws: bool,
    is_json: bool,
    is_raw: bool,
) -> None:
    """Check the configuration, show what it ships.

    Needs no running daemon, and without --aws no AWS; nothing is ever written. Exit 78 when the
    configuration is wrong.
    """
    if sample is None:
        if flow is not None or at is not None or is_raw:
            raise click.UsageError("--flow, --at and --raw say what to do with a --sample.")
        from kagent.cli import test_config

        def check() -> int:
            return test_config.run(
                config_option, is_strict=is_strict, is_json=is_json, is_aws=is_aws
            )

        _leave(lambda: _written(check))
    if is_aws:
        raise click.UsageError("--aws says nothing of a --sample.")
    if is_raw and is_json:
        raise click.UsageError("--raw and --json exclude each other.")
    from kagent.cli import sample as samples

    wish = samples.Wish(sample, flow, at, is_raw, is_json, is_strict)
    _leave(lambda: _written(lambda: samples.run(config_option, wish, os.environ)))


@main.command("shipped")
@_config_option
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def _shipped(config_option: str | None, files: tuple[str, ...]) -> None:
    """Say whether files are shipped, to the last byte.

    Exit 0 when every byte of each file, from its start position on, is durably settled in every
    flow that matches it; else 1, with what is missing. Needs no running daemon; knows renamed,
    copied and compressed files by their content.
    """
    from kagent.cli import shipped

    _leave(lambda: shipped.run(config_option, files))


@main.command("seek")
@_config_option
@click.argument("flow")
@click.argument("file")
@click.argument("position", metavar="end|start|OFFSET")
def _seek(config_option: str | None, flow: str, file: str, position: str) -> None:
    """Move a position by hand; the daemon must be stopped.

    FLOW ships FILE from there when the daemon starts again.
    """
    from kagent.cli import seek

    _leave(lambda: seek.run(config_option, flow, file, position))


@main.group("dead-letter")
def _dead_letter() -> None:
    """Look after records that the service would not take.

    Works with and without a running daemon.
    """


def _filtering(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that choose letters."""
    for option in (
        click.option("--id", "ids", multiple=True, metavar="ID", help="This record; repeatable."),
        click.option("--reason", metavar="TEXT", help="Whose reason has this in it."),
        click.option("--path", metavar="GLOB", help="From files whose path matches."),
        click.option("--flow", metavar="NAME", help="Of this flow."),
        _config_option,
    ):
        command = option(command)
    return command


@_dead_letter.command("list")
@_filtering
@click.option("--json", "is_json", is_flag=True, help="Print one JSON document, with the data.")
def _dead_letter_list(config_option: str | None, *, is_json: bool, **chosen: Any) -> None:
    """List them, one a line."""
    from kagent.cli import dead_letter

    wanted = dead_letter.Filter(**chosen)
    _leave(lambda: dead_letter.list_letters(config_option, wanted, is_json=is_json))


@_dead_letter.command("resend")
@_filtering
@click.option("--in-doubt", "is_in_doubt", is_flag=True, help="Also those that may have arrived.")
def _dead_letter_resend(config_option: str | None, *, is_in_doubt: bool, **chosen: Any) -> None:
    """Send them to their flow's destination, each once.

    Exit 1 when some are left. One whose fate is not known, because an answer or this command was
    lost, is left out afterwards: see --in-doubt.
    """
    from kagent.cli import dead_letter

    wanted = dead_letter.Filter(**chosen)
    _leave(lambda: dead_letter.resend(config_option, wanted, is_in_doubt=is_in_doubt))


@_dead_letter.command("drop")
@_filtering
@click.option("--all", "is_all", is_flag=True, help="Every letter there is.")
def _dead_letter_drop(config_option: str | None, *, is_all: bool, **chosen: Any) -> None:
    """Give them up for good.

    Wants a choice, or --all. Exit 1 when there are none.
    """
    from kagent.cli import dead_letter

    wanted = dead_letter.Filter(**chosen)
    if wanted.is_everything != is_all:
        raise click.UsageError("choose letters, or say --all")
    _leave(lambda: dead_letter.drop(config_option, wanted))


@main.command("demo")
@click.option(
    "--seconds",
    type=click.FloatRange(3.0, 120.0),
    default=15.0,
    show_default=True,
    help="How long lines are written.",
)
@click.option("--keep", is_flag=True, help="Keep the log files and the daemon's database.")
def _demo(seconds: float, *, keep: bool) -> None:
    """Try everything here, with an embedded Kinesis.

    A daemon ships log files that are rotated and truncated, and is killed on the way; then every
    line is counted. Nothing needs to be configured.
    """
    from kagent.cli import demo

    _leave(lambda: demo.run(seconds, keep=keep))


def _leave(command: Callable[[], int]) -> NoReturn:
    """Run a command and leave with its exit code, or with that of the error that ended it."""
    try:
        code = command()
    except errors.ConfigError as error:
        click.echo(str(error), err=True)
        code = EX_CONFIG
    except errors.CheckpointError as error:
        click.echo(f"kagent: {error}", err=True)
        code = EX_CONFIG
    except errors.AlreadyRunningError as error:
        click.echo(f"kagent: {error}", err=True)
        code = EX_NO
    sys.exit(code)


def _written(command: Callable[[], int]) -> int:
    """Run a command that does nothing but write; say it where that cannot be done."""
    try:
        code = command()
        sys.stdout.flush()
    except BrokenPipeError:
        raise  # who read it has seen enough; click knows what to do
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        click.echo(f"kagent: the output cannot be written: {error.strerror}", err=True)
        with contextlib.suppress(OSError):
            sys.stdout.close()  # nothing is tried again when the process ends
        return EX_NO
    return code
