"""options only"""

from __future__ import annotations

from typing import Annotated

from kagent import options


class DeadLetterOptions(options.Options):
    """Where records go that the service will never take, and how much of them is kept."""

    dir: str | None = None  # None: state_dir/dead-letter
    max_bytes: Annotated[int, options.Size(1024**2, 1024**4)] = 1024**3
