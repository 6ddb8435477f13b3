"""`Flow.step()`, fact by fact, over fakes: what is read, sent, settled, saved and said."""

from __future__ import annotations

import errno
import logging
import random

import fakes
import pytest

from kagent import batch as batching
from kagent import discovery, errors, flow, inheritance, keys, model, pace, pack, preprocessors
from kagent.preprocessors import chain

LONG_S = 400.0  # longer than rotate_wait


class Rig:
    """A flow with everything around it; nothing happens but by `step`, `answer` and `save`."""

    def __init__(
        self,
        *,
        start_at: str = "beginning",
        oversize: str = "auto",
        max_line: str = "1KiB",
        max_in_flight: int = 4,
        max_buffer_bytes: int = 1024**2,
        records_max: int = 500,
        ttl_s: float = 30 * 86400.0,
        preprocess: model.Preprocessor | None = None,
        on_no_match: chain.OnNoMatch = "wrap",
        rate_limit: pace.RateLimit = pace.UNLIMITED,
        packing: pack.PackSettings | None = None,
        limits: model.BatchLimits = fakes.LIMITS,
        partition_key: keys.Setting = keys.RANDOM,
        hash_key: str = "",
        capture: str | None = None,
        host: model.HostFacts | None = None,
    ) -> None:
        self.host = host or model.HostFacts()
        self.clock = fakes.FakeClock()
        self.files = fakes.FakeFiles(self.clock)
        self.destination = fakes.FakeDestination(limits)
        self.pending: list[model.Batch] = []
        self.snapshots: list[model.FlowSnapshot] = []
        self.letters: list[model.DeadLetter] = []
        self.files.make_directory("/logs")
        self._settings = flow.FlowSettings(
            name="web",
            source=discovery.SourceOptions(
                paths=("/logs/*.log",), start_at=start_at, max_line=max_line, capture=capture
            ),
            batch=batching.BatchSettings(
                0.0,
                records_max,
                4 * 1024**2,
                is_ordered=max_in_flight == 1,
                pack=packing,
                partition_key=partition_key,
                hash_key=hash_key,
            ),
            oversize=oversize,  # type: ignore[arg-type]
            max_in_flight=max_in_flight,
            max_buffer_bytes=max_buffer_bytes,
            checkpoint_interval_s=1.0,
            checkpoint_ttl_s=ttl_s,
            preprocess=(preprocessors.Stage("own", preprocess, False),) if preprocess else (),
            on_no_match=on_no_match,
            rate_limit=rate_limit,
        )
        self.flow = self.begin(inheritance.Estate())

    def begin(self, estate: inheritance.Estate) -> flow.Flow:
        """Begin an incarnation."""
        self.pending.clear()
        self.flow = flow.Flow(
            self._settings,
            self.destination.limits,
            self.files,
            self.clock,
            random.Random(len(self.snapshots)),
            self.pending.append,
            self.snapshots.append,
            self.letters.append,
            lambda: self.host,
        )
        self.flow.open(estate)
        return self.flow

    def write(self, path: str, data: bytes) -> fakes.Node:
        """Append to a file, creating it if there is none."""
        try:
            node = self.files.find(path)
        except FileNotFoundError:
            node = self.files.create(path)
        self.files.append(node, data)
        return node

    def step(self, after_s: float = 0.0) -> None:
        self.clock.now += after_s
        self.flow.step()

    def save(self) -> None:
        """Make every snapshot durable."""
        if self.snapshots:
            self.flow.reports.put(model.Saved(self.snapshots[-1].sequence))

    def answer(self) -> None:
        """Make every pending attempt."""
        while self.pending:
            receipt = self.destination.put(self.pending.pop(0))
            receipt.submitted = receipt.received = self.clock.now
            self.flow.reports.put(receipt)

    def go_on(self, seconds: float = 3.0) -> None:
        """Step, save and answer for a while."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.step(0.3)
            self.save()
            self.answer()
        self.step()

    @property
    def accepted(self) -> list[bytes]:
        return self.destination.accepted

    def rows(self) -> dict[str, model.Checkpoint]:
        """Return the last row that was saved of each tail, by tail_id."""
        return {row.tail_id: row for one in self.snapshots for row in one.checkpoints}

    def fail(self, operation: str, path: str) -> None:
        """Let an operation on a path fail until it is told to succeed with an empty path."""

        def before(asked: str, on: str) -> None:
            if (asked, on) == (operation, path):
                raise OSError(errno.EIO, "Input/output error", on)

        self.files.before = before


# --- what is read -----------------------------------------------------------------------------


def test_nothing_is_read_before_the_first_scan_is_durable() -> None:
    """The rows of the first scan are on disk before a byte of it is sent."""
    rig = Rig()
    rig.write("/logs/a.log", b"one\n")

    rig.step()
    rig.step(1.0)

    assert rig.pending == []
    assert rig.snapshots[0].scanned == ("/logs/*.log",)
    rig.save()
    rig.step()
    assert [batch.records for batch in rig.pending] == [[b"one\n"]]


def test_late_file_is_read_when_its_row_is_durable() -> None:
    """A file that comes later is saved at once, without waiting for the interval, then read."""
    rig = Rig()
    rig.go_on()
    rig.write("/logs/late.log", b"one\n")

    rig.flow.hints.put("/logs")
    rig.step()

    assert rig.pending == []
    assert rig.snapshots[-1].is_urgent
    assert [row.paths for row in rig.snapshots[-1].checkpoints] == [("/logs/late.log",)]
    rig.save()
    rig.step()
    assert [batch.records for batch in rig.pending] == [[b"one\n"]]


def test_start_at_end_skips_what_the_first_scan_found_and_nothing_else() -> None:
    """`start_at: end` begins after the last newline of what is there; later files begin at 0."""
    rig = Rig(start_at="end")
    rig.write("/logs/a.log", b"old\nhal")

    rig.go_on()
    rig.write("/logs/a.log", b"f\n")
    rig.write("/logs/b.log", b"new\n")
    rig.go_on()

    assert sorted(rig.accepted) == [b"half\n", b"new\n"]


def test_incomplete_last_line_waits_for_its_end() -> None:
    """Bytes after the last newline are no record until the newline comes."""
    rig = Rig()
    rig.write("/logs/a.log", b"one\ntw")

    rig.go_on(LONG_S)

    assert rig.accepted == [b"one\n"]
    rig.write("/logs/a.log", b"o\n")
    rig.go_on()
    assert rig.accepted == [b"one\n", b"two\n"]


def test_credit_bounds_what_is_read() -> None:
    """With no answer from the destination, no more is read than max_buffer has room for."""
    rig = Rig(max_buffer_bytes=10_000)
    rig.write("/logs/a.log", b"0123456789abcdef\n" * 10_000)

    rig.step()
    rig.save()
    for _ in range(20):
        rig.step(0.3)

    held = sum(len(record) + 100 for batch in rig.pending for record in batch.records)
    assert 5_000 < held <= 10_000
    rig.go_on(200.0)
    assert len(rig.accepted) == 10_000


def test_long_lines_are_read_without_a_pause() -> None:
    """Looking for the end of a line takes several reads, and none waits for the next poll."""
    rig = Rig(max_line="1MiB", max_buffer_bytes=16 * 1024**2)
    lines = [b"%d" % number * 900_000 + b"\n" for number in range(5)]
    rig.write("/logs/a.log", b"".join(lines))
    rig.step()
    rig.save()

    while rig.flow.step() <= rig.clock.now:
        rig.answer()
    rig.answer()

    assert rig.accepted == lines


def test_files_are_read_in_turns() -> None:
    """A long file does not keep a short one waiting."""
    rig = Rig(max_buffer_bytes=20_000)
    rig.write("/logs/a.log", b"long\n" * 10_000)
    rig.write("/logs/b.log", b"short\n")

    rig.go_on(1.0)

    assert b"short\n" in rig.accepted


def test_unreadable_file_is_reported_once_and_hinders_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A file that cannot be opened is named once; others go on; it is read when it can be."""
    rig = Rig()
    rig.write("/logs/a.log", b"one\n")
    rig.write("/logs/b.log", b"two\n")
    rig.fail("open", "/logs/a.log")

    rig.go_on(30.0)

    said = [one.getMessage() for one in caplog.records if "skipped" in one.getMessage()]
    assert said == [
        "file skipped flow=web path=/logs/a.log reason=cannot open: Input/output error"
    ]
    assert rig.accepted == [b"two\n"]
    rig.fail("", "")
    rig.go_on()
    assert rig.accepted == [b"two\n", b"one\n"]


def test_read_error_skips_one_file_until_it_passes() -> None:
    """EIO on one open file stops neither the flow nor, once it passed, that file."""
    rig = Rig()
    rig.write("/logs/a.log", b"one\n")
    rig.go_on()
    rig.fail("read", "/logs/a.log")

    rig.write("/logs/a.log", b"two\n")
    rig.write("/logs/b.log", b"other\n")
    rig.go_on()

    assert rig.accepted == [b"one\n", b"other\n"]
    rig.fail("", "")
    rig.go_on()
    assert rig.accepted == [b"one\n", b"other\n", b"two\n"]


# --- rotation ---------------------------------------------------------------------------------


def test_renamed_file_is_read_on_while_its_writer_writes() -> None:
    """A file that left the pattern is read to its end; the new one of its name is another."""
    rig = Rig()
    old = rig.write("/logs/a.log", b"one\n")
    rig.go_on()

    rig.files.rename("/logs/a.log", "/logs/a.log.1")
    rig.files.append(old, b"two\n")
    rig.write("/logs/a.log", b"new\n")
    rig.go_on()
    rig.files.append(old, b"three\n")
    rig.go_on()

    assert sorted(rig.accepted) == [b"new\n", b"one\n", b"three\n", b"two\n"]


def test_unlinked_file_is_finished_ten_seconds_after_its_last_byte() -> None:
    """A deleted file is read on; after 10 s of silence its last line goes out and it is closed."""
    rig = Rig()
    node = rig.write("/logs/a.log", b"one\n")
    rig.go_on()

    rig.files.unlink("/logs/a.log")
    rig.files.append(node, b"two\nhal")
    rig.go_on(8.0)

    assert rig.accepted == [b"one\n", b"two\n"]
    assert node.handles == 1
    rig.go_on(12.0)
    assert rig.accepted == [b"one\n", b"two\n", b"hal"]
    assert node.handles == 0


def test_last_oversize_line_of_a_deleted_file_is_dead_lettered_and_the_file_closed() -> None:
    """A line longer than the limit and without an end does not keep a deleted file open."""
    rig = Rig(oversize="dead_letter")
    node = rig.write("/logs/a.log", b"x" * 1500)
    rig.go_on()

    rig.files.unlink("/logs/a.log")
    for _ in range(20):
        rig.go_on(1.0)
        while rig.letters:
            rig.flow.reports.put(model.DeadLettered(rig.letters.pop()))

    assert node.handles == 0
    assert rig.flow.counters.dead_lettered_bytes == 1500


def test_truncated_file_is_read_from_its_start() -> None:
    """After `> file` the new bytes are a tail of their own; what was not read is counted."""
    rig = Rig()
    node = rig.write("/logs/a.log", b"one\nhalf")
    rig.go_on()

    rig.files.truncate(node, 0)
    rig.files.append(node, b"new\n")
    rig.go_on()

    assert rig.accepted == [b"one\n", b"new\n"]
    rig.go_on(LONG_S)
    assert len(rig.flow.roster.tails) == 1
    assert rig.flow.counters.abandoned_bytes == 4


def test_file_that_outgrew_its_truncation_is_not_taken_for_a_continuation() -> None:
    """Truncated and longer than before by the time of the next look: read from 0 all the same."""
    rig = Rig()
    node = rig.write("/logs/a.log", b"one\n")
    rig.go_on()

    rig.files.truncate(node, 0)
    rig.files.append(node, b"four\nfive\n")
    rig.go_on()

    assert rig.accepted == [b"one\n", b"four\n", b"five\n"]


def test_rewritten_file_of_the_same_length_is_found_by_its_time() -> None:
    """As many bytes as before, but others: found at the next scan, incomplete line or not."""
    rig = Rig()
    node = rig.write("/logs/a.log", b"one\nhalf")
    rig.go_on()

    rig.files.truncate(node, 0)
    rig.files.append(node, b"new\nall\n")
    rig.go_on()

    assert rig.accepted == [b"one\n", b"new\n", b"all\n"]


def test_file_rewritten_to_just_its_position_is_found_by_its_time() -> None:
    """Shorter than it was, and as long as what was read of it: the bytes decide."""
    rig = Rig()
    node = rig.write("/logs/a.log", b"one\nhalf")
    rig.go_on()

    rig.files.truncate(node, 0)
    rig.files.append(node, b"new\n")
    rig.step(2.0)
    rig.go_on()

    assert rig.accepted == [b"one\n", b"new\n"]


def test_incomplete_line_that_was_completed_in_place_is_read() -> None:
    """A line that was searched for its end is searched anew when its bytes changed."""
    rig = Rig()
    node = rig.write("/logs/a.log", b"one\nhalf")
    rig.go_on()

    rig.files.truncate(node, 4)
    rig.files.append(node, b"two\n")
    rig.go_on()

    assert rig.accepted == [b"one\n", b"two\n"]


def test_deleted_file_that_was_rewritten_is_read_before_it_is_closed() -> None:
    """A file no scan sees is proved before it is retired: its bytes may be new ones."""
    rig = Rig()
    node = rig.write("/logs/a.log", b"one\n")
    rig.go_on()
    rig.files.unlink("/logs/a.log")
    rig.go_on()

    rig.files.truncate(node, 0)
    rig.files.append(node, b"two\n")
    rig.go_on(30.0)

    assert rig.accepted == [b"one\n", b"two\n"]
    assert node.handles == 0


def test_line_that_grows_when_the_silence_ends_is_not_cut() -> None:
    """Before the last line of a left file goes out, its size is looked at once more."""
    rig = Rig()
    node = rig.write("/logs/a.log", b"one\nhal")
    rig.go_on()
    rig.files.rename("/logs/a.log", "/logs/a.log.1")
    rig.go_on(290.0)

    rig.files.append(node, b"f")
    rig.step(20.0)
    rig.save()
    rig.files.append(node, b"\n")
    rig.go_on()

    assert rig.accepted == [b"one\n", b"half\n"]


def test_truncated_line_does_not_make_its_file_look_truncated() -> None:
    """The frontier behind a line that `oversize: truncate` shortened is the file's own."""
    rig = Rig(oversize="truncate")
    rig.write("/logs/a.log", b"one\n" * 20 + b"x" * 1500 + b"\n")
    rig.go_on()

    rig.write("/logs/a.log", b"two\n")
    rig.go_on()

    assert rig.accepted[20:] == [b"x" * 1024 + b"\n", b"two\n"]
    assert rig.flow.counters.dropped_bytes == 1501 - 1024


def test_file_in_a_directory_that_cannot_be_listed_has_not_left() -> None:
    """A directory that fails hides its files; none of them is taken for rotated away."""
    rig = Rig()
    node = rig.write("/logs/a.log", b"one\nhal")
    rig.go_on()
    rig.fail("list", "/logs")

    rig.go_on(2 * LONG_S)
    rig.fail("", "")
    rig.files.append(node, b"f\n")
    rig.go_on()

    assert rig.accepted == [b"one\n", b"half\n"]


# --- receipts ---------------------------------------------------------------------------------


def test_refused_record_is_sent_again_with_others() -> None:
    """Exactly the refused record comes again, in a call that is filled with fresh ones."""
    rig = Rig()
    rig.write("/logs/a.log", b"one\ntwo\nthree\n")
    rig.destination.refuse = [1]
    rig.go_on(0.5)

    rig.write("/logs/a.log", b"four\n")
    rig.go_on(10.0)

    assert sorted(rig.accepted) == [b"four\n", b"one\n", b"three\n", b"two\n"]
    assert rig.flow.counters.five.record_send_errors == 1
    assert rig.flow.counters.check_balance(0) is None


def test_refused_record_goes_first_and_alone_with_one_attempt_at_a_time() -> None:
    """With max_in_flight 1 the remainder of a call goes before everything that was read later."""
    rig = Rig(max_in_flight=1, records_max=3)
    rig.write("/logs/a.log", b"one\ntwo\nthree\nfour\n")
    rig.destination.refuse = [1]

    rig.go_on(10.0)

    assert [batch.records for batch in rig.destination.calls] == [
        [b"one\n", b"two\n", b"three\n"],
        [b"two\n"],
        [b"four\n"],
    ]


def test_blocked_flow_says_so_once_and_each_minute_and_recovers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A denied flow names the hint at once, repeats it each minute, and goes on by itself."""
    caplog.set_level(logging.INFO, "kagent")
    rig = Rig()
    rig.write("/logs/a.log", b"one\n")
    rig.destination.setback = errors.DeniedError("AccessDenied", hint="allow PutRecords")

    rig.go_on(150.0)

    said = [one.getMessage() for one in caplog.records if "cannot deliver" in one.getMessage()]
    expected = (
        'cannot deliver flow=web destination="" error="AccessDenied"; it is tried again, '
        "reading pauses when max_buffer is full, nothing is lost while the files stay; "
        "hint: allow PutRecords"
    )
    assert said == [expected] * 3
    assert len(rig.destination.calls) <= 6
    rig.destination.setback = None
    rig.go_on(40.0)
    assert rig.accepted == [b"one\n"]
    assert caplog.records[-1].getMessage() == "delivering again flow=web"


def test_lost_answer_is_counted_and_its_records_come_again() -> None:
    """Records of a call without an answer are ambiguous, and sent again."""
    rig = Rig()
    rig.write("/logs/a.log", b"one\n")
    rig.destination.setback = errors.UnavailableError("ReadTimeout")
    rig.destination.loses_answers = True

    rig.go_on(0.5)
    rig.destination.setback = None
    rig.go_on(60.0)

    assert rig.accepted[-1] == b"one\n"
    assert len(rig.accepted) == 1 + rig.flow.counters.ambiguous_records
    assert rig.flow.counters.ambiguous_calls == len(rig.accepted) - 1 > 0


def test_rejected_call_is_halved_down_to_the_culprit() -> None:
    """Everything but the record that the service calls invalid is delivered; that one is dead."""
    rig = Rig()
    lines = [b"%d\n" % number for number in range(16)]
    rig.write("/logs/a.log", b"".join(lines))
    rig.destination.poison = {b"5\n"}

    rig.go_on(5.0)

    assert sorted(rig.accepted) == sorted(set(lines) - {b"5\n"})
    assert [letter.data for letter in rig.letters] == [b"5\n"]
    assert (rig.letters[0].path, rig.letters[0].start) == ("/logs/a.log", 10)
    low = next(iter(rig.flow.roster.tails.values())).ledger.low
    assert low == 10
    rig.flow.reports.put(model.DeadLettered(rig.letters[0]))
    rig.step()
    assert rig.flow.roster.turns.unsettled_bytes() == 0


def test_lone_rejected_record_blocks_until_another_one_is_accepted() -> None:
    """Without proof that the destination takes others nothing is dead-lettered; then at once."""
    rig = Rig()
    rig.write("/logs/a.log", b"bad\n")
    rig.destination.poison = {b"bad\n"}

    rig.go_on(300.0)

    assert rig.letters == []
    assert "ValidationException" in rig.flow.condition.blocked
    rig.write("/logs/a.log", b"good\n")
    rig.go_on(70.0)
    assert rig.accepted == [b"good\n"]
    assert [letter.data for letter in rig.letters] == [b"bad\n"]
    assert rig.flow.condition.blocked == ""


def test_several_suspects_do_not_keep_good_records_waiting() -> None:
    """Rejected records are tried last: two of them once took every attempt of a blocked flow."""
    rig = Rig(records_max=1)
    rig.write("/logs/a.log", b"bad 1\nbad 2\nbad 3\n")
    rig.destination.poison = {b"bad 1\n", b"bad 2\n", b"bad 3\n"}
    rig.go_on(100.0)

    rig.write("/logs/a.log", b"good\n")
    rig.go_on(100.0)

    assert rig.accepted == [b"good\n"]
    assert len(rig.letters) == 3


def test_dead_letter_that_cannot_be_written_blocks_and_is_tried_again() -> None:
    """A span settles only when its letter is on disk; the letter is tried again after 10 s."""
    rig = Rig()
    rig.write("/logs/a.log", b"bad\ngood\n")
    rig.destination.poison = {b"bad\n"}
    rig.go_on(5.0)
    (letter,) = rig.letters
    rig.flow.reports.put(model.DeadLettered(letter, "the folder is full"))

    rig.go_on(5.0)

    assert "the folder is full" in rig.flow.condition.blocked
    assert len(rig.letters) == 1
    rig.go_on(10.0)
    assert rig.letters == [letter, letter]
    rig.flow.reports.put(model.DeadLettered(letter))
    rig.step()
    assert rig.flow.roster.turns.unsettled_bytes() == 0
    assert rig.flow.condition.blocked == ""


# --- what is saved, and the end of a life -----------------------------------------------------


def test_saved_offset_never_passes_a_record_without_its_answer() -> None:
    """While the first record is under way only the ranges above it are saved."""
    rig = Rig(records_max=1)
    rig.write("/logs/a.log", b"one\ntwo\nthree\n")
    rig.step()
    rig.save()
    rig.step()
    first = rig.pending.pop(0)
    rig.answer()

    rig.step(2.0)

    (row,) = rig.snapshots[-1].checkpoints
    assert (row.offset, [(one.start, one.end) for one in row.ranges]) == (0, [(4, 14)])
    rig.pending.append(first)
    rig.answer()
    rig.save()
    rig.step(2.0)
    (row,) = rig.snapshots[-1].checkpoints
    assert (row.offset, row.ranges) == (14, ())


def test_settled_ranges_are_not_sent_again_after_a_restart() -> None:
    """A restart sends only the gap, though nothing below the first record was settled."""
    rig = Rig(records_max=1)
    rig.write("/logs/a.log", b"one\ntwo\nthree\n")
    rig.step()
    rig.save()
    rig.step()
    rig.pending.pop(0)
    rig.answer()
    rig.step(2.0)
    rows = list(rig.rows().values())
    rig.files.close_all()

    rig.begin(inheritance.Estate(rows, {"/logs/*.log"}))
    rig.go_on()

    assert rig.accepted == [b"two\n", b"three\n", b"one\n"]


def test_first_snapshot_after_a_restart_does_not_wait_for_the_interval() -> None:
    """Nothing is read before it is durable, also where every file is known."""
    rig = Rig()
    rig.write("/logs/a.log", b"one\n")
    rig.go_on()
    rows = list(rig.rows().values())
    rig.files.close_all()
    rig.write("/logs/a.log", b"two\n")
    rig.snapshots.clear()

    rig.begin(inheritance.Estate(rows, {"/logs/*.log"}))
    rig.step()

    (first,) = rig.snapshots
    assert first.is_urgent
    assert [row.paths for row in first.checkpoints] == [("/logs/a.log",)]


def test_hanging_disk_does_not_make_a_queue_of_snapshots() -> None:
    """The next snapshot is handed over when the one before is durable."""
    rig = Rig()
    rig.write("/logs/a.log", b"one\n")
    rig.go_on()
    rig.write("/logs/a.log", b"two\n")
    rig.step(2.0)
    handed = len(rig.snapshots)

    for _ in range(10):
        rig.write("/logs/a.log", b"more\n")
        rig.step(2.0)
        rig.answer()

    assert len(rig.snapshots) <= handed + 1
    assert rig.accepted[-1] == b"more\n"


def test_draining_flow_reads_and_sends_no_more_and_settles_what_is_answered() -> None:
    """After `drain` answers are taken in and saved; nothing new is begun."""
    rig = Rig(records_max=1)
    rig.write("/logs/a.log", b"one\n")
    rig.step()
    rig.save()
    rig.step()

    rig.flow.drain()
    rig.write("/logs/a.log", b"two\n")
    rig.answer()
    rig.step(1.0)

    assert rig.pending == []
    assert rig.flow.is_idle
    rig.flow.close()
    assert {row.offset for row in rig.snapshots[-1].checkpoints} == {4}


def test_successor_goes_on_through_the_descriptors_it_inherits() -> None:
    """A deleted file is read on by the next incarnation, and nothing of it twice."""
    rig = Rig()
    node = rig.write("/logs/a.log", b"one\n")
    rig.go_on()
    rig.files.unlink("/logs/a.log")
    rig.files.append(node, b"two\n")

    rig.begin(rig.flow.close())
    rig.go_on()

    assert rig.accepted == [b"one\n", b"two\n"]
    assert node.handles == 1


def test_successor_knows_that_a_file_is_deleted_and_how_old_it_was_seen_last() -> None:
    """Its inode may be another file's, and its archive is no older than the last sighting."""
    rig = Rig()
    node = rig.write("/logs/a.log", b"one\n")
    rig.go_on()
    (seen,) = rig.rows().values()
    rig.files.unlink("/logs/a.log")
    rig.go_on()
    rig.files.append(node, b"two\n")

    rig.begin(rig.flow.close())
    rig.step()
    estate = rig.flow.close()

    (row,) = estate.rows
    assert row.was_unlinked
    assert row.mtime_ns == seen.mtime_ns != node.mtime_ns


def test_inherited_descriptor_is_kept_until_its_file_can_be_read() -> None:
    """EIO while a successor proves a deleted file does not lose the only way to it."""
    rig = Rig()
    node = rig.write("/logs/a.log", b"one\n")
    rig.go_on()
    rig.files.unlink("/logs/a.log")
    rig.files.append(node, b"two\n")
    rig.fail("read", "/logs/a.log")

    rig.begin(rig.flow.close())
    rig.go_on()
    rig.fail("", "")
    rig.go_on()

    assert rig.accepted == [b"one\n", b"two\n"]


def test_row_of_a_file_that_is_gone_is_forgotten_after_its_ttl() -> None:
    """A retired file's row goes when no scan saw the file for checkpoint.ttl of running time."""
    rig = Rig(ttl_s=3600.0)
    rig.write("/logs/a.log", b"one\n")
    rig.go_on()
    (tail_id,) = rig.rows()
    rig.files.unlink("/logs/a.log")

    for _ in range(30):
        rig.go_on(3.0)
        rig.clock.now += 300.0

    assert any(tail_id in snapshot.forgotten for snapshot in rig.snapshots)


def test_log_that_lost_its_last_bytes_is_read_on_from_an_older_frontier(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After a power cut a file shorter than its offset goes on at a proven place, by a new id."""
    rig = Rig()
    node = rig.write("/logs/a.log", b"x" * 99 + b"\n")
    for number in range(40):
        rig.files.append(node, b"%99d\n" % number)
        rig.go_on(2.0)
    (row,) = rig.rows().values()
    rig.files.close_all()
    rig.files.truncate(node, 3950)

    rig.files.append(node, b"written anew\n")
    rig.accepted.clear()
    rig.begin(inheritance.Estate([row], {"/logs/*.log"}))
    rig.go_on()

    assert "file rolled back" in caplog.text
    assert row.tail_id not in rig.flow.roster.tails
    assert rig.accepted[-1].endswith(b"written anew\n")
    assert all(len(line) == 100 for line in rig.accepted[:-1])
    assert len(rig.accepted) < 30


def test_an_outage_is_said_after_a_while(caplog: pytest.LogCaptureFixture) -> None:
    """A flow whose calls fail for ten seconds says so, with the hint, and when they do no more."""
    caplog.set_level(logging.INFO)
    rig = Rig()
    rig.write("/logs/a.log", b"one\n")
    rig.destination.setback = errors.UnavailableError("ConnectTimeout", "no route", "the network?")

    rig.go_on(8.0)
    early = [one for one in caplog.records if "cannot deliver" in one.getMessage()]
    rig.go_on(40.0)
    rig.destination.setback = None
    rig.go_on(60.0)

    assert early == []
    said = [one.getMessage() for one in caplog.records if "deliver" in one.getMessage()]
    assert said[-1] == "delivering again flow=web"
    assert len(said) in {2, 3}  # once, and a minute later if the last wait was a long one
    assert 'error="ConnectTimeout: no route"' in said[0]
    assert "hint: the network?" in said[0]


def test_facts_of_the_destination_are_kept() -> None:
    """What the service said last is the flow's to use."""
    rig = Rig()
    facts = model.StreamFacts("ACTIVE", "provisioned", (model.ShardRange("s", 0, 2**128),))

    rig.flow.reports.put(facts)
    rig.step()

    assert facts is rig.flow.facts


# --- preprocessors ----------------------------------------------------------------------------


def by_letter(records: list[bytes], context: model.ChunkContext) -> list[model.Outcome]:
    """Do what a record's first letter says, and tell the others where they stand."""
    return [
        None
        if record.startswith(b"d")
        else model.UNPARSED
        if record.startswith(b"u")
        else b"%d %b" % (start, record)
        for record, start in zip(records, context.starts, strict=True)
    ]


def test_what_preprocessors_make_is_shipped_and_the_source_settles() -> None:
    """The books are in bytes of the source; what is dropped counts there, too."""
    rig = Rig(preprocess=by_letter)
    rig.write("/logs/a.log", b"one\ndrop\nunparsed\ntwo\n")

    rig.go_on()

    assert [b"0 one\n", b'{"message":"unparsed"}\n', b"18 two\n"] == rig.accepted
    counts = rig.flow.condition.counts
    assert (22, 17, 5) == (counts.read_bytes, counts.delivered_bytes, counts.dropped_bytes)
    assert (1, 1) == (counts.unparsed_records, counts.dropped_records)
    assert 22 == next(iter(rig.rows().values())).offset


class Instance:
    """A stage that wants EC2's data."""

    needs_instance = True

    def __call__(self, records: list[bytes], context: model.ChunkContext) -> list[bytes]:
        name = context.host.instance.get("instance_id", "-").encode()
        return [b"%b %b" % (name, record) for record in records]


def test_records_wait_for_the_instance_they_come_from() -> None:
    """As long as it may still be told, and not a moment longer."""
    rig = Rig(preprocess=Instance(), host=model.HostFacts(is_awaited=True))
    rig.write("/logs/a.log", b"one\n")
    rig.go_on(8.0)
    assert [] == rig.accepted

    rig.host = model.HostFacts("h", {"instance_id": "i-1"})
    rig.go_on(2.0)

    assert [b"i-1 one\n"] == rig.accepted
    assert 0 == rig.flow.condition.counts.bare_records


@pytest.mark.parametrize(
    ("host", "seconds"),
    [(model.HostFacts(is_awaited=True), 12.0), (model.HostFacts(fault="no EC2"), 2.0)],
)
def test_records_go_without_instance_data_that_nobody_knows(
    host: model.HostFacts, seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    """After ten seconds, or as soon as it is clear; counted, and said once a minute."""
    rig = Rig(preprocess=Instance(), host=host)
    rig.write("/logs/a.log", b"one\n")
    rig.go_on(seconds)
    rig.write("/logs/a.log", b"two\n")
    rig.go_on()

    assert [b"- one\n", b"- two\n"] == rig.accepted
    assert 2 == rig.flow.condition.counts.bare_records
    said = [one.getMessage() for one in caplog.records if "instance data" in one.getMessage()]
    assert 1 == len(said)
    assert 'records=1 error="' + (host.fault or "no answer yet") in said[0]

    rig.write("/logs/a.log", b"three\n")
    rig.go_on(61.0)
    rig.write("/logs/a.log", b"four\n")
    rig.go_on()
    assert 2 == sum("instance data" in one.getMessage() for one in caplog.records)


def test_a_block_of_which_nothing_is_left_settles_at_once() -> None:
    """No batch waits for it."""
    rig = Rig(preprocess=by_letter)
    rig.write("/logs/a.log", b"drop\ndrop\n")

    rig.go_on()

    assert [] == rig.accepted
    assert 10 == next(iter(rig.rows().values())).offset


def test_unparsed_records_go_to_the_dead_letters_if_wanted() -> None:
    """The rest of their block is shipped, and the watermark waits for the letter."""
    rig = Rig(preprocess=by_letter, on_no_match="dead_letter")
    rig.write("/logs/a.log", b"one\nunparsed\ntwo\n")

    rig.go_on()

    assert [b"0 one\n", b"13 two\n"] == rig.accepted
    (letter,) = rig.letters
    assert (4, 13, b"unparsed\n") == (letter.start, letter.end, letter.data)
    assert 4 == next(iter(rig.rows().values())).offset
    rig.flow.reports.put(model.DeadLettered(letter))
    rig.go_on()
    assert 17 == next(iter(rig.rows().values())).offset
    assert 9 == rig.flow.condition.counts.dead_lettered_bytes


@pytest.mark.parametrize(("factor", "lines"), [(2, 20_000), (100, 20_000), (3000, 4000)])
def test_memory_is_bounded_when_records_grow(factor: int, lines: int) -> None:
    """However much, from the first block on; all of it is shipped, and nothing twice."""

    def grow(records: list[bytes], _: model.ChunkContext) -> list[bytes]:
        return [record * factor for record in records]

    rig = Rig(preprocess=grow, max_buffer_bytes=2 * 1024**2, max_line="64KiB")
    rig.write("/logs/a.log", b"0123456789\n" * lines)
    held: list[int] = []
    end = 400
    while rig.flow.counters.delivered_bytes < 11 * lines and end:
        rig.step(0.3)
        held.append(rig.flow._batcher.held_bytes)
        rig.save()
        rig.answer()
        end -= 1

    assert end
    assert [b"0123456789\n" * factor] * lines == rig.accepted
    assert max(held) <= 2 * 1024**2 + 64 * 11 * 3000


def test_operators_rate_limit_holds_back_what_is_read() -> None:
    """The flow sends a second's worth, says when it will go on, and does."""
    rig = Rig(rate_limit=pace.RateLimit(records=10))
    rig.write("/logs/a.log", b"line\n" * 200)
    rig.go_on(10.0)

    assert 80 <= len(rig.accepted) <= 125
    rig.go_on(20.0)
    assert 200 == len(rig.accepted)
