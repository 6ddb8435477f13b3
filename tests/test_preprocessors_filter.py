"""Filters: which records are shipped, and which are dropped."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson
import pydantic
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from kagent import model, preprocessors
from kagent.preprocessors import chain
from kagent.preprocessors import filter as filtering

CONTEXT = model.ChunkContext("/a", "id", [0], [1])
RUNAWAY = "(a|aa)+$"
HOSTILE = b"a" * 60 + b"!"


def make(**options: Any) -> filtering.Filter:
    return filtering.Filter.model_validate(options)


def is_kept(record: bytes, **options: Any) -> bool:
    (outcome,) = make(**options)([record], CONTEXT)
    assert outcome in {None, record}
    return outcome is not None


@pytest.mark.parametrize(
    ("options", "kept", "dropped"),
    [
        ({"exclude": ["GET /healthz"]}, [b"GET /\n", b""], [b"x GET /healthz 200\n"]),
        ({"include": ["ERROR|WARN"]}, [b"an ERROR\n", b"WARN"], [b"INFO\n", b"\n", b""]),
        ({"exclude": ["^DEBUG"]}, [b"x DEBUG\n"], [b"DEBUG x\r\n"]),
        ({"exclude": ["ms$"]}, [b"ms.\n"], [b"5 ms\n", b"5 ms\r\n", b"5 ms"]),
        ({"include": ["é"]}, ["é\n".encode()], [b"\xc3\n", b"e\n"]),
        ({"include": ["a", "b"], "exclude": ["c"]}, [b"a", b"b"], [b"ac", b"d"]),
        ({"include": [r"^a\nb$"]}, [b"a\nb\n"], [b"a\n", b"b"]),
        ({"exclude": [r"\x00"]}, [b"a\xff\n"], [b"a\x00\xff\n"]),
    ],
)
def test_patterns(options: dict[str, Any], kept: list[bytes], dropped: list[bytes]) -> None:
    """Are found anywhere in the record, whose line end does not count."""
    assert [True] * len(kept) == [is_kept(record, **options) for record in kept]
    assert [False] * len(dropped) == [is_kept(record, **options) for record in dropped]


@pytest.mark.parametrize(
    ("condition", "holds", "holds_not"),
    [
        ({"field": "level", "equals": "debug"}, ['{"level":"debug"}', '{"level":"d\\u0065bug"}'],
         ['{"level":"DEBUG"}', '{"x":"debug"}', '{"level":["debug"]}', '{"level":null}', "{}"]),
        ({"field": "s", "equals": [404, "500"]},
         ['{"s":404}', '{"s":"404"}', '{"s":4.04e2}', '{"s":500}'],
         ['{"s":40}', '{"s":404.5}', '{"s":"404.0"}', '{"s":[404]}']),
        ({"field": "ok", "equals": False}, ['{"ok":false}', '{"ok":"false"}'], ['{"ok":0}', "{}"]),
        ({"field": "user", "equals": [None]}, ['{"user":null}', "{}"],
         ['{"user":""}', '{"user":"null"}']),
        ({"field": "a.b", "equals": 1.5}, ['{"a":{"b":1.5}}', '{"a.b":1.50}'],
         ['{"a":1}', '{"b":1.5}']),
        ({"field": "p", "pattern": "^/health"}, ['{"p":"/healthz"}', '{"p":"\\/health"}'],
         ['{"p":"x/health"}', '{"p":null}', '{"p":["/health"]}', "{}"]),
        ({"field": "n", "pattern": "^5..$"}, ['{"n":500}', '{"n":"503"}'],
         ['{"n":5}', '{"n":5000}']),
        ({"field": "r", "pattern": "x\r$"}, ['{"r":"x\\r"}'], ['{"r":"x"}', '{"r":"x\\ry"}']),
        ({"field": "t", "pattern": '"x"'}, ['{"t":["a", "x"]}', '{"t":{"x":1}}'], ['{"t":"x"}']),
        ({"field": "é", "equals": "ü\u2028"}, ['{"é":"ü\u2028"}', '{"\\u00e9":"\\u00fc\\u2028"}'],
         ['{"e":1}']),
        ({"field": "a", "equals": ["x", "y"]}, ['{"a":"z","a":"y"}', '{"b":{"a":1},"a":"x"}'],
         ['{"a":"x","a":"z"}', '{"b":{"a":"x"}}']),
    ],
)  # fmt: skip
def test_fields(condition: dict[str, Any], holds: list[str], holds_not: list[str]) -> None:
    """Are compared as text, wherever the object has them; of two alike the last one counts."""
    for text in holds:
        assert is_kept(text.encode() + b"\n", include_fields=[condition]), text
        assert not is_kept(text.encode() + b"\n", exclude_fields=[condition]), text
    for text in holds_not:
        assert not is_kept(text.encode() + b"\n", include_fields=[condition]), text
        assert is_kept(text.encode() + b"\n", exclude_fields=[condition]), text


@pytest.mark.parametrize(
    "record", [b"text debug\n", b"[]", b'"debug"', b"", b"{", b'{"level":"debug"', b"\xff{}"]
)
def test_what_is_no_object_is_kept_by_fields(record: bytes) -> None:
    """What cannot be judged is not dropped, unless a pattern does it."""
    condition = {"field": "level", "equals": "debug"}

    assert is_kept(record, include_fields=[condition])
    assert is_kept(record, exclude_fields=[condition])
    assert is_kept(record, include_fields=[condition], include=["nothing"])
    assert not is_kept(record, include_fields=[condition], exclude=["^"])


CONDITIONS = st.fixed_dictionaries(
    {"field": st.sampled_from(["a", "b", "a.b"])},
) .flatmap(
    lambda one: st.one_of(
        st.lists(st.sampled_from(["x", "debug", 1, 1.5, True, None, "1"]), min_size=1, max_size=2)
        .map(lambda some: {**one, "equals": some}),
        st.sampled_from(["x", "^d", "1$", r"\d"]).map(lambda text: {**one, "pattern": text}),
    )
)  # fmt: skip
VALUES = st.recursive(
    st.sampled_from(["x", "debug", "1", "é", 1, 1.0, 1.5, True, None, 10]),
    lambda inner: (
        st.dictionaries(st.sampled_from(["a", "b", "a.b"]), inner, max_size=2)
        | st.lists(inner, max_size=2)
    ),
)
RECORDS = st.lists(
    st.builds(
        lambda value, is_ascii: json.dumps(value, ensure_ascii=is_ascii).encode() + b"\n",
        st.dictionaries(st.sampled_from(["a", "b", "a.b"]), VALUES, max_size=3) | VALUES,
        st.booleans(),
    )
    | st.binary(max_size=5),
    max_size=6,
)
PATTERNS = st.lists(st.sampled_from(["x", "de", "^{", "[0-9]", "e|1", r"\\", "}$"]), max_size=2)


def expected(record: bytes, options: dict[str, Any]) -> bool:
    """Return whether a record is kept, one by one and word by word."""
    line = re.sub(rb"\r?\n?\Z", b"", record, count=1)

    def found(patterns: list[str], text: bytes) -> bool:
        return any(regex.search(one.encode(), text) for one in patterns)

    try:
        value = orjson.loads(record)
    except ValueError:
        value = None
    is_object = isinstance(value, dict)

    def text_of(one: Any) -> str | None:
        if one is None or isinstance(one, str):
            return one
        if isinstance(one, float) and one == int(one):
            one = int(one)
        return orjson.dumps(one).decode()

    def holds(condition: dict[str, Any]) -> bool:
        first, _, second = condition["field"].partition(".")
        at = value.get(condition["field"])
        if condition["field"] not in value and second:
            inner = value.get(first)
            at = inner.get(second) if isinstance(inner, dict) else None
        if "pattern" in condition:
            return at is not None and found([condition["pattern"]], (text_of(at) or "").encode())
        return not isinstance(at, dict | list) and text_of(at) in map(text_of, condition["equals"])

    if found(options["exclude"], line):
        return False
    if is_object and any(map(holds, options["exclude_fields"])):
        return False
    if not options["include"] and not options["include_fields"]:
        return True
    if found(options["include"], line):
        return True
    return bool(options["include_fields"]) and (
        not is_object or any(map(holds, options["include_fields"]))
    )


@given(
    RECORDS, PATTERNS, PATTERNS, st.lists(CONDITIONS, max_size=2), st.lists(CONDITIONS, max_size=2)
)
def test_a_block_is_filtered_as_each_record_by_the_law(
    records: list[bytes],
    include: list[str],
    exclude: list[str],
    include_fields: list[dict[str, Any]],
    exclude_fields: list[dict[str, Any]],
) -> None:
    """Whichever way is the fast one."""
    options = {
        "include": include,
        "exclude": exclude,
        "include_fields": include_fields,
        "exclude_fields": exclude_fields,
    }
    if not any(options.values()):
        return

    outcomes = make(**options)(records, CONTEXT)

    assert [record if expected(record, options) else None for record in records] == outcomes


def test_what_is_dropped_is_counted_by_name() -> None:
    """As any record that a preprocessor drops."""
    stages = [preprocessors.make("filter", {"exclude": ("b",)})]

    result = chain.Chain(stages).run([b"a", b"b"], model.ChunkContext("/a", "id", [0, 1], [1, 2]))

    assert [b"a", None] == result.records
    assert {"filter": [1]} == result.dropped


@pytest.mark.usefixtures("impatience")
def test_a_pattern_that_takes_too_long_leaves_the_record_unparsed() -> None:
    """If the answer hangs on it: another pattern may have given it."""
    field = {"field": "m", "pattern": RUNAWAY}
    hostile_object = b'{"m":"%b"}' % HOSTILE
    records = [HOSTILE, b"b " + HOSTILE, b"aa", b"b"]
    too_long = model.Unparsed("a pattern took too long")

    assert [too_long, None, None, None] == make(exclude=["b", RUNAWAY])(records, CONTEXT)
    assert [too_long, records[1], b"aa", b"b"] == make(include=["b", RUNAWAY])(records, CONTEXT)
    assert [too_long] == make(exclude_fields=[field])([hostile_object], CONTEXT)
    assert [too_long] == make(include_fields=[field])([hostile_object], CONTEXT)
    assert [None] == make(include=["c"], exclude=[RUNAWAY])([HOSTILE], CONTEXT)


def test_a_large_record_is_filtered_like_a_small_one() -> None:
    """A mebibyte."""
    assert not is_kept(b"x" * 2**20 + b" GET /healthz", exclude=["GET /healthz"])
    assert is_kept(b"x" * 2**20, exclude=["GET /h.*z"])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "'include', 'exclude'"),
        ({"include": []}, "'include', 'exclude'"),
        ({"include": ["("]}, "missing )"),
        ({"include_fields": [{"field": "a"}]}, "'equals' or 'pattern'"),
        ({"include_fields": [{"field": "a", "equals": 1, "pattern": "x"}]}, "'equals' or"),
        ({"include_fields": [{"field": "a", "equals": []}]}, "a list of values"),
        ({"include_fields": [{"field": "a", "equals": {"b": 1}}]}, "a list of values"),
        ({"include_fields": [{"field": "a", "equals": [["b"]]}]}, "a list of values"),
        ({"include_fields": [{"field": "", "equals": 1}]}, "at least 1"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], expected: str) -> None:
    """What would filter nothing, too."""
    with pytest.raises(pydantic.ValidationError, match=re.escape(expected)):
        make(**options)


def test_equal_options_make_equal_stages() -> None:
    """Used or not."""
    one, other = (make(exclude=["a"], include_fields=[{"field": "a", "equals": 1}]) for _ in "ab")
    one([b"a", b"{}"], CONTEXT)

    assert one == other
