"""A chunk is cut into what goes out, what is dropped and what is buried, and it is said where."""

from __future__ import annotations

import logging
from typing import Any

import fakes
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagent import model, preprocessing, preprocessors, split
from kagent.preprocessors import chain, oversize


class Rig:
    def __init__(self, function: Any, on_no_match: chain.OnNoMatch = "wrap") -> None:
        self.clock = fakes.FakeClock()
        self.preprocessing = preprocessing.Preprocessing(
            "web",
            [preprocessors.Stage("own", function, is_built_in=False)],
            on_no_match,
            self.clock,
            capture="/(?P<app>[a-z]+)[.](?P<more>x)?",
            record_bytes_max=50,
            is_stripped=False,
            host=lambda: model.HostFacts("h1"),
        )

    def process(self, records: list[bytes]) -> preprocessing.Processed:
        chunk = split.tile(records, 100, "id")
        return self.preprocessing.process(preprocessing.Unprocessed(chunk, "/a\x1b.log", [b"h"]))


def by_letter(records: list[bytes], _: model.ChunkContext) -> list[model.Outcome]:
    """Do what a record's first letter says."""
    outcomes = {b"d": None, b"u": model.Unparsed("status"), b"x": b"x" * 51, b"e": b""}
    return [outcomes.get(record[:1], record) for record in records]


@given(st.lists(st.sampled_from([b"a1", b"d22", b"u333", b"x4444", b"e55555"]), min_size=1))
def test_the_pieces_tile_the_chunk(records: list[bytes]) -> None:
    """Every byte of the source is in one piece, as a record's or as dropped by rule."""
    whole = split.tile(list(records), 100, "id")

    found = Rig(by_letter, "dead_letter").process(list(records))

    pieces = [*found.shipped, *found.empty, *(piece for piece, _ in found.dead)]
    at = whole.start
    for piece in sorted(pieces, key=lambda piece: piece.start):
        assert at == piece.start
        at = piece.end
        assert len(piece.records) == len(piece.starts) == len(piece.ends)
        held = sum(piece.ends) - sum(piece.starts)
        assert piece.end - piece.start == held + piece.dropped_bytes
    assert whole.end == at
    letters = b"".join(record[:1] for record in records)
    assert letters.count(b"a") == sum(map(len, found.shipped))
    assert letters.count(b"u") + letters.count(b"x") == len(found.dead)
    assert letters.count(b"u") == found.unparsed
    assert letters.count(b"d") + letters.count(b"e") == found.dropped


def test_a_record_that_became_too_long_is_dead() -> None:
    """The reason says that it was not so in the file."""
    found = Rig(by_letter).process([b"a", b"x"])

    (dead,) = found.dead
    assert b"x" * 51 == dead[0].records[0]
    assert oversize.TOO_LONG == dead[1]
    assert (101, 102) == (dead[0].starts[0], dead[0].ends[0])


def test_the_context_says_what_is_known_of_a_chunk() -> None:
    """Path, header, place, time, host."""
    seen: list[model.ChunkContext] = []

    def look(records: list[bytes], context: model.ChunkContext) -> list[bytes]:
        seen.append(context)
        return records

    rig = Rig(look)
    rig.process([b"a", b"bc"])

    (context,) = seen
    assert ("/a\x1b.log", "id", (b"h",)) == (context.path, context.tail_id, context.header)
    assert ((100, 101), (101, 103)) == (context.starts, context.ends)
    assert (rig.clock.time(), "h1") == (context.read_time, context.host.name)


def test_growth_is_what_records_lately_grew_by() -> None:
    """Shrinking frees nothing in advance, growth is forgotten slowly."""

    def grow(records: list[bytes], _: model.ChunkContext) -> list[bytes]:
        return [record * 50 if record == b"g" else record[:1] for record in records]

    rig = Rig(grow)

    rig.process([b"shrinks"])
    assert 1.0 == rig.preprocessing.growth
    rig.process([b"g"])
    grown = rig.preprocessing.growth
    assert grown == 150 / 101
    rig.process([b"s"])
    assert grown * 0.9 == rig.preprocessing.growth


def test_an_unparsed_record_is_said_where_it_is_and_why_and_not_what_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """At once for a part that failed for the first time, then once a minute."""
    rig = Rig(by_letter)

    with caplog.at_level(logging.WARNING, "kagent.flow"):
        rig.process([b"a", b"u secret"])
        rig.process([b"u secret"])
        rig.clock.now += 61.0
        rig.process([b"u secret", b"u secret"])

    head = "record unparsed flow=web path=/a\\x1b.log"
    tail = 'preprocessor=own part="status" on_no_match=wrap'
    assert [
        f"{head} offset=101 {tail} records=1",
        f"{head} offset=100 {tail} records=3",
    ] == caplog.messages


def test_a_stage_that_makes_up_parts_cannot_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After some different ones all others are one."""

    def creative(records: list[bytes], _: model.ChunkContext) -> list[model.Outcome]:
        return [model.Unparsed(f"part {number}") for number, _ in enumerate(records)]

    Rig(creative).process([b"a"] * 1000)

    assert preprocessing.PARTS_MAX + 1 == len(caplog.messages)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/logs/web.log", {"app": "web", "more": ""}),
        ("/logs/web.x", {"app": "web", "more": "x"}),
        ("/logs/9", {"app": "", "more": ""}),
    ],
)
def test_groups_of_a_path_are_values(path: str, expected: dict[str, str]) -> None:
    """A group that matches nothing is empty, and so are all of a path that does not match."""
    rig = Rig(by_letter)

    assert expected == rig.preprocessing.captured(path)
    assert rig.preprocessing.captured(path) is rig.preprocessing.captured(path)


def test_what_waits_is_given_out_in_slices_that_can_be_paid_for() -> None:
    """The first one is small; then by what is known of how records grow."""

    def grow(records: list[bytes], _: model.ChunkContext) -> list[bytes]:
        return [record + b"x" * 900 for record in records]

    rig = Rig(grow)
    one = rig.preprocessing
    one.add(preprocessing.Unprocessed(split.tile([b"a"] * 1000, 0, "id"), "/a.log", []))
    sizes: list[int] = []
    while one.is_waiting:
        assert one.waiting_cost == (1000 - sum(sizes)) * 101
        found = one.next_slice(100_100, must_move=False)
        assert found is not None
        sizes.append(len(found.chunk))
        one.process(found)

    assert 64 == sizes[0]
    assert {100} == set(sizes[1:-1])
    assert 1000 == sum(sizes)


def test_a_record_that_cannot_be_paid_for_waits_unless_nothing_else_moves() -> None:
    """No flow stands still for ever."""
    rig = Rig(by_letter)
    rig.preprocessing.add(preprocessing.Unprocessed(split.tile([b"ab", b"c"], 0, "id"), "/a", []))

    assert rig.preprocessing.next_slice(10, must_move=False) is None
    found = rig.preprocessing.next_slice(10, must_move=True)

    assert found is not None
    assert ([b"ab"], 0, 2) == (found.chunk.records, found.chunk.start, found.chunk.end)
    assert rig.preprocessing.is_waiting


def test_a_slow_preprocessor_is_given_as_much_as_it_does_in_a_step() -> None:
    """So that the flow sees receipts, and a stop, all the time."""

    def slow(records: list[bytes], _: model.ChunkContext) -> list[bytes]:
        rig.clock.now += 0.03 * len(records)
        return records

    rig = Rig(slow)
    one = rig.preprocessing
    one.add(preprocessing.Unprocessed(split.tile([b"a"] * 100, 0, "id"), "/a.log", []))
    sizes: list[int] = []
    while one.is_waiting:
        found = one.next_slice(1 << 20, must_move=False)
        assert found is not None
        sizes.append(len(found.chunk))
        one.process(found)

    assert [64, *[3] * 12] == sizes
