"""Send dead letters once more: each at most once, unless nobody knows what became of it.

A group of letters is noted as in doubt before it is sent, and afterwards as what it is: settled,
or waiting as before. Whatever ends the process in between, and every answer that does not say what
became of a record, leaves the note that it may have arrived. Letters are packed as their flow
packs lines; with `kpl` each goes as it is, as lone lines do.
"""

from __future__ import annotations

import dataclasses
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

from kagent import batch as batching
from kagent import errors, letterbook, metrics, model, pace

TRIES = 8  # of what is throttled, with waits that grow to half a minute in all
_GROUP_LETTERS = 500
_GROUP_BYTES = 4 * 1024**2


@dataclasses.dataclass(slots=True)
class Outcome:
    """What became of letters; `reasons` are why some were not delivered, with their number."""

    settled: list[letterbook.Letter] = dataclasses.field(default_factory=list)
    waiting: int = 0
    in_doubt: int = 0
    reasons: dict[str, int] = dataclasses.field(default_factory=dict)
    obstacle: errors.DestinationError | None = None  # why nothing more was tried


class Resender:
    """Sends letters of one flow to its destination, one request after the other."""

    def __init__(
        self,
        book: letterbook.LetterBook,
        settings: batching.BatchSettings,
        limits: model.BatchLimits,
        destination: model.Destination,
        clock: model.Clock,
        chooser: random.Random,
        context_of: Callable[[letterbook.Letter], model.ChunkContext],
    ) -> None:
        """Send nothing yet; the book's lock must be held for as long as this is used.

        Args:
            book: Where the letters are.
            settings: How the flow makes requests.
            limits: Of the destination.
            destination: The flow's.
            clock: For the waits.
            chooser: Of partition keys.
            context_of: Returns what a partition key may be made of.
        """
        is_lone = settings.pack is not None and settings.pack.form == "kpl"
        self._settings = dataclasses.replace(
            settings, max_age_s=0.0, is_ordered=False, pack=None if is_lone else settings.pack
        )
        self._book = book
        self._limits = limits
        self._destination = destination
        self._clock = clock
        self._chooser = chooser
        self.context_of = context_of

    def send(self, letters: Iterable[letterbook.Letter]) -> Outcome:
        """Send letters and note in the book what became of each; those settled are still there.

        Raises:
            OSError: what is known of them cannot be made durable; nothing more was sent.
        """
        outcome = Outcome()
        for group in _groups(letters):
            if outcome.obstacle is not None:
                outcome.waiting += len(group)
                continue
            self._book.note(group, "in doubt")
            fates = _Group(group, self)
            fates.send(outcome)
            self._book.note([one for i, one in enumerate(group) if i in fates.settled], "settled")
            self._book.note([one for i, one in enumerate(group) if i in fates.waiting], "waiting")
            outcome.settled += [one for i, one in enumerate(group) if i in fates.settled]
            outcome.waiting += len(fates.waiting)
            outcome.in_doubt += len(group) - len(fates.settled) - len(fates.waiting)
        return outcome

    def batcher(self) -> batching.Batcher:
        """Return what makes requests of a group's letters."""
        return batching.Batcher(self._settings, self._limits, self._chooser)

    def attempt(self, batch: model.Batch) -> model.Receipt:
        """Make one call."""
        return self._destination.put(batch)

    def wait(self, failures: int) -> None:
        """Wait as a flow would after so many failures."""
        self._clock.wait(threading.Event(), pace.setback_wait_s(failures))


class _Group:
    """Letters that are under way together, by their number in the group."""

    def __init__(self, letters: Sequence[letterbook.Letter], sender: Resender) -> None:
        self.settled: set[int] = set()
        self.waiting: set[int] = set()
        self._sender = sender
        self._batcher = sender.batcher()
        self._letters = letters

    def send(self, outcome: Outcome) -> None:
        """Find out the fate of each letter; what is neither settled nor waiting is in doubt."""
        for number, letter in enumerate(self._letters):
            if len(letter.data) > self._batcher.line_bytes_max:
                self._keep([number], "longer than the destination takes", outcome)
                continue
            end = max(1, len(letter.data))  # each letter is a file of its own to the Batcher
            chunk = model.Chunk(str(number), [letter.data], [0], [end], 0, end)
            is_asked = self._batcher.keys.needs_context
            context = self._sender.context_of(letter) if is_asked else None
            self._batcher.keys.assign(chunk, context)
            self._batcher.add(chunk)
        pending = list(self._take_all())
        failures = 0
        while pending:
            batch = pending.pop(0)
            if outcome.obstacle is not None:
                self._keep(_numbers(batch.cargo), outcome.obstacle.code, outcome)
                continue
            again = self._attempt(batch, outcome, is_last=failures >= TRIES)
            if again:
                failures += 1
                self._sender.wait(failures)
                pending[:0] = again
            pending += self._take_all()

    def _attempt(
        self, batch: model.Batch, outcome: Outcome, *, is_last: bool
    ) -> list[model.Batch]:
        """Make one call; return what should be tried again after a wait."""
        receipt = self._sender.attempt(batch)
        setback = receipt.setback
        if setback is None:
            return self._take_in(receipt, outcome, is_last=is_last)
        if receipt.is_ambiguous:
            outcome.reasons[setback.code] = outcome.reasons.get(setback.code, 0) + 1
        elif isinstance(setback, errors.DeniedError | errors.NotFoundError):
            outcome.obstacle = setback
            self._keep(_numbers(batch.cargo), setback.code, outcome)
        elif isinstance(setback, errors.RejectedError):
            if len(batch.records) > 1:
                self._batcher.put_back_halves(batch, 0.0)
            else:
                self._keep(_numbers(batch.cargo), setback.code, outcome)
        elif is_last:
            self._keep(_numbers(batch.cargo), setback.code, outcome)
        else:
            return [batch]
        return []

    def _take_in(
        self, receipt: model.Receipt, outcome: Outcome, *, is_last: bool
    ) -> list[model.Batch]:
        refused = [one.index for one in receipt.refused]
        accepted, returned = self._batcher.settle(receipt.batch, refused)
        self.settled.update(int(chunk.tail_id) for chunk in accepted)
        is_some_back = False
        for cargo, refusal in zip(returned, receipt.refused, strict=True):  # each is one record
            if refusal.code == metrics.INTERNAL_FAILURE:  # it may have been written all the same
                reasons = outcome.reasons
                reasons[refusal.code] = reasons.get(refusal.code, 0) + 1
            elif is_last:
                self._keep(_numbers([cargo]), refusal.code, outcome)
            else:
                self._batcher.put_back([cargo], 0.0)
                is_some_back = True
        return list(self._take_all()) if is_some_back else []

    def _take_all(self) -> Iterator[model.Batch]:
        while (batch := self._batcher.take(1.0)) is not None:
            yield batch

    def _keep(self, numbers: Iterable[int], reason: str, outcome: Outcome) -> None:
        for number in numbers:
            self.waiting.add(number)
            outcome.reasons[reason] = outcome.reasons.get(reason, 0) + 1


def _numbers(cargo: Iterable[model.Cargo]) -> Iterator[int]:
    for one in cargo:
        chunks = one.chunks if isinstance(one, model.Packed) else [one]
        for chunk in chunks:
            yield int(chunk.tail_id)


def _groups(letters: Iterable[letterbook.Letter]) -> Iterator[list[letterbook.Letter]]:
    group: list[letterbook.Letter] = []
    size = 0
    for letter in letters:
        if group and (len(group) == _GROUP_LETTERS or size + len(letter.data) > _GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(letter)
        size += len(letter.data)
    if group:
        yield group
