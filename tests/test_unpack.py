"""A compressed file that is read like a file: every read equals a read of the plain bytes."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from kagent import content, model, proof, system, unpack

DATA = b"".join(b"line %d of a log\n" % number for number in range(20000))


def opened(path: Path, packed: bytes) -> tuple[unpack.Unpacked, int]:
    path.write_bytes(packed)
    files = system.OsFiles()
    handle = files.open(str(path), str(path.parent))
    magic = content.magic_of(packed)
    assert magic is not None
    return unpack.Unpacked(files, handle, magic), handle


def verify(one: unpack.Unpacked) -> None:
    while not one.verify_on():
        pass


def checkpoint(offset: int, data: bytes = DATA) -> model.Checkpoint:
    start, size = proof.before(offset)
    return model.Checkpoint(
        "a",
        ("/logs/a.log",),
        model.FileIdentity(1, 1),
        0,
        False,
        0,
        offset,
        model.Fingerprint(1024, proof.digest(data[:1024])),
        model.Frontier(offset, proof.digest(data[start : start + size])),
    )


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "PIECE_BYTES", 50_000)
    monkeypatch.setattr(unpack, "_BLOCK_BYTES", 7_000)


@pytest.mark.parametrize("form", ["gzip", "two members", "zstd"])
def test_any_read_is_a_read_of_the_content(tmp_path: Path, form: str) -> None:
    """Forward, back, at the head, over the end."""
    packed = gzip.compress(DATA)
    if form == "two members":
        packed = gzip.compress(DATA[:9000]) + gzip.compress(DATA[9000:])
    elif form == "zstd":
        packed = pytest.importorskip("zstandard").compress(DATA)
    one, handle = opened(tmp_path / "a", packed)
    pieces = 1
    while not one.verify_on():
        pieces += 1
    chooser = random.Random(1)
    places = [(chooser.randrange(len(DATA) + 9), chooser.randrange(30_000)) for _ in range(60)]

    read = [one.read(handle, offset, size) for offset, size in places]

    assert [DATA[offset : offset + size] for offset, size in places] == read
    assert len(DATA) == one.size(handle) == one.handle_status(handle).size
    assert pieces >= len(DATA) // 57_000
    one.close(handle)


def test_proofs_hold_where_the_content_has_them(tmp_path: Path) -> None:
    """What is wanted before or after the first pass is found; other content proves nothing."""
    one, handle = opened(tmp_path / "a", gzip.compress(DATA))
    one.want(checkpoint(60_000))
    verify(one)
    first = one.evidence(checkpoint(60_000))
    one.want(checkpoint(len(DATA)))
    one.want(checkpoint(70_000, b"other" * 20_000))
    is_known = one.is_verified
    verify(one)

    assert not is_known
    assert model.Evidence(True, frozenset({60_000}), True, len(DATA)) == first
    assert one.evidence(checkpoint(len(DATA))).frontiers_held == {len(DATA)}
    other = one.evidence(checkpoint(70_000, b"other" * 20_000))
    assert (other.fingerprint_holds, other.frontiers_held) == (False, frozenset())
    one.close(handle)


def test_going_on_to_an_offset_takes_bounded_pieces(tmp_path: Path) -> None:
    """Whoever resumes far behind is ready after several calls, and reads from there."""
    one, handle = opened(tmp_path / "a", gzip.compress(DATA))
    verify(one)

    calls = 1
    while not one.prepare(200_000):
        calls += 1

    assert calls >= 3
    assert DATA[200_000:200_010] == one.read(handle, 200_000, 10)
    assert one.prepare(200_000)
    one.close(handle)


@pytest.mark.parametrize("form", ["gzip", "zstd"])
@pytest.mark.parametrize("cut", [1, 5, 2000], ids=lambda cut: f"{cut} bytes short")
def test_stream_that_is_cut_short_is_refused(tmp_path: Path, form: str, cut: int) -> None:
    """However little is missing: somebody may still be writing it."""
    packed = gzip.compress(DATA)
    if form == "zstd":
        packed = pytest.importorskip("zstandard").compress(DATA)
    one, handle = opened(tmp_path / "a", packed[:-cut])

    with pytest.raises(content.UnreadableError, match="not complete"):
        verify(one)
    one.close(handle)


def test_damaged_stream_is_refused(tmp_path: Path) -> None:
    """A wrong byte anywhere makes all of it worthless."""
    packed = bytearray(gzip.compress(DATA))
    packed[len(packed) // 2] ^= 1
    one, handle = opened(tmp_path / "a", bytes(packed))

    with pytest.raises(content.UnreadableError, match="damaged"):
        verify(one)
    one.close(handle)
