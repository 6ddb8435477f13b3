"""`patterns`: what an operator writes means what shells mean by it, and nothing hidden."""

from __future__ import annotations

import functools

import hypothesis
import pytest
from hypothesis import strategies as st

from kagent import patterns

fast = hypothesis.settings(deadline=None, max_examples=150)
names = st.text(
    st.characters(exclude_characters="/{}*?[]\0", codec="utf-8"), min_size=1, max_size=12
).filter(lambda name: name not in {".", ".."})


def means(pattern: str, path: str) -> bool:
    return patterns.parse_pattern(pattern).regex.fullmatch(path) is not None


@functools.cache
def alternatives(pattern: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(one.base, one.components) for one in patterns.parse_pattern(pattern).alternatives]


# --- what matches -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        pytest.param("/a/x.log", ["/a/x.log"], ["/a/xXlog", "/a/x.log/", "a/x.log"], id="literal"),
        pytest.param(
            "/a/*.log",
            ["/a/x.log", "/a/x y.log"],
            ["/a/.x.log", "/a/b/x.log", "/a/x.log1"],
            id="*",
        ),
        pytest.param("/a/*", ["/a/x", "/a/x.y"], ["/a/.x", "/a/b/x"], id="* alone"),
        pytest.param("/a/x*", ["/a/x", "/a/x.log"], ["/a/.x", "/a/yx"], id="* at the end"),
        pytest.param("/a/?.log", ["/a/x.log"], ["/a/.log", "/a/xy.log", "/a/..log"], id="?"),
        pytest.param(
            "/a/x?y", ["/a/x.y", "/a/x\ny"], ["/a/x/y", "/a/xy"], id="? is any character"
        ),
        pytest.param("/*/x", ["/a/x"], ["/x", "/.a/x", "/a/b/x"], id="* as a directory"),
        pytest.param("/a*/x", ["/a/x", "/ab/x"], ["/a/b/x", "/ba/x"], id="* in a directory"),
    ],
)
def test_wildcards_match_within_one_component(
    pattern: str, matching: list[str], others: list[str]
) -> None:
    """`*` and `?` cross no slash and match no dot at the start of a name."""
    assert [True] * len(matching) == [means(pattern, path) for path in matching]
    assert [False] * len(others) == [means(pattern, path) for path in others]


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        pytest.param("[abc]", "abc", "d/]", id="listed"),
        pytest.param("[a-c]", "abc", "d-", id="a range"),
        pytest.param("[!ab]", "cd!]", "ab/", id="negated by !"),
        pytest.param("[^ab]", "cd^]", "ab/", id="negated by ^"),
        pytest.param("[]a]", "]a", "b[", id="] first"),
        pytest.param("[a^]", "a^", "b", id="^ later"),
        pytest.param("[a!]", "a!", "b", id="! later"),
        pytest.param("[-a]", "-a", "b", id="- first"),
        pytest.param("[a-]", "a-", "b", id="- last"),
        pytest.param("[[]", "[", "]a", id="["),
        pytest.param("[!]a]", "bc", "]a", id="] after !"),
        pytest.param("[^]a]", "bc", "]a", id="] after ^"),
        pytest.param("[+--]", "+,-", "a", id="a range that ends at -"),
        pytest.param(r"[\d]", r"\d", "1", id="a backslash is a character"),
        pytest.param("[&&~~||]", "&~|", "a", id="signs of set operations"),
        pytest.param("[.a]", "a", ".", id="a dot at the start of a name"),
    ],
)
def test_class_means_one_of_its_characters(pattern: str, matching: str, others: str) -> None:
    """Brackets as in a shell: ranges, negation, `]` in the first place; never a slash."""
    assert list(matching) == [one for one in matching if means(f"/{pattern}", f"/{one}")]
    assert [] == [one for one in others if means(f"/{pattern}", f"/{one}")]


def test_class_in_the_middle_of_a_name_may_match_a_dot() -> None:
    """Only the start of a name hides it; a negated class never leads to another directory."""
    assert [True, True, False] == [means("/x[!a]y", path) for path in ("/x.y", "/xby", "/x/y")]


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        pytest.param("/a/.*", "/a/.x", True, id="written, wildcard"),
        pytest.param("/a/.x", "/a/.x", True, id="written, literal"),
        pytest.param("/a/{.x,y}", "/a/.x", True, id="written in braces"),
        pytest.param("/a/*", "/a/.x", False, id="*"),
        pytest.param("/a/?x", "/a/.x", False, id="?"),
        pytest.param("/a/[.]x", "/a/.x", False, id="a class"),
        pytest.param("/a/**/x", "/a/.b/x", False, id="**"),
        pytest.param("/a/**/x", "/a/b/.c/x", False, id="** further down"),
        pytest.param("/a/**/.b/x", "/a/c/.b/x", True, id="written behind **"),
    ],
)
def test_hidden_names_are_matched_only_by_a_written_dot(
    pattern: str, path: str, expected: bool
) -> None:
    """What begins with a dot was put aside by someone, and is not shipped by chance."""
    assert expected == means(pattern, path)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        pytest.param(
            "/a/**/x",
            ["/a/x", "/a/b/x", "/a/b/c/x"],
            ["/x", "/a/xx", "/ab/x", "/a/b/y"],
            id="middle",
        ),
        pytest.param("/**/x", ["/x", "/a/x", "/a/b/x"], ["x", "/a/y"], id="first"),
        pytest.param("/a/**/b/**/x", ["/a/b/x", "/a/c/b/d/x"], ["/a/x"], id="twice"),
        pytest.param("/a/**/**/x", ["/a/x", "/a/b/x"], ["/b/x"], id="doubled"),
        pytest.param("/a/**/*.log", ["/a/x.log", "/a/b/x.log"], ["/a/b/.log"], id="before *"),
        pytest.param("/a*/**/x", ["/ab/x", "/ab/c/x"], ["/b/x"], id="behind a wildcard"),
    ],
)
def test_double_star_matches_any_number_of_directories(
    pattern: str, matching: list[str], others: list[str]
) -> None:
    """None, one or many: only `**` crosses slashes."""
    assert [True] * len(matching) == [means(pattern, path) for path in matching]
    assert [False] * len(others) == [means(pattern, path) for path in others]


@fast
@hypothesis.given(components=st.lists(names, min_size=1, max_size=4), other=names)
def test_literal_pattern_matches_itself_alone(components: list[str], other: str) -> None:
    """No character but those of wildcards has a meaning: newlines, dots, signs of `re`."""
    path = "/" + "/".join(components)
    parsed = patterns.parse_pattern(path)

    assert (patterns.Alternative(path, ()),) == parsed.alternatives
    assert parsed.regex.fullmatch(path) is not None
    changed = [path + other, path + "/" + other, "/" + other + path, path[:-1]]
    assert [] == [one for one in changed if parsed.regex.fullmatch(one)]


# --- braces -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        pytest.param("/{a,b}", ["/a", "/b"], id="two"),
        pytest.param("/{a}", ["/a"], id="one"),
        pytest.param("/x{,.1}", ["/x", "/x.1"], id="an empty one"),
        pytest.param("/{a,b}{c,d}", ["/ac", "/ad", "/bc", "/bd"], id="two pairs"),
        pytest.param("/{a,b{c,d}e,f}", ["/a", "/bce", "/bde", "/f"], id="nested"),
        pytest.param("/{{a,b},{c,{d,e}}}", ["/a", "/b", "/c", "/d", "/e"], id="nested deeper"),
        pytest.param("/{a/b,c}/x", ["/a/b/x", "/c/x"], id="with a slash"),
        pytest.param("/{a,a,b}", ["/a", "/b"], id="the same twice"),
        pytest.param("/a,b", ["/a,b"], id="a comma outside"),
    ],
)
def test_braces_stand_for_several_patterns(pattern: str, expected: list[str]) -> None:
    """In the order written, each once; the expression matches each of them."""
    bases = [base for base, _ in alternatives(pattern)]

    assert expected == bases
    assert all(means(pattern, path) for path in expected)


# --- where the wildcards begin ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        pytest.param("/var/log/*.log", [("/var/log", ("*.log",))], id="the name"),
        pytest.param("/srv/*/log/x.log", [("/srv", ("*", "log", "x.log"))], id="a directory"),
        pytest.param("/srv/**/?[ab]", [("/srv", ("**", "?[ab]"))], id="all kinds"),
        pytest.param("/*/x", [("/", ("*", "x"))], id="the first component"),
        pytest.param("/a/x", [("/a/x", ())], id="none"),
        pytest.param("/{a,b*}/x", [("/a/x", ()), ("/", ("b*", "x"))], id="some alternatives"),
    ],
)
def test_base_is_what_the_operator_wrote_out(
    pattern: str, expected: list[tuple[str, tuple[str, ...]]]
) -> None:
    """Links are followed up to the first wildcard, and refused from there on."""
    assert expected == alternatives(pattern)


# --- names and components ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exclude", "path", "expected"),
    [
        pytest.param("*.gz", "/a/b/x.gz", True, id="a name"),
        pytest.param("b", "/a/b/x.gz", False, id="a name is not a directory"),
        pytest.param("{x,y}.gz", "/a/y.gz", True, id="a name with braces"),
        pytest.param("/a/*", "/a/x", True, id="a path"),
        pytest.param("/a/*", "/a/b/x", False, id="another path"),
        pytest.param("/a/**/x", "/a/b/c/x", True, id="a deep path"),
    ],
)
def test_pattern_without_a_slash_is_held_against_the_name(
    exclude: str, path: str, expected: bool
) -> None:
    """`exclude: ["*.gz"]` means the files of that name, wherever they are."""
    parsed = [patterns.parse_pattern("/never"), patterns.parse_pattern(exclude)]

    assert expected == patterns.matches_any(path, parsed)
    assert not patterns.matches_any(path, [])


@pytest.mark.parametrize(
    ("component", "name", "expected"),
    [
        pytest.param("**", "a", True, id="** a directory"),
        pytest.param("**", ".a", False, id="** a hidden one"),
        pytest.param("*.log", "x.log", True, id="a wildcard"),
        pytest.param("*.log", "x.log.1", False, id="a wildcard, the whole name"),
        pytest.param("log", "log", True, id="a literal"),
        pytest.param("l.g", "log", False, id="a dot is a dot"),
    ],
)
def test_component_is_held_against_one_name(component: str, name: str, expected: bool) -> None:
    """What the scanner asks of each entry of a directory."""
    assert expected == patterns.matches_component(component, name)


# --- what is wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        pytest.param("/a/{b,c", "'{' is not closed", id="an open brace"),
        pytest.param("/a/{b,{c}", "'{' is not closed", id="an open brace around another"),
        pytest.param("/a/b}", "'}' is not opened", id="a closing brace"),
        pytest.param("/a/{b,c}}", "'}' is not opened", id="one closing brace too many"),
        pytest.param("/a}{b,c}", "'}' is not opened", id="a closing brace first"),
        pytest.param("/a/[bc", "'[' is not closed", id="an open bracket"),
        pytest.param("/a/[]", "'[' is not closed", id="] in the first place"),
        pytest.param("/a/[!]", "'[' is not closed", id="] after !"),
        pytest.param("/a/[b/c]", "'[' is not closed", id="a bracket over a slash"),
        pytest.param("/a/[b]/[c", "'[' is not closed", id="a second bracket"),
        pytest.param("/a/[z-b]", "a character class is wrong: bad character range", id="a range"),
        pytest.param("/a/**.log", "component of its own", id="** in a name"),
        pytest.param("/a/b**/x", "component of its own", id="** behind a name"),
        pytest.param("/a/***/x", "component of its own", id="three stars"),
        pytest.param("/" + "{a,b}" * 10, "more than 1000 patterns", id="1024 patterns"),
        pytest.param("/" + "{,}" * 500, "more than 1000 patterns", id="2 ** 500 patterns"),
    ],
)
def test_pattern_that_means_nothing_is_refused(pattern: str, message: str) -> None:
    """The message says what is wrong with it."""
    with pytest.raises(ValueError, match=r".") as caught:
        patterns.parse_pattern(pattern)

    assert message in str(caught.value)


def test_as_many_patterns_as_allowed_are_allowed() -> None:
    """The bound itself is within the bound."""
    choices = ",".join(map(str, range(patterns.ALTERNATIVES_MAX)))

    parsed = patterns.parse_pattern(f"/{{{choices}}}")

    assert patterns.ALTERNATIVES_MAX == len(parsed.alternatives)
    assert "/{0,1" == parsed.text[:5]
