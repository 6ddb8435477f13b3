"""`kagent run`: the daemon, in the foreground."""

from __future__ import annotations

import os
import sys

from kagent import agent, config, logs


def run(config_option: str | None) -> int:
    """Run until a signal ends it; return the exit code."""
    path = config.default_path(config_option, os.environ)
    loaded = config.load(path, os.environ)
    logs.configure(loaded.log.level, loaded.log.format, os.environ)
    try:
        is_saved = agent.Agent(path, loaded, os.environ).run()
    except OSError as error:
        print(f"kagent: cannot start: {error}", file=sys.stderr)
        return 1
    return 0 if is_saved else 1
