"""Names of rotated files."""

from __future__ import annotations

import pytest

from kagent import generations


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/l/a.log.1", ["/l/a.log"], id="a number"),
        pytest.param("/l/a.log.2.gz", ["/l/a.log.2", "/l/a.log"], id="compressed"),
        pytest.param("/l/a.log-20261130", ["/l/a.log"], id="a date"),
        pytest.param(
            "/l/a.log-2026-11-30T23:59:59Z.zst",
            ["/l/a.log-2026-11-30T23:59:59Z", "/l/a.log-2026-11", "/l/a.log-2026", "/l/a.log"],
            id="a time",
        ),
        pytest.param("/l/a.log.old", ["/l/a.log"], id="a word"),
        pytest.param("/l/a.log-1.kagent-clean", ["/l/a.log-1", "/l/a.log"], id="kagent-clean's"),
        pytest.param("/l/a.log", [], id="a log"),
        pytest.param("/l/a-1.log", [], id="a log with a number"),
        pytest.param("/l.1/a", [], id="a directory's name"),
        pytest.param("/l/.1", [], id="nothing but a suffix"),
        pytest.param("/l/a.log.1\n", [], id="a newline"),
    ],
)
def test_the_names_that_a_generation_may_have_had(path: str, expected: list[str]) -> None:
    """The longest first; the stem is the shortest."""
    assert expected == list(generations.older_names(path))
    assert (expected[-1] if expected else path) == generations.stem(path)


@pytest.mark.parametrize(
    ("template", "generation", "expected"),
    [
        pytest.param("auto", "/logs/a.log.1", True, id="number"),
        pytest.param("auto", "/logs/a.log-20261126.gz", True, id="date"),
        pytest.param("auto", "/logs/a.log", False, id="the file itself"),
        pytest.param("auto", "/logs/b.log.1", False, id="another one's"),
        pytest.param("auto", "/logs/old/a.log.1", False, id="another directory"),
        pytest.param("old/{name}[-.]*", "/logs/old/a.log.1", True, id="olddir"),
        pytest.param("/old/{name}.*", "/old/a.log.1", True, id="absolute"),
        pytest.param("{stem}-*.log", "/logs/a-20261126.log", True, id="extension .log"),
        pytest.param("{old,older}/{name}.*", "/logs/older/a.log.1", True, id="braces"),
    ],
)
def test_rotated_says_where_generations_are(
    template: str, generation: str, *, expected: bool
) -> None:
    """A pattern in which {name} and {stem} are the followed file's."""
    rotated = generations.Rotated.of(template)

    assert expected == rotated.names(["/logs/a.log"], generation)


def test_name_that_looks_like_a_pattern_is_taken_as_it_stands() -> None:
    """Whoever may create files must not be able to widen the search."""
    rotated = generations.Rotated.of("auto")

    assert rotated.names(["/logs/[a]*.log"], "/logs/[a]*.log.1")
    assert not rotated.names(["/logs/[a]*.log"], "/logs/ab.log.1")
    assert rotated.names(["/logs/{a,b}.log"], "/logs/{a,b}.log.1")


def test_links_are_refused_below_what_the_operator_wrote() -> None:
    """The pattern begins at the base of the followed file, or of the template's own."""
    one = generations.Rotated.of("auto").pattern("/srv/x/log/a.log", "/srv")
    two = generations.Rotated.of("/old/{name}.*").pattern("/srv/x/log/a.log", "/srv")

    assert [("/srv", ("x", "log", "a.log[-.]*"))] == [
        (one.base, one.components) for one in one.alternatives
    ]
    assert [("/old", ("a.log.*",))] == [(one.base, one.components) for one in two.alternatives]


def test_template_that_is_no_pattern_is_refused() -> None:
    """Found out when the configuration is read."""
    with pytest.raises(ValueError, match="closed"):
        generations.Rotated.of("old/[{name}")
