"""The law of skips: what CI can install, CI must run."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys

import conftest
import pytest

TESTS = pathlib.Path(__file__).parent
ROOT = TESTS.parent

EXAMPLE = """
import pytest

@pytest.mark.skipif(True, reason="logrotate is not installed")
def test_package(): pass

@pytest.mark.skipif(True, reason="this machine does not let us mount")
def test_machine(): pass

def test_module():
    pytest.importorskip("no_such_module")

@pytest.mark.xfail(reason="known", strict=True)
def test_known(): assert False
"""


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        pytest.param({}, "3 skipped, 1 xfailed", id="at home"),
        pytest.param({"CI": "true"}, "1 failed, 1 skipped, 1 xfailed, 1 error", id="in CI"),
    ],
)
def test_skip_is_a_failure_in_ci_unless_no_package_mends_it(
    tmp_path: pathlib.Path, environ: dict[str, str], expected: str
) -> None:
    """What could be installed fails there; a right that the machine does not give is a skip."""
    shutil.copy(TESTS / "conftest.py", tmp_path)
    (tmp_path / "test_example.py").write_text(EXAMPLE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    bare = {name: value for name, value in os.environ.items() if name != "CI"}

    said = subprocess.run(
        command, env=bare | environ, cwd=tmp_path, capture_output=True, text=True, check=False
    ).stdout

    assert expected in said


@pytest.mark.parametrize(
    ("wished", "cores", "expected"),
    [
        pytest.param("", 1, 2, id="one core"),
        pytest.param("", 2, 3, id="two cores"),
        pytest.param("", 4, 6, id="four cores"),
        pytest.param("2", 2, 2, id="as wished"),
    ],
)
def test_workers_are_more_than_cores_unless_somebody_says_how_many(
    monkeypatch: pytest.MonkeyPatch, wished: str, cores: int, expected: int
) -> None:
    """While one worker waits for a daemon another has its core."""
    monkeypatch.setenv("PYTEST_XDIST_AUTO_NUM_WORKERS", wished)
    asked = conftest.pytest_xdist_auto_num_workers()
    next(asked)

    with pytest.raises(StopIteration) as answered:
        asked.send(cores)

    assert expected == answered.value.value


def test_everything_that_tests_look_for_is_installed_by_ci() -> None:
    """One list in .ci/run names each command that a test is skipped without."""
    script = (ROOT / ".ci" / "run").read_text()
    listed = script.partition("<<'PACKAGES'\n")[2].partition("\nPACKAGES\n")[0]
    installed = {line.split()[0] for line in listed.splitlines()}

    wanted = {
        command
        for path in TESTS.rglob("*.py")
        for command in re.findall(r'which\("([\w-]+)"\)', path.read_text())
    }

    assert wanted
    assert set() == wanted - installed
