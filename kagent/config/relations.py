"""What no key can say alone: names that must differ, patterns, limits of destinations, memory.

Works on the tree, not on the validated model, so that these problems show together with those of
single keys. A value that its own key does not allow is passed over: it has its problem already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from kagent import discovery, errors, model, options, patterns
from kagent.config import allowed, nodes, packing, records, schema, settings, stages, validation

_MIB = 1024**2
_PATTERN_CHARACTERS = 4096  # Linux's PATH_MAX
_DEFAULT_MEMORY: int = schema.Root.model_fields["max_memory"].default
_DEFAULT_LINE: int = discovery.SourceOptions.model_fields["max_line"].default


def check(root: nodes.Mapping) -> Iterator[errors.Problem]:
    """Yield what is wrong between the parts of a configuration."""
    if nodes.is_nothing(root.get("flows")) and not nodes.items_of(root.get("include")):
        yield validation.missing(root, "flows", "a list of flows, '[]' for none")
    flows = [flow for flow in nodes.items_of(root.get("flows")) if isinstance(flow, nodes.Mapping)]
    yield from _check_names(root, flows)
    yield from _check_levels(root, flows)
    for flow in flows:
        yield from _check_patterns(flow)
        yield from records.check(flow)
        yield from stages.check(flow)
        yield from _check_destination(flow)
        yield from _check_batch(flow)
        yield from packing.check(flow, _limits(flow))
    yield from _check_memory(root, flows)


# --- names ------------------------------------------------------------------------------------


def _check_names(root: nodes.Mapping, flows: list[nodes.Mapping]) -> Iterator[errors.Problem]:
    """Check that a name or former name is one flow's, and that none of them is to be forgotten."""
    names: dict[str, nodes.Node] = {}
    for flow in flows:
        for name, text in _texts([flow.get("name")]):
            if text in names:
                place = flow.place_of("name")
                message = f"{name.shown} is already the name of {_owner(names[text], place)}"
                yield place.absence(name.path, message)
            names.setdefault(text, name)
    former_names: dict[str, nodes.Node] = {}
    for former, text in _texts(flow.get("renamed_from") for flow in flows):
        yield from _refuse_owned(former, names, "is the name of")
        yield from _refuse_owned(former, former_names, "is already the former name of")
        former_names.setdefault(text, former)
    for item in nodes.items_of(root.get("forget")):
        yield from _refuse_owned(item, former_names | names, "is in use by")


def _check_levels(root: nodes.Mapping, flows: list[nodes.Mapping]) -> Iterator[errors.Problem]:
    """Check that log levels are those of flows that there are, and that 'default' is none."""
    levels = root.get("log", "level")
    if not isinstance(levels, nodes.Mapping):
        return
    names = {text: name for name, text in _texts(flow.get("name") for flow in flows)}
    for key, entry in levels.entries.items():
        if key not in {"default", *names}:
            yield validation.unknown(levels, key, ["default", *names])
        elif key in names and key == "default":
            owner = _owner(names[key], entry.place)
            message = f"'default' means all that is not named here, and is the name of {owner}"
            hint = "Rename the flow, with 'renamed_from: default'."
            yield entry.place.problem(entry.node.path, message, hint)


def _refuse_owned(
    node: nodes.Node, owned: Mapping[str, nodes.Node], relation: str
) -> Iterator[errors.Problem]:
    """Yield the problem that a name belongs to a flow."""
    for _, text in _texts([node]):
        if text in owned:
            owner = _owner(owned[text], node.place)
            yield node.place.problem(node.path, f"{node.shown} {relation} {owner}")


def _texts(found: Iterable[nodes.Node | None]) -> Iterator[tuple[nodes.Node, str]]:
    """Yield the nodes that are text, with it."""
    for node in found:
        text = nodes.text_of(node)
        if node is not None and text is not None:
            yield node, text


def _owner(name: nodes.Node, place: nodes.Place) -> str:
    """Return the flow that has a name as a message at a place says it: 'flows[0] (line 8)'."""
    return f"{name.path.rpartition('.')[0]} ({name.place.seen_from(place)})"


# --- one flow ---------------------------------------------------------------------------------


def _check_patterns(flow: nodes.Mapping) -> Iterator[errors.Problem]:
    for item, text in _texts(nodes.items_of(flow.get("source", "paths"))):
        if not text.startswith("/"):
            yield validation.not_allowed(item, "an absolute path")
        elif text.endswith("/"):
            yield validation.not_allowed(item, "a pattern of files, with no '/' at its end")
        else:
            yield from _check_syntax(item, text)
    for item, text in _texts(nodes.items_of(flow.get("source", "exclude"))):
        if "/" in text and not text.startswith("/"):
            yield validation.not_allowed(item, "an absolute path, or a name without '/'")
        else:
            yield from _check_syntax(item, text)


def _check_syntax(item: nodes.Node, text: str) -> Iterator[errors.Problem]:
    if len(text) > _PATTERN_CHARACTERS:
        yield validation.not_allowed(item, f"at most {_PATTERN_CHARACTERS:,} characters")
        return
    try:
        patterns.parse_pattern(text)
    except ValueError as error:
        yield item.place.problem(item.path, f"{item.shown} is no pattern: {error}")


def _check_destination(flow: nodes.Mapping) -> Iterator[errors.Problem]:
    """Check that there is exactly one; unknown keys in it have their problem already."""
    destination = flow.get("destination")
    if not isinstance(destination, nodes.Mapping):
        return
    known = [key for key in destination.entries if key in settings.KINDS]
    if not destination.entries:
        yield validation.missing(flow, "destination", allowed.one_of(settings.KINDS))
    if len(known) == 1 and nodes.is_nothing(destination.get(known[0])):
        yield validation.missing(destination, known[0], "a mapping")
    if len(known) > 1:
        place = destination.place_of(known[1])
        found = " and ".join(f"'{key}'" for key in known)
        yield place.problem(destination.path, f"found {found}, expected one of them")


def _check_batch(flow: nodes.Mapping) -> Iterator[errors.Problem]:
    limits, node = _limits(flow), flow.get("batch", "max_bytes")
    size_bytes = _size(node)
    if limits and node and size_bytes and size_bytes > limits.request_bytes_max:
        limit = options.format_size(limits.request_bytes_max)
        yield validation.not_allowed(
            node, f"at most {limit}, the destination's limit of a request"
        )


def _limits(flow: nodes.Mapping) -> model.BatchLimits | None:
    """Return the limits of a flow's destination, None as long as it has none."""
    known = (kind for key, kind in settings.KINDS.items() if flow.get("destination", key))
    kind = next(known, None)
    return kind.limits if kind else None


# --- memory -----------------------------------------------------------------------------------


def _check_memory(root: nodes.Mapping, flows: list[nodes.Mapping]) -> Iterator[errors.Problem]:
    """Check that each flow can hold its longest record, and that all fit into max_memory."""
    memory = root.get("max_memory")
    max_memory = _size(memory) if memory else _DEFAULT_MEMORY
    if max_memory is None:
        return
    total = 0
    for flow in flows:
        max_line = _size(flow.get("source", "max_line")) or _DEFAULT_LINE
        least = settings.least_buffer(max_line, _limits(flow))
        own, own_bytes = flow.get("max_buffer"), _size(flow.get("max_buffer"))
        if own and own_bytes is not None and own_bytes < least:
            expected = f"at least {options.format_size(least)} (2MiB and twice the longest record)"
            yield validation.not_allowed(own, expected)
        total += own_bytes or settings.default_buffer(max_memory, len(flows), least)
    if total > max_memory:
        found = memory.shown if memory else f"{options.format_size(max_memory)} by default"
        needed = options.format_size(-(-total // _MIB) * _MIB)
        message = (
            f"found {found}, expected at least {needed}, what the buffers of all flows may hold"
        )
        yield root.place_of("max_memory").absence("max_memory", message)


def _size(node: nodes.Node | None) -> int | None:
    """Return the bytes that a node means, None if it means none."""
    try:
        return options.parse_size(nodes.text_of(node))
    except options.NotAllowedError:
        return None
