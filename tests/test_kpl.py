"""`kpl`: what it writes is read by others, what others write is read by it."""

from __future__ import annotations

import hashlib

import consumers
import hypothesis
import pytest
from hypothesis import strategies as st

from kagent import kpl

fast = hypothesis.settings(deadline=None, max_examples=60)
HASH_KEY = str(2**127)
EXAMPLE = bytes.fromhex(  # of the format's description: `hi` with the key `k` and the hash key 0
    "f3899ac20a016b1201301a08080010001a026869e370c64a2abdd5cc6fc6c64ae173aed2"
)

keys = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
lines = st.binary(max_size=300)
runs = st.lists(st.tuples(keys, st.lists(lines, min_size=1, max_size=5)), min_size=1, max_size=6)


def users_of(made: list[tuple[str, list[bytes]]]) -> list[tuple[str, str, bytes]]:
    return [(key, HASH_KEY, line) for key, records in made for line in records]


def test_bytes_are_those_of_the_description() -> None:
    """Tables first, then records, each with both indices; MD5 of the message behind it."""
    assert EXAMPLE == kpl.encode([("k", [b"hi"])], "0")


@fast
@hypothesis.given(made=runs)
def test_what_is_written_is_read_again(made: list[tuple[str, list[bytes]]]) -> None:
    """Every record with its key, in order, by kagent and by AWS's library for Python."""
    data = kpl.encode(made, HASH_KEY)

    found = kpl.decode(data)

    assert found is not None
    assert users_of(made) == [(one.partition_key, one.hash_key, one.data) for one in found]
    assert [users_of(made)] == consumers.by_python([data])


@pytest.mark.parametrize("length", [0, 1, 120, 127, 128, 16_370, 16_384, 200_000])
def test_lengths_that_take_more_bytes_are_read_by_all(length: int) -> None:
    """Where the length of a length changes; AWS's library for JavaScript reads it, too."""
    made = [("one", [b"a" * length, b"b"]), ("two", [b"c" * length])]
    data = kpl.encode(made, HASH_KEY)

    assert [users_of(made)] == consumers.by_python([data]) == consumers.by_node([data])


def test_as_many_keys_as_allowed_are_read_by_all() -> None:
    """Their indices take one byte each."""
    made = [(f"key-{number}", [b"line"]) for number in range(kpl.KEYS_MAX)]
    data = kpl.encode(made, HASH_KEY)

    assert [users_of(made)] == consumers.by_python([data]) == consumers.by_node([data])


@fast
@hypothesis.given(made=runs)
def test_size_is_known_before_it_is_encoded(made: list[tuple[str, list[bytes]]]) -> None:
    """So that a record is filled to the byte: fixed bytes, keys and records add up."""
    records = [line for _, part in made for line in part]
    fixed = kpl.FIXED_BYTES_MAX - 41 + len(HASH_KEY) + 2

    size = fixed + kpl.ends_of(records)[-1] + sum(map(kpl.key_bytes, {key for key, _ in made}))

    assert size == len(kpl.encode(made, HASH_KEY))


def test_lengths_that_are_rare_are_not_all_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables of prefixes are bounded, and what was forgotten is made again."""
    expected = [(kpl._PREFIXES[0][length], kpl._SIZES[length]) for length in range(10)]
    monkeypatch.setattr(kpl, "_PREFIXES_MAX", 2)
    prefixes, sizes = kpl._Prefixes(0), kpl._Sizes()

    found = [(prefixes[length], sizes[length]) for length in range(10)]

    assert expected == found
    assert (2, 2) == (len(prefixes), len(sizes))


def signed(message: bytes) -> bytes:
    return kpl.MAGIC + message + hashlib.md5(message).digest()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"a line\n", id="a line"),
        pytest.param(EXAMPLE[1:], id="without magic"),
        pytest.param(EXAMPLE[:-1] + b"?", id="another digest"),
        pytest.param(signed(b"\x1a\x08\x08\x00"), id="cut short"),
        pytest.param(signed(b"\x1a\x02\x08\x00"), id="no data"),
        pytest.param(signed(b"\x1a\x06\x08\x05\x1a\x02hi"), id="a key that is not there"),
        pytest.param(signed(b"\x0d\x00\x00\x00\x00"), id="a type of its own"),
        pytest.param(signed(b"\x08" + b"\xff" * 11 + b"\x00"), id="a number too large"),
        pytest.param(signed(b"\x0a\x01k\x1a\x04\x0a\x00\x1a\x00"), id="a key that is text"),
        pytest.param(signed(b"\x0a\x01\xff\x1a\x04\x08\x00\x1a\x00"), id="a key that is no text"),
    ],
)
def test_what_is_none_is_a_record_as_it_is(data: bytes) -> None:
    """Every reader takes bytes that are no aggregated record for a plain one."""
    assert kpl.decode(data) is None


def test_records_without_a_hash_key_and_with_tags_are_read() -> None:
    """Both are optional, and other producers leave the one out and may write the other."""
    record = b"\x08\x00\x1a\x02hi\x22\x03\x0a\x01t"
    data = signed(b"\x0a\x01k\x1a" + bytes([len(record)]) + record)

    assert [kpl.UserRecord("k", "", b"hi")] == kpl.decode(data)


def test_fields_that_are_not_known_are_passed_over() -> None:
    """A later version of the format may have more of them."""
    data = signed(b"\x0a\x01k\x1a\x06\x08\x00\x1a\x02hi\x22\x01?\x28\x07")

    assert [kpl.UserRecord("k", "", b"hi")] == kpl.decode(data)


def test_hash_of_a_key_is_the_service_s() -> None:
    """MD5 of its UTF-8, read from the largest byte on."""
    assert consumers.hash_of("schlüssel") == kpl.hash_of("schlüssel")
