"""`kagent shipped`: may these files be deleted, as far as kagent is concerned?

Reads the files and the database of positions, and writes neither. What is shipped and what is
missing goes to stdout, what nobody will ever send to stderr: bytes before the start position,
dead letters, lines that a rule may have dropped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import click

from kagent import adoption, checkpoint, config, deadletter, model, patterns, shipped, system
from kagent.options import format_size, printable

_RANGES_SAID_MAX = 5


def run(config_option: str | None, paths: Sequence[str]) -> int:
    """Say of each file whether it is shipped; return the exit code.

    Raises:
        errors.ConfigError: the configuration is wrong.
        errors.CheckpointError: the database is damaged, or not kagent's.
    """
    loaded = config.load(config.default_path(config_option, os.environ), os.environ)
    reader = checkpoint.CheckpointReader(loaded.state_dir)
    try:
        scopes = scopes_of(loaded, reader)
    except OSError as error:
        click.echo(f"kagent: {_unread(reader.path, error)}", err=True)
        return 1
    files = system.OsFiles()
    results = [_say(path, loaded, scopes, reader, files) for path in paths]
    return 0 if all(results) else 1


def scopes_of(
    loaded: config.Config, reader: checkpoint.CheckpointReader
) -> tuple[shipped.Scope, ...]:
    """Return what each configured flow reads, and the name that its positions are saved under.

    The name is an older one when a flow was renamed and the daemon has not started since, and
    none, which no flow has, when the flow never ran: rows under its name would be nobody's.
    """
    saved_as = {one.name: one.name for one in reader.flows()}
    saved_as |= {new: old for old, new in adoption.plan(loaded, reader).adoptions}
    return tuple(
        shipped.Scope(
            one.name,
            saved_as.get(one.name, ""),
            tuple(map(patterns.parse_pattern, one.source.paths)),
            tuple(map(patterns.parse_pattern, one.source.exclude)),
        )
        for one in loaded.flows
    )


def _say(
    path: str,
    loaded: config.Config,
    scopes: Sequence[shipped.Scope],
    reader: checkpoint.CheckpointReader,
    files: model.Files,
) -> bool:
    """Say of one file whether it is shipped, and return it."""
    name = printable(path)
    fault = _unusable(path, files)
    if fault:
        click.echo(f"{name}: {fault}", err=True)
        return False
    try:
        verdict = shipped.ask(os.path.abspath(path), scopes, reader, files)
    except OSError as error:
        click.echo(f"{name}: cannot be looked at: {_reason(error)}", err=True)
        return False
    if verdict.fault:
        click.echo(f"{name}: {printable(verdict.fault)}", err=True)
    for answer in verdict.answers:
        click.echo(f"{name}: {answer.flow}: {_finding(answer)}")
        for note in _notes(answer, loaded):
            click.echo(f"{name}: {answer.flow}: {note}", err=True)
    if not verdict.answers:
        click.echo(f"{name}: no flow matches it, and none knows its content")
    return verdict.is_shipped


def _unusable(path: str, files: model.Files) -> str:
    """Return why something is no file that could be shipped; '' if it may be one."""
    if path == "-":
        return "standard input has no position; name a file, or ./- for one of that name"
    try:
        kind = files.status(path, path).kind
    except (OSError, ValueError) as error:
        return f"cannot be looked at: {_reason(error)}"
    return {"file": "", "directory": "is a directory"}.get(kind, "is not a regular file")


def _finding(answer: shipped.Answer) -> str:
    """Return in one line what a flow has of a file."""
    kind = "decompressed " if answer.is_compressed else ""
    if answer.state == "unknown":
        if answer.was_replaced:
            return (
                "not known: a position was saved for it, but it holds other content now,"
                " of which nothing is known to be shipped"
            )
        return "not known: no saved position is proved by its content"
    if answer.state == "shipped":
        return f"shipped, all of its {answer.size:,} {kind}bytes"
    count = sum(end - start for start, end in answer.missing)
    ranges = [f"{start}-{end}" for start, end in answer.missing[:_RANGES_SAID_MAX]]
    if len(answer.missing) > _RANGES_SAID_MAX:
        ranges.append(f"and {len(answer.missing) - _RANGES_SAID_MAX} more ranges")
    text = f"{count:,} of its {answer.size:,} {kind}bytes are not shipped: {', '.join(ranges)}"
    if answer.unfinished_bytes == count:
        return f"{text}; they are an unfinished last line, which waits for its newline"
    if answer.unfinished_bytes:
        return f"{text}; the last {answer.unfinished_bytes:,} are an unfinished last line"
    return text


def _notes(answer: shipped.Answer, loaded: config.Config) -> Iterator[str]:
    """Yield what of a file was never sent and never will be, as far as that is known."""
    row = answer.checkpoint
    if row is None:
        return
    if row.start:
        yield f"bytes 0-{row.start} stand before the start position: never sent by this flow"
    folder = loaded.dead_letter_dir
    path = os.path.join(folder, deadletter.file_name(answer.flow))
    try:
        count, count_bytes = deadletter.count_of_tail(path, row.tail_id)
    except OSError as error:
        yield f"dead letters not counted: {printable(path)}: {_reason(error)}"
    else:
        if count:
            where = printable(path)
            yield f"{count:,} records, {count_bytes:,} bytes, are dead letters in {where}"
    flow = next(one for one in loaded.flows if one.name == answer.flow)
    if flow.oversize in {"drop", "truncate"}:
        limit = format_size(flow.source.max_line)
        how = "dropped" if flow.oversize == "drop" else "truncated"
        yield f"lines longer than {limit}, if any, were {how}: oversize is {flow.oversize}"


def _unread(path: str, error: OSError) -> str:
    """Return why there are no positions to be seen, and what would help."""
    if isinstance(error, FileNotFoundError):
        return (
            f"{printable(path)}: does not exist, so nothing is known to be shipped;"
            " hint: state_dir is another one, or kagent never ran with it"
        )
    text = f"{printable(path)}: cannot be read: {_reason(error)}"
    return f"{text}; hint: ask as root, or as the user that kagent runs as"


def _reason(error: OSError | ValueError) -> str:
    strerror = error.strerror if isinstance(error, OSError) else None
    return printable(strerror or str(error))
