r"""The members that are added to records: compiled from what the operator wrote, filled by chunk.

Pure. A text in which names of values stand in braces is filled with these values; a value that is
the whole text keeps its type. What is the same for all records of a chunk is written once; only
`{offset}` and `{id}` differ, and a template takes them. A member with a value that is not known
(EC2 has not said it) is left out.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

from kagent import model, values
from kagent.preprocessors import jsontext

# JSON, or the name of a value and whether it is the whole text.
_Piece = bytes | tuple[str, bool]


@dataclasses.dataclass(frozen=True, slots=True)
class Filled:
    """The members of a chunk's records: names, and for each its JSON, one or one a record."""

    values: Mapping[str, bytes | Sequence[bytes]]

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self.values)

    def without(self, name: str) -> Filled:
        """Return the members but one."""
        return Filled({key: value for key, value in self.values.items() if key != name})

    def texts(self, count: int) -> Sequence[bytes]:
        """Return the members of each record, as they stand in an object."""
        columns, members = [], []
        for key, value in self.values.items():
            member = jsontext.key(key) + (value if isinstance(value, bytes) else b"")
            member = member.replace(b"%", b"%%")
            if not isinstance(value, bytes):
                member += b"%b"
                columns.append(value[:count])
            members.append(member)
        template = b",".join(members)
        if not columns:
            return [template % ()] * count
        return [template % row for row in zip(*columns, strict=True)]

    def of(self, index: int) -> list[tuple[str, bytes]]:
        """Return the members of one record."""
        return [
            (key, value if isinstance(value, bytes) else value[index])
            for key, value in self.values.items()
        ]


class Member:
    """One member to be added."""

    def __init__(self, value: object) -> None:
        """Compile what was written: a text, number, list, mapping and so on."""
        self._pieces = _merged(_compile(value))

    @property
    def names(self) -> Iterator[str]:
        """The named values that it refers to."""
        return (piece[0] for piece in self._pieces if isinstance(piece, tuple))

    def fill(self, context: model.ChunkContext) -> bytes | list[bytes] | None:
        """Return its JSON, one for all records or one for each; None if a value is not known."""
        columns: list[list[bytes]] = []
        template = b""
        for piece in self._pieces:
            if isinstance(piece, bytes):
                template += piece.replace(b"%", b"%%")
                continue
            name, is_whole = piece
            column = values.column(name, context)
            if isinstance(column, str):
                if not column and name in values.INSTANCE_NAMES:
                    return None
                text = jsontext.string(column.encode())
                template += (text if is_whole else text[1:-1]).replace(b"%", b"%%")
            else:
                shown = b'"%b"' if is_whole and name != "offset" else b"%b"
                template += shown
                columns.append([str(one).encode() for one in column])
        if not columns:
            return template % ()
        return [template % row for row in zip(*columns, strict=True)]


def _compile(value: object) -> Iterator[_Piece]:
    if isinstance(value, str):
        parts = values.parts_of(value)
        if len(parts) == 3 and not parts[0] and not parts[2]:
            yield parts[1], True
            return
        yield b'"'
        for index, part in enumerate(parts):
            yield (part, False) if index % 2 else jsontext.string(part.encode())[1:-1]
        yield b'"'
    elif isinstance(value, list | tuple):
        yield b"["
        for index, one in enumerate(value):
            yield b"," if index else b""
            yield from _compile(one)
        yield b"]"
    elif isinstance(value, dict):
        yield b"{"
        for index, (key, one) in enumerate(value.items()):
            yield (b"," if index else b"") + jsontext.key(key)
            yield from _compile(one)
        yield b"}"
    else:
        yield jsontext.value_of(value)


def _merged(pieces: Iterator[_Piece]) -> list[_Piece]:
    """Return pieces with neighbours that are JSON joined."""
    merged: list[_Piece] = []
    for is_json, group in itertools.groupby(pieces, lambda one: isinstance(one, bytes)):
        if is_json:
            merged.append(b"".join(one for one in group if isinstance(one, bytes)))
        else:
            merged += group
    return merged
