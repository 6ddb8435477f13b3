"""Patterns of paths: what an operator writes to say which files are meant. Pure.

`*`, `?`, `[..]`, `{a,b}` and `**` in any component, as shells have them: a wildcard matches no
name that begins with a dot unless the pattern writes the dot, and only `**` crosses a slash.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Iterable, Iterator

ALTERNATIVES_MAX = 1000
_DEEP = r"(?:(?!\.)[^/]+/)*"  # any number of directories that are not hidden


@dataclasses.dataclass(frozen=True, slots=True)
class Alternative:
    """One pattern without braces: what is written out, then the components with wildcards."""

    base: str
    components: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Pattern:
    """A parsed pattern; `regex` matches every path that it means."""

    text: str
    alternatives: tuple[Alternative, ...]
    regex: re.Pattern[str]


def parse_pattern(text: str) -> Pattern:
    """Parse a pattern of file paths, or of file names for one without a slash.

    Raises:
        ValueError: braces or brackets do not close, or they mean more than 1,000 patterns.
    """
    texts = list(_expand_braces(text))
    for component in (part for one in texts for part in one.split("/")):
        if "**" in component and component != "**":
            raise ValueError("'**' must be a component of its own")
    try:
        regex = re.compile("|".join(map(_translate, texts)))
    except re.error as error:
        raise ValueError(f"a character class is wrong: {error.msg}") from error
    alternatives = tuple(dict.fromkeys(map(_parse_alternative, texts)))
    return Pattern(text, alternatives, regex)


def matches_any(path: str, patterns: Iterable[Pattern]) -> bool:
    """Return whether a path, or its last component for patterns without a slash, matches one."""
    name = os.path.basename(path)
    return any(
        pattern.regex.fullmatch(path if "/" in pattern.text else name) for pattern in patterns
    )


def matches_component(component: str, name: str) -> bool:
    """Return whether one component of a pattern means a name; `**` means every directory."""
    if component == "**":
        return not name.startswith(".")
    return _component_regex(component).fullmatch(name) is not None


@functools.lru_cache(maxsize=4096)  # each rotated file's own pattern comes here as well
def _component_regex(component: str) -> re.Pattern[str]:
    return re.compile(_translate_component(component))


def _parse_alternative(text: str) -> Alternative:
    components = text.split("/")
    wild = next((i for i, part in enumerate(components) if _is_wild(part)), len(components))
    return Alternative("/".join(components[:wild]) or "/", tuple(components[wild:]))


def _is_wild(component: str) -> bool:
    return any(character in component for character in "*?[")


def _translate(text: str) -> str:
    """Return a regular expression for the paths that a pattern without braces means."""
    components = text.split("/")
    parts = []
    for component in components[:-1]:
        is_deep = component == "**"
        parts.append(_DEEP if is_deep else _translate_component(component) + "/")
    if components[-1] == "**":  # every file below
        return "".join(parts) + _DEEP + _translate_component("*")
    return "".join(parts) + _translate_component(components[-1])


def _translate_component(component: str) -> str:
    """Return a regular expression for the names that one component means."""
    parts = [r"(?!\.)" if component[:1] in {"*", "?", "["} else ""]
    at = 0
    while at < len(component):
        character = component[at]
        if character in "*?":
            parts.append("[^/]*" if character == "*" else "[^/]")
        elif character == "[":
            first = at + 2 if component[at + 1 : at + 2] in {"!", "^"} else at + 1
            closed = component.find("]", first + 1)  # right at the start, it is a member
            if closed < 0:
                raise ValueError("a '[' is not closed by ']' in the same component")
            negation = "^" if first == at + 2 else ""
            parts.append(f"(?!/)[{negation}{_translate_members(component[first:closed])}]")
            at = closed
        else:
            parts.append(re.escape(character))
        at += 1
    return "".join(parts)


def _translate_members(members: str) -> str:
    """Return what stands between a class's brackets, each character meaning itself but ranges."""
    parts = []
    at = 0
    while at < len(members):
        is_range = members[at + 1 : at + 2] == "-" and at + 2 < len(members)
        last = f"-{re.escape(members[at + 2])}" if is_range else ""
        parts.append(re.escape(members[at]) + last)
        at += 3 if is_range else 1
    return "".join(parts)


def _expand_braces(text: str) -> Iterator[str]:
    """Yield the patterns that a pattern with `{a,b}` stands for, outermost braces first."""
    pending = [text]
    done: list[str] = []
    while pending:
        one = pending.pop()
        opened = one.find("{")
        if opened < 0:
            if "}" in one:
                raise ValueError("a '}' is not opened by '{'")
            done.append(one)
        else:
            before, choices, after = _outermost(one, opened)
            pending.extend(before + choice + after for choice in reversed(choices))
        if len(pending) + len(done) > ALTERNATIVES_MAX:
            raise ValueError(f"its braces mean more than {ALTERNATIVES_MAX} patterns")
    yield from dict.fromkeys(done)


def _outermost(text: str, opened: int) -> tuple[str, list[str], str]:
    """Return what stands before a brace, its comma-separated choices, and what stands behind."""
    depth, choices, start = 0, [], opened + 1
    for index in range(opened, len(text)):
        character = text[index]
        depth += (character == "{") - (character == "}")
        if depth == 0 or (depth == 1 and character == ","):
            choices.append(text[start:index])
            start = index + 1
        if depth == 0:
            return text[:opened], choices, text[start:]
    raise ValueError("a '{' is not closed by '}'")
