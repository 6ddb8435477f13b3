"""Where a line fails a pattern, by the names of its groups."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagent import patternparts, userpattern

ACCESS = r'(?P<host>\S+) - \[(?P<time>[^\]]+)\] "(?P<request>[^"]*)" (?P<status>\d{3})\n'


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"", "before or in 'host'"),
        (b"h [x]", "after 'host'"),
        (b"h - [x] GET", "after 'time'"),
        (b'h - [x] "GET" ok\n', "after 'request'"),
        (b'h - [x] "GET" 200 more\n', "after 'status'"),
    ],
)
def test_a_line_fails_behind_the_last_group_that_it_reached(line: bytes, expected: str) -> None:
    """Nothing of the line is told."""
    assert expected == patternparts.Parts(ACCESS).failed_at(line)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("(?P<a>x)(?<b>y)", ["a", "b"]),
        (r"\((?P<a>[)\]]])\)", ["a"]),
        ("(?P<a>[]x(])(y)", ["a"]),
        ("(?P<a>[^]x(])(y)", ["a"]),
        ("((?P<inner>x))(?P<a>(?P<b>y)z)?", ["a"]),
        ("(?P<a>x){2,3}+", ["a"]),
        ("(?P<a>x|y)", ["a"]),
        ("(?P<a>x)|(?P<b>y)", []),
        ("(?i)(?P<a>x)", []),
        ("(?x)(?P<a>x) # y", []),
        ("(?#(?P<a>x))", []),
        ("(?i:x)(?P<a>x)", ["a"]),
        ("(?=x)(?<!y)(?P<a>x)", ["a"]),
        ("xyz", []),
    ],
)
def test_a_pattern_is_cut_behind_the_named_groups_at_its_top(text: str, names: list[str]) -> None:
    """Each beginning is a pattern of its own."""
    ends = patternparts.named_ends(text)

    assert names == [name for name, _ in ends]
    for _, end in ends:
        userpattern.compile_pattern(text[:end])


def test_a_pattern_without_parts_says_nothing() -> None:
    """Better than something wrong."""
    assert patternparts.Parts("a|b").failed_at(b"x") == ""


@given(st.text(alphabet="()[]\\|?P<>ax^{2,}#*", max_size=30))
def test_any_text_is_looked_through(text: str) -> None:
    """Also one that is no pattern: it was refused before."""
    patternparts.named_ends(text)
