"""The demo's books: which lines arrived, which came twice, and whether that had to be so. Pure.

A line's duplicate is explained in two ways only, both of them promised:

    lost answer   the service had taken the line, and its answer never reached the daemon
    kill          the service had taken the line before the daemon was killed, and the database on
                  disk did not say so yet

Everything else is a bug, and the demo fails.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import typing
from collections.abc import Iterable, Mapping

SHOWN_MAX = 3  # examples in a message

FileKey = tuple[str, int, int]  # flow, device, inode


class Place(typing.NamedTuple):
    """Where a line stands: bytes [start, end) of one file of one flow."""

    file: FileKey
    start: int
    end: int


class Arrival(typing.NamedTuple):
    """One copy of a line that a service accepted, from its journal."""

    line: bytes
    order: int  # from 0, in the order of acceptance
    is_answer_lost: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Kill:
    """What was true when the daemon was killed.

    `accepted` is the order of the first record of each flow that the next daemon sent; `settled`
    are the byte ranges of each file that the database on disk calls settled.
    """

    accepted: Mapping[str, int]
    settled: Mapping[FileKey, list[tuple[int, int]]]

    def is_durable(self, place: Place) -> bool:
        """Return whether the next daemon knew from the database that a line was settled."""
        ranges = self.settled.get(place.file, [])
        return any(start <= place.start and place.end <= end for start, end in ranges)


@dataclasses.dataclass(slots=True)
class Balance:
    """What became of the lines; `written = arrived + lost`."""

    written: int = 0
    arrived: int = 0  # at a consumer
    lost: list[bytes] = dataclasses.field(default_factory=list)
    strange: list[bytes] = dataclasses.field(default_factory=list)  # never written by anyone
    misread: list[bytes] = dataclasses.field(default_factory=list)  # the service's own mistake
    by_lost_answer: int = 0
    by_kill: int = 0
    unexplained: list[bytes] = dataclasses.field(default_factory=list)

    @property
    def duplicated(self) -> int:
        """How many copies more than one each."""
        return self.by_lost_answer + self.by_kill + len(self.unexplained)

    def problems(self) -> list[str]:
        """Return what must not be, each with a few examples; empty when all is well."""
        return [
            f"{len(found)} {what}, for example:{''.join(map(_shown, found[:SHOWN_MAX]))}"
            for what, found in (
                ("lines did not arrive", self.lost),
                ("duplicates have no explanation", self.unexplained),
                ("records are no line that was written", self.strange),
                ("records were accepted and read not as often", self.misread),
            )
            if found
        ]


def balance_of(
    flow: str,
    written: Mapping[bytes, Place],
    consumed: Iterable[bytes],
    journal: Iterable[Arrival],
    kill: Kill | None,
) -> Balance:
    """Return what became of the lines of one flow.

    Args:
        flow: Its name.
        written: Every complete line that was written, and where.
        consumed: What a consumer read, in any order.
        journal: Every copy that the service accepted, in any order.
        kill: The one kill of the daemon, if there was one.
    """
    read = collections.Counter(consumed)
    copies: dict[bytes, list[Arrival]] = collections.defaultdict(list)
    for arrival in journal:
        copies[arrival.line].append(arrival)
    balance = Balance(written=len(written))
    balance.lost = [line for line in written if line not in read]
    balance.arrived = balance.written - len(balance.lost)
    balance.misread = [
        line for line in read.keys() | copies.keys() if read[line] != len(copies.get(line, ()))
    ]
    for line, several in copies.items():
        place = written.get(line)
        if place is None:
            balance.strange.append(line)
        elif len(several) > 1:
            _explain(balance, flow, place, sorted(several, key=lambda one: one.order), kill)
    return balance


def sum_of(balances: Iterable[Balance]) -> Balance:
    """Return the balance of several flows together."""
    together = Balance()
    for one in balances:
        for field in dataclasses.fields(Balance):
            value = getattr(together, field.name) + getattr(one, field.name)
            setattr(together, field.name, value)
    return together


def _explain(
    balance: Balance, flow: str, place: Place, copies: list[Arrival], kill: Kill | None
) -> None:
    """Count each further copy of a line by the reason why the one before it was not enough."""
    for earlier, later in itertools.pairwise(copies):
        is_across = kill is not None and earlier.order < kill.accepted[flow] <= later.order
        if is_across and kill is not None and not kill.is_durable(place):
            balance.by_kill += 1
        elif earlier.is_answer_lost:
            balance.by_lost_answer += 1
        else:
            balance.unexplained.append(later.line)


def _shown(line: bytes) -> str:
    return f"\n    {line[:120].decode('ascii', 'backslashreplace').rstrip()}"
