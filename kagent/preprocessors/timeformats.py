r"""How times are written: built-in formats by their names, others with directives, as patterns.

Pure. The groups of a pattern are named by the directives that they stand for; `b` is the name of a
month in any form, `f` the digits of a fraction, `s` seconds since the epoch, or parts of them.
"""

from __future__ import annotations

import re

# By directive: a pattern. https://docs.python.org/3/library/datetime.html, format codes, and
# https://man7.org/linux/man-pages/man3/strptime.3.html for those of the C library.
_DIRECTIVES = {
    "Y": r"(?P<Y>\d{4})",
    "y": r"(?P<y>\d\d)",
    "m": r"(?P<m>1[0-2]|0[1-9]|[1-9])",
    "d": r"(?P<d>3[01]|[12]\d|0[1-9]|[1-9]| [1-9])",
    "b": r"(?P<b>(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec))",
    "B": r"(?P<b>(?i:january|february|march|april|may|june|july|august|september|october|november"
    r"|december))",
    "a": r"(?i:mon|tue|wed|thu|fri|sat|sun)",
    "A": r"(?i:monday|tuesday|wednesday|thursday|friday|saturday|sunday)",
    "j": r"(?P<j>36[0-6]|3[0-5]\d|[12]\d\d|0[1-9]\d|00[1-9]|[1-9]\d|0[1-9]|[1-9])",
    "H": r"(?P<H>2[0-3]|[01]\d|\d)",
    "I": r"(?P<I>1[0-2]|0[1-9]|[1-9]| [1-9])",
    "p": r"(?P<p>(?i:am|pm))",
    "M": r"(?P<M>[0-5]\d|\d)",
    "S": r"(?P<S>6[01]|[0-5]\d|\d)",
    "f": r"(?P<f>\d{1,9})",
    "L": r"(?P<f>\d{3})",
    "z": r"(?P<z>[+-]\d\d:?[0-5]\d|Z)",
    "Z": r"(?P<z>UTC|GMT|Z)",
    "s": r"(?P<s>\d{1,12})",
    "%": "%",
}
_SHORT = {
    "e": "%d", "h": "%b", "T": "%H:%M:%S", "R": "%H:%M", "D": "%m/%d/%y", "F": "%Y-%m-%d",
    "n": " ", "t": " ",
}  # fmt: skip
_BUILT_IN = {
    "iso8601": (
        r"(?P<Y>\d{4})-?(?P<m>0[1-9]|1[0-2])-?(?P<d>0[1-9]|[12]\d|3[01])"
        r"(?:[Tt_ ](?P<H>[01]\d|2[0-3]):?(?P<M>[0-5]\d)"
        r"(?::?(?P<S>[0-5]\d|60)(?:[.,](?P<f>\d{1,9}))?)?"
        r"(?P<z> ?(?:Z|z|[+-]\d\d:?[0-5]\d)|[+-]\d\d)?)?"
    ),
    "apache": (
        r"(?P<d>\d{1,2})/(?P<b>[A-Za-z]{3})/(?P<Y>\d{4}):(?P<H>\d\d):(?P<M>\d\d):(?P<S>\d\d)"
        r"(?:[.,](?P<f>\d{1,9}))?(?: (?P<z>[+-]\d\d:?\d\d))?"
    ),
    "syslog": (
        r"(?P<b>[A-Za-z]{3}) {1,2}(?P<d>\d{1,2}) (?P<H>\d\d):(?P<M>\d\d):(?P<S>\d\d)"
        r"(?:[.,](?P<f>\d{1,9}))?"
    ),
}  # fmt: skip
EPOCH = {"epoch": 0, "epoch_ms": 3, "epoch_us": 6, "epoch_ns": 9}  # digits after the second
_EPOCH_PATTERN = r"(?P<s>\d{1,21})(?:\.(?P<f>\d{1,9}))?"

NAMES = (*_BUILT_IN, *EPOCH)


class UnknownError(ValueError):
    """A format is none; says why."""


def pattern_of(written: str) -> str:
    """Return the pattern of a built-in format, or of a text with directives as of `strptime`.

    Raises:
        UnknownError: it is none of them.
    """
    if written in EPOCH:
        return _EPOCH_PATTERN
    return _BUILT_IN.get(written) or _compiled(written)


def _compiled(written: str) -> str:
    """Return the pattern of a text with directives."""
    for short, long in _SHORT.items():
        written = re.sub(rf"(?<!%)((?:%%)*)%-?{short}", rf"\g<1>{long}", written)
    parts, seen = [], set[str]()
    for literal, directive in re.findall(r"([^%]*)(%-?.|%$)?", written, re.DOTALL):
        parts.append(re.sub(r"(?:\\?\s)+", r"\\s+", re.escape(literal)))
        if not directive:
            continue
        pattern = _DIRECTIVES.get(directive[-1]) if len(directive) > 1 else None
        if pattern is None:
            raise UnknownError(f"there is no directive {directive}")
        parts.append(pattern)
        groups = set(re.findall(r"\(\?P<(\w)>", pattern))
        if groups & seen:
            raise UnknownError(f"{directive} stands twice, or beside one that means the same")
        seen |= groups
    is_day = bool(seen & {"m", "b"}) and "d" in seen
    if not (is_day or "s" in seen or ("j" in seen and seen & {"Y", "y"})):
        raise UnknownError("it has no month and day, and no %s")
    if "I" in seen and "p" not in seen:
        raise UnknownError("%I needs %p")
    return "".join(parts)
