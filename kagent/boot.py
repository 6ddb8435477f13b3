"""Whether the machine started anew since kagent last ran: files may have lost what was not synced.

A power cut takes the end of a log that was written and shipped, but not on disk yet. What is
written in its place would be shipped under ids that were given away, and a consumer that drops
duplicates by id would drop lines that it never saw. Nobody can tell afterwards what was lost, so
every file gets a new tail_id once after each start of the machine. The end of kagent itself loses
nothing, and changes no id.
"""

from __future__ import annotations

import contextlib
import logging
import os

_log = logging.getLogger("kagent.agent")

_NAME = "boot_id"
_KERNELS = "/proc/sys/kernel/random/boot_id"


class Boot:
    """Knows in which start of the machine the state was last used."""

    def __init__(self, state_dir: str, kernels: str = _KERNELS) -> None:
        """Read nothing yet; `kernels` is the file in which the kernel names its start."""
        self._path = os.path.join(state_dir, _NAME)
        self._kernels = kernels

    @property
    def is_another(self) -> bool:
        """The state was last used before the machine started; or nobody can say."""
        return _text(self._path) != _text(self._kernels) or not _text(self._kernels)

    def remember(self) -> None:
        """Note durably that the state is used in this start.

        Where there is no room for it, the next start of kagent takes it for another: ids are
        renewed once more, and nothing else.
        """
        try:
            self._write()
        except OSError as error:
            _log.warning("start of the machine not noted path=%s error=%s", self._path, error)

    def _write(self) -> None:
        directory = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            file = os.open(_NAME, flags, 0o600, dir_fd=directory)
            try:
                os.write(file, _text(self._kernels).encode())
                os.fsync(file)
            finally:
                os.close(file)
            os.fsync(directory)
        finally:
            os.close(directory)


def _text(path: str) -> str:
    with contextlib.suppress(OSError), open(path, encoding="ascii", errors="replace") as file:
        return file.read(100).strip()
    return ""
