"""A configuration file's text becomes a tree of nodes.

Knows YAML's syntax, and no key by name. Built on the parser's events instead of a loader:
`yaml.safe_load` keeps the last of duplicate keys silently, reads `010` as 8 and `on` as true, and
forgets the lines. Events are taken one by one, so that depth and number of nodes are bounded while
they come: neither 1 MiB of '[' nor an alias that doubles forty times is a danger.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import NoReturn

import yaml

from kagent import errors, options
from kagent.config import nodes, scalars, text

DEPTH_MAX = 64
NODES_MAX = 100_000

# Both give the same events; libyaml's parser, where PyYAML has it, is twenty times faster.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SPECIAL = re.compile(r"[*&!%@`{}\[\]]|: .*: ")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")  # an escape such as "\0" can write them
_TAB_HINT = "YAML is indented with spaces, never with tabs."
_QUOTES_HINT = "A value that starts with * & ! % @ or holds { } [ ] or ': ' needs quotes."


def read(
    file: str, environ: Mapping[str, str], problems: list[errors.Problem]
) -> nodes.Mapping | None:
    """Read a configuration file; None if it cannot be read or is no YAML mapping.

    Args:
        file: Its path.
        environ: The variables that `${NAME}` may name.
        problems: Takes what is wrong with it.
    """
    try:
        return _Composer(text.read(file), environ, problems).compose()
    except text.UnreadableError as unreadable:
        problems.append(unreadable.problem)
        return None


class _Composer:
    """Builds one file's tree from the parser's events, depth first."""

    def __init__(
        self, source: text.Text, environ: Mapping[str, str], problems: list[errors.Problem]
    ) -> None:
        self._source = source
        self._environ = environ
        self._problems = problems
        self._events: Iterator[yaml.Event] = yaml.parse(source.text, Loader=_LOADER)
        self._anchors: dict[str, nodes.Node | None] = {}  # None: its node is not complete yet
        self._nodes = 0

    def compose(self) -> nodes.Mapping:
        """Return the tree of the one document of the file."""
        event = self._next()
        while isinstance(event, yaml.StreamStartEvent | yaml.DocumentStartEvent):
            event = self._next()
        start = dataclasses.replace(self._source.place(0, 0), text="")
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
            return self._alias(event.anchor or "", place, path, depth)
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
        self._count(place, depth)
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
        content = event.value
        try:
            content = scalars.substitute(content, self._environ)
        except ValueError as error:
            self._report(place, path, str(error))
        is_delimiter = path.rpartition(".")[2] == "delimiter"  # the one value that is bytes
        if _NO_TEXT.search(event.value.replace("\0", "") if is_delimiter else event.value):
            self._report(place, path, "holds a character that no text can hold")
        value = scalars.resolve(content) if event.implicit[0] else content
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
            is_merge = key == "<<" and isinstance(event, yaml.ScalarEvent) and event.implicit[0]
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
        self._count(place, depth)
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

    def _count(self, place: nodes.Place, depth: int) -> None:
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

    def _refuse_syntax(self, error: yaml.MarkedYAMLError) -> NoReturn:
        mark = error.problem_mark
        assert mark is not None
        line, column = mark.line, mark.column
        message = f"is no YAML: {options.printable(error.problem or '')}"
        if error.context:
            message += f", {error.context}"
        if error.context_mark and error.context_mark.line != line:
            message += f" that begins at line {error.context_mark.line + 1}"
        written = self._source.lines[line] if line < len(self._source.lines) else ""
        is_tab = written[column : column + 1] == "\t"
        hint = _TAB_HINT if is_tab else _QUOTES_HINT if _SPECIAL.search(written) else ""
        self._refuse(self._source.place(line, column), "", message, hint)

    def _place(self, event: yaml.Event) -> nodes.Place:
        start, end = event.start_mark, event.end_mark
        assert start is not None
        assert end is not None
        width = end.column - start.column if start.line == end.line else None
        return self._source.place(start.line, start.column, width)

    def _report(self, place: nodes.Place, path: str, message: str, hint: str = "") -> None:
        self._problems.append(place.problem(path, message, hint))

    def _refuse(self, place: nodes.Place, path: str, message: str, hint: str = "") -> NoReturn:
        raise text.UnreadableError(place.problem(path, message, hint))
