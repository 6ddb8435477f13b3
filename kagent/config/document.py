"""A configuration file becomes a tree of nodes.

Reads bytes and YAML's syntax, and knows no key by name. Built on the parser's events instead of
its loader: `yaml.safe_load` keeps the last of duplicate keys silently, reads `010` as 8 and `on`
as true, and forgets the lines. Events are taken one by one, so that depth and number of nodes are
bounded while they come: a file of 1 MiB of '[' or an alias that doubles forty times is refused at
once.

Every problem goes to the caller's list; after one with the syntax there is no tree.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from typing import NoReturn

import yaml

from kagent import errors, options
from kagent.config import nodes, scalars

FILE_BYTES_MAX = 1024**2
DEPTH_MAX = 64
NODES_MAX = 100_000

# The same events come from both; libyaml's parser is twenty times faster, where PyYAML has it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # what YAML counts as one
_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_FORBIDDEN = re.compile("[\0\ud800-\udfff]")  # can come from escapes such as "\0"
_SPECIAL = re.compile(r"[*&!%@`{}\[\]]|: .*: ")


class _UnreadableError(Exception):
    """There is no tree to be had from this file; carries the problem."""

    def __init__(self, problem: errors.Problem) -> None:
        self.problem = problem
        super().__init__(problem.message)


def read(
    file: str, environ: Mapping[str, str], problems: list[errors.Problem]
) -> nodes.Mapping | None:
    """Read a configuration file; None if it cannot be read or is no YAML mapping.

    Args:
        file: Its path, as messages name it.
        environ: The variables that `${NAME}` may name.
        problems: Takes what is wrong with it.
    """
    try:
        text = _decode(file, _read_bytes(file))
        return _Composer(file, text, environ, problems).compose()
    except _UnreadableError as unreadable:
        problems.append(unreadable.problem)
        return None


def _read_bytes(file: str) -> bytes:
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for a writer.
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _UnreadableError(_about(file, f"cannot be read: {reason}")) from None
    with open(fd, "rb") as opened:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            kind = "a directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "no regular file"
            raise _UnreadableError(_about(file, f"is {kind}; expected a YAML file"))
        try:
            data = opened.read(FILE_BYTES_MAX + 1)
        except OSError as error:
            raise _UnreadableError(_about(file, f"cannot be read: {error.strerror}")) from None
    if len(data) > FILE_BYTES_MAX:
        limit = options.format_size(FILE_BYTES_MAX)
        raise _UnreadableError(_about(file, f"is larger than {limit}; is it a configuration file?"))
    return data


def _decode(file: str, data: bytes) -> str:
    """Return the text of a file; a byte order mark is skipped."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        message = f"byte 0x{data[error.start]:02x} is no UTF-8; save the file as UTF-8"
        raise _UnreadableError(_at_end_of(file, before).absence("", message)) from None
    unprintable = _UNPRINTABLE.search(text)
    if unprintable:
        shown = options.printable(unprintable[0])
        message = f"the control character {shown} is not allowed; is it a text file?"
        place = _at_end_of(file, text[: unprintable.start()])
        raise _UnreadableError(place.absence("", message))
    return text


def _about(file: str, message: str) -> errors.Problem:
    return errors.Problem(options.printable(file), 0, 0, "", message)


def _at_end_of(file: str, before: str) -> nodes.Place:
    lines = _LINE_BREAK.split(before)
    return nodes.Place(options.printable(file), len(lines), len(lines[-1]) + 1)


class _Composer:
    """Builds one file's tree from the parser's events, depth first."""

    def __init__(
        self,
        file: str,
        text: str,
        environ: Mapping[str, str],
        problems: list[errors.Problem],
    ) -> None:
        self._file = options.printable(file)
        self._lines = [_one_column_each(line) for line in _LINE_BREAK.split(text)]
        self._environ = environ
        self._problems = problems
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)
        self._anchors: dict[str, nodes.Node | None] = {}  # None: its node is not complete yet
        self._nodes = 0

    def compose(self) -> nodes.Mapping:
        """Return the tree of the one document of the file."""
        event = self._next()
        while isinstance(event, yaml.StreamStartEvent | yaml.DocumentStartEvent):
            event = self._next()
        start = nodes.Place(self._file, 1, 1)
        if isinstance(event, yaml.StreamEndEvent):
            return nodes.Mapping("", start)
        node = self._node(event, "", 0)
        self._next()  # the document's end
        event = self._next()
        if not isinstance(event, yaml.StreamEndEvent):
            self._refuse(self._place(event), "", "a second document starts here; expected one")
        if nodes.is_nothing(node):
            return nodes.Mapping("", start)
        if not isinstance(node, nodes.Mapping):
            self._refuse(node.place, "", f"found {node.shown}, expected a mapping")
        return node

    def _node(self, event: yaml.Event, path: str, depth: int) -> nodes.Node:
        """Return the node that starts with an event, and take its other events."""
        place = self._place(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor, place, path, depth)
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
        self._count(place, path, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        if event.tag is not None:
            message = f"found the tag {options.printable(event.tag)}; tags are not allowed"
            self._report(place, path, message, "Remove it; a value in quotes is text.")
        node: nodes.Node
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, place, path)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(place, path, depth)
        else:
            node = self._mapping(place, path, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _scalar(self, event: yaml.ScalarEvent, place: nodes.Place, path: str) -> nodes.Scalar:
        text = event.value
        try:
            text = scalars.substitute(text, self._environ)
        except ValueError as error:
            self._report(place, path, str(error))
        if _FORBIDDEN.search(event.value):
            self._report(place, path, "holds a character that no text can hold")
        value = scalars.resolve(text) if event.implicit[0] else text
        return nodes.Scalar(path, place, value, event.value, "${" in event.value)

    def _sequence(self, place: nodes.Place, path: str, depth: int) -> nodes.Sequence:
        items: list[nodes.Node] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._node(event, f"{path}[{len(items)}]", depth + 1))
        return nodes.Sequence(path, place, tuple(items))

    def _mapping(self, place: nodes.Place, path: str, depth: int) -> nodes.Mapping:
        entries: dict[str, nodes.Entry] = {}
        merged: dict[str, nodes.Entry] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key_place = self._place(event)
            key = self._key(event, key_place, path, depth)
            is_merge = key == _MERGE and event.implicit[0]
            child = path if is_merge else nodes.child_path(path, key or "")
            node = self._node(self._next(), child, depth + 1)
            if is_merge:
                merged |= self._to_merge(node, path, depth)
            elif key in entries:
                first = entries[key].place.seen_from(key_place)
                message = f"stands twice in this mapping, first at {first}"
                self._report(key_place, child, message, "Remove one of them.")
            elif key is not None:
                entries[key] = nodes.Entry(key_place, node)
        return nodes.Mapping(path, place, merged | entries)

    def _key(self, event: yaml.Event, place: nodes.Place, path: str, depth: int) -> str | None:
        """Return a mapping's key; None, and a problem, if it is no text."""
        if isinstance(event, yaml.ScalarEvent):
            key = scalars.resolve(event.value) if event.implicit[0] else event.value
            shown = event.value or "nothing"
        else:
            node = self._node(event, path, depth + 1)
            key = node.value if isinstance(node, nodes.Scalar) else None
            shown = node.shown
        if isinstance(key, str):
            return key
        self._report(place, path, f"found {shown} as a key, expected text")
        return None

    def _to_merge(self, node: nodes.Node, path: str, depth: int) -> dict[str, nodes.Entry]:
        """Return what `<<` adds to a mapping; the first of several mappings wins."""
        entries: dict[str, nodes.Entry] = {}
        for item in reversed(node.items if isinstance(node, nodes.Sequence) else [node]):
            moved = self._moved(item, item.place, path, depth)
            if isinstance(moved, nodes.Mapping):
                entries |= moved.entries
            else:
                message = f"found {item.shown} behind '<<', expected a mapping or a list of them"
                self._report(item.place, path, message)
        return entries

    def _alias(self, name: str, place: nodes.Place, path: str, depth: int) -> nodes.Node:
        if name not in self._anchors:
            shown = options.printable(name)
            self._refuse(place, path, f"nothing above has the anchor &{shown}", _QUOTES_HINT)
        node = self._anchors[name]
        if node is None:
            self._refuse(place, path, f"the alias *{name} stands within the value that it names")
        return self._moved(node, place, path, depth)

    def _moved(self, node: nodes.Node, place: nodes.Place, path: str, depth: int) -> nodes.Node:
        """Return a node as one at another path; it keeps the place where it was written."""
        self._count(place, path, depth)
        if isinstance(node, nodes.Mapping):
            entries = {
                key: nodes.Entry(
                    entry.place,
                    self._moved(entry.node, place, nodes.child_path(path, key), depth + 1),
                )
                for key, entry in node.entries.items()
            }
            return dataclasses.replace(node, path=path, entries=entries)
        if isinstance(node, nodes.Sequence):
            items = tuple(
                self._moved(item, place, f"{path}[{index}]", depth + 1)
                for index, item in enumerate(node.items)
            )
            return dataclasses.replace(node, path=path, items=items)
        return dataclasses.replace(node, path=path)

    def _count(self, place: nodes.Place, path: str, depth: int) -> None:
        """Count one more node, at a depth; refuse the file when there are too many or too deep."""
        self._nodes += 1
        if depth > DEPTH_MAX:
            self._refuse(place, "", f"values are nested deeper than {DEPTH_MAX} levels")
        if self._nodes > NODES_MAX:
            self._refuse(place, "", f"more than {NODES_MAX:,} values, aliases included")

    def _next(self) -> yaml.Event:
        try:
            return next(self._events)
        except yaml.MarkedYAMLError as error:
            self._refuse_syntax(error)
        except yaml.YAMLError as error:
            raise _UnreadableError(_about(self._file, f"is no YAML: {error}")) from None

    def _refuse_syntax(self, error: yaml.MarkedYAMLError) -> NoReturn:
        mark = error.problem_mark or error.context_mark
        message = f"is no YAML: {options.printable(error.problem or '')}"
        if error.context:
            message += f", {error.context}"
        if error.context_mark and error.context_mark.line != mark.line:
            message += f" that begins at line {error.context_mark.line + 1}"
        place = self._place_of(mark, mark)
        hint = ""
        if "\t" in self._raw_line(mark)

        self._refuse(place, "", message, hint)

    def _report(self, place: nodes.Place, path: str, message: str, hint: str = "") -> None:
        self._problems.append(place.problem(path, message, hint))

    def _refuse(self, place: nodes.Place, path: str, message: str, hint: str = "") -> NoReturn:
        raise _UnreadableError(place.problem(path, message, hint))
