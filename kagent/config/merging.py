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


def _add_defaults(below: dict[str, nodes.Entry], flow: nodes.Node) -> nodes.Node:
    if not isinstance(flow, nodes.Mapping):
        return flow
    if "destination" in flow.entries:
        below = {key: entry for key, entry in below.items() if key != "destination"}
    return nodes.merge(dataclasses.replace(flow, entries=below), flow)
