"""How the bytes of a file become records, as values: what a configuration says, resolved.

Nothing here acts; `framing` obeys these values and `split.Rules` carries them. Their digest is
saved with every checkpoint: other values may split the same bytes otherwise.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Literal

Encoding = Literal["bytes", "utf-16", "utf-16le", "utf-16be", "latin-1"]
Decode = Literal["none", "cri", "docker"]
Preset = Literal["java", "python", "go", "ruby", "csv"]


@dataclasses.dataclass(frozen=True, slots=True)
class Multiline:
    """Which lines belong to one record: a preset's, or those of the operator's patterns.

    `bytes_max` counts bytes of the source; `timeout_s` is how long a file must not have grown
    until a record whose end is not known is taken to be complete.
    """

    preset: Preset | None = None
    start: str | None = None
    continuation: str | None = None
    end: str | None = None
    lines_max: int = 5000
    bytes_max: int = 1024**2
    timeout_s: float = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """All that decides where a record begins and ends, and what becomes of its bytes.

    `delimiter` is text; in an encoding of bytes each character of it is one byte.
    """

    delimiter: str = "\n"
    is_stripped: bool = False
    encoding: Encoding = "bytes"
    decode: Decode = "none"
    header_lines: int = 0
    multiline: Multiline | None = None

    @property
    def is_plain(self) -> bool:
        """Records are lines as they stand in the file: `split` alone makes them."""
        return dataclasses.replace(self, header_lines=0) == Frame()

    @property
    def is_bytewise(self) -> bool:
        """Lines are bytes as they stand, up to a newline."""
        return self.encoding == "bytes" and self.decode == "none" and self.delimiter == "\n"

    @property
    def has_no_nuls(self) -> bool:
        """NULs are in no line: they stand where nothing was written."""
        return self.encoding in {"bytes", "latin-1"} and "\0" not in self.delimiter

    @property
    def is_grouped(self) -> bool:
        """A record may be several lines."""
        return self.multiline is not None or self.decode != "none"

    @property
    def digest(self) -> str:
        """A text that differs whenever the values do; empty where nothing was set."""
        if self == Frame():
            return ""
        return hashlib.blake2b(repr(self).encode(), digest_size=8).hexdigest()
