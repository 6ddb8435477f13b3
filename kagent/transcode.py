"""Find the lines of a block in the encoding of its file, and turn them into UTF-8: pure.

Offsets stay those of the source: with every line comes how many bytes of the file it took. A code
unit that takes two bytes begins at an even offset; a delimiter is looked for there only.

What is no text in the file's encoding loses nothing silently: each sequence that is wrong becomes
U+FFFD, and `Lines.replaced` counts them by line. Every byte is right in latin-1, and with
`encoding: bytes` nothing is looked at.
"""

from __future__ import annotations

import dataclasses
import io
import re
from typing import Protocol

from kagent import frame

_SURROGATE = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\ufffd"
_HIGH_SURROGATES = {bytes([value]) for value in range(0xD8, 0xDC)}


@dataclasses.dataclass(slots=True)
class Lines:
    """Lines in columns: as text of the record, and their sizes in the file.

    `replaced` is empty where no line holds a replacement.
    """

    texts: list[bytes]
    sizes: list[int]
    replaced: list[int] = dataclasses.field(default_factory=list)

    def keep(self, count: int) -> None:
        """Forget all lines but the first ones."""
        del self.texts[count:], self.sizes[count:], self.replaced[count:]

    def add(self, text: bytes, size: int, replaced: int = 0) -> None:
        """Append a line."""
        if replaced and not self.replaced:
            self.replaced = [0] * len(self.texts)
        self.texts.append(text)
        self.sizes.append(size)
        if self.replaced or replaced:
            self.replaced.append(replaced)


class Encoding(Protocol):
    """One encoding with one delimiter."""

    delimiter: bytes  # in the file
    terminator: bytes  # in a record

    def source_bytes(self, record_bytes: int) -> int:
        """Return how many bytes of the file never become more than so many of a record."""
        ...

    def find(self, data: bytes, at: int, offset: int) -> int:
        """Return where a delimiter begins in data, which is at a file offset; -1 if nowhere."""
        ...

    def lines(self, data: bytes, offset: int) -> Lines:
        """Return all lines of data that are complete."""
        ...

    def text(self, data: bytes, offset: int) -> tuple[bytes, int]:
        """Return any bytes as text, and how many replacements are in it."""
        ...

    def cut(self, data: bytes, size: int, offset: int) -> int:
        """Return how many bytes, at most `size`, leave characters and delimiters whole.

        It depends on nothing behind them, which may not be written yet.
        """
        ...


def encoding_of(one: frame.Frame, *, is_big_endian: bool = False) -> Encoding:
    """Return what reads a frame; `is_big_endian` is what a byte order mark said."""
    if one.encoding in {"bytes", "latin-1"}:
        return ByteEncoding(one.delimiter, is_latin=one.encoding == "latin-1")
    return WideEncoding(
        one.delimiter,
        is_big_endian=one.encoding == "utf-16be" or (one.encoding == "utf-16" and is_big_endian),
    )


class ByteEncoding:
    """Bytes as they stand, or latin-1: a unit is one byte, and every byte is right."""

    def __init__(self, delimiter: str, *, is_latin: bool) -> None:
        """Take each character of the delimiter for one byte."""
        self.delimiter = delimiter.encode("latin-1")
        self.terminator = delimiter.encode("utf-8") if is_latin else self.delimiter
        self._is_latin = is_latin

    def source_bytes(self, record_bytes: int) -> int:
        """Return the bytes themselves; a latin-1 character takes two bytes at most."""
        return record_bytes // 2 if self._is_latin else record_bytes

    def find(self, data: bytes, at: int, offset: int) -> int:
        """Return where a delimiter begins in data."""
        return data.find(self.delimiter, at)

    def lines(self, data: bytes, offset: int) -> Lines:
        """Return all lines of data that are complete."""
        if self.delimiter == b"\n":
            found = io.BytesIO(data).readlines()
            if found and not found[-1].endswith(b"\n"):
                found.pop()
        else:
            found = [line + self.delimiter for line in data.split(self.delimiter)[:-1]]
        sizes = list(map(len, found))
        if self._is_latin and not data.isascii():
            found = [line.decode("latin-1").encode() for line in found]
        return Lines(found, sizes)

    def text(self, data: bytes, offset: int) -> tuple[bytes, int]:
        """Return bytes as text; nothing is ever wrong."""
        return (data.decode("latin-1").encode() if self._is_latin else data), 0

    def cut(self, data: bytes, size: int, offset: int) -> int:
        """Return the size, or less where a delimiter may have begun."""
        return size - _begun(data[:size], self.delimiter) if size < len(data) else len(data)


class WideEncoding:
    """UTF-16: a unit is two bytes, two units may be one character.

    At an odd offset (the half of a unit before it went out with a file that ended there) the
    first byte is the other half, and wrong by itself.
    """

    def __init__(self, delimiter: str, *, is_big_endian: bool) -> None:
        """Take the delimiter for characters."""
        self._codec = "utf-16-be" if is_big_endian else "utf-16-le"
        self._high_at = 0 if is_big_endian else 1  # of the two bytes of a unit
        self._delimiter = delimiter
        self.delimiter = delimiter.encode(self._codec)
        self.terminator = delimiter.encode("utf-8")

    def source_bytes(self, record_bytes: int) -> int:
        """Return an even number: two bytes become at most three, and one byte alone does too."""
        return max(4, (record_bytes - 6) // 3 * 2)

    def find(self, data: bytes, at: int, offset: int) -> int:
        """Return where a delimiter begins, at an even offset of the file."""
        found = data.find(self.delimiter, max(0, at))
        while found >= 0 and (found + offset) % 2:
            found = data.find(self.delimiter, found + 1)
        return found

    def lines(self, data: bytes, offset: int) -> Lines:
        """Return all lines of data that are complete."""
        begin = offset % 2
        end = begin + (len(data) - begin) // 2 * 2
        # Surrogates without their other half pass through and are replaced line by line.
        text = data[begin:end].decode(self._codec, "surrogatepass")
        parts = text.split(self._delimiter)[:-1]
        if not parts:
            return Lines([], [])
        wide = len(self._delimiter.encode(self._codec))
        if 2 * len(text) == end - begin:  # no character takes two units
            sizes = [2 * len(part) + wide for part in parts]
        else:
            sizes = [len(part.encode(self._codec, "surrogatepass")) + wide for part in parts]
        replaced = [0] * len(parts)
        if offset == 0:
            parts[0] = parts[0].removeprefix("\ufeff")
        if begin:
            parts[0], replaced[0] = _REPLACEMENT + parts[0], 1
            sizes[0] += 1
        try:
            texts = [part.encode() + self.terminator for part in parts]
        except UnicodeEncodeError:  # rare: about 1 us a line
            counted = [_SURROGATE.subn(_REPLACEMENT, part) for part in parts]
            texts = [part.encode() + self.terminator for part, _ in counted]
            replaced = [known + count for known, (_, count) in zip(replaced, counted, strict=True)]
        return Lines(texts, sizes, replaced if any(replaced) else [])

    def text(self, data: bytes, offset: int) -> tuple[bytes, int]:
        """Return any bytes as text; half units at either end are wrong."""
        begin = offset % 2
        end = begin + (len(data) - begin) // 2 * 2
        text = data[begin:end].decode(self._codec, "surrogatepass")
        if offset == 0:
            text = text.removeprefix("\ufeff")
        text, count = _SURROGATE.subn(_REPLACEMENT, text)
        halves = (begin if data else 0, len(data) - end)
        text = _REPLACEMENT * halves[0] + text + _REPLACEMENT * halves[1]
        return text.encode(), count + sum(halves)

    def cut(self, data: bytes, size: int, offset: int) -> int:
        """Return an end at an even offset, and not within a pair."""
        size = min(size, len(data))
        if size == len(data) or size < 4:
            return size
        size -= (offset + size) % 2
        is_high = data[size - 2 + self._high_at : size - 1 + self._high_at] in _HIGH_SURROGATES
        size -= 2 * (is_high and size > 4)
        return size - _begun(data[:size], self.delimiter, 2)


def _begun(data: bytes, delimiter: bytes, unit: int = 1) -> int:
    """Return how many bytes at the end of data may be the beginning of a delimiter."""
    begun = range(len(delimiter) - unit, 0, -unit)
    return next((size for size in begun if data.endswith(delimiter[:size])), 0)
