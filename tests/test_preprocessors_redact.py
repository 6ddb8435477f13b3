"""Redaction: nothing that was found leaves, nothing else is changed, and JSON stays JSON."""

from __future__ import annotations

import json
import re
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagent import model, preprocessors
from kagent.preprocessors import chain, redact, sensitive

CONTEXT = model.ChunkContext("/a", "id", [0], [1])
ALL = tuple(sensitive.KINDS)
RUNAWAY = "(a|aa)+$"
HOSTILE = b"a" * 60 + b"!"


def run(record: bytes, **options: Any) -> model.Outcome:
    (outcome,) = redact.Redact(**options)([record], CONTEXT)
    return outcome


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (b"pay 4111 1111 1111 1111\n", b"pay [redacted]\n"),
        (b"from 10.0.0.1 to a@b.co\r\n", b"from [redacted] to [redacted]\r\n"),
        (b"10.0.0.1", b"[redacted]"),
        (b"nothing of it\n", b"nothing of it\n"),
        (b"", b""),
        (b"\xff\x00 4111111111111111 \xfe\n", b"\xff\x00 [redacted] \xfe\n"),
        ("\u2028a@b.co\u2028\n".encode(), b"[redacted]\n"),
        (b'{"card":4111111111111111,"n":1.50}\n', b'{"card":"[redacted]","n":1.50}\n'),
        (b"[4111111111111111]", b'["[redacted]"]'),
        (b"4111111111111111\n", b"[redacted]\n"),
        (b'{"a@b.co":"10.0.0.1"}\n', b'{"[redacted]":"[redacted]"}\n'),
        (rb'{"m":"x\njohn@b.co"}', rb'{"m":"x[redacted]"}'),
        (rb'{"m":"\u00004111111111111111"}', rb'{"m":"\u0000[redacted]"}'),
        (rb'{"m":"j\u0040b.co \/ \u00e9"}', '{"m":"[redacted] / é"}'.encode()),
        (rb'{"m":"\u0041KIAIOSFODNN7EXAMPLE"}', b'{"m":"[redacted]"}'),
        (rb'{"m":"https:\/\/x\/ \u00e9"}', rb'{"m":"https:\/\/x\/ \u00e9"}'),
        (rb'{"m":"\ud800 4111111111111111","c":4111111111111111}',
         rb'{"m":"\ud800 [redacted]","c":"[redacted]"}'),
        (rb'"\"4111111111111111\""', rb'"\"[redacted]\""'),
        (b'{"token":"Bearer abc","k":"AKIAIOSFODNN7EXAMPLE"}',
         b'{"token":"Bearer [redacted]","k":"[redacted]"}'),
        (b"a@b.co\nsecond line 10.0.0.1\n", b"[redacted]\nsecond line [redacted]\n"),
    ],
)  # fmt: skip
def test_built_in_kinds(record: bytes, expected: bytes) -> None:
    """In raw lines, whatever bytes they have, and in JSON, whatever its escapes hide."""
    assert expected == run(record, kinds=ALL)


@pytest.mark.parametrize(
    ("pattern", "record", "expected"),
    [
        ("hunter2", b"pw hunter2\n", b"pw *\n"),
        (r"pw=(?P<secret>\S+)", b"pw=hunter2 pw=x\n", b"pw=* pw=*\n"),
        (r"(?P<secret>\d)+", b"a123b", b"a***b".replace(b"***", b"*")),
        ("(visa|master) [0-9]+", b"visa 42\n", b"*\n"),
        ("^.*$", b"all of it\r\n", b"*\r\n"),
        ("x*", b"abc\n", b"abc\n"),
        (r"(?<=u=)\w+", b"u=joe\n", b"u=*\n"),
        (".", b"a\xff", b"*"),
        (r"\xc3", "é".encode(), b"*"),
        (r"\xa9", "xéy".encode(), b"x*y"),
        ('"pw":"[^"]*"', b'{"a":1,"pw":"x y","b":true}', b'{"a":1,"*":"*","b":true}'),
        (r"tr", b'{"b":true}', b'{"b":"*"}'),
        ('"', rb'{"a":"\"x\""}', rb'{"a":"*x*"}'),
        (r"\\", rb'{"a":"\"x\\y"}', rb'{"a":"*x*y"}'),
        ("{", b'{"a":1}', b'{"a":1}'),
        ("0041", rb'{"a":"x\u0041y"}', b'{"a":"x*y"}'),
        ("d83d", rb'{"a":"\ud83d\ude00"}', b'{"a":"*"}'),
        ("Müller", rb'{"a":"M\u00fcller"}', b'{"a":"*"}'),
        ("https://me", rb'{"a":"https:\/\/me"}', b'{"a":"*"}'),
        (r"https:\\/\\/me", rb'{"a":"https:\/\/me"}', b'{"a":"*"}'),
    ],
)
def test_own_patterns(pattern: str, record: bytes, expected: bytes) -> None:
    """Match anything but the line end; characters and escapes are replaced as wholes."""
    assert expected == run(record, patterns=(pattern,), replacement="*")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
    | st.sampled_from(["a@b.co", "4111111111111111", 4111111111111111, "10.0.0.1", 'say "x"\n']),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(
    JSON,
    st.booleans(),
    st.sampled_from([".", "[0-9a-f]+", '"[^"]*"', r"\W", "[^a]", r"\\.", ":.", "[,{]+.", "é|u00"]),
)
def test_json_stays_json(value: Any, is_ascii: bool, pattern: str) -> None:
    """Whatever a pattern matches of it, and also if nothing is put in its place."""
    record = json.dumps([value], ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")

    outcome = run(record, kinds=ALL, patterns=(pattern,), replacement="")

    assert isinstance(outcome, bytes)
    json.loads(outcome.decode("utf-8", "surrogatepass"))


@given(st.lists(st.binary(max_size=30) | st.sampled_from(
    [b"a@b.co\n", b"a", b"@b.co", b"4111 1111", b" 1111 1111\n", b'{"a":"a@b.co', b'"}', b"10.0."]
)))  # fmt: skip
def test_records_know_nothing_of_each_other(records: list[bytes]) -> None:
    """A block is redacted as each of its records alone."""
    stage = redact.Redact(kinds=ALL, patterns=("^a|b$", r"\s1"))

    assert [stage([record], CONTEXT)[0] for record in records] == stage(records, CONTEXT)


@given(st.text("ab@.co10 \\\"'\u2028é\n\r\x00"), st.sampled_from(["a@b.co", "10.10.10.10"]))
def test_what_is_found_is_gone_and_the_rest_is_there(around: str, secret: str) -> None:
    """Set apart by spaces, it is found whatever else is in the line."""
    record = f"{around} {secret} {around}\n".encode()

    outcome = run(record, kinds=ALL)

    assert isinstance(outcome, bytes)
    assert f" {secret} ".encode() not in outcome
    if run(around.encode(), kinds=ALL) == around.encode():
        assert f"{around} [redacted] {around}\n".encode() == outcome


def test_a_large_line_is_redacted_like_a_small_one() -> None:
    """A mebibyte, raw and in JSON."""
    filler = b"x" * 2**20

    assert filler + b" [redacted]" == run(filler + b" a@b.co", kinds=ALL)
    assert b'{"m":"%b [redacted]","c":"[redacted]"}' % filler == run(
        b'{"m":"%b a@b.co","c":4111111111111111}' % filler, kinds=ALL
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "'kinds', 'patterns' or both"),
        ({"kinds": []}, "'kinds', 'patterns' or both"),
        ({"kinds": ["ssn"]}, "card_numbers"),
        ({"patterns": ["("]}, "missing )"),
        ({"patterns": ["a"], "replacement": '"'}, "without quotes"),
        ({"patterns": ["a"], "replacement": "\n"}, "without quotes"),
        ({"patterns": ["a"], "replacement": "x" * 101}, "100"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], expected: str) -> None:
    """What would redact nothing, or break JSON, too."""
    with pytest.raises(pydantic.ValidationError, match=re.escape(expected)):
        redact.Redact(**options)


def test_equal_options_make_equal_stages() -> None:
    """A reload leaves a flow alone whose configuration has not changed, used or not."""
    one, other = (redact.Redact(patterns=("a",)) for _ in range(2))
    one([b"a"], CONTEXT)

    assert one == other


# --- no path leaks ----------------------------------------------------------------------------


def picky(records: list[bytes], _: model.ChunkContext) -> list[model.Outcome]:
    return [model.UNPARSED for _ in records]


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("on_no_match", ["wrap", "raw", "drop", "dead_letter"])
@pytest.mark.parametrize("record", [b"a@b.co\n", b"a@b.co " + HOSTILE])
def test_nothing_leaks_whatever_becomes_of_a_record(
    record: bytes, on_no_match: chain.OnNoMatch, is_first: bool
) -> None:
    """Unparsed by another stage or by redaction: out, among the dead letters, or dropped."""
    stages = [
        preprocessors.Stage("picky", picky, is_built_in=False),
        preprocessors.make("redact", {"kinds": ALL, "patterns": (RUNAWAY,)}),
    ]
    made = chain.Chain(stages[::-1] if is_first else stages, on_no_match)

    result = made.run([record], CONTEXT)

    is_hostile = HOSTILE in record
    (kept,) = result.records
    assert on_no_match == "drop" or kept is not None
    assert b"a@b.co" not in (kept or b"")
    assert HOSTILE not in (kept or b"")
    assert (0 in result.dead) == (
        (is_hostile and on_no_match != "drop") or on_no_match == "dead_letter"
    ) or (is_hostile and not is_first)
    (raw,) = made.redact([record], CONTEXT)  # dead letters of lines that are too long
    assert (chain.WITHHELD if is_hostile else b"[redacted]\n") == raw


def test_a_runaway_pattern_costs_its_line_alone() -> None:
    """The others are redacted; which pattern it was is said, and nothing of the line."""
    outcomes = redact.Redact(patterns=("b", RUNAWAY))([b"xbx", HOSTILE, b"b"], CONTEXT)

    assert [
        b"x[redacted]x",
        model.Unparsed("patterns[1] took too long"),
        b"[redacted]",
    ] == outcomes
