"""Names of rotated files: `access.log.1`, `access.log-20261130.gz` and the like. Pure.

A name never proves anything; it only says which files and which flows to ask about.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Iterable, Iterator

from kagent import patterns

AUTO = "{name}[-.]*"  # what `rotated: auto` means

# What rotators append: numbers, dates and times, and what compressors append to that. Not any
# suffix: app.log is no generation of a log called app.
_SUFFIX = re.compile(
    r"(?:[-.](?:[0-9][0-9T:_]*Z?|old|bak|prev|orig|gz|zst|bz2|xz|lz4|kagent-clean))+"
)


def older_names(path: str) -> Iterator[str]:
    """Yield the paths of which this may be a rotated generation, the longest first."""
    directory, name = os.path.split(path)
    for at in range(len(name) - 1, 0, -1):
        if name[at] in "-." and _SUFFIX.fullmatch(name, at):
            yield os.path.join(directory, name[:at])


def stem(path: str) -> str:
    """Return a path without all that rotators append to names."""
    return min(older_names(path), key=len, default=path)


@dataclasses.dataclass(frozen=True)
class Rotated:
    """Where the operator says that older generations are.

    In the template, a pattern, `{name}` stands for the followed file's name and `{stem}` for its
    name without the last extension; one that does not begin with a slash is below the directory
    of the followed file.
    """

    template: str = AUTO

    @classmethod
    def of(cls, written: str) -> Rotated:
        """Return what the option says.

        Raises:
            ValueError: it is no pattern.
        """
        one = cls(AUTO if written == "auto" else written)
        one.pattern("/directory/name.log", "/directory")
        return one

    def pattern(self, path: str, base: str) -> patterns.Pattern:
        """Return the pattern of the generations of a followed file.

        Args:
            path: Where it is followed.
            base: The leading part of it that the operator wrote out: links below it are refused.
        """
        return _pattern(self.template, path, base)

    def names(self, paths: Iterable[str], generation: str) -> bool:
        """Return whether a path may be a generation of a file that was followed at others."""
        return any(
            _pattern(self.template, path, "/").regex.fullmatch(generation) for path in paths
        )

    def is_sure(self, generation: str) -> bool:
        """Return whether a path that is named so is a generation, though no content says it.

        The operator's own template is taken at its word. What `auto` finds is so by what rotators
        append: app.log-debug is beside app.log, and another log.
        """
        return self.template != AUTO or stem(generation) != generation


@functools.lru_cache(maxsize=1024)
def _pattern(template: str, path: str, base: str) -> patterns.Pattern:
    directory, name = os.path.split(path)
    text = template.replace("{name}", _literal(name))
    text = text.replace("{stem}", _literal(os.path.splitext(name)[0]))
    if text.startswith("/"):
        return patterns.parse_pattern(text)
    below = os.path.dirname(path) if base == path else base.rstrip("/")
    found = patterns.parse_pattern(f"{_literal(directory.rstrip('/'))}/{text}")
    alternatives = []
    for alternative in found.alternatives:
        whole = "/".join([alternative.base.rstrip("/"), *alternative.components])
        components = tuple(whole.split("/")[len(below.split("/")) :])
        alternatives.append(patterns.Alternative(below or "/", components))
    return dataclasses.replace(found, alternatives=tuple(alternatives))


def _literal(text: str) -> str:
    """Return a pattern that means a text; a brace in it may be any character."""
    return re.sub(r"[][*?]", lambda found: f"[{found[0]}]", text).translate(
        str.maketrans("{}", "??")
    )
