"""Where did the rest of a file go? Searches the generations that `rotated` names.

A file is lost when its descriptor is of no use any more and something of it may be unread: it was
truncated, or it is a checkpoint's and no scan sees it. Each scan looks for it, through one index
of names a directory, until it is found or given up:

    what a generation is                             decision
    a checkpoint's file, by inode, and its proofs    that one's, and resumed at its offset if it
      hold                                             is lost
    a whole fingerprint and the frontier hold        its copy: resumed there
    a whole fingerprint and an older frontier f      a copy that ended before: resumed at f as a
                                                       new tail
    it begins with all of the few bytes that were    read from 0
      shipped, less than a whole fingerprint
    one more that continues it, and is not older     read as far as it holds what the first does
                                                       not: which one is the copy, nobody can say
    unknown, and written to after the one that was   younger generations, which nobody saw: read
      found, or after the checkpoint if none was       from 0, oldest first
    anything else                                    left alone

Generations that match the flow's patterns are none of its business: scans see them. Opens files
and reads proofs through the Opener; changes no tail and no row.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Collection, Iterable, Sequence

from kagent import candidates, generations, model, opening, tracking


@dataclasses.dataclass(frozen=True, slots=True)
class LostFile:
    """What is looked for: what its generation must hold.

    What is shorter than `known_end` does not continue it whole. `is_open`: its file is there, but
    may be another one by now, as too little of it was read: only younger generations are looked
    for, once. `went_on_in`: the tail that goes on in what was found; others are looked for, once.
    `is_read`: it is open and read on; an archive beside it may be of another file that is.
    """

    checkpoint: model.Checkpoint
    known_end: int = 0
    is_open: bool = False
    went_on_in: str = ""
    is_read: bool = False


@dataclasses.dataclass(slots=True)
class Finding:
    """A generation to be opened, and the lost file that it belongs to.

    `is_its`: it holds the lost file's rest; `is_other`: so does this one, and is so long. Findings
    of one lost file come oldest first, the others last.
    """

    decision: tracking.Resume | tracking.Start
    lost: LostFile
    is_its: bool
    is_other: bool = False
    size: int = 0


@dataclasses.dataclass(slots=True)
class Search:
    """What one search found; one that is not clean could not look everywhere."""

    findings: list[Finding] = dataclasses.field(default_factory=list)
    is_clean: bool = True


_Look = tuple[str, model.FileIdentity, int, int]


class Searcher:
    """Searches for the lost files of one flow; owned by its recovery."""

    def __init__(
        self,
        rotated: generations.Rotated,
        files: model.Files,
        clock: model.Clock,
        opener: opening.Opener,
        base_of: Callable[[str], str],
    ) -> None:
        """Look at nothing yet; `base_of` says how far links in a path are the operator's."""
        self._rotated = rotated
        self._opener = opener
        self._clock = clock
        self._candidates = candidates.Candidates(rotated, files, clock, base_of)
        self._judged: set[_Look] = set()  # what was compared, to no avail
        self._swept: dict[str, float] = {}  # by tail_id: when younger generations were taken in
        self._taken_in: set[tuple[model.FileIdentity, int]] = set()  # with mtime: what was found
        self._owned: set[model.FileIdentity] = set()  # generations that are a checkpoint's file

    def search(
        self,
        lost: Sequence[LostFile],
        is_ours: Callable[[model.FileIdentity], bool],
        located: Callable[[model.FileIdentity], Sequence[model.Checkpoint]],
    ) -> Search:
        """Look for lost files once.

        Args:
            lost: The files, older ones first.
            is_ours: Whether a file is open, or has a path that the flow's patterns match.
            located: Returns the checkpoints whose file may be the one with an identity.
        """
        result = Search()
        lost_ids = {one.checkpoint.tail_id for one in lost if not (one.is_open or one.went_on_in)}
        self._swept = {one: at for one, at in self._swept.items() if one in lost_ids}
        if not lost:
            self._judged.clear()
            self._taken_in.clear()
            self._candidates.forget()
            return result
        there = self._candidates.look([one.checkpoint for one in lost], lost_ids, is_ours)
        result.is_clean = there.is_clean
        seen = itertools.chain(there.neighbours, *there.generations.values())
        found = self._find_themselves(lost, seen, located, result)
        taken = self._owned | {one.decision.sightings[0].identity for one in found.values()}
        looks: set[_Look] = set()
        copies = [
            (
                one,
                self._find_copies(
                    one, there.generations[one.checkpoint.tail_id], taken, looks, result
                ),
            )
            for one in lost
            if not one.is_open
        ]
        others = self._assign(copies, found, taken)
        self._judged &= looks
        # Once each: what continues several files is read on by one of them.
        unique = {one.decision.sightings[0].identity: one for one in reversed(others)}
        others = [one for identity, one in unique.items() if identity not in taken]
        taken |= unique.keys()
        for one in lost:
            if one.went_on_in:
                continue
            its = None if one.is_open else found.get(one.checkpoint.tail_id)  # not twice
            result.findings += [its] if its else []
            self._sweep(one, its, there.generations[one.checkpoint.tail_id], taken, result)
        result.findings += others
        self._taken_in.update(map(_seen_as, result.findings))
        return result

    def _assign(
        self,
        copies: Sequence[tuple[LostFile, list[Finding]]],
        found: dict[str, Finding],
        taken: set[model.FileIdentity],
    ) -> list[Finding]:
        """Give each lost file its best copy, each copy to one; return what else may be one.

        What holds all of one file is not a part of another one, which only begins like it.
        """
        by_itself = set(found)
        for is_whole in (True, False):
            for one, several in copies:
                if one.went_on_in or one.checkpoint.tail_id in found:
                    continue
                for copy in several:
                    identity = copy.decision.sightings[0].identity
                    if identity not in taken and (_is_whole(copy) or not is_whole):
                        taken.add(identity)
                        found[one.checkpoint.tail_id] = copy
                        several.remove(copy)
                        break
        others: list[Finding] = []
        for one, several in copies:
            # What proves to be a copy is no younger generation.
            is_found = one.checkpoint.tail_id in by_itself and not one.went_on_in
            others += [
                copy
                for copy in several
                if _may_be_the_copy(copy)
                and (isinstance(copy.decision, tracking.Resume) or not is_found)
            ]
        return others

    def _sweep(
        self,
        one: LostFile,
        its: Finding | None,
        candidates: Sequence[model.Sighting],
        taken: set[model.FileIdentity],
        result: Search,
    ) -> None:
        """Take in unknown younger generations; later only what was moved since, and each once."""
        tail_id, is_known = one.checkpoint.tail_id, its is not None or one.is_open
        end_s = math.inf if is_known else self._swept.get(tail_id, math.inf)
        if result.is_clean and not is_known:
            self._swept.setdefault(tail_id, self._clock.time())
        for sighting in candidates:
            if (
                sighting.identity not in taken
                and sighting.mtime_ns / 1e9 < end_s
                # Its row, by which it would be known, may have gone on in another file.
                and (sighting.identity, sighting.mtime_ns) not in self._taken_in
                and _is_younger(sighting, one, its)
                and self._is_sure(sighting, one)
            ):
                taken.add(sighting.identity)
                start = tracking.Start((sighting,), is_first_scan=False)
                result.findings.append(Finding(start, one, is_its=False))

    def _is_sure(self, sighting: model.Sighting, one: LostFile) -> bool:
        """Return whether a file is a generation although no content says it."""
        if one.is_read and self._opener.is_compressed(sighting) is not False:
            return False
        return sighting.path == one.checkpoint.target or self._rotated.is_sure(sighting.path)

    def retry(self, finding: Finding) -> None:
        """Look again for the younger generations of all lost files: this one is not open yet."""
        self._swept.clear()
        self._taken_in.discard(_seen_as(finding))

    def _find_themselves(
        self,
        lost: Sequence[LostFile],
        seen: Iterable[model.Sighting],
        located: Callable[[model.FileIdentity], Sequence[model.Checkpoint]],
        result: Search,
    ) -> dict[str, Finding]:
        """Find lost files that only have another name; note whose the generations are."""
        by_id = {one.checkpoint.tail_id: one for one in lost if not one.went_on_in}
        sightings = {one.identity: one for one in seen}
        found: dict[str, Finding] = {}
        self._owned.clear()
        for sighting in sightings.values():
            matches = []
            for row in located(sighting.identity):
                probe = tracking.Probe(sighting, row)
                proof = self._opener.gather(probe) if probe.is_needed else None
                is_told = probe.is_needed and (proof is None or proof.is_telling)
                is_named = self._rotated.names(row.paths, sighting.path)
                if not (is_told or is_named or sighting.path == row.target):
                    continue  # an inode alone, under a name that is not its own, is no reason
                if probe.is_needed and proof is None:
                    result.is_clean = False  # whose it is, a later scan says
                    self._owned.add(sighting.identity)
                    continue
                known_end = by_id[row.tail_id].known_end if row.tail_id in by_id else 0
                match = tracking.generation(probe, proof, known_end, is_itself=True)
                if isinstance(match, tracking.Resume):
                    matches.append(match)
            if not matches:
                continue
            self._owned.add(sighting.identity)
            best = max(matches, key=lambda one: (not one.is_rolled_back, one.offset))
            owner = by_id.get(best.checkpoint.tail_id)
            if owner is not None:
                found[best.checkpoint.tail_id] = Finding(best, owner, is_its=True)
        return found

    def _find_copies(
        self,
        one: LostFile,
        candidates: Sequence[model.Sighting],
        taken: Collection[model.FileIdentity],
        looks: set[_Look],
        result: Search,
    ) -> list[Finding]:
        """Return the generations that are copies of a lost file, the best one first."""
        row = one.checkpoint
        matches: list[tuple[tuple[bool, bool, int], Finding]] = []
        for sighting in candidates:
            look = (row.tail_id, sighting.identity, sighting.size, sighting.mtime_ns)
            looks.add(look)
            if sighting.identity in taken or look in self._judged:
                continue
            probe = tracking.Probe(sighting, row)
            proof = self._opener.gather(probe) if probe.is_needed else None
            if probe.is_needed and proof is None:
                result.is_clean = False
                continue
            decision = tracking.generation(probe, proof, one.known_end, is_itself=False)
            if decision is None:
                self._judged.add(look)
                continue
            is_whole = isinstance(decision, tracking.Resume) and not decision.is_rolled_back
            rank = (is_whole, isinstance(decision, tracking.Resume), sighting.mtime_ns)
            size = sighting.size if proof is None or proof.size is None else proof.size
            matches.append((rank, Finding(decision, one, is_its=True, size=size)))
        return [one for _, one in sorted(matches, key=lambda item: item[0], reverse=True)]


def _is_whole(one: Finding) -> bool:
    """Return whether a generation continues a lost file where that was read to."""
    return not (isinstance(one.decision, tracking.Resume) and one.decision.is_rolled_back)


def _may_be_the_copy(one: Finding) -> bool:
    """Return whether what continues a lost file whole, and is not older, may be its copy, too."""
    one.is_its, one.is_other = False, True
    is_older = one.decision.sightings[0].mtime_ns < one.lost.checkpoint.mtime_ns
    return _is_whole(one) and not is_older


def _seen_as(finding: Finding) -> tuple[model.FileIdentity, int]:
    return finding.decision.sightings[0].identity, finding.decision.sightings[0].mtime_ns


def _is_younger(sighting: model.Sighting, one: LostFile, its: Finding | None) -> bool:
    """Return whether a generation was written to after a lost file."""
    since_ns = one.checkpoint.mtime_ns
    if its is not None and one.checkpoint.offset:  # at 0 nothing proves that it is the same
        # Some writer may have gone on in the lost file long after those that followed it.
        return sighting.mtime_ns >= min(since_ns, its.decision.sightings[0].mtime_ns)
    if one.checkpoint.offset < model.FINGERPRINT_BYTES_MAX:
        return sighting.mtime_ns >= since_ns
    return sighting.mtime_ns > since_ns
