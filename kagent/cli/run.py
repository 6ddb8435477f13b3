"""`kagent run`: the daemon, in the foreground."""

from __future__ import annotations

import gc
import os
import sys

from kagent import agent, config, logs


def run(config_option: str | None) -> int:
    """Run until a signal ends it; return the exit code."""
    path = config.default_path(config_option, os.environ)
    loaded = config.load(path, os.environ)
    logs.configure(loaded.log, [flow.name for flow in loaded.flows], os.environ)
    # What is here by now stays. What comes later is lines, which refer to nothing, and few cycles:
    # with the usual thresholds a fifth of the time went into looking for them.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    try:
        is_saved = agent.Agent(path, loaded, os.environ).run()
    except OSError as error:
        print(f"kagent: cannot start: {error}", file=sys.stderr)
        return 1
    return 0 if is_saved else 1
