"""The gate of the hot path: how many instructions a line takes, beside a plain way to encode it.

    gate.py            fails when a form takes more than 10 % over what GATE says
    gate.py --renew    prints the figures that GATE should say

Independent of the clock and of other load: valgrind counts instructions, of a run over few lines
and of one over many, and the difference is what the lines took; start-up drops out. It is divided
by what a plain loop of base64 and json.dumps takes for the same lines, counted in the same way, so
that it means the same with another build of Python. Everything random is fixed.

A figure that got better by more than 10 % fails as well: renew it, or the next one may lose it.
"""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import workloads

# Instructions of kagent for a line of 200 bytes / those of the plain loop.
GATE = {"none": 0.319, "newline": 0.093, "kpl": 0.296}
TOLERANCE = 0.10
FEW, MANY = 2_000, 22_000
HERE = pathlib.Path(__file__).parent

PLAIN = """
import base64, itertools, json, pathlib, sys
(path,) = pathlib.Path(sys.argv[1]).iterdir()
with path.open("rb") as file:
    while lines := list(itertools.islice(file, 500)):
        texts = [base64.b64encode(line).decode() for line in lines]
        records = [{"Data": text, "PartitionKey": "k"} for text in texts]
        json.dumps({"StreamName": "bench", "Records": records}).encode()
"""


def instructions(arguments: list[str]) -> int:
    """Return how many instructions a Python program executes."""
    command = [
        "valgrind",
        "--tool=cachegrind",
        "--cache-sim=no",
        "--cachegrind-out-file=/dev/null",
    ]
    ran = subprocess.run(
        [*command, sys.executable, *arguments],
        env={**os.environ, "PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"I +refs: +([0-9,]+)", ran.stderr)
    if ran.returncode or found is None:
        raise SystemExit(f"gate: {' '.join(arguments)}: {ran.stdout}{ran.stderr}")
    return int(found[1].replace(",", ""))


def measure() -> dict[str, float]:
    """Return the figure of each form."""
    with tempfile.TemporaryDirectory(prefix="kagent-gate-") as root:
        few, many = pathlib.Path(root, "few"), pathlib.Path(root, "many")
        lines = [
            workloads.write(path, "200B", n * 200) // 200 for path, n in ((few, FEW), (many, MANY))
        ]
        hot = str(HERE / "hotpath.py")
        programs = {"plain": ["-c", PLAIN, "{}"]}
        programs |= {form: [hot, "{}", form, "--count"] for form in GATE}
        subprocess.run([sys.executable, hot, str(few)], check=True)  # so that all is compiled
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            counts = {
                name: [
                    pool.submit(
                        instructions, [str(path) if one == "{}" else one for one in program]
                    )
                    for path in (few, many)
                ]
                for name, program in programs.items()
            }
            each = {
                name: (after.result() - before.result()) / (lines[1] - lines[0])
                for name, (before, after) in counts.items()
            }
    print({name: round(count) for name, count in each.items()}, "instructions a line")
    return {form: round(each[form] / each["plain"], 3) for form in GATE}


def main() -> int:
    """Compare, or print."""
    if shutil.which("valgrind") is None:
        print("gate: needs valgrind: apt-get install valgrind", file=sys.stderr)
        return 1
    found = measure()
    print(f"GATE = {found}")
    if "--renew" in sys.argv:
        return 0
    code = 0
    for form, figure in found.items():
        change = figure / GATE[form] - 1
        if abs(change) > TOLERANCE:
            code = 1
            print(f"gate: {form}: {figure} is {change:+.0%} beside {GATE[form]}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
