"""What is true of every byte in a simulated world, and what may never happen to it.

The simulation tells this model what writers do and what the destination takes; the model says at
once when a promise is broken. It knows nothing of kagent's code but what is written in its
promises. A file's bytes are followed as *contents*: one from a file's creation or truncation to
the next. Records are located by the bytes they carry, not by what kagent believes of them.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Mapping

import fakes

from kagent import model


class BrokenError(AssertionError):
    """A promise was broken."""


class Ranges:
    """Merged half-open ranges."""

    def __init__(self) -> None:
        self.pairs: list[tuple[int, int]] = []

    def add(self, start: int, end: int) -> None:
        kept = []
        for one in self.pairs:
            if one[1] < start or one[0] > end:
                kept.append(one)
            else:
                start, end = min(start, one[0]), max(end, one[1])
        kept.append((start, end))
        self.pairs = sorted(kept)

    def remove(self, start: int, end: int) -> None:
        kept = []
        for first, last in self.pairs:
            if first < min(last, start):
                kept.append((first, min(last, start)))
            if max(first, end) < last:
                kept.append((max(first, end), last))
        self.pairs = kept

    def within(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return the parts of [start, end) that are in the ranges."""
        found = [(max(start, first), min(end, last)) for first, last in self.pairs]
        return [(first, last) for first, last in found if first < last]

    def gaps(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return the parts of [start, end) that are not in the ranges."""
        gaps = []
        for first, last in self.within(start, end):
            if start < first:
                gaps.append((start, first))
            start = last
        if start < end:
            gaps.append((start, end))
        return gaps


@dataclasses.dataclass(eq=False)
class Content:
    """The bytes of a file between two truncations, and what became of them."""

    number: int  # of the inode
    index: int  # among all contents that this number ever had
    data: bytearray = dataclasses.field(default_factory=bytearray)
    line_ends: list[int] = dataclasses.field(default_factory=list)
    skippable: int = 0  # how much of it was there when `start_at` could decide
    skips: set[int] = dataclasses.field(default_factory=set)  # sizes at which it could decide
    last_append: float = 0.0
    grown: dict[int, float] = dataclasses.field(default_factory=dict)  # when it came to a size
    late: Ranges = dataclasses.field(default_factory=Ranges)  # written after the silence
    cuts: set[int] = dataclasses.field(default_factory=set)  # sizes at which it fell silent
    covered: Ranges = dataclasses.field(default_factory=Ranges)  # delivered or dead-lettered
    repeatable: Ranges = dataclasses.field(default_factory=Ranges)  # may come again
    hole: int = 0  # NULs that it begins with
    source: Content | None = None  # what it is a copy of
    is_rotated: bool = False  # its source was truncated when it was made: it stands for it
    may_repeat: bool = False  # it may be read from 0 although its source was shipped
    cut_to: int | None = None  # how much a truncation left of it
    source_read: int | None = None  # of its source, when it was last nothing that was decided
    owed_bytes: int = 0  # of such a copy
    known_by: frozenset[str] = frozenset()  # the tail_ids by which kagent can find it
    rotated_from: tuple[str, ...] = ()  # under whose names it must be found, wherever it is

    def append(self, data: bytes) -> None:
        at = len(self.data)
        if self.hole == at:
            self.hole += len(data) - len(data.lstrip(b"\0"))
        self.data += data
        found = data.find(b"\n")
        while found >= 0:
            self.line_ends.append(at + found + 1)
            found = data.find(b"\n", found + 1)

    def line_at(self, offset: int) -> tuple[int, int]:
        """Return the line that holds an offset; the last one may be incomplete."""
        after = bisect.bisect_right(self.line_ends, offset)
        start = self.line_ends[after - 1] if after else min(self.hole, offset)
        end = self.line_ends[after] if after < len(self.line_ends) else len(self.data)
        return start, end

    @property
    def root(self) -> Content:
        """Return what it is a copy of in the end."""
        return self if self.source is None else self.source.root

    @property
    def complete_bytes(self) -> int:
        return self.line_ends[-1] if self.line_ends else 0

    @property
    def skippable_ends(self) -> set[int]:
        """Return where `start_at` may have begun."""
        after = [bisect.bisect_right(self.line_ends, one) for one in (self.skippable, *self.skips)]
        return {self.line_ends[one - 1] if one else 0 for one in after}


class Truth:
    """All contents of a world; see the module."""

    content_type = Content

    def __init__(self, policy: str, limit: int) -> None:
        self.policy = policy
        self.limit = limit
        self.is_ordered = False  # nothing happens that may change the order
        self.current: dict[fakes.Node, Content] = {}
        self.history: dict[int, list[Content]] = {}
        # By tail_id: number, and first and last index of the content that it began with. They
        # differ when a writer acted within the step that opened it.
        # One more for each file that a tail goes on in.
        self.origins: dict[str, list[tuple[int, int, int]]] = {}
        self.places: dict[str, list[Content]] = {}  # by tail_id: where its records were found
        self.in_memory: list[tuple[Content, int]] = []  # destroyed, but read up to there before
        self.last_starts: dict[tuple[str, str], int] = {}  # by tail_id, order: of the last record
        self.ids: dict[tuple[str, int, int], bytes] = {}
        self._indices: dict[int, int] = {}
        self._doubles: list[Content] = []  # of which the last record can come as well

    # What writers do.

    def note_created(self, node: fakes.Node) -> Content:
        contents = self.history.setdefault(node.number, [])
        content = self.content_type(node.number, len(contents))
        contents.append(content)
        self.current[node] = content
        return content

    def note_appended(self, node: fakes.Node, data: bytes, now: float, *, is_late: bool) -> None:
        content = self.current[node]
        if not data:
            return
        if is_late:
            content.late.add(len(content.data), len(content.data) + len(data))
        else:
            content.last_append = now
        content.append(data)
        content.grown[len(content.data)] = content.last_append

    def note_truncated(self, node: fakes.Node, size: int) -> None:
        old = self.current[node]
        old.cut_to = size
        new = self.note_created(node)
        new.append(bytes(old.data[:size]))
        new.source = old.source
        new.skippable = min(size, old.skippable)
        # What came and was cut off again, before anybody looked, shows nothing.
        new.last_append = old.grown.get(size, old.last_append)
        new.grown = {size: new.last_append}
        new.cuts = {cut for cut in old.cuts if cut <= size}

    def note_lost(self, node: fakes.Node, size: int) -> None:
        """Take in that a power cut cut a file: what was shipped of it may come again."""
        for content in self.history[node.number]:
            for start, end in content.covered.pairs:
                content.repeatable.add(start, end)
        self.note_truncated(node, size)

    # What kagent does.

    def begin_step(self) -> None:
        """Remember what files hold now: what is opened in this step holds that, or later bytes."""
        self._indices = {number: len(all_) - 1 for number, all_ in self.history.items()}

    def note_tail(self, tail_id: str, number: int) -> None:
        origins = self.origins.setdefault(tail_id, [])
        if not origins or origins[-1][0] != number:
            # The file that it leaves, if that is still somewhere, is another one from now on.
            left = self.places.get(tail_id, ()) if origins else ()
            for content in self.current.values():
                if content in left and content.number != number:
                    for start, end in content.covered.pairs:
                        content.repeatable.add(start, end)
            last = len(self.history[number]) - 1
            origins.append((number, self._indices.get(number, 0), last))

    def note_unpacked(self, tail_id: str, offset: int) -> None:
        """Take in that a file goes on in an archive, where all above the offset is sent again."""
        for content in self.places.get(tail_id, ()):
            for start, end in content.covered.within(offset, len(content.data)):
                content.repeatable.add(start, end)

    def note_renewed(self, old: str, new: str) -> None:
        """Take in that a file goes on under another tail_id."""
        if old not in self.origins:
            return  # opened and closed within one step, and nothing of it was read
        self.origins[new] = self.origins[old]
        self.places[new] = list(self.places.get(old, ()))

    def note_record(
        self,
        tail_id: str,
        start: int,
        end: int,
        data: bytes,
        *,
        is_repeatable: bool,
        order: str = "",
    ) -> None:
        """Take in a record that was delivered or dead-lettered; `order` says among which it is."""
        contents = self._locate(tail_id, start, end, data)
        if self.ids.setdefault((tail_id, start, end), data) != data:
            raise BrokenError(f"S6 two records have the id {tail_id[:6]}:{start}-{end}")
        if self._is_again(contents[0], start, end):
            raise BrokenError(
                f"duplicate without a reason: {tail_id[:6]}:{start}-{end} {data[:60]!r}"
            )
        if self.is_ordered and start < self.last_starts.get((tail_id, order), -1):
            raise BrokenError(f"L2 out of order: {tail_id[:6]}:{start}-{end}")
        self.last_starts[tail_id, order] = start
        places = self.places.setdefault(tail_id, [])
        for content in contents:
            content.repeatable.remove(start, end)
            content.covered.add(start, end)
            has_moved = content.number != self.origins[tail_id][-1][0]  # see note_tail
            if is_repeatable or has_moved or len(contents) > 1:
                content.repeatable.add(start, end)
            if content not in places:
                places.append(content)
        for content in self._doubles:  # or of one of these, which nobody can tell
            content.covered.add(start, end)
            content.repeatable.add(start, end)

    def _is_again(self, content: Content, start: int, end: int) -> bool:
        """Return whether bytes came before that nothing makes come again."""
        again = content.covered.within(start, end)
        if any(content.repeatable.gaps(first, last) for first, last in again):
            return True
        source = content.source
        if source is None or not content.is_rotated or content.may_repeat:
            return False
        if len(source.data) > (content.cut_to or len(content.data)):
            # It was written to when the copy had ended, or that was cut: it is known in part.
            return False
        if any(one is not content and one.root is content.root for one in self.current.values()):
            return False  # of several copies of a file nobody can tell in which one it goes on
        return source.data[start:end] == content.data[start:end] and self._is_again(
            source, start, end
        )

    def note_destroyed(self, node: fakes.Node, position: int) -> None:
        """Bytes are about to be destroyed that kagent has read up to `position`."""
        self.in_memory.append((self.current[node], position))

    def note_cut(self, node: fakes.Node, tail_id: str, size: int) -> None:
        """Take in that nobody can notice what a file loses: a copy owes no more of it."""
        for content in self.current.values():
            if content.source is self.current[node] and content.known_by == {tail_id}:
                content.owed_bytes = min(content.owed_bytes, size)

    def note_end_of_life(self, rows: Mapping[str, model.Checkpoint]) -> None:
        """Memory is gone: what the rows do not hold may come again, or never."""
        self.in_memory.clear()
        settled: dict[Content, Ranges] = {}
        for tail_id, row in rows.items():
            for content in self.places.get(tail_id, ()):
                ranges = settled.setdefault(content, Ranges())
                if row.offset:
                    ranges.add(0, row.offset)
                for one in row.ranges:
                    ranges.add(one.start, one.end)
        for contents in self.history.values():
            for content in contents:
                if content.rotated_from:  # kagent knows no other names any more
                    known = [rows[one].paths for one in content.known_by if one in rows]
                    content.rotated_from = tuple(path for paths in known for path in paths)
                ranges = settled.get(content, Ranges())
                for start, end in content.covered.pairs:
                    for first, last in ranges.gaps(start, end):
                        content.repeatable.add(first, last)

    def forget_ids(self, rows: Mapping[str, model.Checkpoint]) -> None:
        """Forget the ids that the end of a process may give again to other bytes.

        What was sent beyond the durable offset can be destroyed by a writer before the next life,
        and what is written in its place is sent under the same ids: nothing durable says that
        they were used. A power cut needs no such excuse: every file has a new tail_id then.
        """
        for tail_id, start, end in list(self.ids):
            if tail_id not in rows or end > rows[tail_id].offset:
                del self.ids[tail_id, start, end]

    # What must hold.

    def check_row(self, row: model.Checkpoint) -> None:
        """S1: every byte below a saved offset was delivered, dead-lettered or dropped by rule."""
        problem = ""
        if row.tail_id not in self.origins and row.offset == row.start and not row.ranges:
            return  # opened and closed within one step, and nothing of it was read
        for content in self._contents_of(row.tail_id):
            problem = self._row_problem(content, row)
            if not problem:
                return
        raise BrokenError(
            f"S1 {row.tail_id[:6]} {row.paths} saved start={row.start} offset={row.offset} "
            f"ranges={[(one.start, one.end) for one in row.ranges]}: {problem}"
        )

    def _row_problem(self, content: Content, row: model.Checkpoint) -> str:
        if row.start > self.first_owed(content):
            return f"only [0, {self.first_owed(content)}) could be skipped"
        ranges = [(row.start, row.offset), *((one.start, one.end) for one in row.ranges)]
        if max(end for _, end in ranges) > len(content.data):
            return f"the file never had more than {len(content.data)} bytes"
        missing = [gap for start, end in ranges for gap in self.missing(content, start, end)]
        return f"{missing} not delivered" if missing else ""

    def missing(self, content: Content, start: int, end: int) -> list[tuple[int, int]]:
        """Return the bytes of [start, end) that are neither delivered nor may be dropped.

        What was delivered of another content counts when all bytes up to there are the same: that
        is a file shortened, rewritten with the same bytes, or copied, which nobody can tell apart.
        """
        gaps = content.covered.gaps(max(start, min(content.hole, end)), end)
        for other in (one for several in self.history.values() for one in several):
            if not gaps or other is content or other.data[:1] != content.data[:1]:
                continue
            same = common_prefix(other.data, content.data)
            twin = Ranges()
            twin.pairs = other.covered.within(0, same)
            gaps = [one for first, last in gaps for one in twin.gaps(first, last)]
        return [gap for gap in gaps if not self._may_drop(content, *gap)]

    def first_owed(self, content: Content) -> int:
        """Return the start of the first line that `start_at` may not skip."""
        candidates = [one for several in self.history.values() for one in several]
        ends = [(end, one) for one in candidates for end in one.skippable_ends]
        return max(end for end, one in ends if one.data[:end] == content.data[:end])

    def _may_drop(self, content: Content, start: int, end: int) -> bool:
        is_end = end == len(content.data) or end in content.cuts  # of the file, as it was then
        if is_end and not content.data[start:end].strip(b"\0"):
            return True  # nobody wrote there
        if self.policy not in {"drop", "truncate"}:
            return False
        while start < end:
            line_start, line_end = content.line_at(start)
            kept = self.limit - 1 if self.policy == "truncate" else 0
            if line_end - line_start <= self.limit or start < line_start + kept:
                return False
            start = line_end
        return True

    def check_delivered(self, content: Content, end: int, what: str) -> None:
        """L1: every byte up to `end` that `start_at` may not skip was delivered."""
        missing = self.missing(content, self.first_owed(content), end)
        if missing:
            raise BrokenError(
                f"L1 lost of {what}, inode {content.number}: {missing}: "
                f"{bytes(content.data[missing[0][0] : missing[0][1]])[:60]!r}"
            )

    def check_generation(self, content: Content) -> None:
        """L1: an older generation has been delivered but for what came after the silence."""
        lines = bisect.bisect_right(content.line_ends, content.owed_bytes)
        owed_end = content.line_ends[lines - 1] if lines else 0
        for start, end in content.late.gaps(self.first_owed(content), owed_end):
            missing = self.missing(content, start, end)
            if missing:
                raise BrokenError(f"L1 lost of a generation, inode {content.number}: {missing}")

    def check_in_memory(self) -> None:
        for content, position in self.in_memory:
            self.check_delivered(content, position, "destroyed but read bytes")

    def check_given_up(self, node: fakes.Node) -> None:
        """L1: a file that kagent closes for good has been delivered, the last bytes included."""
        content = self.current[node]
        for start, end in content.late.gaps(self.first_owed(content), len(content.data)):
            missing = self.missing(content, start, end)
            if missing:
                raise BrokenError(f"L1 closed inode {content.number} too early: {missing} lost")

    def _locate(self, tail_id: str, start: int, end: int, data: bytes) -> list[Content]:
        """Return the first content of which a record can come. S4: there is one.

        There are several when a writer acted within the step that opened the file.
        """
        self._doubles.clear()
        origins = self.origins[tail_id]
        same = [one for one in self._contents_of(tail_id) if self._says(one, start, end, data)]
        whole = [one for one in same if self._is_whole(one, start, end)]
        latest = self.places.get(tail_id, [])[-1:]
        if all(index == last for _, index, last in origins) and latest and latest[0] in whole:
            return latest
        if whole:
            lasts = {number: last for number, _, last in origins}
            possible = [one for one in whole if one.index <= lasts[one.number]]
            # Of those that came later it is the first, but one that begins with a hole up to
            # there, of which nothing is sent.
            if not possible:
                possible = sorted(whole, key=lambda one: start < one.hole)[:1]
                self._doubles = [one for one in whole if one not in possible]
            return sorted(possible, key=lambda one: self._is_again(one, start, end))
        lines = [one.line_at(start) for one in same]
        raise BrokenError(
            f"S4 {tail_id[:6]}:{start}-{end} {data[:60]!r}: "
            + (f"no whole line, the lines are {lines}" if same else "not the file's bytes")
        )

    def _says(self, content: Content, start: int, end: int, data: bytes) -> bool:
        """Return whether a record is what a range of a content becomes."""
        if self.policy == "truncate" and len(data) == end - start + 1:
            data = data[:-1]
        return content.data[start:end] == data

    def places_of(self, tail_id: str) -> list[fakes.Node]:
        """Return the files that hold now what a tail has read, as far as that was delivered."""
        places = self.places.get(tail_id, ())
        return [node for node, content in self.current.items() if content in places]

    def _contents_of(self, tail_id: str) -> list[Content]:
        """Return every content that a tail can have read."""
        return [
            content
            for number, index, _ in self.origins[tail_id]
            for content in self.history[number][index:]
        ]

    def _is_whole(self, content: Content, start: int, end: int) -> bool:
        """S4: a record is a whole line, but for cut ones and the last of a silent file."""
        line_start, line_end = content.line_at(start)
        cuts = self._cuts(content, line_start, end)
        bases = [line_start, *cuts]
        is_cut = self.policy in {"split", "dead_letter"}
        starts_well = start in bases or (
            is_cut and any(start > base and (start - base) % self.limit == 0 for base in bases)
        )
        ends_well = (
            (end == line_end and content.data[end - 1 : end] == b"\n")
            or end in cuts
            or (is_cut and end - start == self.limit and end < line_end)
            or (self.policy == "truncate" and end - start == self.limit - 1 and end < line_end)
        )
        return starts_well and ends_well and end <= line_end and end - start <= self.limit

    def _cuts(self, content: Content, line_start: int, end: int) -> list[int]:
        """Return where a silence may have cut a line, in the content or in its twins before."""
        cuts = {cut for cut in content.cuts if line_start < cut <= end}
        for earlier in (one for several in self.history.values() for one in several if one.cuts):
            cuts.update(
                cut
                for cut in earlier.cuts - cuts
                if line_start < cut <= end and earlier.data[:cut] == content.data[:cut]
            )
        return sorted(cuts)


def common_prefix(one: bytearray, other: bytearray) -> int:
    """Return how many first bytes are the same."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
