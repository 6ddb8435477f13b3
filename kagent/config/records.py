"""What the keys that make records must be to each other: delimiter, encoding, decode, multi-line.

Works on the tree, like `relations`; a value that its own key does not allow is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator

from kagent import discovery, errors, options, userpattern
from kagent.config import nodes, validation

_DEFAULT_LINE: int = discovery.SourceOptions.model_fields["max_line"].default
_PATTERNS = ("start", "continuation", "end")


def check(flow: nodes.Mapping) -> Iterator[errors.Problem]:
    """Yield what is wrong between the keys of one flow's source that make records."""
    source = flow.get("source")
    if isinstance(source, nodes.Mapping):
        yield from _check_delimiter(source)
        yield from _check_decode(source)
        if not nodes.is_nothing(source.get("multiline")):
            yield from _check_multiline(source)
        yield from _check_header(flow, source)


def _check_delimiter(source: nodes.Mapping) -> Iterator[errors.Problem]:
    node, text = source.get("delimiter"), nodes.text_of(source.get("delimiter"))
    encoding = nodes.text_of(source.get("encoding")) or "bytes"
    if node is None or text is None or encoding.startswith("utf-16"):
        return
    if any(ord(character) > 0xFF for character in text):
        yield validation.not_allowed(
            node, "characters up to U+00FF: each of them is one byte of the file"
        )


def _check_decode(source: nodes.Mapping) -> Iterator[errors.Problem]:
    """Check that a container's lines are what they are: UTF-8, ended by newlines."""
    if nodes.text_of(source.get("decode")) not in {"cri", "docker"}:
        return
    yield from _refuse_beside(source, "encoding", "bytes", "decode")
    yield from _refuse_beside(source, "delimiter", "\n", "decode")


def _refuse_beside(
    source: nodes.Mapping, key: str, default: str, other: str
) -> Iterator[errors.Problem]:
    node, text = source.get(key), nodes.text_of(source.get(key))
    if node is not None and text is not None and text != default:
        yield node.place.problem(node.path, f"{node.shown} cannot stand beside '{other}'")


def _check_header(flow: nodes.Mapping, source: nodes.Mapping) -> Iterator[errors.Problem]:
    """Check that a header that names columns is one that is kept from the records."""
    lines = source.get("header_lines")
    if lines is not None and nodes.plain(lines) not in (None, 0):  # it may be no number at all
        return
    for item in nodes.items_of(flow.get("preprocess")):
        columns = item.get("csv_to_json", "columns") if isinstance(item, nodes.Mapping) else None
        if columns is not None and nodes.text_of(columns) == "header":
            message = "found 'header', but the source has no 'header_lines'"
            yield columns.place.problem(columns.path, message, "Set 'source.header_lines: 1'.")


def _check_multiline(source: nodes.Mapping) -> Iterator[errors.Problem]:
    yield from _refuse_beside(source, "delimiter", "\n", "multiline")
    many = source.get("multiline")
    if not isinstance(many, nodes.Mapping):
        return
    preset = many.get("preset")
    written = [key for key in _PATTERNS if not nodes.is_nothing(many.get(key))]
    if nodes.is_nothing(preset) and not written:
        expected = "'preset', or one of 'start', 'continuation', 'end'"
        yield many.place.absence(many.path, f"missing; expected {expected}")
    for key in written:
        node, text = many.get(key), nodes.text_of(many.get(key))
        assert node is not None
        if not nodes.is_nothing(preset):
            yield node.place.problem(node.path, "a preset has patterns of its own")
        elif text is not None:
            yield from _check_pattern(node, text)
    yield from _check_bytes(source, many)


def _check_pattern(node: nodes.Node, text: str) -> Iterator[errors.Problem]:
    try:
        userpattern.compile_pattern(text)
    except ValueError as error:
        yield node.place.problem(
            node.path, f"{node.shown} is no regular expression: {options.printable(str(error))}"
        )


def _check_bytes(source: nodes.Mapping, many: nodes.Mapping) -> Iterator[errors.Problem]:
    """Check that a record is no longer than the longest line: memory is counted in those."""
    node = many.get("max_bytes")
    size_bytes, line_bytes = _size(node), _size(source.get("max_line")) or _DEFAULT_LINE
    if node is not None and size_bytes is not None and size_bytes > line_bytes:
        limit = options.format_size(line_bytes)
        yield validation.not_allowed(
            node, f"at most {limit}, as 'max_line'", "Set 'max_line' as well."
        )


def _size(node: nodes.Node | None) -> int | None:
    try:
        return options.parse_size(nodes.text_of(node))
    except options.NotAllowedError:
        return None
