"""A configuration as a tree of values that know where they stand.

What YAML text becomes before anything looks at its meaning: mappings, sequences and scalars, each
with its place in a file and its key path. The tree is what defaults and included files are merged
in, so that every later problem can say the line it was written on, wherever it ended up.

Trees are never changed after they are composed, only built anew from parts of others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence as AnySequence

from kagent import errors, options

_SHOWN_CHARACTERS = 60  # of a value in a message


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where something is written; `text` is the whole line."""

    file: str
    line: int  # from 1
    column: int  # from 1
    width: int = 1
    text: str = ""

    def problem(self, key: str, message: str, hint: str = "") -> errors.Problem:
        """Return a problem with what is written here, and show it."""
        return dataclasses.replace(self.absence(key, message, hint), source_line=self.text)

    def absence(self, key: str, message: str, hint: str = "") -> errors.Problem:
        """Return a problem with what is not written here, or not here alone."""
        return errors.Problem(
            self.file, self.line, self.column, key, message, hint, width=self.width
        )

    def seen_from(self, other: Place) -> str:
        """Return this place as a message at another one names it: 'line 8' or 'FILE:8'."""
        return f"line {self.line}" if self.file == other.file else f"{self.file}:{self.line}"


@dataclasses.dataclass(frozen=True, slots=True)
class Scalar:
    """A value without parts; `written` is its text before variables were put in."""

    path: str
    place: Place
    value: str | int | float | bool | None
    written: str
    is_substituted: bool = False

    @property
    def shown(self) -> str:
        """The value as a message quotes it; never what a variable held, which may be a secret."""
        if self.value is None and not self.is_substituted:
            return self.written or "nothing"
        text = options.printable(self.written)
        if len(text) > _SHOWN_CHARACTERS:
            text = f"{text[:_SHOWN_CHARACTERS]}..."
        return f"'{text}'" if isinstance(self.value, str) or self.is_substituted else text


@dataclasses.dataclass(frozen=True, slots=True)
class Sequence:
    """A list of nodes."""

    path: str
    place: Place
    items: tuple[Node, ...] = ()

    @property
    def shown(self) -> str:
        """The list as a message names it."""
        return "a list" if self.items else "an empty list"


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A key of a mapping, with its place, and what stands behind it."""

    place: Place
    node: Node


@dataclasses.dataclass(frozen=True, slots=True)
class Mapping:
    """Keys and their nodes."""

    path: str
    place: Place
    entries: dict[str, Entry] = dataclasses.field(default_factory=dict)

    @property
    def shown(self) -> str:
        """The mapping as a message names it."""
        return "a mapping" if self.entries else "an empty mapping"

    def get(self, *keys: str) -> Node | None:
        """Return the node at a path of keys, None if there is none."""
        node: Node = self
        for key in keys:
            if not isinstance(node, Mapping) or key not in node.entries:
                return None
            node = node.entries[key].node
        return node

    def place_of(self, key: str) -> Place:
        """Return the place of a key, or of the mapping where the key is missing."""
        return self.entries[key].place if key in self.entries else self.place

    def replace(self, key: str, node: Node) -> Mapping:
        """Return the mapping with another node behind a key."""
        return dataclasses.replace(
            self, entries=self.entries | {key: Entry(self.place_of(key), node)}
        )


Node = Scalar | Sequence | Mapping


def is_nothing(node: Node | None) -> bool:
    """Return whether a node is missing or null, which mean the same."""
    return node is None or (isinstance(node, Scalar) and node.value is None)


def items_of(node: Node | None) -> AnySequence[Node]:
    """Return the items of a sequence; of anything else, none."""
    return node.items if isinstance(node, Sequence) else ()


def text_of(node: Node | None) -> str | None:
    """Return the text that a node is; None for anything else."""
    return node.value if isinstance(node, Scalar) and isinstance(node.value, str) else None


def plain(node: Node) -> object:
    """Return a node as Python values: dicts, tuples and scalars."""
    if isinstance(node, Mapping):
        return {key: plain(entry.node) for key, entry in node.entries.items()}
    if isinstance(node, Sequence):
        return tuple(plain(item) for item in node.items)
    return node.value


def merge(below: Node, above: Node) -> Node:
    """Return two nodes as one, key by key: what stands in `above` wins; lists are not joined."""
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return above
    entries = dict(below.entries)
    for key, entry in above.entries.items():
        node = merge(entries[key].node, entry.node) if key in entries else entry.node
        entries[key] = Entry(entry.place, node)
    return dataclasses.replace(above, entries=entries)


def child_path(path: str, key: str) -> str:
    """Return the path of a key below another: 'flows[0]', 'batch' is 'flows[0].batch'."""
    text = options.printable(key)
    if len(text) > _SHOWN_CHARACTERS:
        text = f"{text[:_SHOWN_CHARACTERS]}..."
    return f"{path}.{text}" if path else text
