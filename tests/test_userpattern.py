"""The operator's patterns: right or refused, and never endless."""

from __future__ import annotations

import re
import time

import pydantic
import pytest

from kagent import options, userpattern

RUNAWAY = ["(a+)+$", "(a|aa)+$", "(.*)*x", "(a|b|ab)*c$"]
HOSTILE = b"ab" * 20_000 + b"a" * 60 + b"!"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("(a", "missing )"),
        ("a**", "multiple repeat"),
        ("x{99999999999}", "repeat count too big"),
        ("[", "unterminated character set"),
    ],
)
def test_a_wrong_pattern_is_refused_with_the_reason(text: str, why: str) -> None:
    """As an option and by itself; what was found is for others to say."""
    with pytest.raises(ValueError, match=re.escape(why)):
        userpattern.compile_pattern(text)

    adapter = pydantic.TypeAdapter(userpattern.PatternText)
    with pytest.raises(pydantic.ValidationError) as raised:
        adapter.validate_python(text)
    (problem,) = raised.value.errors()
    error = problem["ctx"]["error"]
    assert isinstance(error, options.NotAllowedError)
    assert error.expected.startswith(f"a regular expression ({why}")


def test_an_option_keeps_its_text() -> None:
    """It is compiled where it is used."""
    adapter = pydantic.TypeAdapter(userpattern.PatternText)

    assert "a+" == adapter.validate_python("a+")
    assert adapter.json_schema()[options.EXPECTED_KEY] == "a regular expression"


def test_each_line_has_its_match() -> None:
    """By any of the three methods, over any bytes."""
    pattern = userpattern.UserPattern("(?P<b>é)(?P<a>[0-9])?")

    assert ["b", "a"] == pattern.groups
    found = pattern.each(["é1".encode(), b"\xff", "xé".encode()])
    assert [True, False, False] == [bool(one) for one in found]
    assert b"1" == found[0]["a"]
    assert pattern.each(["xé".encode()], "search")[0]
    assert pattern.each(["é1x".encode()], "fullmatch") == [None]


def test_replacing_works_line_by_line() -> None:
    """With a text or with a function."""
    pattern = userpattern.UserPattern("(a)(b)")

    assert [b"ba-ba", b"x"] == pattern.sub_each(rb"\2\1", [b"ab-ab", b"x"])
    assert [b"2"] == pattern.sub_each(lambda match: b"%d" % len(match[0]), [b"ab"])


@pytest.mark.parametrize("text", RUNAWAY)
def test_a_runaway_line_expires_and_the_others_are_matched(text: str) -> None:
    """In time that does not depend on the pattern."""
    pattern = userpattern.UserPattern(text)

    found = pattern.each([b"a", HOSTILE, b"a"])

    assert userpattern.EXPIRED in {found[1], *found} or found[1] is None
    assert found[0] is not userpattern.EXPIRED
    assert bool(found[0]) == bool(found[2])


def test_the_time_of_other_threads_is_not_held_against_a_line() -> None:
    """`regex` counts the whole process: a line that had little of it is tried once more."""
    pattern = userpattern.UserPattern("a")
    limits: list[float] = []

    def others_are_busy(line: bytes, timeout: float) -> bytes:
        limits.append(timeout)
        if len(limits) < 3:  # for the whole block, and for the line
            raise TimeoutError
        return line

    found = pattern.call_each(others_are_busy, [b"a"])

    assert [b"a"] == found
    assert limits[2] > 5 * limits[0]


def test_a_block_of_nothing_but_runaways_is_over_in_reasonable_time() -> None:
    """After some lines that took their time the others get little; all of them are told."""
    pattern = userpattern.UserPattern("(a|aa)+$")
    before = time.process_time()

    found = pattern.each([b"a" * 60 + b"!"] * 100)
    redacted = pattern.sub_each(b"x", [b"a" * 60 + b"!"])

    assert [userpattern.EXPIRED] * 100 == found
    assert [userpattern.EXPIRED] == redacted
    # 1 + 8 lines with 50 ms, 92 with 0.5 ms; each might take that long again, and more
    assert time.process_time() - before < 100 * userpattern.LINE_S


def test_after_many_runaways_patience_comes_back_with_calm() -> None:
    """In a log of nothing but such lines none is waited for, however it is cut into blocks."""
    pattern = userpattern.UserPattern("(a|aa)+$")
    hostile = b"a" * 60 + b"!"
    for _ in range(userpattern.EXPIRED_MAX):
        pattern.each([hostile])
    before = time.process_time()
    for _ in range(20):
        assert [userpattern.EXPIRED] == pattern.each([hostile])
    hasty_s = time.process_time() - before

    pattern.each([b"a"] * userpattern.CALM_LINES)
    before = time.process_time()
    assert [userpattern.EXPIRED] == pattern.each([hostile])

    assert hasty_s < 20 * userpattern.LINE_S
    assert time.process_time() - before >= userpattern.LINE_S
