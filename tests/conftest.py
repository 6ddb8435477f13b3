"""Options of the test run, its workers, when it collects garbage, and the law of skips.

In CI nothing is skipped that could be installed: `.ci/run` installs what tests need of the system.
Elsewhere a test without it is skipped, with a reason that says what to install; where `CI` is set
that is a failure. What stays a skip in CI is what no package mends: a right that whoever runs the
tests does not have, or a kernel that does not give what is asked; such reasons begin with one of
MACHINE.
"""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    import log_rig

MACHINE = ("needs root", "this machine does not")

# How long an example takes says something of the machine, and nothing of the code.
hypothesis.settings.register_profile(
    "kagent", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("kagent")

# Collecting makes some 200,000 objects, none of which goes away before the end: the garbage
# collector need not look at them while they come, nor at each of its turns after that.
gc.disable()


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """Take half as many workers again as there are cores: half of the time tests wait."""
    cores = yield
    return cores if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS") else cores + (cores + 1) // 2


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


@pytest.fixture
def log(tmp_path: Path) -> Iterator[log_rig.Log]:
    """Give a real file with a writer, which tails follow."""
    from log_rig import Log  # only where it is asked for: it knows kagent

    one = Log(tmp_path / "a.log")
    yield one
    one.close()


@pytest.fixture
def public() -> Iterator[Path]:
    """Give a directory that others may read; pytest shuts its own for them whenever it starts."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name).resolve()
        path.chmod(0o755)
        yield path


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let patterns run away for a fifth of the time: what becomes of their lines is the same."""
    from kagent import userpattern
    from kagent.preprocessors import searching

    monkeypatch.setattr(userpattern, "LINE_S", userpattern.LINE_S / 5)
    monkeypatch.setattr(searching, "TOGETHER_S", searching.TOGETHER_S / 5)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    return _without_skips((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    return _without_skips((yield))


def _without_skips(report: pytest.TestReport | pytest.CollectReport):  # type: ignore[no-untyped-def]
    """Return a report that fails where it skipped what CI has to run."""
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        said = reason.removeprefix("Skipped: ")
        is_ours = not said.startswith(MACHINE) or (
            said.startswith("needs root") and os.geteuid() == 0
        )
        if is_ours:
            report.outcome = "failed"
            report.longrepr = f"skipped in CI, which must install what tests need: {said}"
    return report
