"""The simulation finds what it is for: each planted bug fails it."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

TESTS = pathlib.Path(__file__).parent
PATCHES = sorted((TESTS / "mutations").glob("*.patch"))
SEEDS = 200


@pytest.mark.parametrize("patch", [pytest.param(path, id=path.stem) for path in PATCHES])
def test_planted_bug_fails_the_simulation(patch: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """A planted bug is found within 200 seeds."""
    package = tmp_path / "kagent"
    # With what Python compiled, but for what it is writing now; only patched files are compiled.
    shutil.copytree(TESTS.parent / "kagent", package, ignore=shutil.ignore_patterns("*.pyc.*"))
    applied = subprocess.run(
        ["git", "apply", str(patch)],
        cwd=tmp_path,
        env=os.environ | {"GIT_CEILING_DIRECTORIES": str(tmp_path.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert applied.returncode == 0, f"{patch.name} no longer applies: {applied.stderr}"

    kind = "framed" if patch.name.startswith("framed_") else "plain"
    simulated = subprocess.run(
        [
            sys.executable,
            str(TESTS / "simulation_run.py"),
            f"--seeds={SEEDS}",
            f"--kind={kind}",
        ],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert simulated.returncode == 1, f"{patch.name} was not found: {simulated.stdout[-2000:]}"
    assert simulated.stdout.startswith("seed "), simulated.stderr
