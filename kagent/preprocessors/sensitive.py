r"""Where in a text something stands that is nobody's business: the built-in kinds of `redact`.

Pure. A text is many records at once, a newline between them, and no find reaches over a newline.
Each kind first asks whether the text can hold anything of it, in a few calls for the whole text;
then it goes from one place that may be meant to the next, in time that grows with the text alone.

In doubt something is found: what is shipped unredacted cannot be called back. Told apart are times
in milliseconds, decimal fractions and hex digests from card numbers, versions of five parts and
fingerprints from addresses.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from kagent.preprocessors import credentials

_DIGITS = b"0123456789"
_HEX = b"0123456789abcdefABCDEF"
_ALNUM = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


# --- card numbers -----------------------------------------------------------------------------

_DIGIT_AS_0 = bytes(0x30 if code in _DIGITS else code for code in range(256))
_DOUBLED = bytes((2 * one - 9 * (one > 4)) for one in range(10)).rjust(0x3A, b"\0").ljust(256)
_NUMBERS = re.compile(rb"[0-9]++(?:[ -][0-9]++)*+")
_GROUP = re.compile(rb"[0-9]++")
_CARD_DIGITS = range(13, 20)  # ISO/IEC 7812-1; 13 are an old Visa's
_FIRST_GROUP_MIN = 4
_EPOCH_S = range(1_500_000_000, 2_000_000_000)  # 2017 to 2033
_EPOCH_DIGITS = {13, 16, 19}  # in milli-, micro- and nanoseconds


def card_numbers(text: bytes) -> list[credentials.Range]:
    """Find 13 to 19 digits, together or in groups, whose check digit is right.

    Groups are as they are printed: four digits or more, then groups of two or more (the last may
    be shorter), the same space or dash between them.
    """
    squeezed = text.translate(_DIGIT_AS_0, b" -")
    found: list[credentials.Range] = []
    for start, end, _ in _lines_with(text, squeezed, b"0" * _CARD_DIGITS[0]):
        for numbers in _NUMBERS.finditer(text, start, end):
            if numbers.end() - numbers.start() >= _CARD_DIGITS[0]:
                found += _cards_in(text, *numbers.span())
    return found


def _lines_with(text: bytes, shape: bytes, needle: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the lines of a text in whose shape, of as many lines, a needle stands, and how often.

    Returns:
        The line's range in the text, and how many needles there are that share no byte.
    """
    if needle not in shape:
        return
    start = 0
    for line, shown in zip(text.split(b"\n"), shape.split(b"\n"), strict=True):  # 0.1 us each
        end = start + len(line)
        if needle in shown:
            yield start, end, shown.count(needle)
        start = end + 1


def _cards_in(text: bytes, start: int, end: int) -> Iterator[credentials.Range]:
    """Yield the cards among groups of digits, one separator between any two."""
    groups = [one.span() for one in _GROUP.finditer(text, start, end)]
    first = 0
    while first < len(groups):
        last = _card_from(text, groups, first)
        if last is None:
            first += 1
        else:
            yield groups[first][0], groups[last][1]
            first = last + 1


def _card_from(text: bytes, groups: list[credentials.Range], first: int) -> int | None:
    """Return the last group of the card that begins with a group; None if none does."""
    start, end = groups[first]
    if end - start < _FIRST_GROUP_MIN:
        return None
    digits = text[start:end]
    separator = text[end : end + 1]
    found = None
    for last in range(first, len(groups)):
        group_start, group_end = groups[last]
        if last > first:
            if text[group_start - 1 : group_start] != separator:
                break
            digits += text[group_start:group_end]
        if len(digits) > _CARD_DIGITS[-1]:
            break
        if len(digits) in _CARD_DIGITS and _is_card(text, start, group_end, digits):
            found = last
        if last > first and group_end - group_start < 2:
            break
    return found


def _is_card(text: bytes, start: int, end: int, digits: bytes) -> bool:
    odd, even = digits[-1::-2], digits[-2::-2]
    # https://www.iso.org/standard/70484.html: ISO/IEC 7812-1, annex B, the Luhn formula
    if (sum(odd) - 0x30 * len(odd) + sum(even.translate(_DOUBLED))) % 10 or digits[0] == 0x30:
        return False
    if end - start > len(digits):
        return True
    if len(digits) in _EPOCH_DIGITS and int(digits[:10]) in _EPOCH_S:
        return False
    if text[end : end + 1] == b"." and text[end + 1 : end + 2].isdigit():
        return False
    if text[start - 1 : start] == b"." and text[start - 2 : start - 1].isdigit():
        return False
    return not _is_in_digest(text, start, end)


def _is_in_digest(text: bytes, start: int, end: int) -> bool:
    """Return whether digits are a part of a longer hex number, such as the id of a trace."""
    before, after = text[max(0, start - 128) : start], text[end : end + 128]
    head = before[len(before.rstrip(_ALNUM)) :]
    tail = after[: len(after) - len(after.lstrip(_ALNUM))]
    length = len(head) + end - start + len(tail)
    return bool(head + tail) and not (head + tail).strip(_HEX) and length % 8 == 0


# --- e-mail addresses -------------------------------------------------------------------------

_HIGH = bytes(range(0x80, 0x100))
_LOCAL = _ALNUM + b"._%+'-" + _HIGH
_LOCAL_MAX = 256  # four times what RFC 5321, 4.5.3.1.1 allows
_DOMAIN = re.compile(rb"[0-9A-Za-z\x80-\xff-]++(?:\.[0-9A-Za-z\x80-\xff-]++)++")


def email_addresses(text: bytes) -> list[credentials.Range]:
    """Find `name@example.com`, also as `name%40example.com`; letters may be of any script."""
    found: list[credentials.Range] = []
    for mark in (b"@", b"%40"):
        for at in credentials.places(text, mark):
            domain = _DOMAIN.match(text, at + len(mark))
            if domain is None or domain[0].rpartition(b".")[2].isdigit():
                continue
            before = text[max(0, at - _LOCAL_MAX) : at]
            length = len(before) - len(before.rstrip(_LOCAL))
            if length:
                found.append((at - length, domain.end()))
    return found


# --- IP addresses -----------------------------------------------------------------------------

_OCTET = rb"(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]{1,2})"
_IPV4 = re.compile(rb"%b(?:\.%b){3}(?!\.?[0-9])" % (_OCTET, _OCTET))
_RUNS = re.compile(rb"[0-9]++(?:\.[0-9]++){3,}+")
_HEXTET = rb"(?:[0-9A-Fa-f]{1,4}(?![0-9A-Za-z]|\.[0-9])|(?![0-9A-Fa-f]))"
_IPV6 = re.compile(
    rb"(?:(?<![0-9A-Za-z])[0-9A-Fa-f]{1,4}|(?=::))(?::%b){2,}+(?::%b)?" % (_HEXTET, _IPV4.pattern)
)


def ip_addresses(text: bytes) -> list[credentials.Range]:
    """Find IPv4 addresses, and IPv6 ones in any form."""
    squeezed = text.translate(None, _HEX)
    found: list[credentials.Range] = []
    if b"..." in squeezed:
        found += _ipv4_addresses(text)
    if b"::" in text or b":::::::" in squeezed:
        found += _ipv6_addresses(text)
    return found


def _ipv4_addresses(text: bytes) -> Iterator[credentials.Range]:
    """Yield runs of digits between points, if there are four and each is a byte."""
    for start, end, count in _lines_with(text, text.translate(None, _DIGITS), b"..."):
        # There are no more of them than in its shape: the rest of the line is not searched.
        for runs in itertools.islice(_RUNS.finditer(text, start, end), count):
            if _IPV4.fullmatch(runs[0]):
                yield runs.span()


def _ipv6_addresses(text: bytes) -> Iterator[credentials.Range]:
    start = 0
    for line in text.split(b"\n"):
        end = start + len(line)
        if b"::" in line or line.count(b":") > 6:
            yield from filter(None, map(_ipv6_address, _IPV6.finditer(text, start, end)))
        start = end + 1


def _ipv6_address(match: re.Match[bytes]) -> credentials.Range | None:
    start, end = match.span()
    value = match[0]
    if value.endswith(b":") and not value.endswith(b"::"):
        value, end = value[:-1], end - 1
    parts = value.split(b":")
    if b"::" in value:
        is_address = bool(value.strip(b":")) and (
            len(parts) > 4 or value.translate(None, _DIGITS) != value
        )
    else:
        is_address = len(parts) >= 8 and any(len(part) != 2 for part in parts)
    return (start, end) if is_address else None


# --- all of them ------------------------------------------------------------------------------

Kind = Literal["card_numbers", "email_addresses", "ip_addresses", "aws_keys", "bearer_tokens"]

KINDS: Mapping[Kind, Callable[[bytes], list[credentials.Range]]] = {
    "card_numbers": card_numbers,
    "email_addresses": email_addresses,
    "ip_addresses": ip_addresses,
    "aws_keys": credentials.aws_keys,
    "bearer_tokens": credentials.bearer_tokens,
}
