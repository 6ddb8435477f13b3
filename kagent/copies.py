"""Is a new file a copy of one that is known? Reads what `tracking.recognise` must know of it.

A file that is to be read from 0 may be what copytruncate makes of a followed file, a compressed
generation of one, or one that was restored. All of them begin like the file they come from, so
each tail of which a whole fingerprint was read is found by its first bytes, each kept row by its
fingerprint; only those that agree are compared further. Decides nothing by itself.
"""

from __future__ import annotations

import bisect
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from kagent import generations, kept, model, proof, proven, tail, tracking, unpack

# Of the file of a checkpoint: whether a scan sees it, or none does, or that is being found out;
# `ended`: it is there, and no longer than its checkpoint says.
Whereabouts = Literal["there", "gone", "sought", "ended"]
HOLD_S = 60.0  # how long what may be a copy under way may stand still
_KEY_BYTES = 64


class SourceTruncatedError(Exception):
    """A file turned out to be truncated while a new one was compared with it."""

    def __init__(self, source: tail.Tail) -> None:
        super().__init__(source.tail_id)
        self.source = source


@dataclasses.dataclass(slots=True)
class Answer:
    """What a new file is, and the sources that it begins like but of which too little was read."""

    decision: tracking.Resume | tracking.Hold | None
    alike: list[str] = dataclasses.field(default_factory=list)
    is_blind: bool = False  # it is held as sources cannot be looked at now


class Copies:
    """Finds what new files are copies of; owned by the flow's recovery."""

    def __init__(
        self,
        files: model.Files,
        rotated: generations.Rotated,
        tails: Mapping[str, tail.Tail],
        truncated: Mapping[str, tail.Tail],
    ) -> None:
        """Know no file yet; the tails are the roster's, whatever becomes of them."""
        self._files = files
        self._rotated = rotated
        self._tails = tails
        self._truncated = truncated
        self._heads: list[tuple[bytes, str]] = []  # sorted
        self._known: set[str] = set()
        self._undecided: list[str] = []
        self.is_pending = False  # the last answer waits for a piece to be decompressed

    def note(self, one: tail.Tail) -> None:
        """Take in a tail of which something was read."""
        if one.tail_id not in self._known and one.position >= model.FINGERPRINT_BYTES_MAX:
            if len(self._heads) > 2 * len(self._tails) + 100:
                self._heads = [item for item in self._heads if item[1] in self._tails]
                self._known = {tail_id for _, tail_id in self._heads}
            bisect.insort(self._heads, (one.file.head[:_KEY_BYTES], one.tail_id))
            self._known.add(one.tail_id)

    def ask(
        self,
        one: tail.Tail,
        rows: kept.Rows,
        where: Callable[[model.Checkpoint], Whereabouts],
    ) -> Answer | None:
        """Return what a file that nothing was read of may be a copy of; None: ask again.

        Args:
            one: The file.
            rows: Checkpoints that no tail holds.
            where: Says what became of the file of such a checkpoint.

        Raises:
            SourceTruncatedError: a source is not what it was; ask again when that is settled.
            TruncatedError, OSError: of the file itself.
        """
        assert one.handle is not None
        size = one.size
        head = one.file.look(0, min(size, model.FINGERPRINT_BYTES_MAX))
        self._undecided.clear()
        self.is_pending = False
        sources = [*self._open_sources(one, head), *self._kept_sources(one, head, rows, where)]
        if self._undecided:
            return Answer(tracking.Hold(tuple(self._undecided)), is_blind=True)
        if not sources:
            return Answer(None, self._short_sources(one))
        evidence = {}
        for source in sources:
            found = one.file.evidence(source.checkpoint)
            if found is None:
                self.is_pending = True
                return None
            evidence[source.checkpoint.tail_id] = found
            offset = source.checkpoint.offset
            if not source.is_gone and offset <= size and offset not in found.frontiers_held:
                one.unlike.add(source.checkpoint.tail_id)
        seen = one.sightings()
        decision = tracking.recognise(seen, sources, evidence)
        return Answer(decision, [] if decision else self._short_sources(one))

    def may_continue(
        self, unpacked: unpack.Unpacked, paths: tuple[str, ...], rows: kept.Rows
    ) -> bool:
        """Return whether a compressed file begins like one that is known."""
        head = unpacked.head
        at = bisect.bisect_left(self._heads, (head[:_KEY_BYTES], ""))
        is_like_tail = at < len(self._heads) and self._heads[at][0].startswith(head[:_KEY_BYTES])
        whole = model.Fingerprint(len(head), proof.digest(head))
        is_like_row = any(row.offset for row in rows.begin_like(whole))
        is_short = any(
            0 < one.position < model.FINGERPRINT_BYTES_MAX
            and head.startswith(one.file.head)
            and self._is_near(paths, one.paths + one.former_paths)
            for one in self._truncated.values()
        )
        return is_like_tail or is_like_row or is_short

    def _open_sources(self, one: tail.Tail, head: bytes) -> Iterator[tracking.Source]:
        key = head[:_KEY_BYTES]
        at = bisect.bisect_left(self._heads, (key, ""))
        while at < len(self._heads) and self._heads[at][0].startswith(key):
            source = self._tails.get(self._heads[at][1])
            at += 1
            if (
                source is None
                or source is one
                # It may have been renamed after the copy was made, in the same scan for us.
                or not self._is_near(
                    one.paths + one.former_paths, source.paths + source.former_paths
                )
            ):
                continue
            if source.state == "truncated":
                if not (source.is_spent or source.tail_id in one.unlike):
                    yield tracking.Source(source.facts(), is_gone=True, known_end=source.known_end)
                continue
            try:
                facts = source.facts_below(one.size)
                # What takes a file's place, by rsync or an editor, may hold more than that did.
                may_be_longer = source.is_packed or source.file.status().links == 0
            except proven.TruncatedError:
                raise SourceTruncatedError(source) from None
            except OSError:
                self._undecided.append(source.tail_id)  # said where it is read
                continue
            if may_be_longer or one.size <= max(facts.offset, source.seen_bytes):
                yield tracking.Source(facts, is_gone=False)
            else:  # longer than what it could be a copy of
                one.unlike.add(source.tail_id)

    def _kept_sources(
        self,
        one: tail.Tail,
        head: bytes,
        rows: kept.Rows,
        where: Callable[[model.Checkpoint], Whereabouts],
    ) -> Iterator[tracking.Source]:
        if len(head) < model.FINGERPRINT_BYTES_MAX:
            return
        for row in rows.begin_like(model.Fingerprint(len(head), proof.digest(head))):
            if row.offset >= model.FINGERPRINT_BYTES_MAX and self._is_near(
                one.paths + one.former_paths, row.paths
            ):
                found = where(row)
                if found == "sought":
                    self._undecided.append(row.tail_id)
                elif found != "ended" or one.size <= row.size:
                    yield tracking.Source(row, is_gone=found == "gone")

    def _short_sources(self, one: tail.Tail) -> list[str]:
        """Return truncated tails that the file begins like, of which too little was read."""
        assert one.handle is not None
        alike = []
        for source in self._truncated.values():
            if source.is_spent:
                continue
            facts = source.facts()
            if not 0 < facts.offset < model.FINGERPRINT_BYTES_MAX or facts.offset > one.size:
                continue
            where = source.paths + source.former_paths
            if not self._is_near(one.paths + one.former_paths, where):
                continue
            found = one.file.evidence(facts)
            if (
                found is not None
                and found.fingerprint_holds
                and facts.offset in found.frontiers_held
            ):
                alike.append(source.tail_id)
        return alike

    def _is_near(self, where: tuple[str, ...], paths: tuple[str, ...]) -> bool:
        """Return whether a file is where a copy of one with those paths may be."""
        directories = set(map(os.path.dirname, paths))
        return any(
            os.path.dirname(path) in directories or self._rotated.names(paths, path)
            for path in where
        )
