"""The daemon as a whole, as a child process against the local service."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from daemon import Daemon, notify_socket, running, wait_until

from kagent import agent, local

MIB = 1024**2


@pytest.fixture
def daemon(tmp_path: pathlib.Path) -> Iterator[Daemon]:
    """A daemon over log/*.log and a stream that does not throttle."""
    with unthrottled(tmp_path) as one:
        yield one


@contextlib.contextmanager
def unthrottled(root: pathlib.Path) -> Iterator[Daemon]:
    service = local.Service(
        local.ServiceOptions(
            streams={"web": local.StreamOptions(shards=4, is_throttled=False)},
            delivery_streams={"audit": local.DeliveryStreamOptions()},
        )
    )
    with running(root, service) as one:
        one.configure()
        yield one


def numbered(first: int, last: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in range(first, last))


def test_lines_arrive_and_a_stop_saves_every_position(daemon: Daemon) -> None:
    """What stands in the files arrives once, SIGTERM ends with 0, and offsets equal the sizes."""
    daemon.path("a.log").write_bytes(numbered(0, 3000))
    daemon.path("b.log").write_bytes(numbered(3000, 4000) + b"not finished")

    daemon.start()
    daemon.wait_for_lines(4000)
    code = daemon.stop()

    assert code == 0
    assert sorted(daemon.lines) == sorted(numbered(0, 4000).splitlines(keepends=True))
    assert daemon.offsets() == {
        "a.log": daemon.path("a.log").stat().st_size,
        "b.log": daemon.path("b.log").stat().st_size - len("not finished"),
    }


def test_two_flows_ship_one_file_to_a_stream_and_to_firehose(daemon: Daemon) -> None:
    """Each flow has its own destination and its own positions, also for the same file."""
    firehose = {"firehose": {"delivery_stream": "audit"}}
    daemon.configure(daemon.flow(), daemon.flow(name="audit", destination=firehose))
    daemon.path("a.log").write_bytes(numbered(0, 100))

    daemon.start()
    daemon.wait_for_lines(100)
    wait_until(lambda: len(daemon.service.deliveries("audit")) == 100, "100 Firehose records")

    assert daemon.stop() == 0
    assert b"".join(daemon.service.deliveries("audit")) == numbered(0, 100)


def test_kill_and_restart_lose_nothing(daemon: Daemon) -> None:
    """After SIGKILL between two saves every line arrives, also from a file renamed meanwhile."""
    daemon.path("a.log").write_bytes(numbered(0, 2000))
    daemon.start()
    daemon.wait_for_lines(500)

    daemon.stop(signal.SIGKILL)
    daemon.path("a.log").rename(daemon.path("a.old.log"))
    daemon.path("a.log").write_bytes(numbered(2000, 2500))
    daemon.start()
    daemon.wait_for_lines(2500)

    assert daemon.stop() == 0
    assert set(numbered(0, 2500).splitlines(keepends=True)) == set(daemon.lines)


def test_a_restart_after_a_stop_sends_nothing_again(daemon: Daemon) -> None:
    """Without a crash there are no duplicates: the next run goes on where the last one stopped."""
    daemon.path("a.log").write_bytes(numbered(0, 1000))
    daemon.start()
    daemon.wait_for_lines(1000)
    daemon.stop()

    with daemon.path("a.log").open("ab") as file:
        file.write(numbered(1000, 1100))
    daemon.start()
    daemon.wait_for_lines(1100)
    daemon.stop()

    assert len(daemon.lines) == 1100


def test_tls_is_verified_against_the_ca_bundle(tmp_path: pathlib.Path) -> None:
    """Over TLS the configured authority is what counts; without it nothing is sent."""
    pytest.importorskip("cryptography", reason="the demo extra makes the certificate")
    service = local.Service(local.ServiceOptions(streams={"web": local.StreamOptions()}, tls=True))
    with running(tmp_path, service) as one:
        one.path("a.log").write_bytes(numbered(0, 10))
        one.configure()
        text = one.config.read_text()
        one.config.write_text(text.replace("ca_bundle:", "# ca_bundle:"))

        one.start()
        one.wait_for_log("ready")
        refused = one.service.counts()["streams"]["web"]["records_accepted"]
        one.config.write_text(text)
        one.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
        one.wait_for_lines(10)

        assert refused == 0
        assert one.stop() == 0


def test_a_second_daemon_on_the_same_state_is_refused(daemon: Daemon) -> None:
    """The state directory has one owner: the second daemon says so and ends with 1."""
    daemon.start()
    daemon.wait_for_log("ready")

    second = subprocess.run(
        [sys.executable, "-m", "kagent", "run", "-c", str(daemon.config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert second.returncode == 1
    assert second.stdout == ""
    assert str(daemon.process.pid) in second.stderr  # type: ignore[union-attr]
    assert daemon.stop() == 0


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        pytest.param(
            lambda one: one.config.write_text("flows: [{nam: x}]\n"),
            "did you mean 'name'?",
            id="wrong configuration",
        ),
        pytest.param(
            lambda one: (
                (one.root / "state").mkdir(mode=0o700),
                (one.root / "state" / "checkpoints.db").write_bytes(b"no database" * 1000),
            ),
            "checkpoints.db",
            id="damaged database",
        ),
    ],
)
def test_what_only_the_operator_can_mend_ends_with_78(
    daemon: Daemon, write: object, expected: str
) -> None:
    """A wrong configuration and a damaged database end with 78, which systemd does not restart."""
    write(daemon)  # type: ignore[operator]

    done = subprocess.run(
        [sys.executable, "-m", "kagent", "run", "-c", str(daemon.config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 78
    assert done.stdout == ""
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_a_daemon_that_was_stopped_for_a_while_goes_on(daemon: Daemon) -> None:
    """SIGSTOP, a frozen cgroup or a debugger: for longer than it ever waits for a signal."""
    daemon.path("a.log").write_bytes(numbered(0, 10))
    daemon.start()
    process = daemon.process
    assert process is not None
    daemon.wait_for_lines(10)

    process.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    wait_until(lambda: time.monotonic() - stopped > 1.5 * agent.SUPERVISE_S, "the pause is over")
    process.send_signal(signal.SIGCONT)
    with daemon.path("a.log").open("ab") as file:
        file.write(numbered(10, 20))
    daemon.wait_for_lines(20)

    assert process.poll() is None
    assert daemon.stop() == 0


def test_reload_adds_a_flow_and_refuses_a_wrong_configuration(daemon: Daemon) -> None:
    """SIGHUP takes over a right configuration; a wrong one is refused and the old one runs on."""
    daemon.path("a.log").write_bytes(numbered(0, 10))
    daemon.start()
    daemon.wait_for_lines(10)
    process = daemon.process
    assert process is not None
    text = daemon.config.read_text()

    daemon.config.write_text(text.replace("max_age", "max_aeg"))
    process.send_signal(signal.SIGHUP)
    daemon.wait_for_log("reload refused")
    other = {"paths": [f"{daemon.root}/log/*.txt"], "start_at": "beginning"}
    daemon.configure(daemon.flow(), daemon.flow(name="other", source=other))
    daemon.path("b.txt").write_bytes(numbered(10, 20))
    process.send_signal(signal.SIGHUP)
    daemon.wait_for_lines(20)
    with daemon.path("a.log").open("ab") as file:
        file.write(numbered(20, 30))
    daemon.wait_for_lines(30)
    daemon.wait_for_log("flows=2 added=1 changed=0 removed=0")

    assert daemon.stop() == 0
    assert len(daemon.lines) == 30


def test_a_flow_has_its_own_log_level_and_a_reload_another(daemon: Daemon) -> None:
    """One flow says each request, the other does not; after a reload it is the other way round."""
    texts = {"paths": [f"{daemon.root}/log/*.txt"], "start_at": "beginning"}
    flows = daemon.flow(), daemon.flow(name="audit", source=texts)
    daemon.configure(*flows, log={"level": {"web": "debug"}})
    for name in ("a.log", "a.txt"):
        daemon.path(name).write_bytes(numbered(0, 10))
    daemon.start()
    daemon.wait_for_log("debug call ended flow=web records=10 bytes=")
    wait_until(lambda: len(daemon.lines) == 20, "the lines of both flows")
    process = daemon.process
    assert process is not None

    daemon.configure(*flows, log={"level": {"audit": "debug", "web": "error"}})
    process.send_signal(signal.SIGHUP)
    daemon.wait_for_log("flows=2 added=0 changed=0 removed=0")
    for name in ("b.log", "b.txt"):
        daemon.path(name).write_bytes(numbered(10, 20))
    wait_until(lambda: len(daemon.lines) == 40, "the later lines of both flows")
    assert daemon.stop() == 0

    before, _, after = daemon.log.partition("reloaded")
    assert "call ended flow=audit" not in before
    assert "info file opened flow=audit" in before
    assert "debug call ended flow=audit records=10 bytes=" in after
    assert "info file opened flow=audit" in after
    assert "flow=web" not in after


def test_a_refused_reload_leaves_the_log_levels(daemon: Daemon) -> None:
    """Also when the flows are refused only after the levels were found right."""
    texts = {"paths": [f"{daemon.root}/log/*.txt"]}
    daemon.configure(daemon.flow(), daemon.flow(name="old", source=texts))
    daemon.start()
    daemon.wait_for_log("ready")
    process = daemon.process
    assert process is not None

    daemon.configure(log={"level": {"wbe": "debug"}})
    process.send_signal(signal.SIGHUP)
    daemon.wait_for_log("did you mean 'web'? Allowed here: default, web.")
    firehose = {"firehose": {"delivery_stream": "audit"}}
    unclear = daemon.flow(name="new", source=texts, destination=firehose)
    daemon.configure(daemon.flow(), unclear, log={"level": "debug"})
    process.send_signal(signal.SIGHUP)
    daemon.wait_for_log("renamed_from")
    daemon.path("a.log").write_bytes(numbered(0, 10))
    daemon.wait_for_lines(10)

    assert daemon.stop() == 0
    assert 2 == daemon.log.count("reload refused")
    assert "call ended" not in daemon.log
    assert "info file opened flow=web" in daemon.log


def test_a_changed_flow_goes_on_with_its_open_files(daemon: Daemon) -> None:
    """A reload hands descriptors on: what is written to a deleted file still arrives."""
    with daemon.path("a.log").open("ab", buffering=0) as file:
        file.write(numbered(0, 10))
        daemon.start()
        daemon.wait_for_lines(10)
        daemon.path("a.log").unlink()
        daemon.wait_for_log("file unlinked")

        daemon.configure(daemon.flow(max_in_flight=2))
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for_log("reloaded")
        file.write(numbered(10, 20))
        daemon.wait_for_lines(20)

    assert daemon.stop() == 0
    assert sorted(daemon.lines) == sorted(numbered(0, 20).splitlines(keepends=True))


def test_a_second_signal_leaves_at_once(daemon: Daemon) -> None:
    """While the first SIGTERM waits for an answer that takes long, the second one ends it."""
    daemon.service.set_faults(local.Faults(latency_s=30))
    daemon.path("a.log").write_bytes(numbered(0, 10))
    daemon.start()
    wait_until(lambda: daemon.service.counts()["calls"].get("PutRecords"), "a call under way")
    process = daemon.process
    assert process is not None

    process.send_signal(signal.SIGTERM)
    daemon.wait_for_log("stopping")
    code = daemon.stop(signal.SIGTERM)

    assert code == -signal.SIGTERM
    assert "stopped;" not in daemon.log


def test_signals_that_come_before_the_stop_begins_are_one(daemon: Daemon) -> None:
    """A reload waits for answers: whoever asks twice meanwhile gets a stop that saves all."""
    daemon.service.set_faults(local.Faults(latency_s=3))
    daemon.path("a.log").write_bytes(numbered(0, 10))
    daemon.start()
    wait_until(lambda: daemon.service.counts()["calls"].get("PutRecords"), "a call under way")
    process = daemon.process
    assert process is not None
    status = pathlib.Path(f"/proc/{process.pid}/status")

    daemon.configure(daemon.flow(max_in_flight=2))
    for number in (signal.SIGHUP, signal.SIGTERM):
        process.send_signal(number)
        wait_until(lambda: "ShdPnd:\t0000000000000000" in status.read_text(), "it was taken")
    code = daemon.stop(signal.SIGTERM)

    assert code == 0
    assert "stopped;" in daemon.log


def test_a_reload_during_the_stop_changes_nothing(daemon: Daemon) -> None:
    """SIGHUP while answers are awaited neither ends the process nor the waiting."""
    daemon.service.set_faults(local.Faults(latency_s=2))
    daemon.path("a.log").write_bytes(numbered(0, 10))
    daemon.start()
    wait_until(lambda: daemon.service.counts()["calls"].get("PutRecords"), "a call under way")
    process = daemon.process
    assert process is not None

    process.send_signal(signal.SIGTERM)
    daemon.wait_for_log("stopping")
    code = daemon.stop(signal.SIGHUP)

    assert code == 0
    assert daemon.offsets() == {"a.log": daemon.path("a.log").stat().st_size}


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"),
    reason="needs root and setpriv to run the daemon as a user who may not read a file",
)
def test_what_cannot_be_read_hinders_nothing(public: pathlib.Path) -> None:
    """A directory, FIFO, dangling link and unreadable file are each reported once, as nobody."""
    with unthrottled(public) as daemon:
        daemon.path("good.log").write_bytes(numbered(0, 10))
        daemon.path("private.log").write_bytes(b"secret\n")
        daemon.path("private.log").chmod(0o600)
        daemon.path("directory.log").mkdir()
        daemon.path("dangling.log").symlink_to("nowhere")
        os.mkfifo(daemon.path("fifo.log"))
        for path in (daemon.root, daemon.root / "log", daemon.config):
            path.chmod(0o755)
        for path in (daemon.root / "state", daemon.root):
            path.mkdir(exist_ok=True)
            os.chown(path, 65534, 65534)
        daemon.environ = {"COVERAGE_PROCESS_CONFIG": ""}  # which nobody could not write either
        daemon.prefix = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")

        daemon.start()
        daemon.wait_for_lines(10)
        for number in range(10, 13):  # three scans and more
            with daemon.path("good.log").open("ab") as file:
                file.write(numbered(number, number + 1))
            daemon.path(f"late{number}.log").write_bytes(numbered(100 + number, 101 + number))
            daemon.wait_for_lines(10 + 2 * (number - 9))

        assert daemon.stop() == 0
        for name in ("private", "directory", "dangling", "fifo"):
            assert daemon.log.count(f"{name}.log") == 1, daemon.log
        assert b"secret\n" not in daemon.lines


def test_a_line_of_50_mib_stays_within_the_memory_bound(daemon: Daemon) -> None:
    """A 50 MiB line without newline is sent in parts; the next line arrives, memory is bounded."""
    daemon.configure(daemon.flow(max_buffer="8MiB"))
    daemon.path("a.log").write_bytes(b"x" * (50 * MIB))
    daemon.start()
    daemon.wait_for_log("ready")

    with daemon.path("a.log").open("ab") as file:
        file.write(b"\nnext\n")
    size = 50 * MIB + len(b"\nnext\n")
    wait_until(
        lambda: daemon.service.counts()["streams"]["web"]["bytes_accepted"] >= size,
        "the line after the long one",
        90,
    )

    records = daemon.service.records("web")
    assert sum(map(len, records)) == size
    assert max(map(len, records)) <= MIB
    assert b"next\n" in records  # requests under way together arrive in any order
    assert daemon.peak_memory_bytes() < (64 + 8 + 60) * MIB  # base, buffer, requests being built
    assert daemon.stop() == 0


def test_a_million_one_byte_lines_stay_within_the_memory_bound(tmp_path: pathlib.Path) -> None:
    """Lines of one byte cost a hundred times their size in memory, and are charged for it."""
    web = local.StreamOptions(shards=4, is_throttled=False, keep_records=False, count_lines=False)
    with running(tmp_path, local.Service(local.ServiceOptions(streams={"web": web}))) as daemon:
        daemon.configure(daemon.flow(max_buffer="8MiB"))
        daemon.path("a.log").write_bytes(b"x\n" * 1_000_000)

        daemon.start()
        wait_until(
            lambda: daemon.service.counts()["streams"]["web"]["records_accepted"] == 1_000_000,
            "a million records",
            100,
        )

        assert daemon.peak_memory_bytes() < (64 + 8 + 60) * MIB
        assert daemon.stop() == 0
        assert daemon.offsets() == {"a.log": 2_000_000}


def test_a_poison_record_is_dead_lettered_and_the_rest_arrives(daemon: Daemon) -> None:
    """A record that the service calls invalid is put on disk, once others were accepted."""
    daemon.service.set_faults(local.Faults(poison="poison"))
    daemon.path("a.log").write_bytes(numbered(0, 50) + b"poison\n" + numbered(50, 100))

    daemon.start()
    daemon.wait_for_lines(100)
    daemon.wait_for_log("record dead-lettered")

    assert daemon.stop() == 0
    assert daemon.offsets() == {"a.log": daemon.path("a.log").stat().st_size}
    letters = list((daemon.root / "state" / "dead-letter").iterdir())
    assert len(letters) == 1
    assert letters[0].stat().st_mode & 0o777 == 0o600
    assert b"cG9pc29uCg==" in letters[0].read_bytes()


def test_a_missing_stream_blocks_the_flow_with_a_hint(daemon: Daemon) -> None:
    """A flow without its stream says what to create, and another flow goes on."""
    missing = daemon.flow(name="lost", destination={"kinesis": {"stream": "nowhere"}})
    daemon.configure(daemon.flow(), missing)
    daemon.path("a.log").write_bytes(numbered(0, 10))

    daemon.start()
    daemon.wait_for_lines(10)
    daemon.wait_for_log("cannot deliver flow=lost")

    assert "hint: create the stream" in daemon.log
    assert daemon.stop() == 0


def test_systemd_hears_ready_status_and_stopping(daemon: Daemon) -> None:
    """READY comes after the first scan is durable, then STATUS and WATCHDOG, at last STOPPING."""
    daemon.path("a.log").write_bytes(numbered(0, 10))
    said: list[str] = []
    with notify_socket(daemon.root) as listening:
        daemon.environ = {
            "NOTIFY_SOCKET": str(daemon.root / "notify"),
            "WATCHDOG_USEC": "1000000",
        }
        daemon.start()

        def hear(text: str) -> None:
            while not any(text in one for one in said):
                said.append(listening.recv(4096).decode())

        hear("READY=1")
        offsets_at_ready = daemon.offsets()
        hear("WATCHDOG=1")
        hear("10 records delivered")
        code = daemon.stop()
        hear("STOPPING=1")

    assert code == 0
    assert "a.log" in offsets_at_ready


def test_counters_go_to_cloudwatch(daemon: Daemon) -> None:
    """At a stop at the latest, the five counters of the Java agent are put for the stream."""
    daemon.configure(metrics={"cloudwatch": {"level": "summary", "interval": "10s"}})
    daemon.path("a.log").write_bytes(numbered(0, 10))
    daemon.start()
    daemon.wait_for_lines(10)

    assert daemon.stop() == 0
    assert {
        "BytesSent",
        "RecordSendAttempts",
        "RecordsSent",
        "RecordSendErrors",
        "ServiceErrors",
    } <= {metric["MetricName"] for metric in daemon.service.metrics()}
