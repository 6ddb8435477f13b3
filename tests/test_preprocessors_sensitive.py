"""What the built-in kinds find, what they leave alone, and how long they take."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagent.preprocessors import sensitive


def found(kind: sensitive.Kind, text: bytes) -> list[bytes]:
    return [text[start:end] for start, end in sorted(sensitive.KINDS[kind](text))]


def with_check_digit(digits: str) -> str:
    """Return digits and the one that the Luhn formula asks for, by its textbook."""
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if index % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return digits + str(-total % 10)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"4111111111111111", [b"4111111111111111"]),
        (b"pan=4111 1111 1111 1111.", [b"4111 1111 1111 1111"]),
        (b"3782-822463-10005", [b"3782-822463-10005"]),
        (b"VISA4222222222222x", [b"4222222222222"]),
        (b"6011000990139424 5105105105105100", [b"6011000990139424", b"5105105105105100"]),
        (b"order 123456 4111 1111 1111 1111 99", [b"4111 1111 1111 1111"]),
        (b"12-4111 1111 1111 1111-12", [b"4111 1111 1111 1111"]),
        (b"4111111111111111\n4111111111111111", [b"4111111111111111"] * 2),
        (b"1234567812345670", [b"1234567812345670"]),
        (b"4111 1111\n1111 1111", []),
        (b"4111111111111112", []),
        (b"4111 1111-1111 1111", []),
        (b"411111111111", []),
        (b"41111111111111111111111", []),
        (b"0000000000000000", []),
        (b"at 1732582328123 ms", []),  # its check digit is right
        (b"took 0.4111111111111111 s", []),
        (b"trace a4111111111111111b0c1d2e3f405162", []),
        (b"d4111111111111111", [b"4111111111111111"]),
        (b"", []),
    ],
)
def test_card_numbers(text: bytes, expected: list[bytes]) -> None:
    """With the right check digit, as they are printed; times, fractions and digests are none."""
    assert expected == found("card_numbers", text)


@given(st.text("0123456789", min_size=11, max_size=17), st.sampled_from("23456789"))
def test_every_card_number_is_found(middle: str, first: str) -> None:
    """Whatever stands around it, unless it is digits."""
    number = with_check_digit(first + middle).encode()

    assert [number] == found("card_numbers", b"x " + number + b", y")
    grouped = b"-".join(number[at : at + 4] for at in range(0, len(number), 4))
    assert [grouped] == found("card_numbers", b"x:" + grouped + b"!")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"to <john.doe+tag@mail.example.co.uk>.", [b"john.doe+tag@mail.example.co.uk"]),
        (b"q=john%40example.com&x=1", [b"john%40example.com"]),
        ("jürgen@bücher.example".encode(), ["jürgen@bücher.example".encode()]),
        (b"a@b.io,c@d.io", [b"a@b.io", b"c@d.io"]),
        (b"https://user:pass@example.org/", [b"pass@example.org"]),
        (b"root@localhost x@10.0.0.1 @example.com a@ @", []),
        (b"a@b\n.com", []),
    ],
)
def test_email_addresses(text: bytes, expected: list[bytes]) -> None:
    """With a domain of two parts or more, also as a URL has them."""
    assert expected == found("email_addresses", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"10.0.0.1", [b"10.0.0.1"]),
        (b"1.2.3.4:80 255.255.255.255.", [b"1.2.3.4", b"255.255.255.255"]),
        (b"010.001.000.001", [b"010.001.000.001"]),
        (b"1.2.3.4.5 256.1.1.1 1.2.3 1..2.3.4", []),
        (b"[2001:db8::1]:443", [b"2001:db8::1"]),
        (b"::1 fe80::1%eth0", [b"::1", b"fe80::1"]),
        (b"::ffff:10.0.0.1", [b"::ffff:10.0.0.1", b"10.0.0.1"]),
        (
            b"2001:0db8:85a3:0000:0000:8a2e:0370:7334,",
            [b"2001:0db8:85a3:0000:0000:8a2e:0370:7334"],
        ),
        (b"src:fe80::1:user x", [b"fe80::1"]),
        (b"2001:db8::", [b"2001:db8::"]),
        (b"client: 2001:DB8::A:1: gone", [b"2001:DB8::A:1"]),
        (b"12:34:56 std::string a::b :: Foo::Bar 00:11:22:33:44:55", []),
        (b"aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99", []),
        (b"1\n.2.3.4", []),
    ],
)
def test_ip_addresses(text: bytes, expected: list[bytes]) -> None:
    """Of both versions; times, scopes, hardware addresses and fingerprints are none."""
    assert expected == found("ip_addresses", text)


SECRET = b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SHA1 = b"da39a3ee5e6b4b0d3255bfef95601890afd80709"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"key AKIAIOSFODNN7EXAMPLE.", [b"AKIAIOSFODNN7EXAMPLE"]),
        (b'"ASIAIOSFODNN7EXAMPLE"', [b"ASIAIOSFODNN7EXAMPLE"]),
        (b"XAKIAIOSFODNN7EXAMPLE AKIASHORT AKIAIOSFODNN7EXAMPLEx", []),
        (b"s=" + SECRET, [SECRET]),
        (b"commit " + SHA1, []),
        (b"secret: " + SHA1, [SHA1]),
        (SECRET + b"A", []),
        (SECRET + b"=", []),
        (b"GET /Static/Vendor/Components/Navigation/Menu5 ", []),
        (b"X-Amz-Security-Token=FwoG%2Fx&y", [b"FwoG%2Fx"]),
        (b'"aws_session_token": "abc/def=="', [b"abc/def=="]),
    ],
)
def test_aws_keys(text: bytes, expected: list[bytes]) -> None:
    """Ids by their form, secrets by their form or by what they are called."""
    assert expected == found("aws_keys", text)


JWT = b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc_-d"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"Authorization: Bearer abc.d-e_f==", [b"abc.d-e_f==", b"abc.d-e_f=="]),
        (b"authorization=Basic dXNlcjpwYXNz x", [b"dXNlcjpwYXNz"]),
        (b'{"Authorization":"Token abc123"}', [b"abc123"]),
        (b'{\\"Authorization\\": \\"Basic YTpi\\"}', [b"YTpi"]),
        (b"{'Proxy-Authorization': b'Basic YTpi'}", [b"YTpi"]),
        (b"Authorization: abc123 rest", [b"abc123"]),
        (b"Authorization: Odd abcdefgh", [b"Odd abcdefgh"]),
        (
            b'Authorization: Digest username="x", response="y"',
            [b'Digest username="x", response="y"'],
        ),
        (b"BEARER  tok", [b"tok"]),
        (b"{:authorization => 'Basic YTpi'}", [b"YTpi"]),
        (b"a=Bearer%20tok&b", [b"tok"]),
        (b"?access_token=t0k&x=1", [b"t0k"]),
        (b'{"token_type":"bearer","refresh_token":"r"}', [b"r"]),
        (b"cookie " + JWT + b";", [JWT]),
        (b"eyJ eyJabc.def", []),
        (b"bearer\ntoken", []),
        (b"Authorization: basic YTpi", [b"YTpi"]),  # the 'b' is none of Python's bytes
        (b"authorization failed", []),
    ],
)
def test_bearer_tokens(text: bytes, expected: list[bytes]) -> None:
    """Behind their names in headers, queries and JSON, and web tokens anywhere."""
    assert expected == found("bearer_tokens", text)


PARTS = [
    b"\n", b" ", b"1", b"4111 1111 1111 1111", b"a@b.co", b"@", b"%40", b".", b":",
    b"::", b"10.0.0.1", b"fe80::1", b"AKIAIOSFODNN7EXAMPLE", SECRET, b"secret", b"Bearer ",
    b"authorization: ", b"=", b'"', b"\\", b"\x00", b"\xff", "é".encode(), JWT, b"access_token",
]  # fmt: skip


@given(st.lists(st.sampled_from(PARTS) | st.binary(max_size=3), max_size=30).map(b"".join))
def test_a_text_is_found_what_each_of_its_lines_is(text: bytes) -> None:
    """No find knows of another record, whichever stand around it."""
    for kind in sensitive.KINDS:
        alone = [one for line in text.split(b"\n") for one in found(kind, line)]

        assert sorted(alone) == sorted(found(kind, text))


HOSTILE = [
    b"1", b"1 ", b"4111 ", b"4111 11 ", b"a", b"a@", b"a@b.", b"a%40", b"1.", b"1.1.1.1.", b"1:",
    b"::", b"f::", b"AKIA", b"aA1/", b"eyJ", b"eyJa.", b"bearer ", b"authorization:",
    b"authorization\\", b"authorization: digest ", b"bearer\\\\", b"secret", b'=\\"', b" ", b"A",
]  # fmt: skip


@pytest.mark.parametrize("part", HOSTILE)
def test_time_grows_with_the_text_alone(part: bytes) -> None:
    """Eight times as much takes no more than some eight times as long, also of the worst."""

    def seconds(size: int) -> float:
        text = (part * size)[:size]
        before = time.process_time()
        for kind in sensitive.KINDS.values():
            kind(text)
        return time.process_time() - before

    small = min(seconds(2**16) for _ in range(3))

    assert seconds(2**19) < 40 * max(small, 0.002)
