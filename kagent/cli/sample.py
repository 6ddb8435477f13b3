"""`kagent test-config --sample`: what a flow would make of a file, record by record.

What would be sent goes to stdout and nothing else does: with --raw exactly those bytes, one after
another. Everything that is written to stdout by others, such as a preprocessor that prints, goes
to stderr instead.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import os
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import BinaryIO

import click

from kagent import config, model, patterns, rehearsal, system
from kagent.options import printable


@dataclasses.dataclass(frozen=True, slots=True)
class Wish:
    """What the operator asks for."""

    sample: str  # a path, or - for stdin
    flow: str | None = None
    at: int | None = None
    is_raw: bool = False
    is_json: bool = False
    is_strict: bool = False


@dataclasses.dataclass(slots=True)
class _Sums:
    """What became of all records."""

    records: int = 0
    source_bytes: int = 0
    sent: int = 0
    sent_bytes: int = 0
    dropped: int = 0
    unparsed: int = 0
    dead: int = 0

    def add(self, piece: rehearsal.Rehearsed) -> None:
        if piece.part > 1:
            self.sent += 1
            self.sent_bytes += len(piece.data)
            return
        self.source_bytes += piece.end - piece.start
        self.records += piece.is_record
        self.unparsed += piece.unparsed is not None
        self.dead += piece.fate == "dead-lettered"
        self.dropped += piece.fate == "dropped" and piece.is_record
        if piece.fate == "sent":
            self.sent += 1
            self.sent_bytes += len(piece.data)


def run(config_option: str | None, wish: Wish, environ: Mapping[str, str]) -> int:
    """Print what would become of a sample; return the exit code.

    Raises:
        errors.ConfigError: the configuration is wrong; nothing was printed.
        click.UsageError: the sample or the flow cannot be told.
    """
    with stdout_for_data(is_last=True) as out, contextlib.ExitStack() as stack:
        loaded = config.load(config.default_path(config_option, environ), environ)
        fd, path = _opened(wish.sample, stack)
        flow = choose_flow(loaded, wish, path)
        one = rehearsal.Rehearsal(
            flow,
            system.OsFiles(),
            fd,
            path,
            system.SystemClock(),
            lambda: model.HostFacts(socket.gethostname()),
        )
        return _show(one, flow, wish, out)


def choose_flow(loaded: config.Config, wish: Wish, path: str) -> config.FlowConfig:
    """Return the flow that is meant: the named one, the only one, or the one that ships the path.

    Raises:
        click.UsageError: that is none, or several.
    """
    known = ", ".join(one.name for one in loaded.flows)
    if not loaded.flows:
        raise click.UsageError(f"{printable(loaded.file)} has no flows.")
    if wish.flow is not None:
        for one in loaded.flows:
            if one.name == wish.flow:
                return one
        asked = printable(wish.flow)
        raise click.UsageError(f"There is no flow '{asked}'; there are: {known}.")
    if len(loaded.flows) == 1:
        return loaded.flows[0]
    matching = [one for one in loaded.flows if _ships(one, path)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        names = ", ".join(one.name for one in matching)
        raise click.UsageError(
            f"Several flows ship {printable(path)}: {names}. Say which with --flow NAME."
        )
    raise click.UsageError(
        f"No flow's paths match {printable(path)}. Say which is meant with --flow NAME: {known}."
    )


def _ships(flow: config.FlowConfig, path: str) -> bool:
    wanted = [patterns.parse_pattern(text) for text in flow.source.paths]
    excluded = [patterns.parse_pattern(text) for text in flow.source.exclude]
    return patterns.matches_any(path, wanted) and not patterns.matches_any(path, excluded)


def _show(one: rehearsal.Rehearsal, flow: config.FlowConfig, wish: Wish, out: BinaryIO) -> int:
    sums = _Sums()
    render = _as_raw if wish.is_raw else _as_json if wish.is_json else _as_text
    try:
        for piece in one.records(wish.at):
            sums.add(piece)
            out.writelines(render(piece, one))
    except rehearsal.ChangedError as error:
        click.echo(f"kagent: the sample cannot be read to its end: {error}", err=True)
        return 1
    out.flush()
    if wish.at is not None and not sums.source_bytes:
        click.echo(f"kagent: there is no byte {wish.at}: the sample ends at {one.size}", err=True)
        return 1
    warnings = list(_warnings(sums, one, flow))
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    if any(stage.needs_instance for stage in flow.preprocess):
        click.echo("note: EC2 is not asked for a sample; what it would say is left out", err=True)
    click.echo(
        f"flow {flow.name}: {sums.records:,} record{'' if sums.records == 1 else 's'} of "
        f"{sums.source_bytes:,} bytes; {sums.sent:,} would be sent with "
        f"{sums.sent_bytes:,} bytes, {sums.dropped:,} dropped, {sums.dead:,} dead-lettered",
        err=True,
    )
    return 1 if wish.is_strict and warnings else 0


def _warnings(sums: _Sums, one: rehearsal.Rehearsal, flow: config.FlowConfig) -> Iterator[str]:
    """Yield what an operator did not ask for, and may want to mend."""
    if sums.unparsed:
        were = "record was" if sums.unparsed == 1 else "records were"
        yield f"{sums.unparsed:,} {were} unparsed; on_no_match: {flow.on_no_match}"
    if sums.dead > sums.unparsed:
        would = "record" if sums.dead == 1 else "records"
        yield f"{sums.dead:,} {would} would be dead-lettered"
    if one.undecoded:
        yield f"{one.undecoded:,} lines are not in the format of 'decode'"
    if one.replaced:
        yield f"{one.replaced:,} sequences are no text in 'encoding'"
    if one.expired:
        yield f"for {one.expired:,} lines a pattern of 'multiline' took too long"


def _as_raw(piece: rehearsal.Rehearsed, _: rehearsal.Rehearsal) -> Iterator[bytes]:
    if piece.fate == "sent":
        yield piece.data


def _as_json(piece: rehearsal.Rehearsed, _: rehearsal.Rehearsal) -> Iterator[bytes]:
    """Yield one object a record; what is no record, such as a header line, has none."""
    if not piece.is_record:
        return
    document: dict[str, object] = {"start": piece.start, "end": piece.end, "fate": piece.fate}
    if piece.unparsed is not None:
        document["unparsed_by"], document["part"] = piece.unparsed
    if piece.part:
        document["sent_as_part"] = piece.part
    if piece.why:
        document["why"] = piece.why
    if piece.fate != "dropped":
        with contextlib.suppress(UnicodeDecodeError):
            document["data"] = piece.data.decode()
        document["data_base64"] = base64.b64encode(piece.data).decode()
    yield json.dumps(document).encode() + b"\n"


def _as_text(piece: rehearsal.Rehearsed, one: rehearsal.Rehearsal) -> Iterator[bytes]:
    """Yield a line on the record, and one with its source where that is not what is sent."""
    said = f"{piece.start}-{piece.end} "
    if piece.unparsed is not None:
        stage, part = piece.unparsed
        said += f"unparsed by {stage}{f' ({part})' if part else ''}, "
    said += f"part {piece.part}, {piece.fate}" if piece.part else piece.fate
    if piece.why and not (piece.unparsed and piece.fate == "dropped"):
        said += f" {piece.why}" if piece.why.startswith("by ") else f" ({piece.why})"
    if piece.fate != "dropped":
        said += f": {_text(piece.data)}"
    yield _line(said)
    source = one.source(piece)
    if source != piece.data:
        yield _line(f"    source: {_text(source)}")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _line(text: str) -> bytes:
    return printable(text).encode() + b"\n"


def _opened(sample: str, stack: contextlib.ExitStack) -> tuple[int, str]:
    """Open a sample for reading at any offset, and say what path it stands for.

    Raises:
        click.UsageError: it cannot be read.
    """
    if sample == "-":
        return stack.enter_context(_spooled(sys.stdin.buffer)), "-"
    try:
        file = stack.enter_context(open(sample, "rb", buffering=0))  # noqa: SIM115 -- the stack closes it
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file.fileno(), os.path.abspath(sample)
        return stack.enter_context(_spooled(file)), os.path.abspath(sample)
    except OSError as error:
        raise click.UsageError(f"Cannot read {printable(sample)}: {error.strerror}.") from error


@contextlib.contextmanager
def _spooled(file: BinaryIO) -> Iterator[int]:
    """Copy what can be read only once to where it can be read at any offset."""
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(file, copy)
        copy.flush()
        yield copy.fileno()


@contextlib.contextmanager
def stdout_for_data(*, is_last: bool = False) -> Iterator[BinaryIO]:
    """Give stdout to data alone: whatever else is written there meanwhile goes to stderr.

    Args:
        is_last: Nothing more is to be written: what threads and exit handlers of others print
            until the process ends goes to stderr, too.
    """
    out, err = sys.stdout, sys.stderr
    out.flush()
    try:
        is_real = out.fileno() == 1 and err.fileno() == 2
    except OSError:  # a test's
        is_real = False
    if not is_real:
        with contextlib.redirect_stdout(err):
            yield out.buffer
        return
    kept = os.dup(1)
    data = open(kept, "wb")  # noqa: SIM115 -- closed below, after stdout is what it was
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(err):
            yield data
    finally:
        out.flush()
        if not is_last:
            os.dup2(kept, 1)
        with contextlib.suppress(BrokenPipeError):
            data.close()
