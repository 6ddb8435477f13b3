"""`make bench`: every benchmark, or those that are named, one after the other.

    make bench                                  all of them: about half an hour
    make bench ARGS="throughput --pairs 1"      one, with its own options
    make bench ARGS="throughput scale"          two

Each is a module here with a `main(arguments)` and options of its own, see its --help.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
MODULES = ("throughput", "scale", "preprocessing", "refusals")


def main(arguments: list[str]) -> int:
    """Run what is named; the options go to each of them."""
    known = [name for name in MODULES if (HERE / f"{name}.py").exists()]
    named = [argument for argument in arguments if argument in known]
    options = [argument for argument in arguments if argument not in known]
    if options and len(named) != 1:
        print(f"name the benchmark that has these options: {', '.join(known)}", file=sys.stderr)
        return 2
    codes = [
        subprocess.run(
            [sys.executable, str(HERE / f"{name}.py"), *options], check=False
        ).returncode
        for name in named or known
    ]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
