"""Included files and defaults become part of the tree.

Every node keeps the place and the path where it was written, so that a problem in `defaults` or in
an included file is reported there, whichever flow it reached.
"""

from __future__ import annotations

import dataclasses
import glob
import itertools
import os
from collections.abc import Mapping

from kagent import errors
from kagent.config import document, nodes, schema, validation

FILES_MAX = 1000  # that one pattern may include


def add_included(
    root: nodes.Mapping, file: str, environ: Mapping[str, str], problems: list[errors.Problem]
) -> nodes.Mapping:
    """Return the tree with the flows of included files behind its own, in the order of names.

    Args:
        root: The tree of `file`.
        file: The including file; patterns are relative to its directory.
        environ: Variables for the included files.
        problems: Takes what is wrong with them.
    """
    flows: list[nodes.Node] = []
    seen = {os.path.realpath(file)}
    for pattern in nodes.items_of(root.get("include")):
        for path in _matching_files(pattern, os.path.dirname(file), problems):
            if os.path.realpath(path) in seen:  # by an earlier pattern, or the file itself
                continue
            seen.add(os.path.realpath(path))
            tree = document.read(path, environ, problems)
            if tree is not None:
                problems.extend(validation.check(schema.Included, tree))
                flows.extend(nodes.items_of(tree.get("flows")))
    own = root.get("flows")
    if not flows or not (nodes.is_nothing(own) or isinstance(own, nodes.Sequence)):
        return root
    place = root.place_of("flows")
    return root.replace("flows", nodes.Sequence("flows", place, (*nodes.items_of(own), *flows)))


def _matching_files(
    pattern: nodes.Node, directory: str, problems: list[errors.Problem]
) -> list[str]:
    """Return the files that a pattern of `include` names; one without wildcards must exist."""
    if not isinstance(pattern, nodes.Scalar) or not isinstance(pattern.value, str):
        return []  # the model refuses it
    if "\0" in pattern.value:
        return []  # already refused
    if not glob.has_magic(pattern.value):
        path = os.path.join(directory, pattern.value)
        if os.path.lexists(path):
            return [path]
        problems.append(validation.not_allowed(pattern, "a file that exists"))
        return []
    matching = glob.iglob(os.path.join(glob.escape(directory), pattern.value))
    paths = list(itertools.islice(matching, FILES_MAX + 1))
    if len(paths) > FILES_MAX:
        expected = f"a pattern that matches at most {FILES_MAX:,} files"
        problems.append(validation.not_allowed(pattern, expected))
        return []
    return sorted(paths)


def add_defaults(root: nodes.Mapping) -> nodes.Mapping:
    """Return the tree with `defaults` merged below every flow, key by key.

    A flow's own destination replaces one in `defaults`: the two would be two destinations.
    """
    defaults, flows = root.get("defaults"), root.get("flows")
    if not isinstance(defaults, nodes.Mapping) or not isinstance(flows, nodes.Sequence):
        return root
    below = {k: v for k, v in defaults.entries.items() if k in schema.FlowDefaults.model_fields}
    merged = tuple(_add_defaults(below, flow) for flow in flows.items)
    return root.replace("flows", dataclasses.replace(flows, items=merged))


def add_aws(root: nodes.Mapping) -> nodes.Mapping:
    """Return the tree with `aws` merged below those of destinations and metrics, key by key."""
    if not isinstance(root.get("aws"), nodes.Mapping):
        return root
    metrics = _mapping(root, "metrics")
    cloudwatch = _mapping(metrics, "cloudwatch") if metrics is not None else None
    if metrics is not None and cloudwatch is not None:
        root = root.replace("metrics", metrics.replace("cloudwatch", _with_aws(cloudwatch, root)))
    flows = root.get("flows")
    if not isinstance(flows, nodes.Sequence):
        return root
    reached = tuple(_add_aws_to_flow(flow, root) for flow in flows.items)
    return root.replace("flows", dataclasses.replace(flows, items=reached))


def _add_aws_to_flow(flow: nodes.Node, root: nodes.Mapping) -> nodes.Node:
    destination = flow.get("destination") if isinstance(flow, nodes.Mapping) else None
    if not isinstance(flow, nodes.Mapping) or not isinstance(destination, nodes.Mapping):
        return flow
    for key, entry in destination.entries.items():
        if isinstance(entry.node, nodes.Mapping):
            destination = destination.replace(key, _with_aws(entry.node, root))
    return flow.replace("destination", destination)


def _with_aws(part: nodes.Mapping, root: nodes.Mapping) -> nodes.Mapping:
    """Return a part with the options that are its own and, where it says nothing, the common."""
    common, own = root.get("aws"), part.get("aws")
    assert common is not None
    return part.replace("aws", common if own is None else nodes.merge(common, own))


def _mapping(parent: nodes.Mapping, key: str) -> nodes.Mapping | None:
    """Return the mapping behind a key, empty if there is nothing; None if it is none."""
    found = parent.get(key)
    if nodes.is_nothing(found):
        return nodes.Mapping(nodes.child_path(parent.path, key), parent.place_of(key))
    return found if isinstance(found, nodes.Mapping) else None


def _add_defaults(below: dict[str, nodes.Entry], flow: nodes.Node) -> nodes.Node:
    if not isinstance(flow, nodes.Mapping):
        return flow
    if "destination" in flow.entries:
        below = {key: entry for key, entry in below.items() if key != "destination"}
    return nodes.merge(dataclasses.replace(flow, entries=below), flow)
