"""What deletes shipped logs: the script, the timer's unit, logrotate's example, run for real."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from daemon import Daemon, running, wait_until
from shipped_rig import Rig, numbered

from kagent import local

PACKAGING = pathlib.Path(__file__).parent.parent / "packaging"
SCRIPT = PACKAGING / "kagent-clean"


@pytest.fixture
def daemon(tmp_path: pathlib.Path) -> Iterator[Daemon]:
    """A daemon over log/*.log, and a `kagent` on the path that has its configuration."""
    streams = {"web": local.StreamOptions(shards=1, is_throttled=False)}
    with running(tmp_path, local.Service(local.ServiceOptions(streams=streams))) as one:
        one.configure()
        install(tmp_path)
        yield one


def install(root: pathlib.Path) -> None:
    """Put a `kagent` on the script's path."""
    kagent = root / "bin" / "kagent"
    kagent.parent.mkdir()
    kagent.write_text(f'#!/bin/sh\nexec {sys.executable} -m kagent "$@"\n')
    kagent.chmod(0o755)


def environ(one: Daemon | Rig) -> dict[str, str]:
    path = f"{one.root}/bin:{os.environ['PATH']}"
    return {"PATH": path, "KAGENT_CONFIG": f"{one.root}/kagent.yaml"}


def clean(one: Daemon | Rig, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run kagent-clean over files of any age, or as the arguments say."""
    return subprocess.run(
        [str(SCRIPT), *(arguments or ("-m", "0", f"{one.root}/log", "*.log[-.]*"))],
        capture_output=True,
        text=True,
        env=environ(one),
        check=False,
    )


def names(one: Daemon | Rig) -> set[str]:
    return {path.name for path in (one.root / "log").iterdir()}


def test_what_is_shipped_is_deleted_and_nothing_else(daemon: Daemon) -> None:
    """With names of any kind, the daemon running; what is kept is said, with what is missing."""
    for number, name in enumerate(("a.log", "b c\n.log", "-rf.log", "half.log")):
        daemon.path(name).write_bytes(numbered(10, 10 * number))
    daemon.start()
    daemon.wait_for_lines(40)
    wait_until(lambda: all(daemon.offsets().values()), "saved positions")
    for name in ("a.log", "b c\n.log", "-rf.log", "half.log"):
        daemon.path(name).rename(daemon.path(f"{name}.1"))
    with daemon.path("half.log.1").open("ab") as file:
        file.write(b"unfinished")
    daemon.path("unknown.log.1").write_bytes(b"from before kagent\n")
    daemon.path("live.log").write_bytes(numbered(10, 100))
    daemon.path("directory.log.1").mkdir()
    wait_until(lambda: daemon.offsets().get("live.log") == 90, "live.log saved")
    daemon.path("link.log.1").symlink_to(daemon.path("live.log"))

    done = clean(daemon)

    assert daemon.stop() == 0
    assert (0, "") == (done.returncode, done.stderr)
    assert {"half.log.1", "unknown.log.1", "live.log", "link.log.1", "directory.log.1"} == names(
        daemon
    )
    assert "./a.log.1: shipped and deleted\n" in done.stdout
    assert "they are an unfinished last line" in done.stdout
    assert "./unknown.log.1: web: not known" in done.stdout


@pytest.fixture
def shipped(tmp_path: pathlib.Path) -> Rig:
    """What a daemon leaves that shipped a.log and was stopped; the file is a.log.1 now."""
    one = Rig(tmp_path)
    one.configure(web=["*.log"])
    install(tmp_path)
    path = one.path("a.log", numbered(10))
    one.save(one.row(path))
    path.rename(one.path("a.log.1"))
    return one


def test_a_file_that_is_open_for_writing_stays(shipped: Rig) -> None:
    """Its writer may have more to say, into a file that nobody could find any more."""
    with shipped.path("a.log.1").open("ab"):
        kept = clean(shipped)
        assert {"a.log.1"} == names(shipped)
    with shipped.path("a.log.1").open("rb"):
        clean(shipped)

    assert "./a.log.1: kept: a process has it open for writing\n" == kept.stdout
    assert set() == names(shipped)


def test_a_young_file_stays(shipped: Rig) -> None:
    """An hour by default, whatever its name says."""
    arguments = (f"{shipped.root}/log", "*.log.1", "nothing")
    clean(shipped, *arguments)
    young = names(shipped)
    old = time.time() - 61 * 60
    os.utime(shipped.path("a.log.1"), (old, old))

    clean(shipped, *arguments)

    assert ({"a.log.1"}, set()) == (young, names(shipped))


def test_a_file_that_takes_the_name_meanwhile_stays(shipped: Rig) -> None:
    """A rotator renames between question and deletion: what has the name then is not deleted."""
    real = shipped.root / "bin" / "kagent"
    real.rename(shipped.root / "bin" / "real")
    real.write_text(
        f'#!/bin/sh\n{shipped.root}/bin/real "$@" || exit\n'
        "[ -e rotated ] && exit\n"
        "mv a.log.1 a.log.2; echo new >a.log.1; touch rotated\n"
    )
    real.chmod(0o755)

    done = clean(shipped)

    assert {"a.log.1", "a.log.2", "rotated"} == names(shipped)
    assert "new\n" == shipped.path("a.log.1").read_text()
    assert "./a.log.1.kagent-clean: web: not known" in done.stdout


def test_what_a_killed_run_left_is_finished(shipped: Rig) -> None:
    """A claimed file is asked about again; one in the way of a claim is not overwritten."""
    shipped.path("a.log.1").rename(shipped.path("a.log.1.kagent-clean"))
    shipped.path("a.log.1").write_bytes(numbered(10))

    clean(shipped)

    assert {"a.log.1"} == names(shipped)


def test_a_wrong_configuration_fails_the_unit(shipped: Rig) -> None:
    """Nothing is deleted, and systemd hears of it; so is wrong usage."""
    (shipped.root / "kagent.yaml").write_text("flows: [{nam: x}]\n")

    wrong = clean(shipped)

    assert wrong.returncode != 0
    assert "did you mean 'name'?" in wrong.stderr
    assert {"a.log.1"} == names(shipped)
    for arguments in (["-x"], ["/tmp"], ["-m", "soon", "/tmp", "*"]):
        assert 2 == clean(shipped, *arguments).returncode
    assert 1 == clean(shipped, f"{shipped.root}/missing", "*").returncode


@pytest.mark.skipif(
    not shutil.which("systemd-analyze"),
    reason="no systemd-analyze: apt-get install systemd, as .ci/run does",
)
def test_systemd_takes_the_units(tmp_path: pathlib.Path) -> None:
    """Every line of them is understood."""
    for unit in (PACKAGING / "systemd").iterdir():
        text = unit.read_text().replace("/usr/lib/kagent/kagent-clean", "/bin/true")
        (tmp_path / unit.name).write_text(text)

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, tmp_path.iterdir())],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.skipif(
    not shutil.which("logrotate"),
    reason="logrotate is not installed: apt-get install logrotate, as .ci/run does",
)
def test_logrotate_keeps_what_is_not_shipped(daemon: Daemon) -> None:
    """The example itself, its paths replaced: three rotations, the service down in the second."""
    text = (PACKAGING / "logrotate" / "kagent-shipped").read_text()
    for old, new in {
        "/var/log/nginx": f"{daemon.root}/log",
        "/usr/lib/kagent/kagent-clean": f"{SCRIPT} -m 0",
        "create 0640 www-data adm": "create",
        "-%Y%m%d-%s": "-%Y%m%d-%s%%",
    }.items():
        assert old in text
        text = text.replace(old, new)
    example = daemon.root / "logrotate.conf"
    path = daemon.path("a.log")

    def rotate(name: str) -> subprocess.CompletedProcess[str]:
        example.write_text(text.replace("-%s%%", f"-{name}"))
        example.chmod(0o644)
        state = str(daemon.root / "logrotate.state")
        return subprocess.run(
            ["logrotate", "-f", "-s", state, str(example)],
            capture_output=True,
            text=True,
            env=environ(daemon),
            check=False,
        )

    path.write_bytes(numbered(10))
    daemon.start()
    daemon.wait_for_lines(10)
    wait_until(lambda: daemon.offsets().get("a.log") == 70, "a.log saved")
    first = rotate("1")
    after_first = names(daemon)
    daemon.stop()

    path.write_bytes(numbered(10, 10))
    rotate("2")
    path.write_bytes(numbered(10, 20))
    second = rotate("3")
    kept = sorted(names(daemon) - {"a.log"})

    assert (0, 0) == (first.returncode, second.returncode), first.stderr + second.stderr
    assert {"a.log"} == after_first
    assert ["-2", "-3"] == [name[-2:] for name in kept]
    assert {numbered(10, 10), numbered(10, 20)} == {daemon.path(n).read_bytes() for n in kept}
