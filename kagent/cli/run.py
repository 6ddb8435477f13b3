"""`kagent run`: the daemon, in the foreground."""

from __future__ import annotations

import os
import sys

from kagent import agent, config, errors, logs

EX_CONFIG = 78  # sysexits.h; systemd does not restart on it, see kagent.service


def run(config_option: str | None) -> int:
    """Run until a signal ends it; return the exit code."""
    path = config.default_path(config_option, os.environ)
    try:
        loaded = config.load(path, os.environ)
        logs.configure(loaded.log.level, loaded.log.format, os.environ)
        agent.Agent(path, loaded, os.environ).run()
    except errors.ConfigError as error:
        print(error, file=sys.stderr)
        return EX_CONFIG
    except errors.CheckpointError as error:
        print(f"kagent: {error}", file=sys.stderr)
        return EX_CONFIG
    except (errors.AlreadyRunningError, OSError) as error:
        print(f"kagent: {error}", file=sys.stderr)
        return 1
    return 0
