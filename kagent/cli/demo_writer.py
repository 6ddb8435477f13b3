"""The demo's web site: writes access logs as a server does, and knows every line that it wrote.

Each file is written through a buffer, so it mostly ends in the middle of a line. A line's number
stands in its URL; no two lines are equal.
"""

from __future__ import annotations

import os
import random
import time

from kagent.cli import demo_account

_CLIENTS = ("192.0.2", "198.51.100", "203.0.113")  # RFC 5737: nobody's addresses
_REQUESTS = (
    "GET /",
    "GET /catalogue/boots",
    "GET /catalogue/tents/{}",
    "GET /images/{}.webp",
    "GET /search/sleeping-bag",
    "POST /basket",
    "GET /account/orders/{}",
    "POST /api/v2/checkout",
)
_STATUSES = (200, 200, 200, 200, 200, 200, 304, 302, 404, 500)
_REFERERS = ("-", "https://www.example.com/", "https://search.example.net/?q=rain+jacket")
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_6) AppleWebKit/605.1.15 Version/17.6 Safari/605.1",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
    "curl/8.5.0",
    "Googlebot/2.1 (+http://www.google.com/bot.html)",
)


class LogFile:
    """One open log file and the lines in it; a rotation ends it, and another takes its name."""

    def __init__(self, path: str, flow: str) -> None:
        """Create the file."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o640)
        found = os.fstat(self._descriptor)
        self.path = path
        self.key: demo_account.FileKey = (flow, found.st_dev, found.st_ino)
        self.lines: list[bytes] = []  # since the file was created or truncated
        self.is_paused = False
        self._end = 0
        self._buffer = b""

    def append(self, line: bytes) -> demo_account.Place:
        """Put a line into the buffer, and return where it will stand."""
        self.lines.append(line)
        self._buffer += line
        start, self._end = self._end, self._end + len(line)
        return demo_account.Place(self.key, start, self._end)

    def write(self, cut: float) -> None:
        """Write the buffer but for a share of its last line."""
        rest = int(cut * len(self.lines[-1])) if self.lines else 0
        self._write(len(self._buffer) - rest)

    def flush(self) -> None:
        """Write all of the buffer: the file ends with a line."""
        self._write(len(self._buffer))

    def pause(self) -> None:
        """Let the file end with a line, and get no more until it is truncated."""
        self.flush()
        self.is_paused = True

    def truncate(self) -> None:
        """Empty it in place, while it is paused, and let it go on."""
        assert self.is_paused
        os.ftruncate(self._descriptor, 0)
        self.lines, self._end = [], 0
        self.is_paused = False

    def close(self) -> None:
        """Write what is left, and end."""
        self.flush()
        os.close(self._descriptor)

    def _write(self, size: int) -> None:
        if size > 0:
            written = os.write(self._descriptor, self._buffer[:size])
            self._buffer = self._buffer[written:]


class Site:
    """Writes the logs of one flow at a steady rate; owned by the demo's one thread."""

    def __init__(self, flow: str, directory: str, names: tuple[str, ...], rate: float) -> None:
        """Create the files.

        Args:
            flow: The flow that reads them.
            directory: Where they lie; it is made.
            names: Of the files.
            rate: Lines a second, over all files.
        """
        os.makedirs(directory)
        self.flow = flow
        self.written: dict[bytes, demo_account.Place] = {}
        self.written_bytes = 0
        self.renames = self.truncations = 0
        self._directory = directory
        self._rate = rate
        self._chooser = random.Random(flow)
        self._due = 0.0
        self.files = {name: self._create(name) for name in names}

    def write(self, seconds: float) -> None:
        """Write as many lines as come in that time."""
        self._due += self._rate * seconds
        ready = [file for file in self.files.values() if not file.is_paused]
        now = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime())
        while self._due >= 1 and ready:
            line = self._line(now)
            place = self._chooser.choice(ready).append(line)
            self.written[line] = place
            self.written_bytes += len(line)
            self._due -= 1
        for file in ready:
            file.write(self._chooser.random())

    def rename(self, name: str, new_name: str) -> None:
        """Rename a file as a rotator does, behind the server's back: it writes on."""
        self.renames += 1
        os.rename(os.path.join(self._directory, name), os.path.join(self._directory, new_name))

    def reopen(self, name: str) -> None:
        """End a file, whatever it is called now, and create it anew: what a SIGHUP does."""
        self.files[name].close()
        self.files[name] = self._create(name)

    def pause(self, name: str) -> list[bytes]:
        """Write no more to a file, and return all its lines."""
        self.files[name].pause()
        return self.files[name].lines

    def truncate(self, name: str) -> None:
        """Empty a paused file in place, as `> file` does, and go on with it."""
        self.truncations += 1
        self.files[name].truncate()

    def flush(self) -> None:
        """End every file with a whole line."""
        for file in self.files.values():
            file.flush()

    def close(self) -> None:
        """Close every file."""
        for file in self.files.values():
            file.close()

    def _create(self, name: str) -> LogFile:
        return LogFile(os.path.join(self._directory, name), self.flow)

    def _line(self, now: str) -> bytes:
        """Return a line of the combined format; 4 microseconds."""
        choose, number = self._chooser.choice, int(self._chooser.random() * 100_000)
        return (
            f"{choose(_CLIENTS)}.{number % 254 + 1} - - [{now}] "
            f'"{choose(_REQUESTS).format(number)}?line={self.flow}-{len(self.written):07d} '
            f'HTTP/1.1" {choose(_STATUSES)} {number * 7 % 48_611} "{choose(_REFERERS)}" '
            f'"{choose(_AGENTS)}"\n'
        ).encode()
