"""Searching many lines at once says what searching each of them says."""

from __future__ import annotations

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from kagent import userpattern
from kagent.preprocessors import searching


@pytest.mark.parametrize(
    ("text", "literal", "is_literal", "is_local"),
    [
        ("GET /healthz", b"GET /healthz", True, True),
        (r"a\.b\-c", b"a.b-c", True, True),
        ("é", "é".encode(), True, True),
        ("^DEBUG", b"DEBUG", False, True),
        (r"password=(?P<secret>\S+)", b"password=", False, True),
        ("colou?r", b"colo", False, True),
        ("ab+c", b"ab", False, True),
        ("ab{2,3}c", b"a", False, True),
        ("ERROR|WARN", b"", False, True),
        ("(ERROR|WARN)x", b"x", False, True),
        ("(?:ab)?cd", b"cd", False, True),
        (r"[0-9a-f]{4} \d+ms$", b"ms", False, True),
        ("a++b", b"a", False, False),
        ("(?i)abc", b"", False, False),
        ("(?<=x)abc", b"", False, False),
        ("(?>a)bc", b"", False, False),
        (r"(a)\1", b"", False, False),
        (r"\Aabc", b"", False, False),
        ("foo{e<=1}", b"", False, False),
        ("[[:alpha:]]abc", b"", False, False),
        (r"\x41bc", b"", False, False),
        ("(?x) a b", b"", False, False),
        (r"\p{L}abc", b"", False, False),
    ],
)
def test_what_a_pattern_says_of_its_matches(
    text: str, literal: bytes, is_literal: bool, is_local: bool
) -> None:
    """What is not understood says nothing."""
    shape = searching.examine(text)

    assert (literal, is_literal, is_local) == (shape.literal, shape.is_literal, shape.is_local)


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("ERROR|WARN", ("ERROR", "WARN")),
        ("^a|b$|(c|d)e", ("^a", "b$", "(c|d)e")),
        ("a|[|]|b\\|c", ("a", "[|]", "b\\|c")),
        ("a|", ()),
        ("a++|b", ()),
        ("(a|b)", ()),
        ("|".join("abcdefghijklmnopq"), ()),
    ],
)
def test_choices_are_searched_for_apart(text: str, choices: tuple[str, ...]) -> None:
    """Those at the top of a pattern, if there are not too many and none is empty."""
    assert choices == searching.examine(text).choices


ATOMS = st.sampled_from(
    [
        "a",
        "b",
        "é",
        ".",
        r"\d",
        r"\S",
        r"\s",
        r"\b",
        r"\.",
        "[ab]",
        "[^a]",
        "[^]a]",
        " ",
        "1",
        r"\n",
    ]
)
COUNTS = st.sampled_from(["", "", "", "?", "*", "+", "*?", "{1,2}", "{2}", "{,1}", "++"])
PATTERNS = st.recursive(
    st.tuples(ATOMS, COUNTS).map("".join),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.tuples(inner, inner).map("|".join),
        st.tuples(st.sampled_from(["(", "(?:", "(?P<n>", "(?=", "(?!", "(?>", "(?i:"]), inner).map(
            lambda both: f"{both[0]}{both[1]})"
        ),
        inner.map(lambda one: f"^{one}"),
        inner.map(lambda one: f"{one}$"),
    ),
    max_leaves=6,
)
LINES = st.lists(
    st.text("ab1. é\n", max_size=6).map(str.encode) | st.binary(max_size=4), max_size=8
)


def lines_of(lines: list[bytes], end: bytes = b"\n") -> searching.Lines:
    return searching.Lines([line + end for line in lines])


def is_right(text: str) -> bool:
    try:
        userpattern.compile_pattern(text)
    except ValueError:
        return False
    return True


@given(PATTERNS.filter(is_right), LINES)
def test_together_is_as_each_alone(pattern: str, lines: list[bytes]) -> None:
    """For any pattern and any lines."""
    search = searching.Search(pattern)

    expected = [regex.search(pattern.encode(), line) is not None for line in lines]

    assert expected == search.found_in(searching.Lines(lines, have_ends=False))
    if any(line.endswith(b"\r") for line in lines):
        return  # a part of the line's end
    assert expected == search.found_in(lines_of(lines))
    assert expected == search.found_in(lines_of(lines, b"\r\n"))
    assert search.may_be_in(b"".join(lines)) or True not in expected


@pytest.mark.parametrize("pattern", ["(a|aa)+$", "x(a|aa)+$"])
def test_a_runaway_line_expires_and_the_others_are_searched(pattern: str) -> None:
    """The block is given up, then the line; the block is not tried again."""
    search = searching.Search(pattern)
    lines = [b"xa", b"x" + b"a" * 60 + b"!", b"b", b"xaa"]

    for _ in range(2):
        assert [True, userpattern.EXPIRED, False, True] == search.found_in(lines_of(lines))


def test_no_lines_are_no_answers() -> None:
    """Whatever the pattern is."""
    for pattern in ("a", "[ab]", "(?=a)"):
        assert [] == searching.Search(pattern).found_in(lines_of([]))
