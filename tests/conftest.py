"""Options of the test run."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("simulation")
    group.addoption(
        "--sim-seeds", type=int, default=200, metavar="N", help="simulate seeds 0 to N - 1"
    )
    group.addoption(
        "--sim-seed",
        type=int,
        default=None,
        metavar="K",
        help="simulate seed K only, with a trace",
    )
