"""The configuration: YAML text becomes a `Config`, or every problem with it at once.

`document` reads text into `nodes`, which know where they stand; `merging` adds included files and
defaults; `validation` holds the tree against the models of `schema`, and `relations` its parts
against each other; `settings` is what comes out. Nothing outside this package sees a node.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from kagent import errors
from kagent.config import (
    document,
    merging,
    nodes,
    relations,
    scalars,
    schema,
    settings,
    validation,
)
from kagent.config.settings import Config, FlowConfig

__all__ = ["DEFAULT_PATH", "Config", "FlowConfig", "default_path", "load"]

DEFAULT_PATH = "/etc/kagent/kagent.yaml"


def default_path(option: str | None, environ: Mapping[str, str]) -> str:
    """Return the configuration's path: the option -c, then KAGENT_CONFIG, then the usual one."""
    return option or environ.get("KAGENT_CONFIG") or DEFAULT_PATH


def load(path: str, environ: Mapping[str, str]) -> Config:
    """Read a configuration file and those that it includes.

    Args:
        path: The file.
        environ: The environment, for `${NAME}` in values.

    Raises:
        errors.ConfigError: with every problem there is.
    """
    problems: list[errors.Problem] = []
    root = document.read(path, environ, problems)
    if root is None:
        raise errors.ConfigError(problems)
    root = merging.add_included(_with_state_dir(root, environ), path, environ, problems)
    defaults = root.get("defaults")
    if isinstance(defaults, nodes.Mapping):
        problems += validation.check(schema.FlowDefaults, defaults, may_lack=True)
    root = merging.add_defaults(root)
    problems += validation.check(schema.Root, root)
    problems += relations.check(root)
    if problems:
        raise errors.ConfigError(_distinct(problems))
    return settings.resolve(path, schema.Root.model_validate(nodes.plain(root), strict=True))


def _with_state_dir(root: nodes.Mapping, environ: Mapping[str, str]) -> nodes.Mapping:
    """Return the tree with state_dir's default, which has a variable in it, if it has no other."""
    if not nodes.is_nothing(root.get("state_dir")):
        return root
    value = scalars.substitute(schema.STATE_DIR, environ)
    place = dataclasses.replace(root.place_of("state_dir"), text="")
    default = nodes.Scalar("state_dir", place, value, schema.STATE_DIR, is_substituted=True)
    return root.replace("state_dir", default)


def _distinct(problems: list[errors.Problem]) -> list[errors.Problem]:
    """Return problems without those that one mistake, in `defaults` or under an alias, repeats."""
    first: dict[object, errors.Problem] = {}
    for found in problems:
        key = found.key.rpartition(".")[2]
        first.setdefault((found.file, found.line, found.column, key, found.message), found)
    return list(first.values())
