"""The real logrotate: every pair of its options, of writers and of what kagent is doing.

`make campaign` plays the whole product, and measures the race that copytruncate has by itself.
"""

from __future__ import annotations

import pathlib
import shutil

import pytest
import rotation_rig

needs_logrotate = pytest.mark.skipif(
    not shutil.which("logrotate"),
    reason="logrotate is not installed: apt-get install logrotate, as .ci/run does",
)


@needs_logrotate
@pytest.mark.parametrize("case", rotation_rig.sample(), ids=str)
def test_no_line_is_lost_and_none_comes_twice(
    case: rotation_rig.Case, tmp_path: pathlib.Path
) -> None:
    """But for lines that were written to a file that nobody could read any more."""
    outcome = rotation_rig.run(case, tmp_path)

    assert ([], [], []) == (outcome.lost, outcome.duplicated, outcome.foreign)
    may_destroy = case.method == "create" and case.writer != "at once" and case.compress != "no"
    assert may_destroy or not outcome.destroyed
    assert may_destroy or 0 == outcome.abandoned_bytes


def test_sample_holds_every_value_and_the_product_all() -> None:
    """Every pair of values is in some case, in a tenth of the cases or so."""
    cases, every = rotation_rig.sample(), list(rotation_rig.all_cases())

    assert 180 == len(every) == len(set(every))
    assert {case.writer for case in every} == {case.writer for case in cases}
    assert len(cases) <= 24
