"""What became of files: the search for their rest, until it is found or given up.

The life of a file goes on elsewhere when it was truncated, or when no scan sees it any more. Asks
`newcomers` what new files are and `lost` where the rest of a file is, at each scan; lets tails and
rows go on in what was found (`succession`), and gives up, with an error that names the offset,
what was looked for long enough.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from kagent import (
    copies,
    discovery,
    generations,
    kept,
    losses,
    lost,
    missing,
    model,
    newcomers,
    opening,
    options,
    resting,
    retired,
    scanning,
    succession,
    tail,
    tails,
)

LEFT_MAX = 50  # files that were renamed away, and whose followers are looked for


class Recovery:
    """Finds the rest of one flow's files; owned by its roster."""

    def __init__(
        self,
        flow: str,
        source: discovery.SourceOptions,
        files: model.Files,
        clock: model.Clock,
        opener: opening.Opener,
        faults: opening.Faults,
        tails_: tails.Tails,
        rows: kept.Rows,
        resting_: resting.Resting,
        retired_: retired.Retired,
        base_of: Callable[[str], str],
        open_: succession.Open,
    ) -> None:
        """Look for nothing yet."""
        rotated = generations.Rotated.of(source.rotated)
        self.losses = losses.Losses(flow, tails_)
        self.missing = missing.Missing(
            flow, source.rotate_wait, files, tails_, rows, resting_, retired_
        )
        self._unproven: list[lost.LostFile] = []  # resumed at 0: they may be other files now
        self._rotate_wait_s = source.rotate_wait
        self._opener = opener
        self._tails = tails_
        self._rows = rows
        self._retired = retired_
        self._open = open_
        self._copies = copies.Copies(files, rotated, tails_.all, tails_.truncated)
        self._searcher = lost.Searcher(rotated, files, clock, opener, base_of)
        self._succession = succession.Succession(
            opener,
            tails_,
            rows,
            self.missing,
            self._copies,
            self.losses,
            base_of,
            open_,
        )
        self.newcomers = newcomers.Newcomers(
            opener,
            faults,
            tails_,
            rows,
            resting_,
            self.missing,
            self._copies,
            self.losses,
            self._succession,
            reads_compressed=source.read_compressed,
        )

    def search(self, scan: scanning.ScanResult, inherited: Collection[str], now: float) -> None:
        """Look for the rest of truncated and missing files, and give up what is not found."""
        self.missing.note(scan, inherited, now)
        is_clean = self.newcomers.look(now)
        self._succession.forget_read()
        files = self._lost_files()
        search = self._searcher.search(files, self.missing.is_ours, self._rows.located)
        self.missing.note_search(now, is_clean=search.is_clean)
        self.losses.unreadable.clear()
        self._succession.forget_parts({one.checkpoint.tail_id for one in files})
        is_clean = self._take_in(search, now) and is_clean and search.is_clean
        if is_clean:
            for lost_file in self._unproven:
                if lost_file.checkpoint.tail_id in self._tails.all:
                    self._tails.all[lost_file.checkpoint.tail_id].mtime_saved = None
            self._unproven.clear()
            self._succession.name_untouched()
            self.missing.say(self._succession.named)
            self._succession.followed.clear()
            self._succession.went_on.clear()
            self._give_up(now)
            self.losses.count_short(now)

    def _take_in(self, search: lost.Search, now: float) -> bool:
        """Read on in what a search found; return whether that was nothing, and none is left.

        Files may be renamed while their directory is listed: after a find it is listed once more.
        """
        is_clean, after = True, ""
        for finding in search.findings:
            is_further_part = succession.is_part(finding) and self._succession.part_of(finding)
            if finding.is_other or is_further_part:
                is_clean = self._succession.take_in_other(finding, now) and is_clean
                continue
            if not search.is_clean and self._may_wait(finding, now):
                continue
            one = self._succession.take_in(finding, now)
            if one is None:
                self._searcher.retry(finding)
                # What was found is not given up, but for an archive that nobody here can read.
                is_clean = self._is_unreadable(finding) and is_clean
            else:
                one.after, after = "" if finding.is_its else after, one.tail_id
                is_clean = False
        return is_clean

    def _lost_files(self) -> list[lost.LostFile]:
        """Return the files whose rest is looked for, the oldest first."""
        files = [
            lost.LostFile(one.facts(), one.known_end)
            for one in self._tails.truncated.values()
            if not one.is_spent
        ]
        files += [
            lost.LostFile(self._rows[tail_id])
            for tail_id, absence in self.missing.all.items()
            if absence.scans > 1 or not self._rows[tail_id].paths
        ]
        files += self._unproven + self._succession.followed + self._succession.went_on
        return sorted(files, key=lambda one: one.checkpoint.mtime_ns)

    def _may_wait(self, finding: lost.Finding, now: float) -> bool:
        """Return whether a longer copy may be where nobody could look now."""
        row = finding.lost.checkpoint
        if not finding.is_its or not 0 < finding.size < self.losses.seen_of(row):
            return False
        absence, live = self.missing.all.get(row.tail_id), self._tails.all.get(row.tail_id)
        if absence is not None:
            return now - absence.since < absence.wait_s
        return live is not None and now - live.left < self._rotate_wait_s

    def _is_unreadable(self, finding: lost.Finding) -> bool:
        """Return whether what was found is an archive of no use as it is, and note it."""
        sighting = finding.decision.sightings[0]
        fault = self._opener.fault_of(sighting)
        if fault:
            known = self.losses.unreadable.setdefault(finding.lost.checkpoint.tail_id, [])
            known.append(f"{options.printable(sighting.path)}, which {fault}")
        return fault != ""

    def _give_up(self, now: float) -> None:
        """Look no more for what was not found for so long, and say which bytes are lost."""
        for one in list(self._tails.truncated.values()):
            if not one.is_spent and now - one.left >= self._rotate_wait_s:
                self.losses.abandon(one.paths, one.position, one.lost_bytes, one.tail_id)
                self._succession.spend(one.tail_id)
        for tail_id, absence in list(self.missing.all.items()):
            row = self._rows.get(tail_id)  # none if it was found in this scan
            if row is not None and now - absence.since >= absence.wait_s:
                if tail_id not in self._succession.named:
                    self.losses.abandon_row(row)
                self._succession.spend(tail_id)

    def reopen(self, room: int, now: float) -> None:
        """Read on in retired files that grew: nobody told their writer."""
        for resume in self._retired.look(self.missing.is_ours):
            if room <= 0 or resume.checkpoint.tail_id not in self._rows:
                continue
            one = self._open(resume, now)
            if one is not None:
                room -= 1
                self._succession.leave(one, resume.checkpoint.paths, now)

    def doubt(self, row: model.Checkpoint, one: tail.Tail) -> None:
        """Note that a file goes on which may be another one than it was.

        Inodes are given again, and files begin alike. One that has another name, or is shorter,
        may be another file, even if it holds all that was shipped: others are looked for that
        continue the old one, too, or of less than a whole fingerprint its younger generations.
        It stays as old as it was until they were: the next life looks if this one ends before.
        """
        is_renamed = not set(one.paths) & set(row.paths)
        is_short = row.offset < model.FINGERPRINT_BYTES_MAX
        is_unproven = one.file.is_unproven or (is_short and (is_renamed or one.size < row.size))
        if (is_unproven or one.size < row.size) and one.tail_id == row.tail_id:
            one.mtime_saved = row.mtime_ns
        if is_unproven:
            self._unproven.append(lost.LostFile(row, is_open=True))
            return
        if is_renamed or one.size < row.size:
            self._succession.note_went_on(lost.LostFile(row), one)
        self.losses.note_short(one, row.size, row)

    def note_left(self, one: tail.Tail) -> None:
        """Note that a file was renamed away: others may have come after it, and went as well.

        Two rotations between two scans leave one that nobody saw. Not of very many at once: each
        costs a look through its directory.
        """
        if len(self._succession.followed) >= LEFT_MAX:
            return
        source = lost.LostFile(one.facts(), one.known_end, is_read=True)
        self._succession.note_went_on(source, one)
        self._succession.followed.append(lost.LostFile(one.facts(), is_open=True, is_read=True))

    def note_read(self, one: tail.Tail) -> None:
        """Take in a tail of which something was read."""
        self._copies.note(one)
