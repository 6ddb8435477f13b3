"""Run simulated worlds by their seeds: from the tests, or `python tests/simulation_run.py`."""

from __future__ import annotations

import argparse
import logging
import sys
import traceback
from collections.abc import Iterable

from simulation_framed import FramedWorld
from simulation_world import World

ACTIONS_SHOWN = 40
KINDS = {"plain": World, "framed": FramedWorld}  # each has seeds of its own


def simulate(seed: int, kind: str = "plain") -> str:
    """Run one world; return an empty text, or what went wrong and the actions before it."""
    world = KINDS[kind](seed)
    try:
        world.run()
    except Exception as error:  # noqa: BLE001 -- any exception out of the engine is a finding
        actions = "\n".join([world.trace[0], *list(world.trace)[1:][-ACTIONS_SHOWN:]])
        where = "".join(traceback.format_exception(error))
        return f"seed {seed} of {kind}:\n{actions}\n{where}"
    return ""


def first_failure(seeds: Iterable[int], kind: str = "plain") -> str:
    """Return what went wrong with the first seed that fails, an empty text if none does."""
    return next(filter(None, (simulate(seed, kind) for seed in seeds)), "")


def main() -> int:
    """Simulate; exit 1 at the first failure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--kind", choices=KINDS, default="plain")
    parser.add_argument("--all", action="store_true", help="go on after a failure")
    arguments = parser.parse_args()
    logging.getLogger("kagent").setLevel(logging.CRITICAL)
    failures = 0
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        failure = simulate(seed, arguments.kind)
        if failure:
            failures += 1
            if arguments.all:
                print(failure.splitlines()[0], failure.splitlines()[-1], flush=True)
            else:
                print(failure)
                return 1
    print(f"{arguments.seeds} seeds, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
