"""inotify, of one file each: the kernel tells once that it was written to or cut.

watchdog, which gives hints of directories, cannot be asked for this: it reports each write. A
watch that ends with its first event costs nothing however much is written. The numbers are those
of inotify(7).
"""

from __future__ import annotations

import ctypes
import os
import struct

_MODIFY, _ONESHOT, _OVERFLOW = 0x2, 0x8000_0000, 0x4000
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name, which a file has none
_READ_BYTES = 64 * 1024


class Inotify:
    """Implements `model.Growth`; a token is a watch descriptor, which the kernel gives once."""

    def __init__(self) -> None:
        """Begin; raises OSError if the user has too many of them."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._handle = self._checked(self._libc.inotify_init1(_FLAGS))

    def watch(self, handle: int) -> int:
        """Watch an open file until it is told of, or longer; 12 us."""
        path = b"/proc/self/fd/%d" % handle  # whatever its name is now, if it has one
        return self._checked(
            self._libc.inotify_add_watch(self._handle, path, ctypes.c_uint32(_MODIFY | _ONESHOT))
        )

    def told(self) -> list[int] | None:
        """Return the tokens of what was written to, or is watched no more; None: some are lost."""
        tokens: dict[int, None] = {}
        is_whole = True
        while True:
            try:
                data = os.read(self._handle, _READ_BYTES)
            except BlockingIOError:
                return list(tokens) if is_whole else None
            at = 0
            while at < len(data):
                token, mask, _, name_bytes = _EVENT.unpack_from(data, at)
                at += _EVENT.size + name_bytes
                is_whole = is_whole and not mask & _OVERFLOW
                tokens[token] = None

    def forget(self, token: int) -> None:
        """Watch a file no more; one that is not watched is none."""
        self._libc.inotify_rm_watch(self._handle, token)

    def close(self) -> None:
        """End."""
        os.close(self._handle)

    @staticmethod
    def _checked(result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result
