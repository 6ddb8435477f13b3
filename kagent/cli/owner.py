"""Whose files a command writes: the daemon's, whoever calls the command."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def acting_as_owner(path: str) -> Iterator[None]:
    """As root, act as the owner of a directory: the daemon could not open files of root's."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        found = None
    if os.geteuid() != 0 or found is None or found.st_uid == 0:
        yield
        return
    os.setegid(found.st_gid)
    os.seteuid(found.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
