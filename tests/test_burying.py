"""Dead letters on their way: kept until they are on disk, tried again, said within measure."""

from __future__ import annotations

import fakes
import pytest

from kagent import burying, model, split


class Rig:
    def __init__(self) -> None:
        self.clock = fakes.FakeClock()
        self.letters: list[model.DeadLetter] = []
        self.burials = burying.Burials("web", self.letters.append, self.clock)

    def answer(self, error: str = "") -> model.Chunk | None:
        return self.burials.collect(model.DeadLettered(self.letters.pop(0), error))


def test_each_record_is_a_letter_with_its_bytes_of_the_source() -> None:
    """They come back one by one, to be settled."""
    rig = Rig()

    rig.burials.add(split.tile([b"a", b"bc"], 10, "id"), "/a", "why")

    assert [(10, 11, b"a"), (11, 13, b"bc")] == [
        (one.start, one.end, one.data) for one in rig.letters
    ]
    assert rig.letters == rig.burials.letters
    assert not rig.burials.is_idle
    chunk = rig.answer()
    assert chunk is not None
    assert (10, 11) == (chunk.start, chunk.end)
    rig.answer()
    assert rig.burials.is_idle


def test_a_letter_that_found_no_room_is_tried_again() -> None:
    """And the flow says why it waits."""
    rig = Rig()
    rig.burials.add(split.tile([b"a"], 0, "id"), "/a", "why")

    assert rig.answer("full") is None

    assert "full" == rig.burials.error
    assert rig.burials.is_idle
    assert [rig.clock.now + burying.RETRY_S] == rig.burials.dues
    rig.burials.retry()
    assert [] == rig.letters
    rig.clock.now += burying.RETRY_S
    rig.burials.retry()
    assert rig.answer() is not None
    assert "" == rig.burials.error


def test_many_letters_of_one_reason_are_one_line_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Another reason is said at once."""
    rig = Rig()
    rig.burials.add(split.tile([b"a"] * 9, 0, "id"), "/a", "one")
    rig.burials.add(split.tile([b"a"], 9, "id"), "/a", "other")
    rig.burials.add(split.tile([b"a"], 10, "id"), "/a", "other")

    for _ in range(10):
        rig.answer()
    rig.clock.now += 60.0
    rig.answer()

    assert ["reason=one records=1", "reason=other records=9", "reason=other records=1"] == [
        message[message.index("reason=") :] for message in caplog.messages
    ]
