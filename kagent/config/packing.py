"""What the keys that decide where lines go must be to each other: packing and partition keys.

Works on the tree, like `relations`; a value that its own key does not allow is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator

from kagent import errors, keys, model, options, pack, values
from kagent.config import nodes, stages, validation


def check(flow: nodes.Mapping, limits: model.BatchLimits | None) -> Iterator[errors.Problem]:
    """Yield what is wrong between the keys of one flow that decide where lines go.

    Args:
        flow: The flow.
        limits: Its destination's; None as long as it has none.
    """
    yield from _check_pack(flow, limits)
    yield from _check_partition_key(flow)


def _check_pack(flow: nodes.Mapping, limits: model.BatchLimits | None) -> Iterator[errors.Problem]:
    """Check that the destination's records hold what is packed, and that readers can read it."""
    node = flow.get("pack")
    form = node.get("as") if isinstance(node, nodes.Mapping) else node
    if form and nodes.text_of(form) == "kpl" and flow.get("destination", "firehose"):
        yield validation.not_allowed(
            form, "'newline' for Firehose", "Firehose delivers such records as they are."
        )
    size = flow.get("pack", "max_bytes")
    size_bytes = _size(size)
    most = max(limits.record_bytes_max, limits.record_bytes_possible) if limits else 0
    if most and size and size_bytes and size_bytes > most:
        limit = options.format_size(most)
        yield validation.not_allowed(size, f"at most {limit}, the destination's limit of a record")
    compression = flow.get("pack", "compression")
    if compression and nodes.text_of(compression) == "zstd" and not pack.has_zstd():
        message = "found 'zstd', but the Python package zstandard is not installed"
        yield compression.place.problem(
            compression.path, message, "Install it with: pip install 'kagent[zstd]'"
        )


def _check_partition_key(flow: nodes.Mapping) -> Iterator[errors.Problem]:
    """Check that every value that a partition key names is there."""
    node = flow.get("destination", "kinesis", "partition_key")
    text = nodes.text_of(node)
    if node is None or text is None:
        return
    captured = stages.captured(flow)
    for name in keys.names_of(text):
        if not values.is_known(name, captured):
            known = ", ".join(f"{{{one}}}" for one in (*values.NAMES, *captured))
            hint = f"Known here: {known}. Named groups of 'source.capture' are values, too."
            yield node.place.problem(node.path, f"there is no value {{{name}}}", hint)


def _size(node: nodes.Node | None) -> int | None:
    try:
        return options.parse_size(nodes.text_of(node))
    except options.NotAllowedError:
        return None
