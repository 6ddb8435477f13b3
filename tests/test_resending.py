"""`resending`: each letter at most once, and never one whose fate is not known."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import fakes
import pytest
from test_letterbook import bury, starts

from kagent import batch as batching
from kagent import errors, keys, letterbook, model, pack, resending


class Rig:
    """A folder of letters and a destination."""

    def __init__(
        self,
        folder: Path,
        packing: pack.PackSettings | None = None,
        partition_key: keys.Setting = keys.RANDOM,
    ) -> None:
        self.folder = folder
        self.book = letterbook.LetterBook(str(folder))
        keyed = dataclasses.replace(fakes.LIMITS, has_partition_keys=True)
        is_random = partition_key == keys.RANDOM
        self.destination = fakes.FakeDestination(fakes.LIMITS if is_random else keyed)
        self.clock = fakes.FakeClock()
        self._settings = batching.BatchSettings(
            1.0, 500, 4 * 1024**2, pack=packing, partition_key=partition_key
        )

    def send(self) -> resending.Outcome:
        """Send what waits, as the command does."""
        sender = resending.Resender(
            self.book,
            self._settings,
            self.destination.limits,
            self.destination,
            self.clock,
            random.Random(1),
            lambda letter: model.ChunkContext(
                letter.path, letter.tail_id, [letter.start], [letter.end]
            ),
        )
        waiting = [one for one in self.book.letters("web") if one.state == "waiting"]
        outcome = sender.send(waiting)
        self.book.take_out("web", outcome.settled)
        return outcome

    @property
    def states(self) -> list[tuple[int, str]]:
        return [(one.start, one.state) for one in self.book.letters("web")]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    bury(tmp_path / "letters", 1, 2, 3)
    return Rig(tmp_path / "letters")


RECORDS = [b"line %d\n\xff" % number for number in (1, 2, 3)]


def test_what_is_accepted_is_taken_out(rig: Rig) -> None:
    """In one request, as it was buried."""
    outcome = rig.send()

    assert RECORDS == rig.destination.accepted
    assert (3, 0, 0) == (len(outcome.settled), outcome.waiting, outcome.in_doubt)
    assert [] == rig.book.flows()


def test_refused_records_go_again_until_they_are_taken(rig: Rig) -> None:
    """Exactly those, after a wait."""
    rig.destination.refuse = [1]

    outcome = rig.send()

    assert sorted(RECORDS) == sorted(rig.destination.accepted)
    assert 3 == len(outcome.settled)
    assert 2 == len(rig.destination.calls)


def test_a_throttled_destination_leaves_them_waiting(rig: Rig) -> None:
    """After some tries; nothing is in doubt, and the command may be called again."""
    rig.destination.setback = errors.ThrottledError("LimitExceeded")

    outcome = rig.send()

    assert (0, 3, 0) == (len(outcome.settled), outcome.waiting, outcome.in_doubt)
    assert {"LimitExceeded": 3} == outcome.reasons
    assert resending.TRIES + 1 == len(rig.destination.calls)
    rig.destination.setback = None
    assert 3 == len(rig.send().settled)


def test_a_lost_answer_leaves_them_in_doubt(rig: Rig) -> None:
    """They may have arrived: they are not sent again by themselves."""
    rig.destination.setback = errors.UnavailableError("ReadTimeoutError")
    rig.destination.loses_answers = True

    outcome = rig.send()
    rig.destination.setback, rig.destination.loses_answers = None, False
    again = rig.send()

    assert 3 == outcome.in_doubt
    assert [] == again.settled
    assert RECORDS == rig.destination.accepted
    assert [(1, "in doubt"), (2, "in doubt"), (3, "in doubt")] == rig.states


def test_a_record_that_an_internal_failure_may_have_written_is_in_doubt(rig: Rig) -> None:
    """The others of its request are not."""
    rig.destination.refuse = [0]
    rig.destination.refusal_code = "InternalFailure"

    outcome = rig.send()

    assert (2, 1) == (len(outcome.settled), outcome.in_doubt)
    assert [(1, "in doubt")] == rig.states


def test_a_command_that_dies_leaves_them_in_doubt(rig: Rig) -> None:
    """Whenever it dies between the note and the answer: no record goes twice by accident."""

    def die(batch: model.Batch) -> model.Receipt:
        rig.destination.accepted += batch.records
        raise KeyboardInterrupt

    rig.destination.put, put = die, rig.destination.put  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        rig.send()
    rig.destination.put = put  # type: ignore[method-assign]
    rig.send()

    assert RECORDS == rig.destination.accepted
    assert [1, 2, 3] == starts(rig.book)


def test_a_command_that_dies_after_the_answer_sends_nothing_twice(rig: Rig) -> None:
    """What is settled is still in the file, and known to be."""
    sender_book = rig.book
    sender_book.take_out = lambda flow, letters: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        rig.send()
    rig.book = letterbook.LetterBook(str(rig.folder))

    rig.send()

    assert RECORDS == rig.destination.accepted
    assert [] == rig.states


def test_the_record_that_is_rejected_is_found_and_left(rig: Rig) -> None:
    """It is why the letter is there; the others are delivered."""
    rig.destination.poison = {RECORDS[1]}

    outcome = rig.send()

    assert {RECORDS[0], RECORDS[2]} == set(rig.destination.accepted)
    assert {"ValidationException": 1} == outcome.reasons
    assert [(2, "waiting")] == rig.states


def test_a_denied_call_ends_it(rig: Rig) -> None:
    """A human must act first; nothing is in doubt."""
    rig.destination.setback = errors.DeniedError("AccessDenied", "no", "allow it")

    outcome = rig.send()

    assert "allow it" == outcome.obstacle.hint if outcome.obstacle else ""
    assert 3 == outcome.waiting
    assert 1 == len(rig.destination.calls)


def test_a_record_too_long_for_the_destination_is_not_tried(rig: Rig) -> None:
    """It would take the others of its request along."""
    rig.destination.limits = model.BatchLimits(500, 4 * 1024**2, 5, has_partition_keys=False)

    outcome = rig.send()

    assert [] == rig.destination.calls
    assert {"longer than the destination takes": 3} == outcome.reasons


def test_letters_are_packed_as_lines_are(tmp_path: Path) -> None:
    """Readers of the stream find what they expect; kpl lets lone lines be what they are."""
    for form, expected in (("newline", 1), ("kpl", 3)):
        folder = tmp_path / form
        bury(folder, 1, 2, 3)
        rig = Rig(folder, pack.PackSettings(form, 25_000))  # type: ignore[arg-type]

        outcome = rig.send()

        assert expected == len(rig.destination.accepted)
        assert 3 == len(outcome.settled)


def test_letters_have_the_keys_that_their_lines_had(tmp_path: Path) -> None:
    """By values of the file, or of the record."""
    for setting in ("{path}-{offset}", keys.RECORD_HASH):
        folder = tmp_path / setting.strip("{}").replace("/", "")
        bury(folder, 1, 2)
        rig = Rig(folder, partition_key=setting)

        rig.send()

        (batch,) = rig.destination.calls
        by_hash = [keys.hash_key_of(record) for record in batch.records]
        by_place = ["/caf\udce9.log-1", "/caf\udce9.log-2"]
        if setting == keys.RECORD_HASH:
            assert by_hash == batch.partition_keys
        else:
            assert [one[-2:] for one in by_place] == [one[-2:] for one in batch.partition_keys]
