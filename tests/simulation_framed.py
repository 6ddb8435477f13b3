"""Worlds of framed files: records that are more than lines, and what else a source may be told.

They are worlds like the others, with seeds of their own. What is more in them:

    records     `multiline`, `decode: cri`, `encoding`, `delimiter`, `terminator`, `header_lines`,
                `max_line`, `final_line`; S4 and S1 are judged by `simulation_records`
    endings     `unlinked_max` and a full disk: a deleted file may be closed early, only then, and
                what is not delivered of it is counted as abandoned
    names       `follow_symlinks`, with a link whose target is switched; `ignore_older`
    packing     `partition_key` of each kind, and compression
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import random
from collections.abc import Collection

import fakes
import simulation_records
from simulation_profile import WRITERS, Profile, draw_profile
from simulation_truth import BrokenError, Content, Truth, common_prefix
from simulation_world import World
from simulation_writers import POISON, Writers

from kagent import batch as batching
from kagent import flow, keys, model, multiline, pack

LINK = "/logs/pod.log"
DISK_FREE_MIN = 0.05
FRAMED_WRITERS = WRITERS | {"switch": 2, "fill_disk": 1}
CRI_HEAD = "2026-11-26T00:00:00.000000001Z"


@dataclasses.dataclass
class FramedProfile(Profile):
    """What a framed world knows beside all else."""

    records: simulation_records.Records
    max_line: int
    follows_links: bool
    unlinked_max: int
    partition_key: keys.Setting
    line_bytes_max: int  # that a record can hold
    ignore_older_s: float | None
    close_inactive_s: float

    @property
    def compresses(self) -> bool:
        return self.batch.pack is not None and self.batch.pack.compression != "none"


def draw_records(chooser: random.Random) -> simulation_records.Records:
    """Return how the bytes of a world's files become records; the limit comes later."""
    is_cri = chooser.random() < 0.3
    encoding = "bytes" if is_cri else chooser.choice(["bytes", "bytes", "utf-16le", "latin-1"])
    delimiter = "\n"
    group = chooser.choice(["", *simulation_records.GROUPS])
    if not group and not is_cri:
        delimiter = chooser.choice(["\n", "\r\n", ";", "--;"])
    return simulation_records.Records(
        delimiter=delimiter,
        encoding=encoding,
        is_cri=is_cri,
        is_stripped=chooser.random() < 0.3,
        header_lines=chooser.choice([0, 0, 0, 1, 2]),
        group=group,
        lines_max=chooser.choice([2, 5, 5000]),
        timeout_s=chooser.choice([1.0, 5.0]),
        final_line_s=chooser.choice([None, None, 2.0, 15.0]),
    )


def draw_framed(chooser: random.Random, more: random.Random) -> FramedProfile:
    """Return a random profile: one of the others, with what is more here.

    What was added last is drawn from `more`: found seeds stay as they are, as far as it lets them.
    """
    plain = draw_profile(chooser)
    records = draw_records(chooser)
    if records.is_cri and more.random() < 0.3:
        records.is_cri, records.is_docker = False, True
    if records.group in {"java", "continuation"} and more.random() < 0.3:
        records.group = more.choice(simulation_records.INDENTED)
    line_bytes_max = chooser.choice([150, 400, 800])
    max_line = chooser.choice([line_bytes_max // 2, 10**6])
    form = chooser.choice(["none", "none", "kpl"] if records.group else ["none", "newline", "kpl"])
    key: keys.Setting = keys.RANDOM
    if form != "kpl" and chooser.random() < 0.7:
        field = keys.FieldKey(field="k", fallback=chooser.choice(["random", "record_hash", "x"]))
        key = chooser.choice([keys.RECORD_HASH, "{path}", "at {path}", field])
    has_keys = form == "kpl" or key != keys.RANDOM
    key_bytes = {keys.RANDOM: 8, keys.RECORD_HASH: 32}.get(str(key), 256) * has_keys
    is_compressed = form != "none" and chooser.random() < 0.3
    settings = None
    buffer_bytes = chooser.choice([6, 40]) * (2 * line_bytes_max + 400)
    if form != "none":
        settings = pack.PackSettings(
            form,  # type: ignore[arg-type]
            target_bytes=chooser.choice([line_bytes_max // 2, line_bytes_max]),
            compression="gzip" if is_compressed else "none",
            open_bytes_max=chooser.choice([buffer_bytes // 8, buffer_bytes // 2]),
        )
    record_bytes = line_bytes_max + 64 * is_compressed + (form == "newline")
    writers = [*plain.writers, *(["switch"] * (chooser.random() < 0.4))]
    unlinked_max = chooser.choice([2**40, 2**40, 300])
    if unlinked_max < 2**40:
        writers += ["fill_disk"] * (chooser.random() < 0.5)
    if records.is_wide or records.header_lines or records.is_decoded:
        writers = [one for one in writers if one != "stale"]  # holes are no text in them
    values = {field.name: getattr(plain, field.name) for field in dataclasses.fields(plain)}
    records.policy = "split" if plain.policy == "auto" else plain.policy
    records.limit = min(max_line + 1, line_bytes_max)
    records.__post_init__()
    values |= {
        "writers": writers,
        "record_bytes_max": records.limit,
        "max_buffer_bytes": buffer_bytes,
        "batch": batching.BatchSettings(
            plain.batch.max_age_s,
            plain.batch.records_max,
            chooser.choice([record_bytes + key_bytes, 4000]),
            is_ordered=plain.batch.is_ordered,
            pack=settings,
            partition_key=key,
        ),
        "limits": model.BatchLimits(50, 4000, record_bytes + key_bytes, has_keys),
    }
    return FramedProfile(
        **values,
        records=records,
        max_line=max_line,
        follows_links=chooser.random() < 0.5,
        unlinked_max=unlinked_max,
        partition_key=key,
        line_bytes_max=line_bytes_max,
        ignore_older_s=more.choice([None, None, None, 30.0]),
        close_inactive_s=more.choice([600.0, 20.0]),
    )


class FramedContent(Content):
    """The bytes of a file whose lines end as this world's do."""

    records: simulation_records.Records
    ended_bytes: int = -1  # its size when a record ended by time, where its cuts are noted
    lasted_bytes: int = -1  # its size when its last line was taken for one

    def append(self, data: bytes) -> None:
        at = len(self.data)
        if self.hole == at:
            self.hole += len(data) - len(data.lstrip(b"\0"))
        self.data += data
        end = self.records.line_end(self.data, self.line_ends[-1] if self.line_ends else 0)
        while end is not None:
            self.line_ends.append(end)
            end = self.records.line_end(self.data, end)

    @property
    def whole_bytes(self) -> int:
        """Return where the last whole line ends: parts of a container's line are none yet."""
        if not self.records.is_decoded:
            return self.complete_bytes
        ends = self.line_ends
        for last in range(len(ends) - 1, -1, -1):
            if self.records.is_last_part(self.data, ends[last - 1] if last else 0, ends[last]):
                return ends[last]
        return 0


class FramedTruth(Truth):
    """What is true where records are more than lines."""

    def __init__(self, profile: FramedProfile) -> None:
        super().__init__(profile.records.policy, profile.records.limit)
        self.records = profile.records
        pack_ = profile.batch.pack
        self.gets_newline = pack_ is not None and pack_.form == "newline"
        self.content_type = type("_Content", (FramedContent,), {"records": profile.records})
        self.grown: dict[Content, float] = {}  # when a byte came last
        self.abandoned: set[Content] = set()  # of deleted files that were closed early
        self._known: dict[Content, tuple[object, tuple[set[tuple[int, int]], ...]]] = {}

    def note_appended(self, node: fakes.Node, data: bytes, now: float, *, is_late: bool) -> None:
        super().note_appended(node, data, now, is_late=is_late)
        if not data:
            return  # writing nothing lets no file grow, and ends no silence
        content = self.current[node]
        before = self.history[content.number][content.index - 1] if content.index else content
        is_alike = before.data.startswith(content.data) or len(before.data) == len(content.data)
        if before is not content and is_alike:
            now = self.grown.get(before, 0.0)  # rewritten to the same size: that shows nothing
        self.grown[content] = now

    def note_truncated(self, node: fakes.Node, size: int) -> None:
        grown = self.grown.get(self.current[node], 0.0)
        super().note_truncated(node, size)
        self.grown[self.current[node]] = grown

    def _possible(self, content: Content) -> tuple[set[tuple[int, int]], ...]:
        """Return the records that may come of a content, and what may be dropped of it."""
        header = self.records.header_end(content.data)
        starts = {header, content.hole}
        for one in (one for several in self.history.values() for one in several):
            starts |= {
                end for end in one.skippable_ends - starts if one.data[:end] == content.data[:end]
            }
        cuts = set(self._cuts(content, -1, len(content.data)))
        starts = {max(one, header) for one in starts} | {cut for cut in cuts if cut < header}
        before = self._ranges_before(content)
        starts |= {end for _, end in before}
        known = (len(content.data), frozenset(starts), frozenset(cuts))
        if content not in self._known or self._known[content][0] != known:
            records, dropped = self.records.possible(bytes(content.data), starts, cuts)
            self._known[content] = (known, (records, dropped | before))
        return self._known[content][1]

    def _ranges_before(self, content: Content) -> set[tuple[int, int]]:
        """Return where records were in what stood in the file before, as far as it is the same.

        What was put in the place of bytes that are the same up to a record's end goes on there.
        """
        found: set[tuple[int, int]] = set()
        for one in self.history[content.number][: content.index]:
            same = common_prefix(one.data, content.data)
            if same:
                found |= {
                    one for ranges in self._possible(one) for one in ranges if one[1] <= same
                }
        return found

    def _is_whole(self, content: Content, start: int, end: int) -> bool:
        """S4: a record is whole, but for those that ended by time, with the file, or oversize."""
        return (start, end) in self._possible(content)[0]

    def _says(self, content: Content, start: int, end: int, data: bytes) -> bool:
        if end > len(content.data):
            return False
        texts = {self.records.text(content.data, start, end)}
        if self.policy == "truncate":
            texts.add(self.records.truncated(content.data, start, end))
        if self.policy == "dead_letter":
            texts.add(self.records.raw(content.data, start, end))
        if self.gets_newline:
            texts |= {text if text.endswith(b"\n") else text + b"\n" for text in texts}
        return data in texts

    def _may_drop(self, content: Content, start: int, end: int) -> bool:
        is_end = end == len(content.data) or end in content.cuts  # of the file, as it was then
        if is_end and not content.data[start:end].strip(b"\0"):
            return True
        start = max(start, self.records.header_end(content.data))
        return self.dropped_up_to(content, start) >= end

    def dropped_up_to(self, content: Content, start: int) -> int:
        """Return up to where all may be dropped by rule from an offset on."""
        dropped = self._possible(content)[1]
        while ends := [last for first, last in dropped if first <= start < last]:
            start = max(ends)
        return start

    def check_row(self, row: model.Checkpoint) -> None:
        """Take in that the next life may end a record where bytes begin that are settled."""
        super().check_row(row)
        if row.ranges:
            for content in self._contents_of(row.tail_id):
                content.cuts.update(one.start for one in row.ranges)

    def check_delivered(self, content: Content, end: int, what: str) -> None:
        if content not in self.abandoned:
            super().check_delivered(content, end, what)


class FramedWriters(Writers):
    """Writers of such files."""

    weights = FRAMED_WRITERS
    _profile: FramedProfile
    _truth: FramedTruth

    @property
    def line_end(self) -> bytes:  # type: ignore[override]
        return self._profile.records.end

    def encode(self, text: str) -> bytes:
        return self._profile.records.encode(text)

    def line(self, size: int | None = None) -> bytes:
        return self._framed(super().line(size).decode().removesuffix("\n"))

    def poison(self) -> bytes:
        self._lines += 1
        return self._framed(f"{self._lines}:{POISON.decode()}", is_first=True)

    def _framed(self, text: str, *, is_first: bool = False) -> bytes:
        """Return a line of a text, which may go on in the next, or go on itself."""
        records = self._profile.records
        if self._profile.partition_key != keys.RANDOM and self._random.random() < 0.3:
            text = json.dumps({"n": text, "k": self._random.choice(["a", 1, True, None, ""])})
        forms = {
            **{one: [f"\t{text}"] for one in simulation_records.INDENTED},
            "java": [f"\tat {text}", f"Caused by: {text}"],
            "start": [f"  {text}"],
            "continuation": [f"\t{text}"],
            "end": [f"{text};", f"{text};"],
            "csv": [f'{text},"', f'"{text}', f'{text},"a""b","c', f'{text},"a\t"'],
            "": [text],
        }
        if not is_first and self._random.random() < 0.6:
            text = self._random.choice(forms[records.group])
        if records.encoding != "bytes":
            text += "é"
        if records.is_stripped and self._random.random() < 0.1:
            text = ""
        if records.is_cri and self._random.random() < 0.9:
            flags = ["F", "F", "F", "P", "F:tag"] if text else ["F"]
            stream = self._random.choice(["stdout", "stdout", "stdout", "stderr"])
            text = f"{CRI_HEAD} {stream} {self._random.choice(flags)} {text}"
        if records.is_docker and self._random.random() < 0.9:
            end = "\n" if self._random.random() < 0.8 or not text else ""
            stream = self._random.choice(["stdout", "stdout", "stdout", "stderr"])
            text = json.dumps({"log": text + end, "stream": stream})
        return records.encode(text + records.delimiter)

    def _fill_disk(self) -> str:
        self._files.free = self._random.choice([0.5, 0.5, 0.01])
        return f"{self._files.free} free"

    def _switch(self) -> str:
        """Lead the link to a new file, as a container's log is rotated."""
        if not self._has_directory("/pods"):
            self._files.make_directory("/pods")
        self._lines += 1
        target = f"/pods/{self._lines}.log"
        node = self._files.create(target)
        self._truth.note_created(node)
        self._files.make_link(target, f"{LINK}.new")
        self._files.rename(f"{LINK}.new", LINK)
        self.note_names()
        return self.put(node, self.line())

    def note_names(self) -> None:
        super().note_names()
        if not self._profile.follows_links or not self._exists(LINK):
            return
        try:
            node = self._files.find(LINK)
        except OSError:
            return
        if node.kind == "file" and LINK not in self.named.get(node, ()):
            self.named.setdefault(node, []).append(LINK)

    def a_name(self) -> str | None:
        names = sorted(path for path, _ in self._files.files())
        return self._random.choice(names) if names else None

    def note_silence(self) -> None:
        """Take in also where records end by time, and last lines."""
        super().note_silence()
        records = self._profile.records
        last_s = records.final_line_s
        if not records.group and last_s is None:
            return
        for content in self._truth.current.values():
            silent_s = self._clock.now - self._truth.grown.get(content, 0.0)
            silent_s += 1.0  # what comes while a step is under way came when that began
            assert isinstance(content, FramedContent)
            size = len(content.data)
            is_over = records.group and silent_s >= records.timeout_s
            if is_over and content.ended_bytes != size:
                content.ended_bytes = size
                content.cuts |= {content.whole_bytes, content.complete_bytes} - {0}
            is_last = last_s is not None and silent_s >= last_s
            if is_last and content.data and content.lasted_bytes != size:
                content.lasted_bytes = size
                content.cuts |= {size, len(content.data.rstrip(b"\0"))}


class FramedWorld(World):
    """One run of a framed world."""

    writers_type = FramedWriters
    profile: FramedProfile
    truth: FramedTruth

    def draw_profile(self) -> Profile:
        return draw_framed(self.random, random.Random(~self.seed))

    def make_truth(self) -> Truth:
        return FramedTruth(self.profile)

    def may_ignore(self, node: fakes.Node, *, is_end: bool = True) -> bool:
        """It was old when it was first seen, as far as what is durable says, and is as it was.

        Before the end it may have changed, and that was not noticed yet.
        """
        wait_s = self.profile.ignore_older_s
        is_old = wait_s is not None and self.clock.time() - node.mtime_ns / 1e9 > wait_s
        if wait_s is None or (is_end and not is_old):
            return False
        content = self.truth.current[node]
        is_known = any(
            number == row.identity.inode == node.number and first <= content.index <= last
            for row in self.store.rows.values()
            for number, first, last in self.truth.origins.get(row.tail_id, [])
        )
        is_open = any(one is node for one, _ in self.files.handles.values())  # not by a copier
        return not (is_open or is_known or content.covered.pairs)

    def opened(self, record: bytes) -> bytes:
        return gzip.decompress(record) if self.profile.compresses else record

    def line_of(self, line: bytes, start: int, end: int) -> bytes:
        return line

    def order_of(self, packed: model.Packed) -> str:
        """Return the key where lines have their own: a record of one key is full before another's.

        Readers of two shards see no order between them, and the README promises that of each key.
        """
        return packed.key if isinstance(self.profile.partition_key, keys.FieldKey) else ""

    def owed_bytes(self, content: Content) -> int:
        """Return where the last line ends, or the file where `final_line` says so."""
        records = self.profile.records
        if records.final_line_s is not None:
            return len(content.data)
        assert isinstance(content, FramedContent)
        return content.whole_bytes

    def _make_settings(self) -> flow.FlowSettings:
        profile, settings = self.profile, super()._make_settings()
        records = profile.records
        patterns = {"start": "START", "continuation": "CONTINUATION", "end": "END"}
        grouping: dict[str, object] = {"max_lines": records.lines_max}
        if records.group in patterns:
            grouping[records.group] = getattr(simulation_records, patterns[records.group])
        else:
            grouping["preset"] = records.group
        many = multiline.MultilineOptions(**grouping) if records.group else None  # type: ignore[arg-type]
        if many is not None:
            many = many.model_copy(update={"timeout": records.timeout_s})
        source = settings.source.model_copy(
            update={
                "multiline": many,
                "decode": "cri" if records.is_cri else "docker" if records.is_docker else "none",
                "encoding": records.encoding,
                "delimiter": records.delimiter,
                "terminator": "strip" if records.is_stripped else "keep",
                "header_lines": records.header_lines,
                "final_line": records.final_line_s,
                "max_line": profile.max_line,
                "follow_symlinks": profile.follows_links,
                "unlinked_max": profile.unlinked_max,
                "ignore_older": profile.ignore_older_s,
                "close_inactive": profile.close_inactive_s,
            }
        )
        return dataclasses.replace(settings, source=source)

    def _submit(self, batch: model.Batch) -> None:
        super()._submit(batch)
        if batch.packed or not self.profile.limits.has_partition_keys:
            return
        for record, key in zip(batch.records, batch.partition_keys, strict=True):
            if key not in self._keys_of(record) and self._keys_of(record):
                raise BrokenError(f"the key of {record[:60]!r} is {key}")

    def _keys_of(self, record: bytes) -> Collection[str]:
        """Return which keys a record may have; none if it may have any."""
        key = self.profile.partition_key
        digest = hashlib.md5(record, usedforsecurity=False).hexdigest()
        if key == keys.RECORD_HASH:
            return {digest}
        if not isinstance(key, keys.FieldKey):
            return ()
        try:
            found = json.loads(record)["k"]
        except (ValueError, KeyError, TypeError):
            found = None
        if found not in (None, ""):
            return {found if isinstance(found, str) else json.dumps(found)}
        return {"random": (), "record_hash": {digest}}.get(key.fallback, {key.fallback})

    # --- deleted files that are closed early ----------------------------------------------------

    def _note_closed(self, node: fakes.Node) -> None:
        try:
            super()._note_closed(node)
        except BrokenError:
            held = [one for one, _ in self.files.handles.values() if not one.links]
            size = sum(len(one.data) for one in {*held, node})
            is_full = self.files.free < DISK_FREE_MIN
            if node.links or not (is_full or size > self.profile.unlinked_max):
                raise
            self.truth.abandoned.add(self.truth.current[node])

    def _check_end(self) -> None:
        """Check as well that no byte of them is lost in silence.

        Where nothing else forgets what was said, finds some of it again, or hides what grew.
        """
        assert self.flow is not None
        contents = [one for several in self.truth.history.values() for one in several]
        is_unclear = bool(self.profile.crashes or self.profile.file_faults)
        is_unclear |= any(one.source in self.truth.abandoned for one in contents)
        lost = sum(map(self._lost_bytes, self.truth.abandoned))
        if self.flow.roster.abandoned_bytes < lost and not is_unclear:
            said = self.flow.roster.abandoned_bytes
            raise BrokenError(f"{said} bytes are counted as abandoned, {lost} were")
        super()._check_end()

    def _lost_bytes(self, content: Content) -> int:
        """Return how many bytes of a content were not delivered, but for those that came late."""
        header = self.truth.records.header_end(content.data)
        first = max(header, self.truth.first_owed(content))
        owed = content.late.gaps(first, len(content.data))
        gaps = [gap for start, end in owed for gap in self.truth.missing(content, start, end)]
        return sum(max(0, end - self.truth.dropped_up_to(content, start)) for start, end in gaps)
