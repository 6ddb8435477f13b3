"""Where in a text credentials stand: the kinds `aws_keys` and `bearer_tokens` of `redact`.

Pure; see `sensitive` for what a text is, and for what all kinds have in common.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Range = tuple[int, int]  # [start, end) in the text

_ALNUM = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def places(text: bytes, literal: bytes) -> Iterator[int]:
    """Yield where a literal stands."""
    at = text.find(literal)
    while at >= 0:
        yield at
        at = text.find(literal, at + len(literal))


# --- AWS keys ---------------------------------------------------------------------------------

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html, 2026-11
_KEY_PREFIXES = (b"AKIA", b"ASIA", b"ABIA", b"ACCA")
_KEY_ID = re.compile(rb"(?<![A-Z0-9])[A-Z]{4}[A-Z0-9]{12,124}+(?![A-Za-z0-9])")
_SECRET_LENGTH = 40
_SECRET_AS_0 = bytes(  # what a key may hold, and what ends it
    0x30 if code in _ALNUM + b"/+" else 0x20 for code in range(256)
)
_SECRET_RUN = b"0" * _SECRET_LENGTH
_CONTEXT = 64  # how far before a value its name may begin

# Between a name and its value: quotes, maybe escaped, and a colon or an equals sign.
_IS = rb"""(?:(?:\\*+["'])?+[ \t]*+(?:=>|[:=])[ \t]*+(?:b(?=\\*["']))?+(?:\\*+["'])?+)"""
_SPACE = rb"(?:[ \t]++|%20|\+)"
_TOKEN = rb"[0-9A-Za-z._~+/=%-]++"
_NAMED = re.compile(_IS + rb"(" + _TOKEN + rb")")
_SESSION_NAMES = (b"security-token", b"security_token", b"session_token", b"sessiontoken")


def aws_keys(text: bytes) -> list[Range]:
    """Find ids of access keys, secret keys (40 characters), and session tokens by their names."""
    found: list[Range] = []
    for prefix in _KEY_PREFIXES:
        for at in places(text, prefix):
            match = _KEY_ID.match(text, at)
            if match is not None:
                found.append(match.span())
    found += _secret_keys(text)
    lower = text.lower()
    if b"token" in lower:
        for name in _SESSION_NAMES:
            found += _values_behind(text, lower, name, _NAMED)
    return found


def _secret_keys(text: bytes) -> Iterator[Range]:
    shape = text.translate(_SECRET_AS_0)
    start = shape.find(_SECRET_RUN)
    while start >= 0:
        match = _ZEROS.match(shape, start)
        assert match is not None
        end = match.end()
        if end - start == _SECRET_LENGTH and _is_secret(text, start, end):
            yield start, end
        start = shape.find(_SECRET_RUN, end)


_ZEROS = re.compile(rb"0++")


def _is_secret(text: bytes, start: int, end: int) -> bool:
    """Return whether 40 characters are a secret key: by what they are, or what stands before."""
    value = text[start:end]
    context = text[max(0, start - _CONTEXT) : start].rpartition(b"\n")[2].lower()
    if b"secret" in context or (b"aws" in context and b"key" in context):
        return True
    if text[end : end + 1] == b"=" or value.isdigit():
        return False
    is_mixed = value != value.lower() and value != value.upper() and not value.isalpha()
    is_path = value.startswith(b"/") and value.count(b"/") > 2
    return is_mixed and not is_path


def _values_behind(
    text: bytes, lower: bytes, name: bytes, pattern: re.Pattern[bytes]
) -> Iterator[Range]:
    """Yield where the first group of a pattern stands that matches right behind a name."""
    at = lower.find(name)
    while at >= 0:
        at += len(name)
        match = pattern.match(text, at)
        if match is not None:
            yield match.span(1)
            at = match.end()
        at = lower.find(name, at)


# --- bearer tokens ----------------------------------------------------------------------------

# https://www.rfc-editor.org/rfc/rfc6750, sections 2.1 and 2.3
_BEARER = re.compile(rb"(?:" + _IS + rb"|" + _SPACE + rb")(" + _TOKEN + rb")")
_TOKEN_NAMES = (b"access_token", b"refresh_token", b"id_token")
_LISTED = (
    rb"(?i:digest|hawk|oauth|signature|aws4-[a-z0-9-]++)[ \t]++"
    rb"""(?:=\\*+"[^"\\\r\n]*+\\*+"|[^"'\\\r\n])++"""
)
_AUTHORIZATION = re.compile(
    _IS
    + rb"(?:(?i:basic|bearer|token|negotiate|ntlm|apikey)" + _SPACE + rb"(?=[^ \t]))?+"
    + rb"(" + _LISTED + rb"|" + _TOKEN + rb"(?:(?<! )[ \t][0-9A-Za-z._~+/=%-]{8,}+)?)"
)  # fmt: skip
_JWT = re.compile(rb"([0-9A-Za-z_-]++)(\.[0-9A-Za-z_-]++\.[0-9A-Za-z_-]*+)?")


def bearer_tokens(text: bytes) -> list[Range]:
    """Find what is behind `Bearer`, `Authorization:`, `access_token=`, and JSON web tokens."""
    found: list[Range] = []
    lower = text.lower()
    found += _values_behind(text, lower, b"bearer", _BEARER)
    found += _values_behind(text, lower, b"authorization", _AUTHORIZATION)
    if b"_token" in lower:
        for name in _TOKEN_NAMES:
            found += _values_behind(text, lower, name, _NAMED)
    at = text.find(b"eyJ")  # the base64 of '{"'
    while at >= 0:
        match = _JWT.match(text, at)
        assert match is not None
        if match[2]:
            found.append(match.span())
        at = text.find(b"eyJ", match.end())
    return found
