"""`proof` on real files: digests hold where the bytes are the same, and nowhere else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from kagent import model, proof, system

FILES = system.OsFiles()
NO_DIGEST = b"no digest of anything"
MIB = 1024**2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.log"


@pytest.fixture
def handle(path: Path) -> Iterator[int]:
    """Return a handle of a file of 4000 bytes, of which no two runs of 4 are alike."""
    path.write_bytes(b"".join(b"%04d" % number for number in range(1000)))
    opened = FILES.open(str(path), str(path))
    yield opened
    FILES.close(opened)


def frontier(data: bytes, offset: int) -> model.Frontier:
    return model.Frontier(offset, proof.digest(data[max(0, offset - 64) : offset]))


def checkpoint(data: bytes, offset: int, older: list[int], ends: list[int]) -> model.Checkpoint:
    """Return the checkpoint that a file of this data has at an offset."""
    length = min(offset, model.FINGERPRINT_BYTES_MAX)
    ranges = tuple(model.SettledRange(end - 1, end, frontier(data, end).digest) for end in ends)
    return model.Checkpoint(
        "a",
        ("/a",),
        model.FileIdentity(1, 1),
        0,
        was_unlinked=False,
        start=0,
        offset=offset,
        fingerprint=model.Fingerprint(length, proof.digest(data[:length])),
        frontier=frontier(data, offset),
        older=tuple(frontier(data, one) for one in older),
        ranges=ranges,
    )


# --- digests ----------------------------------------------------------------------------------


def test_digest_is_16_bytes_of_blake2b() -> None:
    """What is in the database of one release must mean the same in the next."""
    assert hashlib.blake2b(b"data", digest_size=16).digest() == proof.digest(b"data")


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        pytest.param(0, (0, 0), id="the beginning"),
        pytest.param(1, (0, 1), id="one byte"),
        pytest.param(64, (0, 64), id="64 bytes"),
        pytest.param(65, (1, 64), id="more"),
    ],
)
def test_frontier_is_of_at_most_64_bytes_before_an_offset(
    offset: int, expected: tuple[int, int]
) -> None:
    """Fewer at the beginning of the file, none at its first byte."""
    assert expected == proof.before(offset)


def test_frontier_is_read_from_the_file_as_it_is_now(handle: int, path: Path) -> None:
    """It changes with the bytes before the offset, not with those behind it."""
    before = proof.read_frontier(FILES, handle, 2000)
    data = bytearray(path.read_bytes())

    data[2000] ^= 1
    path.write_bytes(data)
    behind = proof.read_frontier(FILES, handle, 2000)
    data[1999] ^= 1
    path.write_bytes(data)
    changed = proof.read_frontier(FILES, handle, 2000)

    assert frontier(bytes(data), 2000) == changed
    assert before == behind
    assert before != changed


# --- evidence ---------------------------------------------------------------------------------


def test_everything_holds_in_the_file_it_was_taken_from(handle: int, path: Path) -> None:
    """Fingerprint, frontier, older frontiers and the ends of ranges."""
    row = checkpoint(path.read_bytes(), 3000, [100, 2000], [3500, 4000])

    evidence = proof.gather_evidence(FILES, handle, row)

    assert evidence.fingerprint_holds
    assert {100, 2000, 3000, 3500, 4000} == evidence.frontiers_held


@pytest.mark.parametrize(
    ("changed", "fingerprint_holds", "held"),
    [
        pytest.param(0, False, {2000, 3000, 3500}, id="the first byte"),
        pytest.param(1023, False, {2000, 3000, 3500}, id="the last of the fingerprint"),
        pytest.param(1024, True, {2000, 3000, 3500}, id="one that nothing covers"),
        pytest.param(1950, True, {3000, 3500}, id="before an older frontier"),
        pytest.param(2999, True, {2000, 3500}, id="just before the offset"),
        pytest.param(3450, True, {2000, 3000}, id="before the end of a range"),
    ],
)
def test_one_changed_byte_fails_what_covers_it(
    handle: int, path: Path, changed: int, fingerprint_holds: bool, held: set[int]
) -> None:
    """Every digest is compared by itself."""
    data = bytearray(path.read_bytes())
    row = checkpoint(bytes(data), 3000, [2000], [3500])
    data[changed] ^= 1
    path.write_bytes(data)

    evidence = proof.gather_evidence(FILES, handle, row)

    assert (fingerprint_holds, held) == (evidence.fingerprint_holds, evidence.frontiers_held)


def test_shorter_file_holds_what_it_still_has(handle: int, path: Path) -> None:
    """A file shorter than the fingerprint does not match it; frontiers behind its end fail."""
    row = checkpoint(path.read_bytes(), 3000, [500], [3500])
    path.write_bytes(path.read_bytes()[:1000])

    evidence = proof.gather_evidence(FILES, handle, row)

    assert (False, {500}) == (evidence.fingerprint_holds, evidence.frontiers_held)


def test_settled_range_tells_what_a_file_is(handle: int, path: Path) -> None:
    """Of a file of which the first byte is not settled, nothing else does: seed 600882."""
    found = proof.gather_evidence(FILES, handle, checkpoint(path.read_bytes(), 0, [], [2000]))

    assert found.is_telling


@pytest.mark.parametrize(
    ("rest", "is_telling"), [(b"the rest", True), (b"another ", False)], ids=["its", "another"]
)
def test_what_holds_of_a_hole_alone_tells_nothing(
    path: Path, rest: bytes, *, is_telling: bool
) -> None:
    """Whatever stands where the frontier does not hold: simulation, seed 314457."""
    known = bytes(2000) + b"the rest"
    path.write_bytes(bytes(2000) + rest)
    handle = FILES.open(str(path), str(path))
    found = proof.gather_evidence(FILES, handle, checkpoint(known, 2008, [1500], []))
    FILES.close(handle)

    assert found.fingerprint_holds
    assert 1500 in found.frontiers_held
    assert found.is_telling is is_telling


# --- the last line ----------------------------------------------------------------------------


@hypothesis.settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[
        hypothesis.HealthCheck.function_scoped_fixture,
        hypothesis.HealthCheck.too_slow,
    ],
)
@hypothesis.given(data=st.lists(st.sampled_from([b"\n", b"a", b"\0", b"bc\n"])).map(b"".join))
def test_last_line_end_is_behind_the_last_newline(handle: int, path: Path, data: bytes) -> None:
    """0 where there is none: then the whole file is one line that is still being written."""
    path.write_bytes(data)

    end = proof.last_line_end(FILES, handle, len(data))

    assert data.rfind(b"\n") + 1 == end


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        pytest.param(0, MIB - 1, id="in the last block"),
        pytest.param(0, MIB, id="at a block's edge"),
        pytest.param(5, 3 * MIB, id="some blocks before"),
        pytest.param(0, proof.LAST_LINE_BYTES_MAX - 1, id="as far back as is looked"),
    ],
)
def test_newline_is_found_over_block_edges(
    handle: int, path: Path, before: int, behind: int
) -> None:
    """The search goes back block by block."""
    path.write_bytes(b"x" * before + b"\n" + b"y" * behind)

    end = proof.last_line_end(FILES, handle, before + 1 + behind)

    assert before + 1 == end


def test_only_bytes_below_the_given_size_count(handle: int, path: Path) -> None:
    """What was written since the scan is not skipped."""
    path.write_bytes(b"one\ntwo\nthree\n")

    assert 4 == proof.last_line_end(FILES, handle, 7)


def test_endless_last_line_begins_at_its_end(handle: int, path: Path) -> None:
    """Further back than LAST_LINE_BYTES_MAX no newline is searched: the file's end counts."""
    size = proof.LAST_LINE_BYTES_MAX + 2 * MIB
    path.write_bytes(b"\n" * MIB + b"y" * (size - MIB))

    assert size == proof.last_line_end(FILES, handle, size)


# --- history ----------------------------------------------------------------------------------


def noted(
    history: proof.History, handle: int, moments: list[tuple[float, int]]
) -> tuple[model.Frontier, ...]:
    """Note the frontier at an offset for each (time, offset); return what the last note gave."""
    older: tuple[model.Frontier, ...] = ()
    for now, offset in moments:
        older = history.note(proof.read_frontier(FILES, handle, offset), now, FILES, handle)
    return older


def test_first_save_has_a_frontier_at_half_the_offset(handle: int) -> None:
    """Even a file that was saved once can be recognised when it lost its end."""
    older = noted(proof.History((), 0.0), handle, [(0.0, 3000)])

    assert (proof.read_frontier(FILES, handle, 1500),) == older


@pytest.mark.parametrize("offset", [pytest.param(0, id="0"), pytest.param(1, id="1")])
def test_nothing_is_older_than_the_first_byte(handle: int, offset: int) -> None:
    """A frontier at 0 would prove nothing."""
    assert () == noted(proof.History((), 0.0), handle, [(0.0, offset)])


def test_older_frontiers_are_of_one_ten_and_sixty_seconds_ago(handle: int) -> None:
    """With a save each second, the last ones before those ages are kept, and the half."""
    moments = [(float(second), 1000 + 20 * second) for second in range(101)]

    older = noted(proof.History((), 0.0), handle, moments)

    at_ages = [1000 + 20 * (100 - age) for age in (60, 10, 1)]
    assert at_ages == [one.offset for one in older][-3:]
    assert any(750 <= one.offset <= 1500 for one in older)
    assert list(older) == [proof.read_frontier(FILES, handle, one.offset) for one in older]


def test_long_history_keeps_old_frontiers_in_bounded_memory(handle: int) -> None:
    """Four saves a second for long: few are returned, few are kept, 60 s are still covered."""
    history = proof.History((), 0.0)
    moments = [(number / 4, 1000 + number) for number in range(2000)]

    older = noted(history, handle, moments)

    assert len(older) <= 4
    assert len(history._noted) <= 64 + 5
    assert older[-1].offset == moments[-1 - 4][1]
    assert older[0].offset < moments[-1 - 240][1]


def test_every_older_frontier_is_below_the_saved_offset(handle: int) -> None:
    """Nothing at or above it is older, even if the offset did not move."""
    older = noted(proof.History((), 0.0), handle, [(0.0, 100), (5.0, 200), (20.0, 200)])

    assert [50, 100] == [one.offset for one in older]


def test_frontiers_of_a_checkpoint_go_on(handle: int) -> None:
    """After a restart the older frontiers are those that were saved, as if from now."""
    saved = tuple(proof.read_frontier(FILES, handle, offset) for offset in (2000, 1000))

    older = noted(proof.History(saved, 0.0), handle, [(0.5, 3000)])

    assert [1000] == [one.offset for one in older]


def test_half_of_a_file_of_grouped_records_is_the_end_of_one(handle: int) -> None:
    """The beginning of a record of several lines is not found from anywhere within it."""
    history = proof.History((), 0.0, is_grouped=True)
    nothing = noted(history, handle, [(0.0, 0)])
    history.note_ends([90, 100, 130, 700])
    history.note_ends([])
    history.note_ends([900, 1400, 1600])
    older = noted(history, handle, [(0.0, 1600)])

    assert () == nothing
    assert (proof.read_frontier(FILES, handle, 700),) == older
