"""What a scalar's text means: variables first, then its type. Pure.

Types follow YAML 1.2 and are narrower still: `true` and `false` alone are Booleans, whole numbers
are decimal without a leading zero, `null`, `~` and nothing are null, and all else is text. What
YAML 1.1 makes of `on` (true), `010` (8), `1_000` (1000) or `12:30:00` (45000) is a trap.

`${NAME}` is the variable's value, `${NAME:-default}` the default if the variable is unset or
empty, and `$${` is a literal `${`. The type is decided after variables were put in, by the same
rules: with N=16 `${N}` is a number, `"${N}"` in quotes is text, and `${N:-}` without N is null.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_WORDS: Mapping[str, bool | None] = {
    "": None,
    "~": None,
    "null": None,
    "true": True,
    "false": False,
}
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_FRACTION = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,17}")
_VARIABLE = re.compile(
    r"""
    (?P<literal> \$\$\{ )
    | \$\{ (?P<name> [A-Za-z_][A-Za-z0-9_]* ) (?: :- (?P<default> (?: (?!\$\{) [^}] )* ) )? \}
    | (?P<broken> \$\{ [^}]* \}? )
    """,
    re.VERBOSE,
)


def resolve(text: str) -> str | int | float | bool | None:
    """Return what the text of a scalar without quotes means."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FRACTION.fullmatch(text):
        return float(text)
    return text


def substitute(text: str, environ: Mapping[str, str]) -> str:
    """Return text with variables put in.

    Raises:
        ValueError: a variable is not set, or a reference to one is not written as it should be;
            says which, and never a value.
    """

    def put_in(match: re.Match[str]) -> str:
        if match["literal"]:
            return "${"
        if match["broken"]:
            raise ValueError(
                f"'{match['broken'][:40]}' is no variable; "
                "expected ${NAME} or ${NAME:-default}, or $${ for a literal ${"
            )
        name, default = match["name"], match["default"]
        value = environ.get(name, "")
        if default is not None:
            return value or default
        if name not in environ:
            raise ValueError(
                f"the environment variable {name} is not set, and there is no ${{{name}:-default}}"
            )
        return value

    return _VARIABLE.sub(put_in, text)
