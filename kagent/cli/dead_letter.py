"""`kagent dead-letter list|resend|drop`: what the service would not take, and what becomes of it.

Works beside a running daemon, which goes on burying. No letter is sent twice by accident: one of
which nobody knows whether it arrived is left out unless `--in-doubt` asks for it.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import fnmatch
import json
import os
import random
import socket
from collections.abc import Callable, Iterable, Iterator

import click

from kagent import (
    config,
    destinations,
    letterbook,
    model,
    preprocessing,
    resending,
    service,
    stream_facts,
    system,
)
from kagent.cli import owner
from kagent.destinations import control
from kagent.options import printable


@dataclasses.dataclass(frozen=True, slots=True)
class Filter:
    """Which letters are meant; what is None or empty does not matter."""

    flow: str | None = None
    path: str | None = None  # a pattern
    reason: str | None = None  # a part of it
    ids: tuple[str, ...] = ()

    def takes(self, letter: letterbook.Letter) -> bool:
        """Return whether a letter is meant."""
        return (
            (self.path is None or fnmatch.fnmatchcase(letter.path, self.path))
            and (self.reason is None or self.reason in letter.reason)
            and (not self.ids or letter.id in self.ids)
        )

    def letters(self, book: letterbook.LetterBook) -> Iterator[letterbook.Letter]:
        """Yield the letters that are meant, flow by flow."""
        for flow in self.flows(book):
            yield from filter(self.takes, book.letters(flow))

    def flows(self, book: letterbook.LetterBook) -> list[str]:
        """Return the flows that are meant."""
        return book.flows() if self.flow is None else [self.flow]

    def say_damage(self, book: letterbook.LetterBook) -> None:
        """Say which lines no command can do anything about."""
        for flow in self.flows(book):
            count, path = book.damage(flow)
            if count:
                what = "1 line is no letter" if count == 1 else f"{count:,} lines are no letters"
                click.echo(
                    f"{printable(flow)}: {what}, damaged or cut short by a crash, and left as it "
                    f"stands in {printable(path)}",
                    err=True,
                )

    @property
    def is_everything(self) -> bool:
        """No letter is left out."""
        return self == Filter()


def list_letters(config_option: str | None, wanted: Filter, *, is_json: bool) -> int:
    """Print letters; return the exit code."""
    loaded = _load(config_option)
    try:
        with owner.acting_as_owner(loaded.state_dir):
            book = letterbook.LetterBook(loaded.dead_letter_dir)
            found = list(wanted.letters(book))
            wanted.say_damage(book)
    except OSError as error:
        return _fail(error)
    if is_json:
        click.echo(json.dumps([_as_json(letter) for letter in found], indent=2))
        return 0
    for letter in found:
        click.echo(_as_line(letter))
    count, in_doubt = len(found), sum(one.state == "in doubt" for one in found)
    doubt = f", {in_doubt:,} of them in doubt: they may have arrived" if in_doubt else ""
    click.echo(
        f"{_counted(count)}, {sum(len(one.data) for one in found):,} bytes{doubt}", err=True
    )
    return 0


def resend(config_option: str | None, wanted: Filter, *, is_in_doubt: bool) -> int:
    """Send letters to their flows' destinations; return the exit code: 1 if some are left."""
    loaded = _load(config_option)
    flows = {one.name: one for one in loaded.flows}
    if wanted.flow is not None and wanted.flow not in flows:
        raise click.UsageError(f"there is no flow '{printable(wanted.flow)}'")
    book = letterbook.LetterBook(loaded.dead_letter_dir)
    is_all_sent = True
    try:
        with owner.acting_as_owner(loaded.state_dir), book.lock():
            wanted.say_damage(book)
            for name in wanted.flows(book):
                found = [one for one in book.letters(name) if wanted.takes(one)]
                if found and name not in flows:
                    click.echo(f"{name}: {_counted(len(found))} of a flow that is gone", err=True)
                    is_all_sent = False
                elif found:
                    is_all_sent &= _resend(flows[name], book, found, is_in_doubt=is_in_doubt)
    except letterbook.BookInUseError:
        return _fail("another command sends or drops dead letters; nothing was done")
    except OSError as error:
        return _fail(error)
    return 0 if is_all_sent else 1


def drop(config_option: str | None, wanted: Filter) -> int:
    """Give letters up for good; return the exit code: 1 if there are none."""
    loaded = _load(config_option)
    book = letterbook.LetterBook(loaded.dead_letter_dir)
    dropped = 0
    try:
        with owner.acting_as_owner(loaded.state_dir), book.lock():
            wanted.say_damage(book)
            for name in wanted.flows(book):
                found = [one for one in book.letters(name) if wanted.takes(one)]
                if found:
                    book.take_out(name, found)
                    dropped += len(found)
    except letterbook.BookInUseError:
        return _fail("another command sends or drops dead letters; nothing was done")
    except OSError as error:
        return _fail(error)
    click.echo(f"dropped {_counted(dropped)}")
    return 0 if dropped else 1


def _resend(
    flow: config.FlowConfig,
    book: letterbook.LetterBook,
    found: list[letterbook.Letter],
    *,
    is_in_doubt: bool,
) -> bool:
    """Send one flow's letters; return whether none of them is left."""
    chosen = [one for one in found if is_in_doubt or one.state == "waiting"]
    left_out = len(found) - len(chosen)
    clock = system.SystemClock()
    facts = model.StreamFacts()
    if flow.needs_facts:  # larger records than by default, perhaps
        facts = stream_facts.fetch(service.subject_of(flow, control.Clients()))
    sender = resending.Resender(
        book,
        flow.batch,
        stream_facts.limits_with(flow.destination.limits, facts),
        destinations.make(flow.destination, flow.destination.aws, 1),
        clock,
        random.Random(),
        _contexts(flow, clock),
    )
    outcome = sender.send(_once(chosen))
    if outcome.settled:
        sent = {letter.id for letter in outcome.settled}
        book.take_out(flow.name, [one for one in chosen if one.id in sent])
    click.echo(f"{flow.name}: delivered {_counted(len(outcome.settled))}")
    for reason, count in outcome.reasons.items():
        click.echo(f"{flow.name}: {count:,} not delivered: {printable(reason)}", err=True)
    if outcome.obstacle is not None:
        click.echo(f"{flow.name}: {outcome.obstacle}; hint: {outcome.obstacle.hint}", err=True)
    if left_out or outcome.in_doubt:
        click.echo(
            f"{flow.name}: {_counted(left_out + outcome.in_doubt)} may have arrived already and"
            " were left as they are; --in-doubt sends them, perhaps once more",
            err=True,
        )
    return not (left_out or outcome.waiting or outcome.in_doubt)


def _contexts(
    flow: config.FlowConfig, clock: model.Clock
) -> Callable[[letterbook.Letter], model.ChunkContext]:
    """Return what says of a letter what a flow would know of its line."""
    known = preprocessing.Preprocessing(
        flow.name,
        (),
        flow.on_no_match,
        clock,
        capture=flow.source.capture,
        record_bytes_max=flow.destination.limits.record_bytes_max,
        is_stripped=False,
        host=lambda: model.HostFacts(socket.gethostname()),
    )

    def context_of(letter: letterbook.Letter) -> model.ChunkContext:
        columns = [letter.data], [letter.start], [letter.end]
        chunk = model.Chunk(letter.tail_id, *columns, letter.start, letter.end, part=letter.part)
        return known.context(chunk, letter.path, ())

    return context_of


def _once(letters: Iterable[letterbook.Letter]) -> Iterator[letterbook.Letter]:
    """Yield each record once: a crash may have left its letter twice."""
    known: set[str] = set()
    for letter in letters:
        if letter.id not in known:
            known.add(letter.id)
            yield letter


def _load(config_option: str | None) -> config.Config:
    return config.load(config.default_path(config_option, os.environ), os.environ)


def _as_line(letter: letterbook.Letter) -> str:
    time = dt.datetime.fromtimestamp(letter.time, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    doubt = " (in doubt)" if letter.state == "in doubt" else ""
    return (
        f"{time} {letter.flow} {letter.id} {printable(letter.path)} "
        f"{len(letter.data)} bytes: {printable(letter.reason)}{doubt}"
    )


def _as_json(letter: letterbook.Letter) -> dict[str, object]:
    return {
        "id": letter.id,
        "time": letter.time,
        "flow": letter.flow,
        "path": printable(letter.path),
        "start": letter.start,
        "end": letter.end,
        "reason": letter.reason,
        "state": letter.state,
        "data": base64.b64encode(letter.data).decode("ascii"),
    }


def _counted(count: int) -> str:
    return f"{count:,} letter" if count == 1 else f"{count:,} letters"


def _fail(why: OSError | str) -> int:
    text = why if isinstance(why, str) else f"{printable(str(why.filename))}: {why.strerror}"
    click.echo(f"kagent: {text}", err=True)
    return 1
