"""Preprocessors of a test's own, found by kagent as installed packages are."""

from __future__ import annotations

import pathlib


def install(directory: pathlib.Path, source: str, *names: str) -> pathlib.Path:
    """Return what to put on PYTHONPATH so that names of a module are preprocessors.

    Args:
        directory: Where to put it.
        source: The module's text; it defines the names.
        names: Of the entry points, and in the module.
    """
    site = directory / "site"
    info = site / "own-1.dist-info"
    info.mkdir(parents=True)
    (site / "own_module.py").write_text(source)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1\n")
    points = "".join(f"{name} = own_module:{name}\n" for name in names)
    (info / "entry_points.txt").write_text(f"[kagent.preprocessors]\n{points}")
    return site
