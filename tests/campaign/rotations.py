"""Every way in which logrotate rotates, and what its own race costs.

The whole product of its methods and options, of writers and of what kagent is doing, on real files
in this process: no line may be lost and none may come twice, but for the lines that were written
to a file that was already compressed or deleted while kagent was down.

Then copytruncate under a writer that never stops: what is written between its copy and its
truncation is in no file any more. Counted are the lines that logrotate destroyed, those of them
that kagent had read in time, and the lines that came twice.
"""

from __future__ import annotations

import argparse
import collections
import logging
import pathlib
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import rotation_rig
from real_files import Host

RACE_ROTATIONS = 30
RACE_PAUSE_S = 0.3  # several kilobytes between two rotations


def main() -> int:
    """Play everything; exit 1 if a line was lost or came twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="play cases whose names hold this")
    parser.add_argument("--verbose", action="store_true", help="print every case")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    cases = [case for case in rotation_rig.all_cases() if options.only in str(case)]
    bad = [case for case in cases if not play(case, is_verbose=options.verbose)]
    is_good = not bad
    if not options.only:
        is_good &= race()
    print(f"rotations: {len(cases)} cases, {len(bad)} bad: {'passed' if is_good else 'FAILED'}")
    return 0 if is_good else 1


def play(case: rotation_rig.Case, *, is_verbose: bool) -> bool:
    """Play one case and print what became of its lines."""
    with tempfile.TemporaryDirectory(prefix="kagent-rotation-") as root:
        found = rotation_rig.run(case, pathlib.Path(root))
    if is_verbose or not found.is_good or found.destroyed or found.abandoned_bytes:
        print(
            f"{'ok ' if found.is_good else 'BAD'} {case}: {found.written} lines,"
            f" lost {len(found.lost)}, destroyed {len(found.destroyed)},"
            f" twice {len(found.duplicated)}, foreign {len(found.foreign)},"
            f" said to be lost {found.abandoned_bytes} bytes",
            flush=True,
        )
    return found.is_good


def race() -> bool:
    """Rotate with copytruncate while lines are written; return whether kagent lost none."""
    case = rotation_rig.Case("copytruncate", "no", False, False, "never", "running")
    with tempfile.TemporaryDirectory(prefix="kagent-race-") as name:
        root = pathlib.Path(name)
        (root / "log").mkdir()
        log = root / "log" / "app.log"
        writer = rotation_rig.Writer(log)
        rotator = rotation_rig.Logrotate(root, log, case)
        host = Host(root, paths=(str(log),))
        stopping = threading.Event()

        def write() -> None:
            while not stopping.wait(0.0005):
                writer.write(1)

        thread = threading.Thread(target=write)
        host.start()
        thread.start()
        delivered: list[bytes] = []
        for _ in range(RACE_ROTATIONS):
            end = time.monotonic() + RACE_PAUSE_S
            while time.monotonic() < end:
                delivered += host.run(0.25)
            rotator.rotate()
        stopping.set()
        thread.join()
        delivered += host.run(120.0)
        host.stop()
        writer.close()
        kept = {line for path in log.parent.iterdir() for line in path.open("rb")}
    counts = collections.Counter(delivered)
    destroyed = [line for line in writer.written if line not in kept]
    lost = [line for line in writer.written if line not in counts]
    blamed = set(destroyed)
    print(
        f"race of copytruncate, {RACE_ROTATIONS} rotations: {len(writer.written)} lines,"
        f" destroyed by logrotate {len(destroyed)}, of which kagent had read"
        f" {len(destroyed) - len(blamed.intersection(lost))}, lost beside them"
        f" {len([line for line in lost if line not in blamed])},"
        f" twice {sum(count > 1 for count in counts.values())}"
    )
    return blamed.issuperset(lost)


if __name__ == "__main__":
    sys.exit(main())
