"""`keys`: which partition keys records get, and what an operator may write for them."""

from __future__ import annotations

import hashlib
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_config_relations import flow, load, problems
from test_pack import chunk

from kagent import keys, model

CONTEXT = model.ChunkContext(
    "/srv/shop/app.log",
    "a" * 32,
    [0, 2],
    [2, 4],
    captured={"service": "shop", "none": ""},
    host=model.HostFacts("web-1"),
)


def assigned(setting: keys.Setting, *records: bytes, **more: bool) -> model.Chunk:
    part = chunk(*records)
    keys.Keys(setting, **more).assign(part, CONTEXT)
    return part


# --- keys of records --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        pytest.param("{path}", "/srv/shop/app.log", id="path"),
        pytest.param("{service}", "shop", id="captured"),
        pytest.param("{host}/{service}.x", "web-1/shop.x", id="values and texts"),
        pytest.param("{none}", "", id="nothing captured: chosen at each attempt"),
    ],
)
def test_value_of_a_file_is_one_key_for_all_its_records(setting: str, key: str) -> None:
    """It costs one text a chunk."""
    part = assigned(setting, b"1\n", b"2\n")

    assert (key, []) == (part.key, part.keys)


def test_value_of_a_record_is_a_key_for_each() -> None:
    """Such as its id: stable, and different for every record."""
    part = assigned("{service} {offset}", b"1\n", b"2\n")

    assert ("", ["shop 0", "shop 2"]) == (part.key, part.keys)


def test_random_keys_are_not_chosen_yet() -> None:
    """Each attempt chooses anew."""
    part = assigned("random", b"1\n")

    assert ("", []) == (part.key, part.keys)


def test_digest_of_a_record_is_its_key() -> None:
    """The same record goes to the same shard; of a packed one, the packed bytes count."""
    part = assigned("record_hash", b"1\n", b"2\n", b"1\n")
    packed = assigned("record_hash", b"1\n", is_packed_as_one=True)

    digest = hashlib.md5(b"1\n").hexdigest()
    assert [digest, hashlib.md5(b"2\n").hexdigest(), digest] == part.keys
    assert ("", []) == (packed.key, packed.keys)


@pytest.mark.parametrize(
    ("record", "key"),
    [
        pytest.param(b'{"user": {"id": "u7"}}\n', "u7", id="text"),
        pytest.param(b'{"user": {"id": 7}}\n', "7", id="a number"),
        pytest.param(b'{"user": {"id": 1.5}}\n', "1.5", id="a fraction"),
        pytest.param(b'{"user": {"id": true}}\n', "true", id="a Boolean"),
        pytest.param(b'{"user": {"id": ""}}\n', "none", id="empty"),
        pytest.param(b'{"user": {"id": null}}\n', "none", id="null"),
        pytest.param(b'{"user": {"id": ["u7"]}}\n', "none", id="a list"),
        pytest.param(b'{"user": "u7"}\n', "none", id="no mapping"),
        pytest.param(b'{"user": ["u7"]}\n', "none", id="a list on the way"),
        pytest.param(b"{}\n", "none", id="missing"),
        pytest.param(b"no JSON\n", "none", id="no JSON"),
    ],
)
def test_field_of_a_record_is_its_key(record: bytes, key: str) -> None:
    """What is no text, number or Boolean has the key of the fallback."""
    setting = keys.FieldKey(field="user.id", fallback="none")

    assert [key] == assigned(setting, record).keys


def test_fallback_may_be_random_or_a_digest() -> None:
    """Random is chosen at each attempt, as without a field."""
    chosen = assigned(keys.FieldKey(field="a"), b"x\n")
    digest = assigned(keys.FieldKey(field="a", fallback="record_hash"), b"x\n")

    assert [""] == chosen.keys
    assert [hashlib.md5(b"x\n").hexdigest()] == digest.keys


@given(st.text(max_size=400))
def test_key_is_one_that_the_service_takes(text: str) -> None:
    """At most 256 bytes; a longer one is replaced by its digest, so different ones stay so."""
    key = keys.bounded(text)

    assert len(key.encode()) <= keys.KEY_BYTES_MAX
    if len(text.encode("utf-8", "replace")) <= keys.KEY_BYTES_MAX:
        assert text.encode("utf-8", "replace").decode() == key
    else:
        assert hashlib.sha256(text.encode("utf-8", "replace")).hexdigest() == key


def test_slices_carry_their_keys() -> None:
    """Whatever is cut from a chunk has the keys of its own records."""
    part = assigned("record_hash", b"1\n", b"2\n", b"3\n")
    one = assigned("{service}", b"1\n", b"2\n")

    assert part.keys[1:] == part.slice(1, 3).keys
    assert ("shop", []) == (one.slice(0, 1).key, one.slice(0, 1).keys)


# --- what is written --------------------------------------------------------------------------


def kinesis(written: str) -> str:
    return f"flows:\n{flow('a', f'destination: {{kinesis: {{stream: s, {written}}}}}')}"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param("", ("random", ""), id="nothing"),
        pytest.param("partition_key: record_hash", ("record_hash", ""), id="digest"),
        pytest.param('partition_key: "{path}"', ("{path}", ""), id="value"),
        pytest.param(
            "partition_key: {field: a.b}", (keys.FieldKey(field="a.b"), ""), id="a field"
        ),
        pytest.param(
            'partition_key: "{host}", explicit_hash_key: random',
            ("{host}", "random"),
            id="a key for readers, spread evenly",
        ),
        pytest.param('explicit_hash_key: "0"', ("random", "0"), id="a number"),
    ],
)
def test_partition_key_is_taken_as_it_is_written(
    tmp_path: pathlib.Path, written: str, expected: tuple[keys.Setting, str]
) -> None:
    """A word, a text with values, or a field."""
    found = load(tmp_path, kinesis(written)).flows[0].batch

    assert expected == (found.partition_key, found.hash_key)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param(
            "partition_key: rando",
            "partition_key: found 'rando', expected 'random', 'record_hash', a text with a value "
            "such as '{path}', or a mapping",
            id="a word that is none",
        ),
        pytest.param(
            'partition_key: "{servise}"',
            "partition_key: there is no value {servise}",
            id="a value that is none",
        ),
        pytest.param(
            "partition_key: {fields: a}",
            "partition_key.fields: unknown key",
            id="a key that is none",
        ),
        pytest.param(
            "explicit_hash_key: 17",
            "explicit_hash_key: found 17, expected 'random', or a number from 0 to 2^128 - 1 in "
            "quotes",
            id="without quotes",
        ),
        pytest.param(
            f'explicit_hash_key: "{2**128}"',
            f"explicit_hash_key: found '{2**128}', expected 'random', or a number from 0 to "
            "2^128 - 1 in quotes",
            id="too large",
        ),
    ],
)
def test_what_is_no_partition_key_is_refused(
    tmp_path: pathlib.Path, written: str, expected: str
) -> None:
    """With the place, and what is allowed there."""
    found = problems(tmp_path, kinesis(written))

    assert [f"flows[0].destination.kinesis.{expected}"] == [
        one.split(": ", 1)[1] for one in found if "field: missing" not in one
    ]


def test_captured_groups_are_values(tmp_path: pathlib.Path) -> None:
    """They are known by the pattern that captures them."""
    destination = 'destination: {kinesis: {stream: s, partition_key: "{service}"}}'
    source = "paths: [/a], capture: '(?P<service>[^/]+)'"

    loaded = load(tmp_path, f"flows:\n{flow('a', destination, source)}")

    assert "{service}" == loaded.flows[0].batch.partition_key
