"""What is rehearsed is what the daemon ships: the same records, byte for byte."""

from __future__ import annotations

import functools
import pathlib
import random
from typing import Any

import fakes
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kagent import config, flow, inheritance, model, preprocessors, rehearsal, system
from kagent.preprocessors import chain

PATH = "/logs/a.log"


def by_letter(records: list[bytes], _: model.ChunkContext) -> list[model.Outcome]:
    outcomes: dict[bytes, model.Outcome] = {b"d": None, b"u": model.Unparsed("first letter")}
    return [outcomes.get(record[:1], record) for record in records]


@functools.cache  # the examples of a property share one
def flow_config(
    directory: pathlib.Path, source: str, on_no_match: chain.OnNoMatch = "wrap", more: str = ""
) -> config.FlowConfig:
    path = directory / "k"
    path.write_text(
        "flows:\n- name: a\n  destination: {firehose: {delivery_stream: s}}\n"
        f"  on_no_match: {on_no_match}\n"
        f"  source: {{paths: ['/logs/*.log'], start_at: beginning, {source}}}\n{more}"
    )
    (one,) = config.load(str(path), {}).flows
    object.__setattr__(
        one, "preprocess", (preprocessors.Stage("own", by_letter, is_built_in=False),)
    )
    return one


def rehearse(one: config.FlowConfig, data: bytes, at: int | None = None) -> Any:
    clock = fakes.FakeClock()
    files = fakes.FakeFiles(clock)
    files.make_directory("/logs")
    files.append(files.create(PATH), data)
    handle = files.open(PATH, PATH)
    return list(rehearsal.Rehearsal(one, files, handle, PATH, clock, model.HostFacts).records(at))


def ship(one: config.FlowConfig, data: bytes) -> tuple[list[bytes], list[bytes], flow.Flow]:
    """Return what a flow ships of a file that is deleted, its dead letters, and the flow."""
    clock = fakes.FakeClock()
    files = fakes.FakeFiles(clock)
    files.make_directory("/logs")
    files.append(files.create(PATH), data)
    destination = fakes.FakeDestination()
    pending: list[model.Batch] = []
    letters: list[model.DeadLetter] = []
    snapshots: list[model.FlowSnapshot] = []
    settled = flow.FlowSettings(
        name="a",
        source=one.source,
        batch=one.batch,
        oversize=one.oversize,
        max_in_flight=1,
        max_buffer_bytes=one.max_buffer,
        checkpoint_interval_s=1.0,
        checkpoint_ttl_s=1e6,
        preprocess=one.preprocess,
        on_no_match=one.on_no_match,
    )
    running = flow.Flow(
        settled,
        destination.limits,
        files,
        clock,
        random.Random(1),
        pending.append,
        snapshots.append,
        letters.append,
    )
    running.open(inheritance.Estate())
    buried = 0
    for turn in range(40):
        if turn == 10:
            files.unlink(PATH)
        clock.now += 1.0
        running.step()
        if snapshots:
            running.reports.put(model.Saved(snapshots[-1].sequence))
        while pending:
            running.reports.put(destination.put(pending.pop(0)))
        for letter in letters[buried:]:
            running.reports.put(model.DeadLettered(letter))
        buried = len(letters)
        if turn > 10 and not running.roster.tails:  # the file is given up: all of it is settled
            break
    assert not running.roster.tails
    return destination.accepted, [letter.data for letter in letters], running


LINES = st.lists(
    st.sampled_from(
        [
            b"a line\n",
            b"u\xff\n",
            b"d\n",
            b"\n",
            b" x\n",
            b"L" * 1500 + b"\n",
            b"\r\n",
            b'a,"b\nc"\n',
        ]
    ),
    max_size=12,
)


@pytest.mark.parametrize(
    "source",
    [
        "max_line: 1KiB",
        "max_line: 1KiB, header_lines: 2",
        "max_line: 1KiB, terminator: strip",
        "max_line: 1KiB, multiline: java",
        "max_line: 1KiB, multiline: {start: '[a-z]'}",
        "max_line: 1KiB, multiline: csv, header_lines: 1",
        "max_line: 1KiB, encoding: latin-1",
        "max_line: 1KiB, encoding: utf-16",
        "max_line: 1KiB, decode: docker",
    ],
)
@pytest.mark.parametrize("oversize", ["split", "truncate", "drop", "dead_letter"])
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(lines=LINES, rest=st.sampled_from([b"", b"u", b"rest", b"x" * 1200]))
def test_a_rehearsal_says_what_the_daemon_ships(
    tmp_path: pathlib.Path, source: str, oversize: str, lines: list[bytes], rest: bytes
) -> None:
    """Whatever the options are; and its pieces tile the sample."""
    data = b"".join(lines) + rest
    one = flow_config(tmp_path, source, more=f"  oversize: {oversize}")

    pieces = rehearse(one, data)

    accepted, letters, running = ship(one, data)
    assert accepted == [piece.data for piece in pieces if piece.fate == "sent"]
    assert letters == [piece.data for piece in pieces if piece.fate == "dead-lettered"]
    unparsed = sum(piece.unparsed is not None for piece in pieces)
    assert running.condition.counts.unparsed_records == unparsed
    assert [0, *(piece.end for piece in pieces)] == [*(piece.start for piece in pieces), len(data)]


def test_each_piece_says_why_it_is_not_sent(tmp_path: pathlib.Path) -> None:
    """By a preprocessor, by a rule, or because nobody could take it apart."""
    data = b"head\nd\nu\na\n" + b"L" * 2000 + b"\nu"
    one = flow_config(tmp_path, "max_line: 1KiB, header_lines: 1", "drop", "  oversize: drop")

    found = [
        (piece.fate, piece.why, piece.unparsed, piece.is_record) for piece in rehearse(one, data)
    ]

    part = ("own", "first letter")
    assert [
        ("dropped", "header_lines", None, False),
        ("dropped", "by own", None, True),
        ("dropped", "on_no_match", part, True),
        ("sent", "", None, True),
        ("dropped", "longer than 1025B (oversize: drop)", None, True),
        ("dropped", "on_no_match", part, True),
    ] == found


@pytest.mark.parametrize(
    ("at", "expected"), [(0, [b"a1\n"]), (4, [b"a2\n"]), (8, []), (6, [b"x"])]
)
def test_one_place_can_be_asked_for(
    tmp_path: pathlib.Path, at: int, expected: list[bytes]
) -> None:
    """The record that holds the offset, and no other."""
    found = rehearse(flow_config(tmp_path, "max_line: 1KiB"), b"a1\na2\nx", at)

    assert expected == [piece.data for piece in found]


def test_a_sample_of_many_blocks_ends(tmp_path: pathlib.Path) -> None:
    """Also with one line longer than what is searched in a turn."""
    path = tmp_path / "sample"
    path.write_bytes(b"a" * 12_000_000 + b"\n" + b"x\n" * 200_000)
    one = flow_config(tmp_path, "max_line: 1KiB", more="  oversize: truncate")

    with path.open("rb") as file:
        found = list(
            rehearsal.Rehearsal(
                one,
                system.OsFiles(),
                file.fileno(),
                str(path),
                system.SystemClock(),
                model.HostFacts,
            ).records()
        )

    assert 200_001 == sum(piece.fate == "sent" for piece in found)
    assert path.stat().st_size == found[-1].end


def grow(records: list[bytes], _: model.ChunkContext) -> list[bytes]:
    return [record * 1_000_000 if record == b"x\n" else record for record in records]


def test_a_record_that_became_too_long_is_shown_as_it_is_sent(tmp_path: pathlib.Path) -> None:
    """In its parts, or as what is dropped or put aside."""
    found = {}
    for oversize in ("auto", "split", "truncate", "drop"):
        one = flow_config(tmp_path, "max_line: 1KiB", more=f"  oversize: {oversize}")
        stage = preprocessors.Stage("own", grow, is_built_in=False)
        object.__setattr__(one, "preprocess", (stage,))
        pieces = rehearse(one, b"a\nx\n")
        found[oversize] = [(piece.fate, piece.part, len(piece.data)) for piece in pieces[1:]]
        if oversize == "split":
            assert b"x\n" * 1_000_000 == b"".join(piece.data for piece in pieces[1:])

    limit = 1_024_000
    assert {
        "auto": [("dead-lettered", 0, 2_000_000)],
        "split": [("sent", 1, limit), ("sent", 2, 2_000_000 - limit)],
        "truncate": [("sent", 0, limit)],
        "drop": [("dropped", 0, 0)],
    } == found


@pytest.mark.parametrize(
    ("pack", "expected"),
    [("none", b"one"), ("kpl", b"one"), ("newline", b"one\n"), ("{as: newline}", b"one\n")],
)
def test_lines_are_shown_as_readers_get_them(
    tmp_path: pathlib.Path, pack: str, expected: bytes
) -> None:
    """Packed by newline each has one; packing itself, and compression, are not shown."""
    source = "max_line: 1KiB, terminator: strip"
    one = flow_config(tmp_path, source, more=f"  pack: {pack}") if pack != "kpl" else None
    if one is None:
        path = tmp_path / "k"
        flow_config(tmp_path, source)
        text = path.read_text().replace("firehose: {delivery_stream: s}", "kinesis: {stream: s}")
        path.write_text(f"{text}  pack: kpl\n")
        (one,) = config.load(str(path), {}).flows

    assert [expected] == [piece.data for piece in rehearse(one, b"one\n")]
