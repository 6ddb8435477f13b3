"""Preprocessors of the operator's own: found, checked, and survived."""

from __future__ import annotations

import collections
import json
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import click.testing
import pytest
import site_packages
from daemon import Daemon, notify_socket, running, wait_until

from kagent import cli, local

EXAMPLE = pathlib.Path(__file__).parent.parent / "config" / "examples" / "preprocessor"
HANGS = """\
import time

def hangs(records, context):
    for record in records:
        while record == b"line 77\\n":
            time.sleep(1)
    return records
"""


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Return where the example is installed, by pip, as an operator would."""
    target = tmp_path_factory.mktemp("site")
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--no-input"]
    command = [sys.executable, "-m", "pip", "install", "--target", str(target), *options]
    subprocess.run([*command, str(EXAMPLE)], check=True, timeout=100)
    return target


def command(directory: pathlib.Path, item: str) -> list[str]:
    """Configure a flow with a preprocessor; return how a sample on stdin is run through it."""
    (directory / "k.yaml").write_text(
        "flows:\n- name: web\n  source: {paths: [/a]}\n"
        f"  destination: {{kinesis: {{stream: s}}}}\n  preprocess:\n  - {item}\n"
    )
    return ["test-config", "-c", str(directory / "k.yaml"), "--sample", "-", "--raw"]


def test_the_example_is_found_and_does_what_it_says(
    example: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Installed beside kagent, named in the configuration."""
    lines = [b"line %d\n" % number for number in range(1000)] + [b"an ERROR\n"] * 3

    arguments = command(tmp_path, "thin_out: {every: 10, always: ERROR}")
    result = subprocess.run(
        [sys.executable, "-m", "kagent", *arguments],
        input=b"".join(lines),
        capture_output=True,
        check=False,
        env={"PYTHONPATH": str(example)},
    )

    kept = result.stdout.splitlines(keepends=True)
    assert 0 == result.returncode, result.stderr
    assert 3 == kept.count(b"an ERROR\n")
    assert 50 < len(kept) < 200
    assert kept == [line for line in lines if line in set(kept)]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("thin_out", "preprocess[0].thin_out.every: missing"),
        (
            "thin_out: {every: 0}",
            "thin_out.every: found 0: input should be greater than or equal to 1",
        ),
        ("thin_out: {evry: 1}", "thin_out.evry: unknown key"),
        ("thin_ou: {every: 1}", "did you mean 'thin_out'?"),
    ],
)
def test_its_options_are_checked_like_any_other_key(
    example: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    item: str,
    message: str,
) -> None:
    """With line and column, exit 78."""
    monkeypatch.syspath_prepend(example)

    result = click.testing.CliRunner().invoke(cli.main, command(tmp_path, item), input=b"")

    assert 78 == result.exit_code
    assert message in result.stderr
    assert "k.yaml:6:" in result.stderr


@pytest.fixture
def daemon(tmp_path: pathlib.Path) -> Iterator[Daemon]:
    """A daemon with a preprocessor that hangs on one line, and a flow without."""
    site = site_packages.install(tmp_path, HANGS, "hangs")
    service = local.Service(
        local.ServiceOptions(
            streams={
                "web": local.StreamOptions(is_throttled=False),
                "other": local.StreamOptions(is_throttled=False),
            }
        )
    )
    with running(tmp_path, service) as one:
        one.environ["PYTHONPATH"] = str(site)
        other = one.flow(name="other", destination={"kinesis": {"stream": "other"}})
        one.configure(one.flow(preprocess=["hangs"]), other)
        yield one


def test_a_line_that_hangs_is_dead_lettered_on_the_second_try(daemon: Daemon) -> None:
    """After SIGKILL and restart, twice, the rest is shipped; another flow never waited."""
    lines = [b"line %d\n" % number for number in range(1000)]
    daemon.path("a.log").write_bytes(b"".join(lines))
    marks = daemon.root / "state" / "preprocessing" / "web"

    def others() -> int:
        return int(daemon.service.counts()["streams"]["other"]["lines_distinct"])

    def called() -> tuple[bool, int, int]:
        """Return whether a call is under way, with how many records, and where they begin."""
        mark = marks.read_bytes() if marks.exists() else bytes(16)
        return bool(mark[0]), mark[4], int.from_bytes(mark[8:16], "little")

    offset = len(b"".join(lines[:77]))
    daemon.start()
    wait_until(lambda: others() == 1000, "the other flow's lines")
    wait_until(lambda: called()[0] and called()[2] > 0, "a block that hangs")
    daemon.stop(signal.SIGKILL)
    daemon.start()
    wait_until(lambda: daemon.log.count("ready flows=") == 2, "the second life")
    daemon.wait_for_log("kagent was ended meanwhile; they are tried again one by one")
    wait_until(lambda: called() == (True, 1, offset), "line 77, by itself")
    daemon.stop(signal.SIGKILL)
    daemon.start()
    daemon.wait_for_lines(999)
    daemon.wait_for_log("record dead-lettered")
    wait_until(lambda: daemon.offsets().get("a.log") == len(b"".join(lines)), "everything settled")

    assert daemon.stop() == 0
    assert sorted(set(daemon.lines)) == sorted(set(lines) - {b"line 77\n"})
    (path,) = (daemon.root / "state" / "dead-letter").iterdir()
    (letter,) = map(json.loads, path.read_text().splitlines())
    assert (offset, offset + 8) == (letter["start"], letter["end"])
    assert "hangs: did not return, twice" == letter["reason"]
    assert "line 77" not in daemon.log


def test_a_pattern_that_runs_away_stops_no_other_flow(daemon: Daemon) -> None:
    """Each of its lines takes on_no_match after a bounded time; the other flow never waits."""
    hostile = b"a" * 60 + b"!\n"
    other = daemon.flow(
        name="other",
        source={"paths": [f"{daemon.root}/log/*.other"], "start_at": "beginning"},
        destination={"kinesis": {"stream": "other"}},
    )
    stages = [{"filter": {"exclude": ["^(a|aa)+$", "^(a+)+$"]}}]
    daemon.configure(daemon.flow(preprocess=stages), other)
    daemon.path("a.log").write_bytes((hostile + b"fine\naaa\n") * 3000)
    lines = [b"line %d\n" % number for number in range(1000)]
    daemon.path("b.other").write_bytes(b"".join(lines))

    def counts(stream: str) -> int:
        return int(daemon.service.counts()["streams"][stream]["records_accepted"])

    daemon.start()
    wait_until(lambda: counts("other") == 1000, "the other flow's lines")
    so_far = counts("web")
    wait_until(lambda: counts("web") == 6000, "the lines beside those that run away")

    assert so_far < 6000
    assert 0 == daemon.stop()
    wrapped = b'{"message":"' + hostile[:-1] + b'"}\n'
    assert {wrapped: 3000, b"fine\n": 3000} == collections.Counter(daemon.lines)
    assert "unparsed=3000 dropped=3000" in daemon.log
    assert "took too long" in daemon.log
    assert "aaaa" not in daemon.log


def test_systemd_gets_no_sign_of_life_while_a_preprocessor_hangs(daemon: Daemon) -> None:
    """After the time that a call may take, shortened here; the daemon itself goes on."""
    daemon.path("a.log").write_bytes(b"line 77\n")
    impatient = (
        "import runpy, sys; from kagent import hangs; hangs.GIVE_UP_S = 1.0; "
        "sys.argv = sys.argv[3:]; runpy.run_module('kagent', run_name='__main__')"
    )
    daemon.prefix = (sys.executable, "-c", impatient)
    daemon.environ |= {"NOTIFY_SOCKET": str(daemon.root / "notify"), "WATCHDOG_USEC": "400000"}
    with notify_socket(daemon.root) as listening:
        daemon.start()
        heard = [b""]
        while b"WATCHDOG=1" not in heard:
            heard.append(listening.recv(10_000))
        while any(b"WATCHDOG=1" in message for message in heard[-6:]):
            heard.append(listening.recv(10_000))

    assert all(message.startswith(b"STATUS=") for message in heard[-6:])
