"""Decide which file is which: pure.

`reconcile` compares the tails and checkpoints that are known with what a scan saw. It reads
nothing: what it must know of a file's content it asks for as a `Probe`, and is asked again with
the `Evidence`. It never guesses: in doubt a file is read again, never skipped.

The table that the code below obeys, row by row. For a tail that is open, `known`, the first two
rows decide its content and the next three its path; for any other file the first row that holds.

    seen                                             known?  decision
    same identity, size >= position                  yes     keep; content is verified in the read
    same identity, size < position                   yes     truncated: the old tail lives until it
                                                             is settled, a new tail starts at 0
    at another path                                  yes     followed
    at two paths (hard link, two patterns)           yes     one tail
    at no matching path, in two scans                yes     left: read on through the descriptor
    a checkpoint with that identity (never one       no      resumed at its offset
      whose link count was seen 0), or with that
      path and inode, whose fingerprint, frontier
      and settled ranges hold
    the same, but the file is shorter or the         no      rolled back: resumed at f as a new
      frontier fails, and the fingerprint and an               tail
      older frontier f > 0 hold; or a range fails,
      and f is the offset
    a checkpoint with that identity, other content   no      that checkpoint is lost; the file goes
                                                             on down the table
    anything less certain                            no      first scan of its pattern: `start_at`;
                                                             else started at 0

A file that is to be read from 0 is asked once more what it is, by `recognise`: the first row that
holds. A source is a tail or a checkpoint of which at least a whole fingerprint was shipped, in the
same directory or under a name that `rotated` gives; what is compared is not one value repeated.

    seen                                             decision
    the fingerprint of a source that was truncated   the copy: the source goes on in it
      or is gone, and its frontier
    the first bytes of a source that is neither,     may be a copy under way: held, until one of
      and the bytes before min(size, its size)         these rows holds, a byte differs, or
                                                       nothing changed for HOLD_S; one that
                                                       differs stays none when that is truncated
    the fingerprint of one that is, and an older     a copy that ended before: resumed at f as a
      frontier f that is settled, not its frontier     new tail, the source has nothing more
    anything else                                    read from 0

A checkpoint with offset 0 and no range proves nothing and needs no proof: nothing was settled.
A range that does not hold is read again, by a new tail, so that no id is given to other bytes.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence

from kagent import model


@dataclasses.dataclass(frozen=True, slots=True)
class TailFacts:
    """What reconcile may know of an open tail."""

    tail_id: str
    identity: model.FileIdentity
    paths: tuple[str, ...]
    position: int  # or the end of what an earlier life settled above it


@dataclasses.dataclass(frozen=True, slots=True)
class Probe:
    """A question: which digests of this checkpoint hold in the file that was seen there?"""

    sighting: model.Sighting
    checkpoint: model.Checkpoint

    @property
    def is_needed(self) -> bool:
        """The checkpoint claims something that the file's bytes must prove."""
        return self.checkpoint.offset > 0 or bool(self.checkpoint.ranges)

    @property
    def key(self) -> tuple[model.FileIdentity, str]:
        """What the evidence is filed under."""
        return self.sighting.identity, self.checkpoint.tail_id


@dataclasses.dataclass(frozen=True, slots=True)
class Start:
    """Open a file as a new tail; `is_first_scan` leaves the position to `start_at`."""

    sightings: tuple[model.Sighting, ...]
    is_first_scan: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Resume:
    """Open a file at a checkpoint, or, rolled back, at an older frontier as a new tail."""

    sightings: tuple[model.Sighting, ...]
    checkpoint: model.Checkpoint
    offset: int
    ranges: tuple[model.SettledRange, ...]
    is_rolled_back: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """A tail or a checkpoint of which a file may be a copy.

    `checkpoint` is as of the source's position, or, for one that is not gone, as of all bytes that
    both have. What is shorter than `known_end` does not continue the source.
    """

    checkpoint: model.Checkpoint
    is_gone: bool
    known_end: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Hold:
    """A file that may be a copy under way, and of which sources."""

    sources: tuple[str, ...]


@dataclasses.dataclass(slots=True)
class Reconciliation:
    """Everything that one scan means, and the probes without which some of it stays undecided."""

    seen: dict[str, tuple[model.Sighting, ...]]  # by tail_id: where the file is now
    unseen: list[str]  # tail_ids at no matching path
    truncated: list[str]  # tail_ids whose file is shorter than their position
    opened: list[Start | Resume]
    lost: list[model.Checkpoint]  # their file holds other content now
    probes: list[Probe]


def reconcile(
    tails: Sequence[TailFacts],
    rows: Sequence[model.Checkpoint],
    sightings: Sequence[model.Sighting],
    evidence: Mapping[tuple[model.FileIdentity, str], model.Evidence],
    first_scan_paths: frozenset[str] = frozenset(),
) -> Reconciliation:
    """Decide what each known tail and each seen file is.

    Args:
        tails: The open tails, one for each identity.
        rows: Checkpoints that no tail holds.
        sightings: Everything that one scan saw.
        evidence: Answers to the probes of an earlier call for the same scan.
        first_scan_paths: Paths seen by the first scan of all patterns that match them.
    """
    groups: dict[model.FileIdentity, list[model.Sighting]] = collections.defaultdict(list)
    for sighting in sightings:
        groups[sighting.identity].append(sighting)
    result = Reconciliation({}, [], [], [], [], [])
    for tail in tails:
        group = groups.pop(tail.identity, None)
        if group is None:
            result.unseen.append(tail.tail_id)
        else:
            result.seen[tail.tail_id] = tuple(group)
            if group[0].size < tail.position:
                result.truncated.append(tail.tail_id)
    unclaimed = _Unclaimed(rows)
    for group in groups.values():
        _identify(tuple(group), unclaimed, evidence, first_scan_paths, result)
    return result


class _Unclaimed:
    """Checkpoints that no file continues yet, found by what locates a file."""

    def __init__(self, rows: Sequence[model.Checkpoint]) -> None:
        self._by_inode: dict[int, dict[str, model.Checkpoint]] = collections.defaultdict(dict)
        for row in rows:
            if not row.was_unlinked:
                self._by_inode[row.identity.inode][row.tail_id] = row

    def candidates(self, seen: tuple[model.Sighting, ...]) -> list[model.Checkpoint]:
        """Return the checkpoints that an unknown file may continue."""
        rows = self._by_inode.get(seen[0].identity.inode, {}).values()
        same = [row for row in rows if row.identity == seen[0].identity]
        # Device numbers change at a reboot, so path and inode locate a file as well.
        paths = {sighting.path for sighting in seen}
        return same or [row for row in rows if paths.intersection(row.paths)]

    def claim(self, row: model.Checkpoint) -> None:
        """Note that a checkpoint is decided."""
        del self._by_inode[row.identity.inode][row.tail_id]


def _identify(
    seen: tuple[model.Sighting, ...],
    unclaimed: _Unclaimed,
    evidence: Mapping[tuple[model.FileIdentity, str], model.Evidence],
    first_scan_paths: frozenset[str],
    result: Reconciliation,
) -> None:
    """Decide what an unknown file is, and claim the checkpoint it continues."""
    probes = [Probe(seen[0], row) for row in unclaimed.candidates(seen)]
    missing = [probe for probe in probes if probe.is_needed and probe.key not in evidence]
    if missing:
        result.probes.extend(missing)
        return
    matches = [match(seen, probe.checkpoint, evidence.get(probe.key)) for probe in probes]
    # A truncation while running leaves two rows of one identity: the one that proves more wins,
    # a proven offset before a rolled-back one.
    best = max(
        (found for found in matches if found is not None),
        key=lambda found: (not found.is_rolled_back, found.offset, len(found.ranges)),
        default=None,
    )
    for probe, found in zip(probes, matches, strict=True):
        row = probe.checkpoint
        if found is best and best is not None:
            unclaimed.claim(row)
            result.opened.append(best)
        elif row.identity == seen[0].identity:
            unclaimed.claim(row)
            result.lost.append(row)
    if best is None:
        is_first_scan = all(sighting.path in first_scan_paths for sighting in seen)
        result.opened.append(Start(seen, is_first_scan))


def recognise(
    seen: tuple[model.Sighting, ...],
    sources: Sequence[Source],
    evidence: Mapping[str, model.Evidence],
) -> Resume | Hold | None:
    """Decide whether a file that would be read from 0 is a copy of something, by its bytes.

    Args:
        seen: The file.
        sources: What it may be a copy of.
        evidence: What the file says of each source's checkpoint, by tail_id.
    """
    held: dict[str, int] = {}  # by tail_id: up to where both are the same
    found: list[Resume] = []
    for source in sources:
        row = source.checkpoint
        proof = evidence[row.tail_id]
        if not proof.is_telling or row.fingerprint.length < min(
            row.offset, model.FINGERPRINT_BYTES_MAX
        ):
            continue
        if source.is_gone and seen[0].size < source.known_end:
            held_there = frozenset(proof.frontiers_held - {row.offset})
            proof = dataclasses.replace(proof, frontiers_held=held_there)
        one = match(seen, row, proof)
        if one is None:
            continue
        if source.is_gone:
            found.append(one)
        elif not one.is_rolled_back:
            held[row.tail_id] = row.offset
    best = max(found, key=lambda one: (not one.is_rolled_back, one.offset), default=None)
    if held and (best is None or best.is_rolled_back or best.offset < max(held.values())):
        return Hold(tuple(held))  # more of it is in an open file: that explains it better
    return best


def generation(
    probe: Probe, proof: model.Evidence | None, known_end: int, *, is_itself: bool
) -> Resume | Start | None:
    """Decide whether a generation holds the rest of a lost file.

    Args:
        probe: The generation, and the lost file's checkpoint.
        proof: What the generation's bytes say; None if the checkpoint claims nothing.
        known_end: What is shorter does not continue the file whole.
        is_itself: The generation has the lost file's inode.
    """
    seen, row = (probe.sighting,), probe.checkpoint
    if proof is None:
        return Resume(seen, row, 0, (), is_rolled_back=False) if is_itself else None
    size = probe.sighting.size if proof.size is None else proof.size
    if size < known_end:
        held = frozenset(proof.frontiers_held - {row.offset})
        proof = dataclasses.replace(proof, frontiers_held=held)
    one = match(seen, row, proof)
    if one is None:
        return None
    if is_itself or (row.fingerprint.length == model.FINGERPRINT_BYTES_MAX and proof.is_telling):
        return one
    return None if one.is_rolled_back else Start(seen, is_first_scan=False)


def match(
    seen: tuple[model.Sighting, ...], row: model.Checkpoint, proof: model.Evidence | None
) -> Resume | None:
    """Return how a file continues a checkpoint, None if its bytes say that it does not."""
    if row.offset == 0 and not row.ranges:
        return Resume(seen, row, 0, (), is_rolled_back=False)
    assert proof is not None
    if not proof.fingerprint_holds:
        return None
    size = seen[0].size if proof.size is None else proof.size
    if size >= row.offset and row.offset in proof.frontiers_held:
        ranges = tuple(
            settled
            for settled in row.ranges
            if settled.end <= size and settled.end in proof.frontiers_held
        )
        if row.offset or ranges:  # at 0 the bytes before say nothing
            return Resume(seen, row, row.offset, ranges, is_rolled_back=ranges != row.ranges)
    older = [
        frontier.offset
        for frontier in row.older
        if row.start <= frontier.offset <= size and frontier.offset in proof.frontiers_held
    ]
    return (
        Resume(seen, row, max(older), (), is_rolled_back=True) if max(older, default=0) else None
    )
