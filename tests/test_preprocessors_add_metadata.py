"""Metadata: every record becomes an object with the fields, and loses nothing."""

from __future__ import annotations

import json
import re
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagent import model, preprocessors, values
from kagent.preprocessors import add_metadata, chain

INSTANCE = {"instance_id": "i-1", "region": "eu-west-1", "private_ip": "10.0.0.1"}
HOST = model.HostFacts('web"1', INSTANCE, {"Name": "shop", "env": "prod é"})


def context(count: int = 1, host: model.HostFacts = HOST) -> model.ChunkContext:
    return model.ChunkContext(
        "/var/log/100%\udcff.log",
        "ab12",
        [10 * at for at in range(count)],
        [10 * at + 10 for at in range(count)],
        {"app": "shop"},
        read_time=1764117000.123,
        host=host,
    )


def make(**options: Any) -> add_metadata.AddMetadata:
    return add_metadata.AddMetadata.model_validate(options)


def run(record: bytes, **options: Any) -> bytes:
    (outcome,) = make(**options)([record], context())
    assert isinstance(outcome, bytes)
    return outcome


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"f": "{path}"}, '"f":"/var/log/100%\ufffd.log"'),
        ({"f": "{host}"}, '"f":"web\\"1"'),
        ({"f": "{offset}"}, '"f":0'),
        ({"f": "{id}"}, '"f":"ab12:0-10"'),
        ({"f": "{read_time}"}, '"f":"2025-11-26T00:30:00.123Z"'),
        ({"f": "{app}"}, '"f":"shop"'),
        ({"f": "{region}"}, '"f":"eu-west-1"'),
        ({"f": "{app}-{region}: {offset}%\n"}, '"f":"shop-eu-west-1: 0%\\n"'),
        ({"f": "{not a name} {} {{app}}"}, '"f":"{not a name} {} {shop}"'),
        ({"f": "é\u2028"}, '"f":"é\u2028"'),
        ({"f": 1, "g": 1.5, "h": True, "i": None}, '"f":1,"g":1.5,"h":true,"i":null'),
        ({"f": ["{app}", 1], "g": {"{app}": "{offset}"}}, '"f":["shop",1],"g":{"{app}":0}'),
        ({'%d"': "{id}", "%b": 1}, '"%d\\"":"ab12:0-10","%b":1'),
        ({"f": "", "g": [], "h": {}}, '"f":"","g":[],"h":{}'),
        ({"f": "{ami_id}", "g": "x{ami_id}", "h": 1, "i": ["{ami_id}"]}, '"h":1'),
    ],
)
def test_values(fields: dict[str, Any], expected: str) -> None:
    """Named ones are filled in, others are what they are; with an unknown one a field is not."""
    assert f'{{"a":1,{expected}}}\n'.encode() == run(b'{"a":1}\n', fields=fields)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (b'{"a": 1.50}\n', b'{"a": 1.50,"x":"1"}\n'),
        (b"{}\n", b'{"x":"1"}\n'),
        (b' { } \r\n', b'{ "x":"1"}\n'),
        (b'{"a":{"x":2}}', b'{"a":{"x":2},"x":"1"}\n'),
        (b'{"a":"}"}\n', b'{"a":"}","x":"1"}\n'),
        (b'{"x":{"b":[1,"}"]},"a":1}\n', b'{"x":"1","a":1}\n'),
        (b'{"\\u0078":2}\n', b'{"\\u0078":"1"}\n'),
        (b'{"x":2,"a":3,"x":4}\n', b'{"x":2,"a":3,"x":"1"}\n'),
        (b'{\n  "a": [\n 1, 2]\n}\n', b'{"a":[1,2],"x":"1"}\n'),
        (b'{"a":12345678901234567890123}\n', b'{"a":12345678901234567890123,"x":"1"}\n'),
        (b'{"a":"\xff"}\n', '{"a":"\ufffd","x":"1"}\n'.encode()),
        ('{"é":"\u2028"}\n'.encode(), '{"é":"\u2028","x":"1"}\n'.encode()),
        (b"text\n", b'{"message":"text","x":"1"}\n'),
        (b"text\r\n", b'{"message":"text","x":"1"}\n'),
        (b"", b'{"message":"","x":"1"}\n'),
        (b"\n", b'{"message":"","x":"1"}\n'),
        (b"[1]\n", b'{"message":"[1]","x":"1"}\n'),
        (b'{"a":1\n', b'{"message":"{\\"a\\":1","x":"1"}\n'),
        (b'{"a":1}}\n', b'{"message":"{\\"a\\":1}}","x":"1"}\n'),
        (b'{"a":1} {"b":1}\n', b'{"message":"{\\"a\\":1} {\\"b\\":1}","x":"1"}\n'),
        (b'a\x00\x1b\\\xff\n', '{"message":"a\\u0000\\u001B\\\\\ufffd","x":"1"}\n'.encode()),
        (b"a\nb\n", b'{"message":"a\\nb","x":"1"}\n'),
    ],
)  # fmt: skip
def test_objects_are_extended_and_the_rest_becomes_one(record: bytes, expected: bytes) -> None:
    """Nothing else of an object changes but white space around and newlines in it."""
    assert expected == run(record, fields={"x": "1"})


@pytest.mark.parametrize(
    ("options", "record", "expected"),
    [
        ({"existing": "keep"}, b'{"x":2}\n', b'{"x":2,"y":3}\n'),
        ({"existing": "replace"}, b'{"x":2}\n', b'{"x":"1","y":3}\n'),
        ({"position": "first"}, b'{"a":1}\n', b'{"x":"1","y":3,"a":1}\n'),
        ({"position": "first"}, b"{}\n", b'{"x":"1","y":3}\n'),
        ({"position": "first"}, b'{"a":1,"y":2}\n', b'{"x":"1","a":1,"y":3}\n'),
        ({"position": "first"}, b"t\n", b'{"x":"1","y":3,"message":"t"}\n'),
        ({"message": "log"}, b"t\n", b'{"log":"t","x":"1","y":3}\n'),
        ({"message": "x"}, b"t\n", b'{"x":"t","y":3}\n'),
        ({"objects": "wrap"}, b'{"a":1}\n', b'{"message":"{\\"a\\":1}","x":"1","y":3}\n'),
        ({"objects": "wrap", "message": "data", "position": "first"}, b"raw data\n",
         b'{"x":"1","y":3,"data":"raw data"}\n'),
    ],
)  # fmt: skip
def test_options(options: dict[str, Any], record: bytes, expected: bytes) -> None:
    """What becomes of twins, of text, and where the fields go."""
    assert expected == run(record, fields={"x": "1", "y": 3}, **options)


def test_instance_data_and_tags() -> None:
    """Under their own names; what is not known is left out."""
    wanted: dict[str, Any] = {"ec2": ["instance_id", "ami_id", "region"], "tags": ["env", "no"]}
    stage = make(**wanted)

    assert stage.needs_instance
    assert ['{"a":1,"instance_id":"i-1","region":"eu-west-1","tags":{"env":"prod é"}}\n'.encode(),
            b'{"message":"t"}\n'] == [
        *stage([b'{"a":1}\n'], context()), *stage([b"t\n"], context(1, model.HostFacts("h")))
    ]  # fmt: skip
    assert '{"message":"t","tags":{"Name":"shop","env":"prod é"}}\n'.encode() == run(
        b"t\n", tags=["*"]
    )
    assert [b'{"a":1}\n'] == stage([b'{"a":1}'], context(1, model.HostFacts("h")))
    assert make(fields={"x": ["a{ami_id}"]}).needs_instance
    assert not make(fields={"x": "{host}"}).needs_instance


def test_records_of_a_block_have_their_own_values() -> None:
    """Objects and text mixed."""
    records = [b'{"a":1}\n', b"t\n", b"\\\n", b'{"o":1}\n']

    assert [
        b'{"a":1,"o":0,"i":"ab12:0-10"}\n',
        b'{"message":"t","o":10,"i":"ab12:10-20"}\n',
        b'{"message":"\\\\","o":20,"i":"ab12:20-30"}\n',
        b'{"o":30,"i":"ab12:30-40"}\n',
    ] == make(fields={"o": "{offset}", "i": "{id}"})(records, context(4))


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["a", "b", "é", '"', "message", "\\", "\n", ""])


@given(
    st.lists(
        st.tuples(
            st.dictionaries(NAMES | st.text(), VALUES, max_size=4),
            st.sampled_from([None, 2]),
            st.booleans(),
            st.sampled_from(["", "\n", " \r\n"]),
        ),
        max_size=5,
    ),
    st.dictionaries(NAMES.filter(bool), SCALARS, min_size=1),
    st.sampled_from(["replace", "keep"]),
)
def test_objects_are_what_update_makes_of_them(
    records: list[tuple[dict[str, Any], int | None, bool, str]],
    fields: dict[str, Any],
    existing: str,
) -> None:
    """In the same order, however they are written."""
    fields = {
        name: value.replace("{", "(") if isinstance(value, str) else value
        for name, value in fields.items()
    } or {"a": 1}
    texts = [
        json.dumps(one, indent=indent, ensure_ascii=is_ascii) + end
        for one, indent, is_ascii, end in records
    ]

    outcomes = make(fields=fields, existing=existing)(
        [text.encode() for text in texts], context(len(texts))
    )

    for text, outcome in zip(texts, outcomes, strict=True):
        assert isinstance(outcome, bytes)
        assert outcome.endswith(b"}\n")
        assert outcome.count(b"\n") == 1
        before = json.loads(text)
        expected = {**before, **fields} if existing == "replace" else {**fields, **before}
        order = [*before, *(name for name in fields if name not in before)]
        found = json.loads(outcome)
        assert [(name, expected[name]) for name in order] == list(found.items())


@given(
    st.lists(
        st.binary() | st.text().map(str.encode) | st.sampled_from([b"a\n", b"{}"]), max_size=20
    )
)
def test_a_block_is_as_each_record_alone(records: list[bytes]) -> None:
    """For any bytes."""
    stage = make(fields={"x": "{host}"})

    alone = [one for record in records for one in stage([record], context())]

    assert alone == stage(records, context(len(records)))
    for record, outcome in zip(records, alone, strict=True):
        assert isinstance(outcome, bytes)
        found = json.loads(outcome)
        assert found.pop("x") == 'web"1'
        if not record.lstrip(b" \t\r\n").startswith(b"{"):
            line = record.removesuffix(b"\n").removesuffix(b"\r")
            assert {"message": line.decode("utf-8", "replace")} == found


def test_a_large_record_is_extended_like_a_small_one() -> None:
    """A mebibyte, as an object and as text."""
    filler = b"x" * 2**20

    assert b'{"a":"%b","x":1}\n' % filler == run(b'{"a":"%b"}\n' % filler, fields={"x": 1})
    assert b'{"message":"%b","x":1}\n' % filler == run(filler, fields={"x": 1})


def test_what_was_wrapped_gets_metadata_and_what_stays_raw_does_not() -> None:
    """`on_no_match` decides."""

    def picky(records: list[bytes], _: model.ChunkContext) -> list[model.Outcome]:
        return [model.UNPARSED for _ in records]

    stages = [
        preprocessors.Stage("picky", picky, is_built_in=False),
        preprocessors.make("add_metadata", {"fields": {"x": 1}}),
    ]

    assert [b'{"message":"t","x":1}\n'] == chain.Chain(stages).run([b"t\n"], context()).records
    assert [b"t\n"] == chain.Chain(stages, "raw").run([b"t\n"], context()).records


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "'fields', 'ec2' or 'tags'"),
        ({"fields": {}}, "'fields', 'ec2' or 'tags'"),
        ({"fields": {"": 1}}, "a mapping of names"),
        ({"fields": [1]}, "a mapping of names"),
        ({"fields": {"a": float("nan")}}, "a mapping of names"),
        ({"fields": {"a": {1: 2}}}, "a mapping of names"),
        ({"ec2": ["instance"]}, "instance_id"),
        ({"ec2": ["region"], "fields": {"region": "x"}}, "'region' once"),
        ({"tags": ["*"], "fields": {"tags": "x"}}, "'tags' once"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], expected: str) -> None:
    """What would add nothing, or one field twice, too."""
    with pytest.raises(pydantic.ValidationError, match=re.escape(expected)):
        make(**options)


def test_equal_options_make_equal_stages_and_name_their_values() -> None:
    """The configuration checks that each of the values exists."""
    one, other = (make(fields={"a": "{x} {host}", "b": ["{y}"]}, ec2=["region"]) for _ in "ab")
    assert ["x", "host", "y", "region"] == list(one.value_names)

    assert one == other


def test_the_names_of_instance_data_are_the_ones_that_there_are() -> None:
    """In the option and in the values."""
    assert make(ec2=list(values.INSTANCE_NAMES)).ec2 == values.INSTANCE_NAMES
