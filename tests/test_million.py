"""What `make campaign` does with a million lines, with as many as a test has time for."""

from __future__ import annotations

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent / "campaign"))

import million

LINES = 20_000
CASES = {"none", "newline", "kpl", "kpl-gzip", "newline-zstd", "firehose-newline"}


@pytest.mark.parametrize(
    "case", [pytest.param(one, id=one.name) for one in million.CASES if one.name in CASES]
)
def test_nothing_is_lost_and_every_duplicate_explained(
    case: million.Case, tmp_path: pathlib.Path
) -> None:
    """Under all faults of the service together, and the counters equal the service's own."""
    figures = million.run(case, LINES, tmp_path)

    assert [] == figures.problems, figures
    assert len(figures.faults) > 2
