"""Random worlds keep the promises: nothing lost, nothing twice without a reason, all of it saved.

`--sim-seeds=N` simulates more worlds, `--sim-seed=K` one, and shows what happened in it.
"""

from __future__ import annotations

import logging

import pytest
import simulation_run

CHUNKS = 8  # tests that share the seeds, so that workers do
# Seeds that found something once; what they do may change with the simulation.
FOUND = (
    1, 2, 4, 5, 8, 11, 21, 23, 44, 47, 59, 84, 133, 190, 506, 3160, 11151, 12018, 12053, 12336,
    12339, 12463, 12898, 14229, 14587, 20126, 30063, 30600, 31256, 36495, 36581, 40437, 41552,
    42134, 42404, 43044, 100120, 100765, 103204, 104377, 104464, 106129, 106403, 108623,
    108732, 110255, 110741, 111175, 204171, 205103, 206395, 207697, 208182, 208807, 208928,
    301911, 302706, 311089, 314457, 317510, 506842, 610844, 700637, 703309, 704354, 705513,
    705775, 720928, 739131, 740581, 740640,
    742300, 745876, 747628, 755542,
)  # fmt: skip
FOUND_FRAMED = (
    26, 144, 378, 634, 642, 888, 980, 1318, 1567, 2016, 2419, 3401, 4026, 4497, 7027, 20289,
    21027, 22062, 23687, 24507, 24745, 30280, 30693, 40520, 41694, 42179, 43296, 43846, 61675,
    82487, 90347, 91676, 100415, 131311, 141185, 141496, 142914, 150735, 152519,
    160468, 170036, 180815, 190779,
)  # fmt: skip
FRAMED_SHARE = 0.3  # so many more worlds, of framed files


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "kagent")


@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize(("kind", "share"), [("plain", 1.0), ("framed", FRAMED_SHARE)])
def test_promises_hold_in_random_worlds(
    kind: str, share: float, chunk: int, request: pytest.FixtureRequest
) -> None:
    """Whatever writers, disks, destinations and crashes do, every promise of the design holds."""
    only = request.config.getoption("--sim-seed")
    count = request.config.getoption("--sim-seeds")
    seeds = [only] if only is not None else range(round(share * count))

    failure = simulation_run.first_failure((one for one in seeds if one % CHUNKS == chunk), kind)

    assert not failure, failure


@pytest.mark.parametrize(
    ("kind", "seed"),
    [("plain", seed) for seed in FOUND] + [("framed", seed) for seed in FOUND_FRAMED],
)
def test_found_seed_holds(kind: str, seed: int) -> None:
    """A world that broke a promise once keeps it now."""
    failure = simulation_run.simulate(seed, kind)

    assert not failure, failure
