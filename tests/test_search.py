"""`search`: long lines are searched once, and cut when their end is known."""

from __future__ import annotations

import pytest
from log_rig import CREDIT, KIB, MIB, Log, read_chunks, read_records

from kagent import proven, search, split

LIMIT = 64 * KIB
LONG = b"L" * 5 * MIB + b"\n"
CUTTING = ["truncate", "drop", "dead_letter"]


def test_long_last_line_of_a_finished_file_is_whole(log: Log) -> None:
    """One that was searched in vain for its newline is read again, and goes."""
    log.write(b"x" * 300 * KIB)
    one = log.follow(rules=split.Rules(MIB))

    before = read_records(one)
    after = read_records(one, is_final=True)

    assert ([], [b"x" * 300 * KIB]) == (before, after)


@pytest.mark.parametrize("oversize", ["split", *CUTTING])
def test_growing_line_is_not_read_again_and_again(
    log: Log, oversize: split.OversizePolicy
) -> None:
    """10 MiB in 100 pieces: it is searched once and read once, not a hundred times."""
    one = log.follow(rules=split.Rules(11 * MIB, oversize))
    piece = b"x" * (10 * MIB // 100)

    early = []
    for _ in range(100):
        log.append(piece)
        early += read_chunks(one, 64 * MIB)
    position, waiting = one.position, log.files.read_bytes
    log.append(b"\n")
    (result,) = read_chunks(one, 64 * MIB)

    assert ([], 0) == (early, position)
    assert waiting < 10.2 * MIB
    assert log.files.read_bytes < 20.4 * MIB
    assert [piece * 100 + b"\n"] == result.chunk.records


@pytest.mark.parametrize("oversize", CUTTING)
def test_growing_oversize_line_is_not_read_again_and_again(
    log: Log, oversize: split.OversizePolicy
) -> None:
    """Its end is searched in what is new; nothing is decided before it was seen."""
    one = log.follow(rules=split.Rules(64 * KIB, oversize))
    piece = b"x" * 100 * KIB

    early = []
    for _ in range(50):
        log.append(piece)
        early += read_chunks(one)
    waiting = log.files.read_bytes

    assert ([], 0) == (early, one.position)
    assert waiting < 5.5 * MIB


@pytest.mark.parametrize("is_final", [False, True], ids=["open", "final"])
@pytest.mark.parametrize(
    ("oversize", "expected", "dead"),
    [
        pytest.param("split", [b"a\n", *[b"L" * LIMIT] * 80, b"\n", b"b\n"], 0, id="split"),
        pytest.param("truncate", [b"a\n", b"L" * (LIMIT - 1) + b"\n", b"b\n"], 0, id="truncate"),
        pytest.param("drop", [b"a\n", b"b\n"], 0, id="drop"),
        pytest.param("dead_letter", [b"a\n", *[b"L" * LIMIT] * 80, b"\n", b"b\n"], 81, id="dead"),
    ],
)
def test_oversize_line_has_the_fate_of_its_policy(
    log: Log, oversize: split.OversizePolicy, expected: list[bytes], dead: int, is_final: bool
) -> None:
    """5 MiB with a limit of 64 KiB: parts, a beginning, nothing, or dead letters."""
    log.write(b"a\n" + LONG + b"b\n")
    one = log.follow(rules=split.Rules(LIMIT, oversize))

    found = read_chunks(one, 256 * KIB, is_final=is_final)

    chunks = [result.chunk for result in found]
    assert expected == [record for chunk in chunks for record in chunk.records]
    assert dead == sum(len(result.chunk) for result in found if result.is_dead)
    assert len(LONG) + 4 == one.position
    kept = sum(
        end - start
        for chunk in chunks
        for start, end in zip(chunk.starts, chunk.ends, strict=True)
    )
    assert one.position - kept == sum(chunk.dropped_bytes for chunk in chunks)


@pytest.mark.parametrize("oversize", CUTTING)
def test_end_of_a_very_long_line_is_searched_in_turns(
    log: Log, oversize: split.OversizePolicy
) -> None:
    """One call searches BLOCKS_MAX blocks, so that a step stays short."""
    log.write(b"L" * 20 * MIB + b"\nb\n")
    one = log.follow(rules=split.Rules(LIMIT, oversize))
    one.poll(0.0)

    first = one.read(CREDIT, 0.0)
    read_bytes = log.files.read_bytes
    found = read_chunks(one)

    assert first is None
    assert read_bytes <= (search.BLOCKS_MAX + 1) * (MIB + 64)
    assert [b"b\n"] == found[-1].chunk.records
    assert 20 * MIB + 3 == one.position


@pytest.mark.parametrize("oversize", CUTTING)
def test_unterminated_oversize_line_ends_with_a_finished_file(
    log: Log, oversize: split.OversizePolicy
) -> None:
    """Nothing follows it any more, so it is decided there, searched in vain before or not."""
    log.write(b"L" * 5 * MIB)
    rules = split.Rules(LIMIT, oversize)
    searched, fresh = log.follow(rules=rules), log.follow(rules=rules)
    before = read_chunks(searched)

    read_chunks(searched, is_final=True)
    read_chunks(fresh, is_final=True)

    assert [] == before
    assert (5 * MIB, 5 * MIB) == (searched.position, fresh.position)


def test_rewritten_oversize_line_is_noticed_between_its_parts(log: Log) -> None:
    """Each part is proved by the one before it."""
    log.write(LONG)
    one = log.follow(rules=split.Rules(LIMIT, "dead_letter"))
    one.poll(0.0)
    first = one.read(CREDIT, 0.0)

    log.write(b"M" * len(LONG))

    assert first is not None
    with pytest.raises(proven.TruncatedError):
        one.read(CREDIT, 0.0)


def test_lines_behind_an_oversize_one_are_proved_by_its_end(log: Log) -> None:
    """The frontier of a dropped line is its last bytes, which no record holds."""
    log.write(LONG)
    one = log.follow(rules=split.Rules(LIMIT, "drop"))
    read_chunks(one)

    log.append(b"b\n")

    one.verify()
    assert [b"b\n"] == read_records(one)
