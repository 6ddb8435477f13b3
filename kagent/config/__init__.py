"""The configuration: YAML text becomes a `Config`, or every problem with it at once.

`document` reads text into `nodes`, which know where they stand; `merging` adds included files and
defaults; `validation` holds the tree against the models of `schema`, and `relations` its parts
against each other; `settings` is what comes out. Nothing outside this package sees a node.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

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
    problems = _distinct(problems, _check(root))
    if problems:
        raise errors.ConfigError(problems)
    tree = nodes.plain(merging.add_aws(merging.add_defaults(root)))
    return settings.resolve(path, schema.Root.model_validate(tree, strict=True))


def _check(root: nodes.Mapping) -> Iterator[errors.Problem]:
    """Yield what is wrong with a tree that could be read; a mistake may come more than once."""
    defaults = root.get("defaults")
    if isinstance(defaults, nodes.Mapping):
        yield from validation.check(schema.FlowDefaults, defaults, may_lack=True)
    root = merging.add_defaults(root)
    yield from validation.check(schema.Root, root)
    yield from relations.check(root)


def _with_state_dir(root: nodes.Mapping, environ: Mapping[str, str]) -> nodes.Mapping:
    """Return the tree with state_dir's default, which has a variable in it, if it has no other."""
    if not nodes.is_nothing(root.get("state_dir")):
        return root
    value = scalars.substitute(schema.STATE_DIR, environ)
    place = dataclasses.replace(root.place_of("state_dir"), text="")
    default = nodes.Scalar("state_dir", place, value, schema.STATE_DIR, is_substituted=True)
    return root.replace("state_dir", default)


def _distinct(
    unread: list[errors.Problem], found: Iterable[errors.Problem]
) -> list[errors.Problem]:
    """Return all problems, one for each mistake.

    Args:
        unread: Problems with reading. A value that could not be read is not wrong besides.
        found: Problems with what was read. `defaults` and aliases repeat some of them.
    """
    known = {(one.file, one.line, one.column, one.key) for one in unread}
    first: dict[object, errors.Problem] = {}
    for one in found:
        if (one.file, one.line, one.column, one.key) not in known:
            key = one.key.rpartition(".")[2]
            first.setdefault((one.file, one.line, one.column, key, one.message), one)
    return [*unread, *first.values()]
