"""YAML text becomes nodes: types, places, aliases, and everything that can be wrong with it."""

from __future__ import annotations

import pathlib

import hypothesis
import hypothesis.strategies as st
import pytest
import yaml

from kagent import errors
from kagent.config import document, nodes


def read(path: pathlib.Path, content: str | bytes) -> tuple[object, list[errors.Problem]]:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(data)
    problems: list[errors.Problem] = []
    tree = document.read(str(path), {"NAME": "web", "N": "16"}, problems)
    return (None if tree is None else nodes.plain(tree)), problems


def told(problem: errors.Problem) -> str:
    """Return a problem's first line behind the file's name."""
    return problem.render().splitlines()[0].partition("k.yaml:")[2].strip()


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "k.yaml"


@pytest.mark.parametrize(
    ("content", "value"),
    [
        pytest.param("", {}, id="nothing"),
        pytest.param("# nothing\n---\n", {}, id="a comment"),
        pytest.param("\ufeffa: 1", {"a": 1}, id="a byte order mark"),
        pytest.param("a: on\r\nb: 010\r\n", {"a": "on", "b": "010"}, id="no YAML 1.1"),
        pytest.param("on: 1\n12:30: 1\n", {"on": 1, "12:30": 1}, id="nor in keys"),
        pytest.param(
            "a: '1'\nb: \"true\"\nc: |\n  4\n", {"a": "1", "b": "true", "c": "4\n"}, id="quotes"
        ),
        pytest.param("a: [x, {b: ~}]\n", {"a": ("x", {"b": None})}, id="nested"),
        pytest.param(
            "a: ${N}\nb: '${N}'\nc: ${M:-}", {"a": 16, "b": "16", "c": None}, id="variables"
        ),
        pytest.param("${N}: 1", {"${N}": 1}, id="no variables in keys"),
        pytest.param("a: &x [1]\nb: *x", {"a": (1,), "b": (1,)}, id="an alias"),
        pytest.param("a: &x 1\nb: &x 2\nc: *x", {"a": 1, "b": 2, "c": 2}, id="an anchor again"),
        pytest.param("a: &k key\n*k : 1", {"a": "key", "key": 1}, id="an alias as a key"),
    ],
)
def test_text_becomes_values(file: pathlib.Path, content: str, value: object) -> None:
    """Values have the types that YAML 1.2 gives them, with variables put in."""
    tree, problems = read(file, content)

    assert [] == problems
    assert value == tree


@pytest.mark.parametrize(
    ("content", "value"),
    [
        pytest.param("<<: *b\nk: 1", {"k": 1, "x": 1, "y": 2}, id="explicit keys are added"),
        pytest.param("x: 9\n<<: *b", {"x": 9, "y": 2}, id="explicit keys win, wherever they are"),
        pytest.param("<<: [*c, *b]", {"x": 5, "y": 2}, id="the first of several wins"),
        pytest.param("<<: {z: 1}", {"z": 1}, id="without an alias"),
        pytest.param("'<<': 1", {"<<": 1}, id="in quotes it is a key"),
    ],
)
def test_merge_keys_add_what_is_missing(file: pathlib.Path, content: str, value: object) -> None:
    """`<<` means what it means in YAML 1.1."""
    indented = content.replace("\n", "\n  ")

    tree, problems = read(file, f"b: &b {{x: 1, y: 2}}\nc: &c {{x: 5}}\nd:\n  {indented}\n")

    assert [] == problems
    assert isinstance(tree, dict)
    assert value == tree["d"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(
            "a: 1\nb: 2\na: 3",
            ["3:1: a: stands twice in this mapping, first at line 1"],
            id="a key twice",
        ),
        pytest.param(
            "f: [{a: 1, a: 2}]",
            ["1:12: f[0].a: stands twice in this mapping, first at line 1"],
            id="twice in one line",
        ),
        pytest.param(
            "4: x\ntrue: x\n~: x\n[a]: x\n~: x",
            [
                "1:1: found 4 as a key, expected text",
                "2:1: found true as a key, expected text",
                "3:1: found ~ as a key, expected text",
                "4:1: found a list as a key, expected text",
                "5:1: found ~ as a key, expected text",
            ],
            id="keys that are no text",
        ),
        pytest.param(
            "a: !!python/name:os x",
            ["1:4: a: found the tag tag:yaml.org,2002:python/name:os; tags are not allowed"],
            id="a tag",
        ),
        pytest.param(
            "a: ${UNSET}\nb: ${",
            [
                (
                    "1:4: a: the environment variable UNSET is not set, "
                    "and there is no ${UNSET:-default}"
                ),
                (
                    "2:4: b: '${' is no variable; "
                    "expected ${NAME} or ${NAME:-default}, or $${ for a literal ${"
                ),
            ],
            id="variables",
        ),
        pytest.param(
            'a: "x\\0"\nb: "\\0"',
            [
                "1:4: a: holds a character that no text can hold",
                "2:4: b: holds a character that no text can hold",
            ],
            id="NULs by escapes",
        ),
        pytest.param(
            "a: {<<: 4}\nb: {<<: [{}, x]}",
            [
                "1:9: a: found 4 behind '<<', expected a mapping or a list of them",
                "2:14: b: found 'x' behind '<<', expected a mapping or a list of them",
            ],
            id="nothing to merge",
        ),
    ],
)
def test_what_is_wrong_is_found_all_at_once(
    file: pathlib.Path, content: str, expected: list[str]
) -> None:
    """A mistake that leaves the tree readable does not hide the next one."""
    tree, problems = read(file, content)

    assert tree is not None
    assert expected == [told(problem) for problem in problems]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(
            "a: [1\n",
            "2:1: is no YAML: did not find expected ',' or ']', "
            "while parsing a flow sequence that begins at line 1",
            id="not closed",
        ),
        pytest.param(
            "a: b: c",
            "1:5: is no YAML: mapping values are not allowed in this context",
            id="two colons",
        ),
        pytest.param("- a", "1:1: found a list, expected a mapping", id="a list"),
        pytest.param("kagent", "1:1: found 'kagent', expected a mapping", id="text"),
        pytest.param(
            "a: 1\n---\nb: 1",
            "2:1: a second document starts here; expected one",
            id="two documents",
        ),
        pytest.param("a: *x", "1:4: a: nothing above has the anchor &x", id="unknown alias"),
        pytest.param(
            "a: &x [1, *x]",
            "1:11: a[1]: the alias *x stands within the value that it names",
            id="recursive alias",
        ),
        pytest.param("[" * 100, "1:66: values are nested deeper than 64 levels", id="too deep"),
        pytest.param(
            "{a: " * 100,
            "1:261: values are nested deeper than 64 levels",
            id="too deep in mappings",
        ),
        pytest.param(
            "[" + "1," * 100_001,
            "1:200000: more than 100,000 values, aliases included",
            id="too many",
        ),
        pytest.param("a: \x07", "1:4: the character \\x07 is not allowed in YAML", id="no text"),
    ],
)
def test_what_is_no_configuration_at_all_is_one_problem(
    file: pathlib.Path, content: str | bytes, expected: str
) -> None:
    """Without a tree there is nothing else to say, and nothing is said by a traceback."""
    tree, problems = read(file, content)

    assert tree is None
    assert [expected] == [told(problem) for problem in problems]


def test_aliases_that_double_are_refused_before_they_fill_the_memory(file: pathlib.Path) -> None:
    """Ten levels of ten aliases would be ten thousand million values."""
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 11))

    tree, problems = read(file, f"l0: &l0 [x]\n{levels}")

    assert tree is None
    assert ["more than 100,000 values, aliases included"] == [p.message for p in problems]


def test_aliases_within_aliases_are_refused_before_they_are_too_deep(file: pathlib.Path) -> None:
    """Each line is shallow; what it means is deeper than any stack."""
    levels = "".join(f"l{n}: &l{n} [[[[*l{n - 1}]]]]\n" for n in range(1, 400))

    tree, problems = read(file, f"l0: &l0 [x]\n{levels}")

    assert tree is None
    assert ["values are nested deeper than 64 levels"] == [p.message for p in problems]


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        pytest.param("a:\n\tb: 1", "YAML is indented with spaces, never with tabs.", id="a tab"),
        pytest.param("- *.log", "needs quotes", id="a pattern that looks like an alias"),
        pytest.param("a: [/v/{b,c}.log]", "needs quotes", id="a pattern with braces in brackets"),
        pytest.param("a: *log", "needs quotes", id="a pattern that is an alias"),
        pytest.param("'a", "", id="nothing to say"),
    ],
)
def test_usual_mistakes_with_the_syntax_get_a_hint(
    file: pathlib.Path, content: str, hint: str
) -> None:
    """Patterns of files are the values that YAML misreads most."""
    _, problems = read(file, content)

    assert [True] == [hint in problem.hint for problem in problems]
    assert bool(hint) == bool(problems[0].hint)


@pytest.mark.parametrize("loader", [yaml.CSafeLoader, yaml.SafeLoader], ids=["libyaml", "Python"])
def test_both_parsers_give_the_same_places(
    file: pathlib.Path, loader: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns count characters, with libyaml and without it."""
    monkeypatch.setattr(document, "_LOADER", loader)
    file.write_text("é: 'ü'\nb:\n- [x, 日, &a {k: v}]\n- *a\n")

    tree = document.read(str(file), {}, [])

    assert tree is not None
    places = {}
    pending: list[nodes.Node] = [tree]
    while pending:
        node = pending.pop()
        places[node.path] = (node.place.line, node.place.column, node.place.width)
        pending += nodes.items_of(node)
        pending += (
            [e.node for e in node.entries.values()] if isinstance(node, nodes.Mapping) else []
        )
    assert {
        "": (1, 1, 1),
        "é": (1, 4, 3),
        "b": (3, 1, 1),
        "b[0]": (3, 3, 1),
        "b[0][0]": (3, 4, 1),
        "b[0][1]": (3, 7, 1),
        "b[0][2]": (3, 10, 4),
        "b[0][2].k": (3, 17, 1),
        "b[1]": (3, 10, 4),
        "b[1].k": (3, 17, 1),
    } == places


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(
    st.one_of(
        st.binary(max_size=200),
        st.text(alphabet="ab:-[]{},&*!|>'\"#%@`?<~0.$ \t\n\\x\x85\u2028é", max_size=60).map(
            str.encode
        ),
    )
)
@hypothesis.example(b"!<%00> a")
@hypothesis.example(b"%TAG ! \xc2\x85")
def test_any_bytes_give_a_tree_or_problems(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    """No bytes raise anything, and what is no tree has its problem with a place."""
    file = tmp_path_factory.getbasetemp() / "any.yaml"

    tree, problems = read(file, data)

    assert tree is not None or problems
    assert all(problem.render() for problem in problems)
