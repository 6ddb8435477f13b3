"""`pack`: lines share records up to the target, and come out of them as they went in."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import itertools
import random
from collections.abc import Sequence
from typing import Any

import consumers
import hypothesis
import pytest
import zstandard
from hypothesis import strategies as st

from kagent import kpl, model, pack

LIMIT = 1000
KEY_BYTES = 8
fast = hypothesis.settings(deadline=None, max_examples=60)
every_form = pytest.mark.parametrize(
    ("form", "compression"),
    [
        pytest.param(form, compression, id=f"{form}, {compression}")
        for form in ("newline", "kpl")
        for compression in ("none", "gzip", "zstd")
    ],
)


def packer(
    form: str = "newline", compression: str = "none", *, record_bytes_max: int = LIMIT, **more: Any
) -> pack.Packer:
    settings = pack.PackSettings(form, **{"target_bytes": 200, **more}, compression=compression)  # type: ignore[arg-type]
    return pack.Packer(settings, record_bytes_max, KEY_BYTES, random.Random(1))


def chunk(*records: bytes, start: int = 0, key: str = "", **more: Any) -> model.Chunk:
    """Return a chunk of lines as they stand in a file."""
    ends = list(itertools.accumulate(map(len, records), initial=start))
    return model.Chunk(
        "a" * 32, list(records), ends[:-1], ends[1:], start, ends[-1], key=key, **more
    )


def unpack(record: bytes, compression: str) -> bytes:
    """Return the bytes of a record as any reader decompresses them."""
    if compression == "gzip":
        return gzip.decompress(record)
    return zstandard.decompress(record) if compression == "zstd" else record


def lines_of(record: bytes, form: str, compression: str = "none") -> list[bytes]:
    """Return the lines of a record as its readers find them."""
    data = unpack(record, compression)
    if form == "newline":
        return [line + b"\n" for line in data.split(b"\n")[:-1]]
    return [line for _, _, line in consumers.by_python([data])[0]]


def pack_all(one: pack.Packer, chunks: Sequence[model.Chunk]) -> list[model.Packed]:
    packed = [record for part in chunks for record in one.add(part)]
    return packed + one.close(0.0, 1e9)


lines = st.lists(
    st.binary(max_size=60).map(lambda line: line.replace(b"\n", b"?") + b"\n"), min_size=1
)
runs = st.lists(lines, min_size=1, max_size=5)


def chunks_of(run: list[list[bytes]]) -> list[model.Chunk]:
    made: list[model.Chunk] = []
    for records in run:
        made.append(chunk(*records, start=made[-1].end if made else 0))
    return made


# --- which lines share a record ---------------------------------------------------------------


@every_form
@fast
@hypothesis.given(run=runs, is_plain=st.booleans())
def test_every_line_goes_once_and_in_order(
    form: str, compression: str, run: list[list[bytes]], is_plain: bool
) -> None:
    """Whatever shares a record, readers find the lines, and the spans tile the file."""
    one = packer(form, compression, is_plain=is_plain)

    packed = pack_all(one, chunks_of(run))

    read = [line for record in packed for line in lines_of(record.data, form, compression)]
    assert [line for records in run for line in records] == read
    spans = [(part.start, part.end) for record in packed for part in record.chunks]
    assert all(before[1] == after[0] for before, after in itertools.pairwise(spans))
    assert (0, len(b"".join(read))) == (spans[0][0], spans[-1][1])
    assert [len(lines_of(record.data, form, compression)) for record in packed] == [
        record.lines for record in packed
    ]
    assert all(not part.records for record in packed for part in record.chunks)


@pytest.mark.parametrize("form", ["newline", "kpl"])
@fast
@hypothesis.given(run=runs)
def test_record_is_as_full_as_the_target_allows(form: str, run: list[list[bytes]]) -> None:
    """The next line would have made it longer than the target, its partition key included."""
    packed = pack_all(packer(form), chunks_of(run))

    for record, following in itertools.pairwise(packed):
        assert len(record.data) + KEY_BYTES <= 200
        first = lines_of(following.data, form)[0]
        added = len(first) if form == "newline" else kpl.ends_of([first])[0]
        spare = 2 * len(str(2**128)) if form == "kpl" else 0  # a short hash key, a lone line
        assert len(record.data) + added + KEY_BYTES + spare > 200 - 20 * (form == "kpl")


def test_full_record_goes_at_once_and_the_rest_waits() -> None:
    """A record waits for nothing when it is full; its lines' age is that of the oldest."""
    one = packer()

    full = one.add(chunk(*[b"x" * 99 + b"\n"] * 4, read_time=7.0))

    assert [b"x" * 99 + b"\n"] == [record.data for record in full[:1]]
    assert 3 == len(full)
    assert 7.0 == one.oldest()
    assert [] == one.close(1.0, 7.9)
    assert [1] == [record.lines for record in one.close(1.0, 8.0)]
    assert one.oldest() is None


def test_packed_chunk_keeps_all_but_its_records() -> None:
    """Each field has a value of its own, so that one that is left out shows."""
    values = dict(enumerate(dataclasses.fields(model.Chunk), 1))
    chunk = model.Chunk(**{field.name: [number] for number, field in values.items()})  # type: ignore[arg-type]

    packed = chunk.without_records()

    kept = {**dataclasses.asdict(chunk), "records": []}
    assert kept == dataclasses.asdict(packed)


def test_line_longer_than_the_target_goes_alone() -> None:
    """The target is a wish; the destination's limit is not."""
    long = b"y" * 700 + b"\n"

    packed = pack_all(packer(), [chunk(b"a\n", long, b"b\n")])

    assert [b"a\n", long, b"b\n"] == [record.data for record in packed]


def test_lines_share_a_record_across_files_and_chunks() -> None:
    """Many small files make one record; each chunk keeps its own place."""
    one = packer()
    others = chunk(b"other\n")
    others.tail_id = "b" * 32

    packed = pack_all(one, [chunk(b"1\n"), others, chunk(b"2\n", start=2)])

    assert [b"1\nother\n2\n"] == [record.data for record in packed]
    assert ["a" * 32, "b" * 32, "a" * 32] == [part.tail_id for part in packed[0].chunks]


SHARDS = (
    model.ShardRange("upper", 2**127, 2**128),
    model.ShardRange("lower", 0, 2**127),
)[::-1]


@pytest.mark.parametrize("form", ["newline", "kpl"])
def test_lines_for_different_places_share_no_record(form: str) -> None:
    """With a partition key of its own, a line goes with those of the same key, or shard."""
    assert (kpl.hash_of("x") < 2**127) != (kpl.hash_of("a") < 2**127)
    one = packer(form)
    one.note_shards(SHARDS)

    packed = pack_all(
        one,
        [chunk(b"1\n", b"2\n", key="x"), chunk(b"3\n", key="a"), chunk(b"4\n", key="x")],
    )

    assert [("x", [b"1\n", b"2\n", b"4\n"]), ("a", [b"3\n"])] == [
        (record.key, lines_of(record.data, form)) for record in packed
    ]


def test_lines_of_one_shard_share_aggregated_records() -> None:
    """Each keeps its own key, also where every line has another one."""
    one = packer("kpl", target_bytes=900)
    one.note_shards(SHARDS)
    names = [f"key {number}" for number in range(20)]
    part = chunk(*[b"%d\n" % number for number in range(20)])
    part.keys = [*names[:10], "key 9", *names[11:]]

    packed = pack_all(one, [part])

    assert 2 == len(packed)
    found = [user for record in packed for user in consumers.by_python([record.data])[0]]
    assert sorted(zip(part.keys, part.records, strict=True)) == sorted(
        (key, line) for key, _, line in found
    )
    for record in packed:
        hashes = {kpl.hash_of(key) < 2**127 for key, _, _ in consumers.by_python([record.data])[0]}
        assert {int(record.hash_key) < 2**127} == hashes
    spans = sorted((piece.start, piece.end) for record in packed for piece in record.chunks)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(spans))


def test_record_holds_as_many_keys_as_the_format_allows() -> None:
    """More keys than their indices have room for begin another record."""
    one = packer("kpl", target_bytes=20_000, record_bytes_max=20_000)
    part = chunk(*[b"%d\n" % number for number in range(300)])
    part.keys = [f"k{number}" for number in range(300)]

    packed = pack_all(one, [part])

    assert [127, 127, 46] == [record.lines for record in packed]
    assert part.records == [line for record in packed for line in lines_of(record.data, "kpl")]


@pytest.mark.parametrize("hash_key", ["random", "17"])
def test_with_a_hash_key_any_lines_share_aggregated_records(hash_key: str) -> None:
    """The shard is decided by it alone, so no shard needs to be known."""
    settings = pack.PackSettings("kpl", 900)
    one = pack.Packer(settings, LIMIT, KEY_BYTES, random.Random(1), hash_key=hash_key)
    part = chunk(b"1\n", b"2\n")
    part.keys = ["x", "y"]

    (packed,) = pack_all(one, [part])

    assert hash_key in {packed.hash_key, "random"}
    assert {("x", packed.hash_key), ("y", packed.hash_key)} == {
        (key, of) for key, of, _ in consumers.by_python([packed.data])[0]
    }


def test_key_may_be_a_digest_of_the_record() -> None:
    """Of the packed one: what goes again to the byte goes again to its shard."""
    settings = pack.PackSettings("newline", 900)
    one = pack.Packer(settings, LIMIT, KEY_BYTES, random.Random(1), is_keyed_by_bytes=True)

    (packed,) = pack_all(one, [chunk(b"1\n", b"2\n")])

    assert hashlib.md5(b"1\n2\n").hexdigest() == packed.key


def test_lines_in_memory_are_bounded_although_no_record_is_full() -> None:
    """With many places none may ever be full: then the oldest goes as it is."""
    one = packer(open_bytes_max=1000)

    packed = [
        record for number in range(20) for record in one.add(chunk(b"x" * 20, key=f"k{number}"))
    ]

    assert one.held_bytes <= 1000
    assert [f"k{number}" for number in range(12)] == [record.key for record in packed]


# --- what a record's bytes are ----------------------------------------------------------------


@pytest.mark.parametrize("is_plain", [True, False])
def test_line_without_newline_gets_one(is_plain: bool) -> None:
    """Otherwise readers would find it glued to the next one; parts of a line are lines as well."""
    part = chunk(b"1\n", b"2", b"3\n")

    (packed,) = pack_all(packer(is_plain=is_plain), [part])

    assert b"1\n2\n3\n" == packed.data
    assert 3 == packed.lines


def test_lone_line_goes_as_it_is() -> None:
    """As Amazon's library does: an envelope around one line saves nothing."""
    (packed,) = pack_all(packer("kpl"), [chunk(b"alone\n")])

    assert (b"alone\n", "", "") == (packed.data, packed.key, packed.hash_key)


def test_aggregated_record_names_its_own_hash_key_for_every_line() -> None:
    """By which no shard that takes the record can find a line that is not its own."""
    packed = pack_all(packer("kpl"), [chunk(*[b"line\n"] * 50)])

    assert len(packed) > 1
    for record in packed:
        assert {(record.key, record.hash_key)} == {
            (key, hash_key) for key, hash_key, _ in consumers.by_python([record.data])[0]
        }
        assert kpl.hash_of(record.key) == int(record.hash_key)
    assert len({record.hash_key for record in packed}) == len(packed)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_same_lines_compress_to_the_same_bytes(compression: str) -> None:
    """No time, name or randomness is in them."""
    made = [pack_all(packer("newline", compression), [chunk(b"a\n" * 50)]) for _ in range(2)]

    assert made[0][0].data == made[1][0].data


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compressed_records_come_close_to_the_target(compression: str) -> None:
    """How much lines shrink is learned from the records before; few are longer than the target."""
    words = random.Random(5)
    run = [
        b"%d GET /shop/%d 200 Mozilla/5.0\n" % (number, words.randrange(1000))
        for number in range(30_000)
    ]
    one = packer("newline", compression, target_bytes=10_000, record_bytes_max=20_000)

    packed = pack_all(one, [chunk(*run)])[10:-1]

    sizes = [len(record.data) for record in packed]
    assert sum(sizes) / len(sizes) > 8500, sizes
    assert sum(size > 10_000 for size in sizes) <= len(sizes) // 10


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_record_that_does_not_shrink_is_cut_to_the_limit(compression: str) -> None:
    """Lines that shrank so far may be followed by some that do not."""
    noise = random.Random(2)
    one = packer("newline", compression)
    packed = pack_all(one, [chunk(*[b"a" * 50 + b"\n"] * 500)])

    packed += pack_all(one, [chunk(*[noise.randbytes(300).hex().encode() for _ in range(50)])])

    assert max(len(record.data) for record in packed) <= LIMIT
    assert 550 == sum(record.lines for record in packed)


@every_form
def test_longest_line_fits_a_record_however_little_it_shrinks(form: str, compression: str) -> None:
    """Compression makes noise longer, and a newline may be added: there is room for both."""
    limit = 1024**2
    settings = pack.PackSettings(form, 200, compression)  # type: ignore[arg-type]
    line = random.Random(3).randbytes(pack.line_bytes_max(settings, limit)).replace(b"\n", b"?")

    (packed,) = pack_all(packer(form, compression, record_bytes_max=limit), [chunk(line)])

    assert len(packed.data) <= limit


# --- taking apart -----------------------------------------------------------------------------


@every_form
@fast
@hypothesis.given(
    records=st.lists(st.binary(max_size=30), min_size=1), gap=st.integers(0, 3), data=st.data()
)
def test_record_is_taken_apart_into_what_it_was_made_of(
    form: str, compression: str, records: list[bytes], gap: int, data: st.DataObject
) -> None:
    """Lines, places and dropped bytes, also of lines that do not stand so in the file."""
    part = chunk(*[record + b"-" * gap for record in records])
    part.records = records
    part.ends = [start + len(one) for start, one in zip(part.starts, records, strict=True)]
    part.dropped_bytes = gap * len(records)

    packed = pack_all(one := packer(form, compression, is_plain=False), [part])
    found = [piece for record in packed for piece in one.take_apart(record)]

    assert records == [line for piece in found for line in piece.records]
    assert part.starts == [start for piece in found for start in piece.starts]
    assert part.dropped_bytes == sum(piece.dropped_bytes for piece in found)


@every_form
@fast
@hypothesis.given(run=runs, tail=st.binary(max_size=9).map(lambda one: one.replace(b"\n", b"?")))
def test_plain_lines_are_taken_apart_by_their_places(
    form: str, compression: str, run: list[list[bytes]], tail: bytes
) -> None:
    """No size is remembered of lines as they stand; the last one of a file may be incomplete."""
    expected = [*itertools.chain(*run), *filter(None, [tail])]
    one = packer(form, compression, is_plain=True)

    packed = pack_all(one, [chunk(*expected)])

    assert expected == [
        line for record in packed for part in one.take_apart(record) for line in part.records
    ]


@every_form
def test_halves_go_to_the_same_place(form: str, compression: str) -> None:
    """A record that the service rejects is halved down to the line that it rejects."""
    one = packer(form, compression, target_bytes=900)
    run = [b"%d\n" % number for number in range(20)]
    (whole,) = pack_all(one, [chunk(*run[:7]), chunk(*run[7:], start=14)])

    first, second = one.halve(whole)

    assert (10, 10) == (first.lines, second.lines)
    assert run == lines_of(first.data, form, compression) + lines_of(
        second.data, form, compression
    )
    assert {(whole.key, whole.hash_key)} == {(half.key, half.hash_key) for half in (first, second)}


# --- memory -----------------------------------------------------------------------------------


@every_form
@fast
@hypothesis.given(run=runs)
def test_packing_never_takes_more_memory_than_the_lines_did(
    form: str, compression: str, run: list[list[bytes]]
) -> None:
    """What was charged for lines covers the record that takes their place."""
    one = packer(form, compression, record_bytes_max=10_000)
    charged = 0

    for part in chunks_of(run):
        charged += sum(map(len, part.records)) + model.RECORD_OVERHEAD_BYTES * len(part)
        packed = one.add(part) + one.close(0.5, 1.0 * (len(part) % 2))
        for record in packed:
            assert record.cost_bytes >= len(record.data)
            charged -= record.cost_bytes
        assert one.held_bytes <= charged
    for record in one.close(0.0, 1e9):
        charged -= record.cost_bytes

    assert 0 == one.held_bytes
    assert charged >= 0


# --- lines that were never split ----------------------------------------------------------------


def run_of(*records: bytes, start: int = 0, key: str = "") -> model.Chunk:
    """Return lines as they stand in a file, as one record that nobody has split."""
    data = b"".join(records)
    end = start + len(data)
    return model.Chunk(
        "a" * 32, [data], [start], [end], start, end, key=key, is_plain=True, is_run=True
    )


@fast
@hypothesis.given(runs)
def test_unsplit_lines_make_the_same_records(run: list[list[bytes]]) -> None:
    """Whether lines were split or not, the records, their places and their lines are the same."""
    split = pack_all(packer(is_plain=True), chunks_of(run))
    unsplit = packer(is_plain=True)
    made: list[model.Chunk] = []
    for records in run:
        made.append(run_of(*records, start=made[-1].end if made else 0))

    packed = pack_all(unsplit, made)

    assert [one.data for one in split] == [one.data for one in packed]
    places = [[(one.start, one.end) for one in record.chunks] for record in packed]
    assert [[(one.start, one.end) for one in record.chunks] for record in split] == places
    assert all(one.is_run for one in packed)
    apart = [unsplit.take_apart(one) for one in packed]
    assert [packer(is_plain=True).take_apart(one) for one in split] == apart
    assert [one.lines > 1 for one in split] == [one.lines > 1 for one in packed]
    assert unsplit.held_bytes == 0


def test_unsplit_lines_are_halved_line_by_line() -> None:
    """A record that the service rejects comes down to the culprit, split or not."""
    one = packer(is_plain=True)
    (record,) = pack_all(one, [run_of(b"a\n", b"b\n", b"c\n", b"d\n", start=7)])

    halves = one.halve(record)

    assert [b"a\nb\n", b"c\nd\n"] == [half.data for half in halves]
    assert [(7, 11), (11, 15)] == [(part.start, part.end) for h in halves for part in h.chunks]
    assert [b"c\n", b"d\n"] == [half.data for half in one.halve(halves[1])]


def test_split_and_unsplit_lines_share_no_record() -> None:
    """The last line of a file that ended, without its newline, is split from its block."""
    one = packer(is_plain=True)

    packed = pack_all(one, [run_of(b"a\n"), chunk(b"b", start=2), run_of(b"c\n", start=3)])

    assert [b"a\n", b"b\n", b"c\n"] == [record.data for record in packed]
    assert [True, False, True] == [record.is_run for record in packed]


def test_unsplit_lines_in_memory_are_bounded() -> None:
    """Records go before they are full rather than hold more than open_bytes_max."""
    one = packer(is_plain=True, target_bytes=900, open_bytes_max=500)

    full = one.add(run_of(b"x" * 299 + b"\n", b"y" * 299 + b"\n"))

    assert [600] == [len(record.data) for record in full]
    assert one.held_bytes == 0


def test_open_records_of_many_keys_in_one_chunk_are_bounded_as_well() -> None:
    """Also where every line of a chunk has another key."""
    one = packer(open_bytes_max=1000)
    part = chunk(*[b"x" * 19 + b"\n"] * 20)
    part.keys = [f"k{number}" for number in range(20)]

    packed = one.add(part)

    assert one.held_bytes <= 1000
    assert [f"k{number}" for number in range(12)] == [record.key for record in packed]


def test_line_that_stands_with_others_and_is_longer_than_the_target_goes_alone() -> None:
    """Lines that nobody split are cut at its ends; the key may be a digest of what is packed."""
    settings = pack.PackSettings("newline", 200)
    one = pack.Packer(settings, LIMIT, KEY_BYTES, random.Random(1), is_keyed_by_bytes=True)
    data = b"a\n" + b"y" * 300 + b"\n" + b"b\n"
    run = model.Chunk("a" * 32, [data], [0], [len(data)], 0, len(data))
    run.is_plain = run.is_run = True

    packed = pack_all(one, [run])

    assert [b"a\n", b"y" * 300 + b"\n", b"b\n"] == [record.data for record in packed]
    assert [hashlib.md5(one.data).hexdigest() for one in packed] == [one.key for one in packed]


def test_half_may_end_where_a_chunk_ends() -> None:
    """No empty chunk is made of it."""
    one = packer(target_bytes=900)
    (whole,) = pack_all(one, [chunk(b"1\n"), chunk(b"2\n", start=2)])

    first, second = one.halve(whole)

    assert ([(0, 2)], [(2, 4)]) == tuple(
        [(part.start, part.end) for part in half.chunks] for half in (first, second)
    )
