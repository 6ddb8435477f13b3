"""`oversize`: what becomes of lines and of preprocessors' records that are too long."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_flow import Rig
from test_pack import chunk, lines_of

from kagent import inheritance, model, pack, preprocessors, split

LIMIT = 100
SMALL = model.BatchLimits(500, 4 * 1024**2, LIMIT, has_partition_keys=False)


LONG = "".join(f"{number:03}Ü" for number in range(49)).encode() + b"...."
MADE = LONG + b"\n"


def grow(records: list[bytes], context: model.ChunkContext) -> Sequence[model.Outcome]:
    """Make 250 bytes of 'big' lines; others stay as they are."""
    return [record.replace(b"big", LONG) for record in records]


def rig(oversize: str, **more: object) -> Rig:
    one = Rig(oversize=oversize, limits=SMALL, max_line="1KiB", **more)  # type: ignore[arg-type]
    stage = preprocessors.Stage("grow", grow, is_built_in=False)
    one._settings = dataclasses.replace(one._settings, preprocess=(stage,))
    one.begin(inheritance.Estate())
    return one


# --- where text is cut ------------------------------------------------------------------------


@given(st.text(max_size=40), st.integers(0, 60))
def test_text_is_cut_between_characters(text: str, size: int) -> None:
    """What is kept is whole characters, and as many as there is room for."""
    data = text.encode("utf-8", "replace")

    kept = data[: split.text_end(data, size)]

    assert kept.decode() == text.encode("utf-8", "replace").decode()[: len(kept.decode())]
    assert len(kept) == min(len(data), size) or size - len(kept) < 4


@pytest.mark.parametrize(
    ("data", "size"),
    [
        pytest.param(b"\x80" * 9, 5, id="continuations of nothing"),
        pytest.param(b"a\x80\x80b", 2, id="one behind a letter"),
        pytest.param(b"\xc3\xbc\x80\x80", 3, id="one behind a whole character"),
        pytest.param(b"abc", 7, id="shorter than that"),
    ],
)
def test_bytes_that_are_no_text_are_cut_where_they_must(data: bytes, size: int) -> None:
    """Nothing is looked for beyond the length of a character."""
    assert size == split.text_end(data, size)


def test_truncated_line_ends_with_a_whole_character() -> None:
    """Half of one would be no text for any reader."""
    one = Rig(oversize="truncate", max_line="1KiB")
    one.write("/logs/a.log", b"x" + "ü".encode() * 900 + b"\n")

    one.go_on()

    assert ["x" + "ü" * 511 + "\n"] == [record.decode() for record in one.accepted]


# --- what a preprocessor made -----------------------------------------------------------------


@pytest.mark.parametrize("oversize", ["auto", "split"])
def test_a_part_of_a_line_is_not_too_long_for_a_newline_that_it_did_not_have(
    oversize: str,
) -> None:
    """A preprocessor that ends each record with one leaves a line that was split whole."""
    one = rig(oversize)
    stage = preprocessors.make("single_line", {})
    one._settings = dataclasses.replace(one._settings, preprocess=(stage,))
    one.begin(inheritance.Estate())
    one.write("/logs/a.log", b"x" * 250 + b"\nnext\n")

    one.go_on()

    assert [b"x" * LIMIT, b"x" * LIMIT, b"x" * 50 + b"\n", b"next\n"] == one.accepted
    assert [] == one.letters


@pytest.mark.parametrize(
    ("oversize", "shipped", "dead"),
    [
        pytest.param("auto", [], [MADE], id="auto"),
        pytest.param("dead_letter", [], [MADE], id="dead letter"),
        pytest.param("drop", [], [], id="drop"),
        pytest.param("truncate", [MADE[:98] + b"\n"], [], id="truncate"),
        pytest.param("split", [MADE[:100], MADE[100:200], MADE[200:]], [], id="split"),
    ],
)
def test_record_that_became_too_long_takes_its_policy(
    oversize: str, shipped: list[bytes], dead: list[bytes]
) -> None:
    """Its neighbours go on as they are, and every byte of the file is accounted for."""
    one = rig(oversize)
    one.write("/logs/a.log", b"before\nbig\nafter\n")

    one.go_on()
    for letter in one.letters:
        one.flow.reports.put(model.DeadLettered(letter))
    one.go_on()

    assert [b"before\n", *shipped, b"after\n"] == one.accepted
    assert dead == [letter.data for letter in one.letters]
    assert [17] == [row.offset for row in one.rows().values()]
    one.flow.counters.check_balance(0)
    assert 0 == one.flow._batcher.held_bytes
    counts = one.flow.counters.snapshot()
    assert (4 * bool(dead), 4 * (oversize == "drop")) == (
        counts.dead_lettered_bytes,
        counts.dropped_bytes,
    )


@pytest.mark.parametrize("form", ["none", "newline"])
def test_parts_settle_together(form: str) -> None:
    """A part that was accepted says nothing of the record: a restart ships all of it again."""
    packing = None if form == "none" else pack.PackSettings("newline", 60)
    one = rig("split", packing=packing)
    one.write("/logs/a.log", b"big\nafter\n")
    one.destination.refuse = [1]

    one.step()
    one.save()
    one.step(0.3)
    one.answer()
    one.step(1.1)
    one.save()

    assert 0 < len(one.accepted) < 4 + 1
    assert {0} == {row.offset for row in one.rows().values()}
    assert all(part.start >= 4 for row in one.rows().values() for part in row.ranges)

    one.go_on(10.0)

    assert {10} == {row.offset for row in one.rows().values()}
    size = 100 if form == "none" else 99  # a newline is added to each part
    parts = [MADE[at : at + size].rstrip(b"\n") for at in range(0, len(MADE), size)]
    if form == "none":
        assert sorted([b"after\n", MADE[:100], MADE[100:200], MADE[200:]]) == sorted(one.accepted)
    else:
        found = b"".join(one.accepted).removesuffix(b"\n").split(b"\n")
        assert sorted([b"after", *parts]) == sorted(found)


def test_rejected_part_is_dead_lettered_with_its_number() -> None:
    """The others are shipped, and the record's bytes settle with the last of all."""
    one = rig("split")
    one.write("/logs/good.log", b"good\n")
    one.go_on()
    one.write("/logs/a.log", b"big\n")
    one.destination.poison = {MADE[100:200], MADE[200:]}

    one.go_on(10.0)

    assert [2, 3] == sorted(letter.part for letter in one.letters)
    assert {(0, 4)} == {(letter.start, letter.end) for letter in one.letters}
    assert one.accepted == [b"good\n", MADE[:100]]
    for letter in one.letters:
        one.flow.reports.put(model.DeadLettered(letter))
    one.go_on()
    assert [4, 5] == sorted(row.offset for row in one.rows().values())
    one.flow.counters.check_balance(0)


def test_ids_of_parts_have_their_numbers() -> None:
    """The same place for all of them, in the order in which they are joined."""
    keyed = model.BatchLimits(500, 4 * 1024**2, LIMIT + 256, has_partition_keys=True)
    one = Rig(oversize="split", limits=keyed, partition_key="{id}", max_line="1KiB")
    stage = preprocessors.Stage("grow", grow, is_built_in=False)
    one._settings = dataclasses.replace(one._settings, preprocess=(stage,))
    one.begin(inheritance.Estate())
    one.write("/logs/a.log", b"a\nbig\n")

    one.go_on()

    (call,) = one.destination.calls
    (tail_id,) = one.rows()
    assert [f"{tail_id}:0-2", *[f"{tail_id}:2-6/{number}" for number in (1, 2, 3)]] == (
        call.partition_keys
    )
    assert MADE == b"".join(call.records[1:])


def test_parts_of_a_line_have_ids_that_follow_each_other() -> None:
    """Each is of its own bytes: the next begins where it ends, the last ends with a newline."""
    keyed = model.BatchLimits(500, 4 * 1024**2, LIMIT + 256, has_partition_keys=True)
    one = Rig(limits=keyed, partition_key="{id}", max_line="1KiB")
    line = bytes(range(32, 127)) * 4 + b"\n"
    one.write("/logs/a.log", line)

    one.go_on()

    found = {
        tuple(map(int, key.split(":")[1].split("-"))): record
        for call in one.destination.calls
        for key, record in zip(call.partition_keys, call.records, strict=True)
    }
    assert [(0, 100), (100, 200), (200, 300), (300, 381)] == sorted(found)
    assert line == b"".join(found[place] for place in sorted(found))


def test_packed_parts_are_taken_apart_as_parts() -> None:
    """Packing keeps what they are parts of."""
    whole = model.Whole(2)
    part = chunk(b"x" * 50)
    part.whole, part.part = whole, 2
    one = pack.Packer(pack.PackSettings("newline", 80), LIMIT, 0, random.Random(1))

    (packed,) = [*one.add(part), *one.close(0.0, 1e9)]
    (found,) = one.take_apart(packed)

    assert (whole, 2) == (found.whole, found.part)
    assert [b"x" * 50 + b"\n"] == lines_of(packed.data, "newline")
