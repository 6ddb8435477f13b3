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
