"""The benchmark of the preprocessors compares ways to the same result; how fast is not tested."""

from __future__ import annotations

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent / "benchmarks"))

import preprocessing


@pytest.mark.parametrize("case", preprocessing.cases(60), ids=lambda case: case.name)
def test_the_plain_way_makes_the_same(
    case: preprocessing.Case, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise a ratio would mean nothing."""
    preprocessing.measure(case, rounds=1)

    assert case.name in capsys.readouterr().out
