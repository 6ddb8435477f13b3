"""Names of rotated files: `access.log.1`, `access.log-20261130.gz` and the like. Pure.

A name never proves anything; it only says which files and which flows to ask about.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

# What rotators append: numbers, dates and times, and what compressors append to that. Not any
# suffix: app.log is no generation of a log called app.
_SUFFIX = re.compile(
    r"(?:[-.](?:[0-9][0-9T:_]*Z?|old|bak|prev|orig|gz|zst|bz2|xz|lz4|kagent-clean))+"
)


def older_names(path: str) -> Iterator[str]:
    """Yield the paths of which this may be a rotated generation, the longest first."""
    directory, name = os.path.split(path)
    for at in range(len(name) - 1, 0, -1):
        if name[at] in "-." and _SUFFIX.fullmatch(name, at):
            yield os.path.join(directory, name[:at])


def stem(path: str) -> str:
    """Return a path without all that rotators append to names."""
    return min(older_names(path), key=len, default=path)
