"""The storm: rotations, kill -9, refused records and lost answers, all together.

A writer puts numbered lines of one length into many files and renames them each second, inside the
pattern. The real daemon ships them to the local service, which refuses a share of the records, one
shard at a time all of them, and loses, cuts, garbles, delays or denies a share of the answers; it
is killed with SIGKILL and started again every few seconds.

Passed when every line arrived, when the duplicates are at most what explains them, and when the
offsets in the database equal the sizes of the files. Explained are the records of lost answers,
and at each kill the lines that the service had accepted beyond what the database says is settled.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

LINE_BYTES = 200
TICK_S = 0.05
LINE_PATTERN = f"([0-9]{{12}}) x{{{LINE_BYTES - 14}}}"  # finds the lines of packed records, too
STREAM = "storm"
SHARDS = 40
OTHER_FAULTS = (
    *("reset_share", "fail_early_share", "fail_share", "fail_late_share", "truncate_share"),
    *("slow_share", "redirect_share", "garble_share", "miscount_share", "bloat_share"),
    "stale_share",
)
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
}


@dataclasses.dataclass
class Kill:
    """At a kill: the lines that the service had, and the lines that the database was sure of."""

    accepted: int
    durable: int

    @property
    def explained(self) -> int:
        """Lines that may come again."""
        return max(0, self.accepted - self.durable)


def main() -> int:
    """Run one storm and print what became of every line."""
    options = parse_options()
    root = pathlib.Path(tempfile.mkdtemp(prefix="kagent-storm-"))
    try:
        figures = run(options, root)
    finally:
        if options.keep:
            print(f"kept: {root}", file=sys.stderr)
        else:
            shutil.rmtree(root)
    print(json.dumps(figures, indent=2))
    is_good = (
        figures["lost"] == 0
        and figures["duplicated"] <= figures["explained"]
        and (options.kill_every or figures["duplicated"] == figures["explained"])
        and not figures["offsets_wrong"]
        and figures["exit_code"] == 0
    )
    print(f"storm: {'passed' if is_good else 'FAILED'}")
    return 0 if is_good else 1


def parse_options() -> argparse.Namespace:
    """Return what the command line asks for; the defaults are the storm of the README."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--rate", type=int, default=20_000, help="lines a second")
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--directories", type=int, default=5)
    parser.add_argument("--pack", choices=["none", "newline", "kpl"], default="none")
    parser.add_argument("--partition-key", default="random", help="of Kinesis, a text")
    parser.add_argument("--kill-every", type=float, default=3.0, help="seconds; 0: never")
    parser.add_argument("--refuse-share", type=float, default=0.02)
    parser.add_argument("--lose-share", type=float, default=0.01)
    parser.add_argument(
        "--other-shares", type=float, default=0.003, help="of calls, for each other fault"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--deadline", type=float, default=180.0, help="seconds in all")
    parser.add_argument("--keep", action="store_true", help="keep the directory")
    return parser.parse_args()


def run(options: argparse.Namespace, root: pathlib.Path) -> dict[str, Any]:
    """Write, kill, wait until everything arrived, and count."""
    deadline = time.monotonic() + options.deadline
    service = start_service(options)
    ready = json.loads(service.stdout.readline())  # type: ignore[union-attr]
    config = write_config(options, root, ready["endpoint_url"])
    writer = Writer(options, root / "log")
    daemon = start_daemon(config, root)
    kills: list[Kill] = []
    try:
        writer.start()
        started = time.monotonic()
        next_kill = started + options.kill_every
        turn = 0
        while not is_over(writer, ready, root, options.lines):
            if time.monotonic() > deadline:
                break
            if daemon.poll() is not None:
                raise SystemExit(f"the daemon ended by itself: {daemon.returncode}; see {root}")
            if time.monotonic() - started > turn:
                turn += 1
                set_faults(ready, faults_of(options, turn))
            if options.kill_every and time.monotonic() >= next_kill and writer.is_alive():
                kills.append(kill(daemon, root, ready))
                daemon = start_daemon(config, root)
                next_kill = time.monotonic() + options.kill_every
            time.sleep(TICK_S)
        seconds = time.monotonic() - started
        daemon.send_signal(signal.SIGTERM)
        exit_code = daemon.wait(60)
        final, drawn = counts(ready), all_counts(ready)["faults"]
    finally:
        writer.stop()
        daemon.kill()
        service.send_signal(signal.SIGTERM)
        service.wait(30)
    wrong = wrong_offsets(root)
    return {
        "written": options.lines,
        "arrived": final["lines_distinct"],
        "lost": options.lines - final["lines_distinct"],
        "duplicated": final["duplicates"],
        "explained": final["lines_answer_lost"] + sum(one.explained for one in kills),
        "explained_by_lost_answers": final["lines_answer_lost"],
        "explained_by_kills": [one.explained for one in kills],
        "refused": final["records_refused"],
        "faults": drawn,
        "files": len(list(files_of(root))),
        "offsets_wrong": wrong,
        "seconds": round(seconds, 1),
        "exit_code": exit_code,
    }


def is_over(writer: Writer, ready: dict[str, Any], root: pathlib.Path, lines: int) -> bool:
    """Return whether all was written, has arrived, and is known to have.

    A line whose answer was lost has arrived before the daemon can know it.
    """
    has_arrived = not writer.is_alive() and counts(ready)["lines_distinct"] >= lines
    return has_arrived and not wrong_offsets(root)


def start_service(options: argparse.Namespace) -> subprocess.Popen[str]:
    """Start the local service with its faults, in a process of its own."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "kagent.local", "--stream", f"{STREAM}={SHARDS}", "--no-keep"),
            *("--line-pattern", LINE_PATTERN),
            *("--seed", str(options.seed), "--faults", json.dumps(faults_of(options, 0))),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )


def faults_of(options: argparse.Namespace, turn: int) -> dict[str, Any]:
    """Return everything that goes wrong at once; in each turn another shard is full.

    Every second turn refused records are called internal failures.
    """
    others = dict.fromkeys(OTHER_FAULTS, options.other_shares)
    return {
        **others,
        "refuse_share": options.refuse_share,
        "refuse_code": "InternalFailure" if turn % 2 else "",
        "botch_share": options.other_shares,
        "lose_share": options.lose_share,
        "slow_s": 0.5,
        "throttle_shards": [f"shardId-{turn % SHARDS:012d}"] if options.other_shares else [],
    }


def set_faults(ready: dict[str, Any], faults: dict[str, Any]) -> None:
    """Replace the faults of the running service."""
    request = urllib.request.Request(
        f"{ready['endpoint_url']}/_local/faults", json.dumps(faults).encode(), method="POST"
    )
    urllib.request.urlopen(request, timeout=10).close()


def start_daemon(config: pathlib.Path, root: pathlib.Path) -> subprocess.Popen[bytes]:
    """Start `kagent run`; its log is added to daemon.log."""
    with (root / "daemon.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "kagent", "run", "-c", str(config)],
            stderr=log,
            env={**os.environ, **CREDENTIALS},
        )


def write_config(
    options: argparse.Namespace, root: pathlib.Path, endpoint_url: str
) -> pathlib.Path:
    """Write the daemon's configuration: one flow over all files and their generations."""
    path = root / "kagent.yaml"
    path.write_text(
        f"""\
state_dir: {root}/state
aws: {{region: eu-west-1, endpoint_url: "{endpoint_url}"}}
metrics: {{cloudwatch: {{level: none}}}}
flows:
  - name: storm
    source:
      paths: ["{root}/log/*/*.log*"]
      start_at: beginning
    destination:
      kinesis: {{stream: {STREAM}, partition_key: "{options.partition_key}"}}
    pack: {options.pack}
    batch: {{max_age: 200ms}}
"""
    )
    return path


class Writer(threading.Thread):
    """Writes numbered lines of LINE_BYTES at a rate, and renames all files each second."""

    def __init__(self, options: argparse.Namespace, root: pathlib.Path) -> None:
        super().__init__(daemon=True)
        self._options = options
        self._stopping = threading.Event()
        self._paths = [
            root / f"host{number % options.directories}" / f"app{number}.log"
            for number in range(options.files)
        ]
        for path in self._paths:
            path.parent.mkdir(parents=True, exist_ok=True)

    def stop(self) -> None:
        """Write no more."""
        self._stopping.set()

    def run(self) -> None:
        """Write all lines."""
        started = time.monotonic()
        files = {path: path.open("ab", buffering=0) for path in self._paths}
        written, generation = 0, 0
        while written < self._options.lines and not self._stopping.wait(TICK_S):
            elapsed = time.monotonic() - started
            due = min(self._options.lines, int(elapsed * self._options.rate))
            for path, share in zip(
                itertools.cycle(self._paths), shares(written, due), strict=False
            ):
                files[path].write(b"".join(line(number) for number in share))
            written = due
            if int(elapsed) > generation:
                generation = int(elapsed)
                for path, file in files.items():
                    path.rename(f"{path}.{generation}")
                    file.close()
                    files[path] = path.open("ab", buffering=0)
        for file in files.values():
            file.close()


def shares(first: int, last: int) -> Iterator[range]:
    """Yield runs of up to 50 line numbers, one a file in turn."""
    for start in range(first, last, 50):
        yield range(start, min(last, start + 50))


def line(number: int) -> bytes:
    """Return a numbered line of LINE_BYTES."""
    return f"{number:012d} ".encode().ljust(LINE_BYTES - 1, b"x") + b"\n"


def kill(daemon: subprocess.Popen[bytes], root: pathlib.Path, ready: dict[str, Any]) -> Kill:
    """Kill the daemon, and see what the service has and what the database is sure of."""
    daemon.kill()
    daemon.wait()
    accepted = -1
    while True:  # calls that had gone out are still being taken
        now = counts(ready)["lines_distinct"]
        if now == accepted:
            break
        accepted = now
        time.sleep(TICK_S)
    return Kill(accepted, durable_lines(root))


def durable_lines(root: pathlib.Path) -> int:
    """Return how many lines the database says are settled."""
    size = 0
    for row in read_rows(root):
        size += row["offset"] - row["start"]
        size += sum(one[1] - one[0] for one in json.loads(row["ranges"]))
    return size // LINE_BYTES


def wrong_offsets(root: pathlib.Path) -> list[str]:
    """Return the files whose saved offset is not their size, or that have none."""
    offsets = {int(row["inode"]): row["offset"] for row in read_rows(root)}
    return [
        f"{path.name}: {offsets.get(path.stat().st_ino)} of {path.stat().st_size}"
        for path in files_of(root)
        if offsets.get(path.stat().st_ino) != path.stat().st_size
    ]


def files_of(root: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yield every file that the writer wrote."""
    return (root / "log").glob("*/*")


def read_rows(root: pathlib.Path) -> list[sqlite3.Row]:
    """Return the checkpoints as they are on disk."""
    path = root / "state" / "checkpoints.db"
    if not path.exists():
        return []
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        return connection.execute("SELECT * FROM checkpoint").fetchall()
    finally:
        connection.close()


def counts(ready: dict[str, Any]) -> dict[str, Any]:
    """Return what the service counted for the stream."""
    found: dict[str, Any] = all_counts(ready)["streams"][STREAM]
    return found


def all_counts(ready: dict[str, Any]) -> dict[str, Any]:
    """Return all that the service counted."""
    url = f"{ready['endpoint_url']}/_local/counts"
    with urllib.request.urlopen(url, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


if __name__ == "__main__":
    sys.exit(main())
