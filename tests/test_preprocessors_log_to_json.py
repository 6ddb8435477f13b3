"""Lines of known formats become JSON objects: the ordinary ones at once, the odd ones as well."""

from __future__ import annotations

import json
import time
from typing import Any

import hypothesis
import pydantic
import pytest
from hypothesis import strategies as st

from kagent import model
from kagent.preprocessors import jsontext, log_to_json, readers

CONTEXT = model.ChunkContext("/a", "id", [0], [1])

APACHE = b'203.0.113.7 - - [07/Mar/2004:16:10:02 -0800] "GET /items/42 HTTP/1.1" 200 6291'
APACHE_FIELDS = {
    "host": "203.0.113.7",
    "ident": None,
    "authuser": None,
    "datetime": "07/Mar/2004:16:10:02 -0800",
    "request": "GET /items/42 HTTP/1.1",
    "response": "200",
    "bytes": "6291",
}
COMBINED = APACHE + b' "http://ref/" "Mozilla/5.0 (X)"'
COMBINED_FIELDS = {**APACHE_FIELDS, "referer": "http://ref/", "agent": "Mozilla/5.0 (X)"}


def match(pattern: str, *records: bytes, **options: Any) -> list[model.Outcome]:
    stage = log_to_json.LogToJson(pattern=pattern, **options)
    return stage(list(records), CONTEXT)


def read(format_: str, *records: bytes, **options: Any) -> list[model.Outcome]:
    stage = log_to_json.LogToJson(format=format_, **options)  # type: ignore[arg-type]
    return stage(list(records), CONTEXT)


def read_one(format_: str, record: bytes, **options: Any) -> dict[str, Any]:
    (outcome,) = read(format_, record, **options)
    assert isinstance(outcome, bytes), outcome
    assert outcome.endswith(b"}\n")
    found: dict[str, Any] = json.loads(outcome)
    assert jsontext.compact(outcome) + b"\n" == outcome
    return found


def part_failed(format_: str, record: bytes, **options: Any) -> str:
    (outcome,) = read(format_, record, **options)
    assert isinstance(outcome, model.Unparsed), outcome
    return outcome.part


# --- access logs ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "changed"),
    [
        pytest.param(APACHE + b"\n", {}, id="as it is"),
        pytest.param(APACHE, {}, id="without a newline"),
        pytest.param(APACHE + b"\r\n", {}, id="CRLF"),
        pytest.param(APACHE + b" what follows\n", {}, id="more behind it"),
        pytest.param(COMBINED, {}, id="a combined line"),
        pytest.param(
            APACHE.replace(b"203.0.113.7", b"2001:db8::7"), {"host": "2001:db8::7"}, id="IPv6"
        ),
        pytest.param(
            APACHE.replace(b"203.0.113.7", b"a-b.example.org."),
            {"host": "a-b.example.org."},
            id="a name",
        ),
        pytest.param(APACHE.replace(b"GET /items/42 HTTP/1.1", b""), {"request": ""}, id="empty"),
        pytest.param(APACHE.replace(b"GET /items/42 HTTP/1.1", b"-"), {"request": None}, id="-"),
        pytest.param(APACHE.replace(b" 6291", b" -"), {"bytes": None}, id="bytes -"),
        pytest.param(APACHE.replace(b" 200", b" -"), {"response": None}, id="response -"),
        pytest.param(APACHE.replace(b" 6291", b""), {"bytes": None}, id="no bytes field"),
        pytest.param(
            APACHE.replace(b"- - [", b"- bob@example.org ["),
            {"authuser": "bob@example.org"},
            id="@",
        ),
        pytest.param(
            APACHE.replace(b"- - [", b"- bob a smith ["), {"authuser": "bob a smith"}, id="blanks"
        ),
        pytest.param(
            APACHE.replace(b"/items/42", b'/a?q=\\"x\\"'),
            {"request": 'GET /a?q=\\"x\\" HTTP/1.1'},
            id="escaped quotes stay as they are written",
        ),
        pytest.param(
            APACHE.replace(b"/items/42", b'/a?q="x"'),
            {"request": 'GET /a?q="x" HTTP/1.1'},
            id="quotes that were not escaped",
        ),
        pytest.param(
            APACHE.replace(b"GET /items/42 HTTP/1.1", b"\\x16\\x03\\x01"),
            {"request": "\\x16\\x03\\x01"},
            id="TLS on a plain port",
        ),
        pytest.param(
            APACHE.replace(b"items", b"\xe9t\xe9"),
            {"request": "GET /\ufffdt\ufffd/42 HTTP/1.1"},
            id="latin-1",
        ),
        pytest.param(
            APACHE.replace(b"items", "日本\u2028😀".encode()),
            {"request": "GET /日本\u2028😀/42 HTTP/1.1"},
            id="UTF-8",
        ),
        pytest.param(
            APACHE.replace(b"items", b"a\tb\x00c\x1b"),
            {"request": "GET /a\tb\0c\x1b/42 HTTP/1.1"},
            id="control characters",
        ),
    ],
)
def test_common_apache_takes_odd_lines(record: bytes, changed: dict[str, Any]) -> None:
    """Every field has its value, in the Java agent's order."""
    found = read_one("common_apache", record)

    assert APACHE_FIELDS | changed == found
    assert list(APACHE_FIELDS) == list(found)


@pytest.mark.parametrize(
    ("behind", "changed"),
    [
        pytest.param(b' "-" "-"', {"referer": None, "agent": None}, id="-"),
        pytest.param(b' "" ""', {"referer": "", "agent": ""}, id="empty"),
        pytest.param(b' "r" "a" "203.0.113.9" 0.12', {"referer": "r", "agent": "a"}, id="more"),
        pytest.param(
            b' "r" "a \\"b\\" c"', {"referer": "r", "agent": 'a \\"b\\" c'}, id="escaped quotes"
        ),
        pytest.param(b' "r" "a"b"c"', {"referer": "r", "agent": 'a"b"c'}, id="other quotes"),
        pytest.param(
            b' "a\\\\b" "c\\d"', {"referer": "a\\\\b", "agent": "c\\d"}, id="backslashes"
        ),
    ],
)
def test_combined_apache_has_referer_and_agent(behind: bytes, changed: dict[str, Any]) -> None:
    """Behind the fields of the common format."""
    found = read_one("combined_apache", APACHE + behind + b"\n")

    assert COMBINED_FIELDS | changed == found
    assert list(COMBINED_FIELDS) == list(found)


def test_without_the_bytes_field_the_rest_is_found() -> None:
    """A combined line of a server that leaves it out."""
    record = APACHE.removesuffix(b" 6291") + b' "r" "a"\n'

    expected = COMBINED_FIELDS | {"bytes": None, "referer": "r", "agent": "a"}
    assert expected == read_one("combined_apache", record)


def test_nginx_has_its_own_names_and_the_forwarded_address_if_there_is_one() -> None:
    """As in nginx.conf: `combined`, and the `main` format of its packages."""
    line = APACHE + b' "-" "curl/8" '

    found = read_one("nginx", line.strip() + b"\n")
    with_address = read_one("nginx", line + b'"198.51.100.1, 203.0.113.9"\n')
    without_address = read_one("nginx", line + b'"-"\n')

    assert {
        "remote_addr": "203.0.113.7",
        "remote_user": None,
        "time_local": "07/Mar/2004:16:10:02 -0800",
        "request": "GET /items/42 HTTP/1.1",
        "status": "200",
        "body_bytes_sent": "6291",
        "http_referer": None,
        "http_user_agent": "curl/8",
    } == found
    assert found | {"http_x_forwarded_for": "198.51.100.1, 203.0.113.9"} == with_address
    assert found | {"http_x_forwarded_for": None} == without_address


ALB = (
    b"https 2018-07-02T22:23:00.186641Z app/my-lb/50dc6c495c0c9188 192.0.2.39:2817 10.0.0.1:80 "
    b'0.086 0.048 0.037 200 200 0 57 "GET https://www.example.com:443/ HTTP/1.1" "curl/7.46.0" '
    b"ECDHE-RSA-AES128-GCM-SHA256 TLSv1.2 arn:aws:elasticloadbalancing:us-east-2:1:targetgroup/a "
)
ALB_BEHIND = (
    b'"Root=1-58337281-1d84f3d73c47ec4e58577259" "www.example.com" "arn:aws:acm:us-east-2:1:c/1" '
    b'1 2018-07-02T22:22:48.364000Z "authenticate,forward" "-" "-" "10.0.0.1:80" "200" "-" "-" '
    b"TID_1234"
)


def test_alb_has_the_names_of_the_athena_table() -> None:
    """Addresses and ports apart; `-` is null."""
    found = read_one("alb", ALB + ALB_BEHIND + b"\n", types={"sent_bytes": "int"})

    assert found["client_ip"], found["client_port"] == ("192.0.2.39", "2817")
    assert found["target_ip"], found["target_port"] == ("10.0.0.1", "80")
    assert (0.086, 57) == (float(found["request_processing_time"]), found["sent_bytes"])
    assert found["request"] == "GET https://www.example.com:443/ HTTP/1.1"
    assert (None, None, "TID_1234") == (
        found["redirect_url"],
        found["classification_reason"],
        found["conn_trace_id"],
    )


def test_alb_of_before_the_later_fields() -> None:
    """They are left out; a target that was not reached is null, and so are IPv6 clients read."""
    record = ALB.replace(b"192.0.2.39:2817 10.0.0.1:80", b"2001:db8::1:2817 -").strip()

    found = read_one("alb", record)

    assert ("2001:db8::1", "2817") == (found["client_ip"], found["client_port"])
    assert (None, None) == (found["target_ip"], found["target_port"])
    assert list(found)[-1] == "target_group_arn"


# --- error logs -------------------------------------------------------------------------------

ERROR = b"[Fri Sep 09 10:42:29.902022 2011] [core:error] [pid 35708:tid 4328636416] "


@pytest.mark.parametrize(
    ("record", "changed"),
    [
        pytest.param(ERROR + b"[client 198.51.100.9:5000] File: x", {}, id="whole"),
        pytest.param(
            ERROR.replace(b":tid 4328636416", b"") + b"[client 198.51.100.9:5000] File: x",
            {"threadid": None},
            id="no thread",
        ),
        pytest.param(
            ERROR.replace(b"core:", b"") + b"[client 198.51.100.9:5000] File: x",
            {"module": None},
            id="no module",
        ),
        pytest.param(
            ERROR.replace(b"core:", b":") + b"[client 198.51.100.9:5000] File: x",
            {"module": None},
            id="PHP",
        ),
        pytest.param(
            b"[Fri Sep 09 10:42:29.902022 2011] [error] [client 198.51.100.9:5000] File: x",
            {"module": None, "processid": None, "threadid": None},
            id="Apache 2.2",
        ),
        pytest.param(ERROR + b"File: x", {"client": None}, id="no client"),
        pytest.param(
            ERROR + b"[client 2001:db8::1] File: x", {"client": "2001:db8::1"}, id="IPv6"
        ),
        pytest.param(
            ERROR + b"[client a b] File: x",
            {"client": None, "message": "[client a b] File: x"},
            id="no client after all",
        ),
        pytest.param(
            ERROR.replace(b":error", b":trace-1") + b"[client 198.51.100.9:5000] File: x",
            {"severity": "trace-1"},
            id="trace",
        ),
    ],
)
def test_apache_error_takes_lines_with_and_without_the_optional_parts(
    record: bytes, changed: dict[str, Any]
) -> None:
    """What the server did not know is null."""
    expected = {
        "timestamp": "Fri Sep 09 10:42:29.902022 2011",
        "module": "core",
        "severity": "error",
        "processid": "35708",
        "threadid": "4328636416",
        "client": "198.51.100.9:5000",
        "message": "File: x",
    }

    found = read_one("apache_error", record + b"\n")

    assert expected | changed == found
    assert list(expected) == list(found)


def test_nginx_error_takes_the_context_apart() -> None:
    """Which of its parts a line has depends on what went wrong."""
    found = read_one(
        "nginx_error",
        b'2023/01/02 03:04:05 [error] 123#456: *789 open() "/a, b" failed (2: No such file), '
        b'client: 2001:db8::1, server: a,b, request: "GET /"x" HTTP/1.1", '
        b'upstream: "http://[::1]:80/", host: "e.com", referrer: "http://r/"\n',
    )
    notice = read_one("nginx_error", b"2023/01/02 03:04:05 [notice] 1#1: signal 1, exiting\n")

    assert {
        "timestamp": "2023/01/02 03:04:05",
        "severity": "error",
        "processid": "123",
        "threadid": "456",
        "connection": "789",
        "message": 'open() "/a, b" failed (2: No such file)',
        "client": "2001:db8::1",
        "server": "a,b",
        "request": 'GET /"x" HTTP/1.1',
        "upstream": "http://[::1]:80/",
        "host": "e.com",
        "referrer": "http://r/",
    } == found
    assert {
        "timestamp": "2023/01/02 03:04:05",
        "severity": "notice",
        "processid": "1",
        "threadid": "1",
        "message": "signal 1, exiting",
    } == notice


# --- syslog -----------------------------------------------------------------------------------

SYSLOG_FIELDS = {
    "timestamp": "Mar  7 12:00:08",
    "hostname": "web-2",
    "program": "sshd",
    "processid": "308",
    "message": "Accepted: yes",
}


@pytest.mark.parametrize(
    ("record", "changed"),
    [
        pytest.param(b"Mar  7 12:00:08 web-2 sshd[308]: Accepted: yes", {}, id="as it is"),
        pytest.param(b"Mar  7 12:00:08 <4.6> web-2 sshd[308]: Accepted: yes", {}, id="a facility"),
        pytest.param(
            b"Mar  7 12:00:08,5 2001:db8::1 sshd[308]: Accepted: yes",
            {"timestamp": "Mar  7 12:00:08,5", "hostname": "2001:db8::1"},
            id="IPv6 and a fraction",
        ),
        pytest.param(
            b"Mar  7 12:00:08 web-2 kernel: [ 12.3] x",
            {"program": "kernel", "processid": None, "message": "[ 12.3] x"},
            id="no process",
        ),
        pytest.param(
            b"Mar  7 12:00:08 web-2 postfix/smtpd[1]:",
            {"program": "postfix/smtpd", "processid": "1", "message": ""},
            id="no message",
        ),
        pytest.param(
            b"Mar  7 12:00:08 web-2 last message repeated 2 times",
            {"program": None, "processid": None, "message": "last message repeated 2 times"},
            id="no tag",
        ),
        pytest.param(
            b"<34>Mar  7 12:00:08 web-2 sshd[308]: Accepted: yes",
            {"priority": "34", "facility": "auth", "severity": "crit"},
            id="a priority",
        ),
        pytest.param(b"Mar  7 12:00:08 - sshd[308]: -", {"hostname": "-", "message": "-"}, id="-"),
        pytest.param(
            b"<165>1 2003-10-11T22:14:15.003Z mymachine evntslog - ID47 "
            b'[a@1 iut="3" q="a\\"b\\]c\\\\"][b@1] \xef\xbb\xbfAn entry',
            {
                "timestamp": "2003-10-11T22:14:15.003Z",
                "hostname": "mymachine",
                "program": "evntslog",
                "processid": None,
                "message": "An entry",
                "priority": "165",
                "facility": "local4",
                "severity": "notice",
                "msgid": "ID47",
                "structured_data": {"a@1": {"iut": "3", "q": 'a"b]c\\'}, "b@1": {}},
            },
            id="RFC 5424",
        ),
        pytest.param(
            b"<0>1 - - - - - -",
            {
                **dict.fromkeys(SYSLOG_FIELDS),
                "priority": "0",
                "facility": "kern",
                "severity": "emerg",
                "msgid": None,
            },
            id="RFC 5424 with nothing in it",
        ),
    ],
)
def test_syslog_takes_both_rfcs(record: bytes, changed: dict[str, Any]) -> None:
    """The five fields of the Java agent first; `-` stays, but for the nil value of RFC 5424."""
    found = read_one("syslog", record + b"\n")

    assert SYSLOG_FIELDS | changed == found
    assert list(SYSLOG_FIELDS) == list(found)[:5]


def test_syslog_lines_with_and_without_a_priority_stand_together() -> None:
    """Each is read as what it is."""
    line = b"Mar  7 12:00:08 web-2 sshd[308]: Accepted: yes\n"

    outcomes = read("syslog", line, b"<34>" + line, b"<999>" + line, b"<13>", line)

    assert [True, True, False, False, True] == [isinstance(one, bytes) for one in outcomes]
    assert model.Unparsed("'priority' is out of range") == outcomes[2]


@pytest.mark.parametrize("zone", [b"Z", b"+00:00", b"-0730"])
def test_rfc3339_syslog_takes_every_zone(zone: bytes) -> None:
    """With and without a colon in it."""
    time_ = b"2019-08-04T08:40:11.123456" + zone

    found = read_one("rfc3339_syslog", time_ + b" web-2 sshd[308]: Accepted: yes\n")

    assert SYSLOG_FIELDS | {"timestamp": time_.decode()} == found


# --- pairs and objects ------------------------------------------------------------------------


def test_logfmt_takes_pairs_of_every_kind() -> None:
    """Bare, in quotes, with escapes, empty; a key alone is true; of two alike the last counts."""
    record = b' at=info  path="/a \\"b\\"\\n\\u00e9" empty= e="" flag n=7 at=warn t=\xff \n'

    assert {
        "at": "warn",
        "path": '/a "b"\né',
        "empty": "",
        "e": "",
        "flag": True,
        "n": 7,
        "t": "\ufffd",
    } == read_one("logfmt", record, types={"n": "int"})


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (b"hello world", "there is no pair"),
        (b"", "there is no pair"),
        (b'a=1 b"c', "pair 2 is none"),
        (b'a="b', "pair 1 is none"),
        (b"n=x", "'n' is no int"),
    ],
)
def test_what_is_no_logfmt_is_unparsed(record: bytes, expected: str) -> None:
    """Prose is not a list of words that are true."""
    assert expected == part_failed("logfmt", record, types={"n": "int"})


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (b'{"a":1}\n', b'{"a":1}\n'),
        (b'{"a":1}', b'{"a":1}\n'),
        (b' {"a" : [1, 2.50, 1e2],\r\n "b c":" d "}\r\n', b'{"a":[1,2.50,1e2],"b c":" d "}\n'),
        (b'{"a":12345678901234567890123}\n', b'{"a":12345678901234567890123}\n'),
        (b'{"a":1,"a":2}\n', b'{"a":1,"a":2}\n'),
        (b'{"a":"\xff"}\n', '{"a":"\ufffd"}\n'.encode()),
        (b'{"a":"\\u00e9\\/"}\n', b'{"a":"\\u00e9\\/"}\n'),
        (b"{}\n", b"{}\n"),
    ],
)
def test_json_stays_what_it_is(record: bytes, expected: bytes) -> None:
    """Only white space between its parts goes: digits, order and doubles stay."""
    assert [expected] == read("json", record)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (b'{"n": "007", "b": "yes", "t": "7"}', b'{"n":7,"b":true,"t":"7"}\n'),
        (b'{"n":8,"b":null}\n', b'{"n":8,"b":null}\n'),
        (b'{"n":"","x":{"n":"7"}}\n', b'{"n":null,"x":{"n":"7"}}\n'),
    ],
)
def test_members_of_json_that_are_strings_become_what_they_should_be(
    record: bytes, expected: bytes
) -> None:
    """Others stay, and so do those of objects within."""
    types = {"n": "int", "b": "bool", "t": "string"}

    assert [expected] == read("json", record, types=types)
    assert part_failed("json", b'{"n":"x"}', types=types) == "'n' is no int"


@pytest.mark.parametrize("record", [b"[1]", b'"a"', b"{'a':1}", b'{"a":1} x', b"", b"\n", b"NaN"])
def test_what_is_no_object_is_unparsed(record: bytes) -> None:
    """Whatever else it is."""
    assert part_failed("json", record) == "no JSON object"


# --- patterns of the operator -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "options", "record", "expected"),
    [
        pytest.param(
            r"(?P<level>\w+): (?P<ms>\d+) ms",
            {"types": {"ms": "int"}},
            b"INFO: 12 ms\r\n",
            b'{"level":"INFO","ms":12}\n',
            id="named groups",
        ),
        pytest.param(
            r"(\w+)(?: (\d+))?",
            {"fields": ("level", "ms")},
            b"INFO\n",
            b'{"level":"INFO","ms":null}\n',
            id="names for groups, one of which took no part",
        ),
        pytest.param(
            r"(\w+) (?P<ms>\d+)", {}, b"INFO 12\n", b'{"ms":"12"}\n', id="only the named ones"
        ),
        pytest.param(
            r"(?P<a>.*) (?P<b>-)",
            {"dash": "nullify"},
            b"- -\n",
            b'{"a":null,"b":null}\n',
            id="dash",
        ),
        pytest.param(r"(?P<a>.*)", {}, b"-\n", b'{"a":"-"}\n', id="a dash stays otherwise"),
        pytest.param(r"(?s)(?P<a>.*)", {}, b'a\nb"\n', b'{"a":"a\\nb\\""}\n', id="several lines"),
        pytest.param(
            "(?P<a>é)(?P<b>.*)", {}, "é日\n".encode(), '{"a":"é","b":"日"}\n'.encode(), id="UTF-8"
        ),
        pytest.param(
            r"(?P<a>.)(?P<b>.*)",
            {},
            b"\xff\xe2\x82\n",
            '{"a":"\ufffd","b":"\ufffd"}\n'.encode(),
            id="no UTF-8",
        ),
    ],
)
def test_a_pattern_gives_its_groups(
    pattern: str, options: dict[str, Any], record: bytes, expected: bytes
) -> None:
    """It must match the whole line, without what ends it."""
    assert [expected] == match(pattern, record, **options)


@pytest.mark.parametrize(
    ("pattern", "record", "expected"),
    [
        (r"(?P<level>\w+): (?P<ms>\d+) ms", b"INFO 12 ms", "after 'level'"),
        (r"(?P<level>\w+): (?P<ms>\d+) ms", b"INFO: 12 s", "after 'ms'"),
        (r"(?P<level>\w+): (?P<ms>\d+) ms", b"INFO: 12 ms.", "after 'ms'"),
        (r"(?P<n>\d+)", b"x12", "before or in 'n'"),
        (r"(?P<m>.*)", b"a\nb", "after 'm'"),
        (r"(?P<a>a)|(?P<b>b)", b"c", "the pattern does not match"),
    ],
)
def test_the_part_of_a_pattern_that_failed_is_said(
    pattern: str, record: bytes, expected: str
) -> None:
    """For so many lines of a block; finding it out for all would take too long."""
    outcomes = match(pattern, *[record] * 40)

    assert [model.Unparsed(expected)] * 20 == outcomes[:20]
    assert [model.Unparsed("the pattern does not match")] * 20 == outcomes[20:]


def test_a_line_that_takes_too_long_is_unparsed_and_its_neighbours_are_not() -> None:
    """`(a|aa)+$` would stand still for years."""
    outcomes = match("(?P<a>(a|aa)+)$", b"a\n", b"a" * 50 + b"b\n", b"aa\n")

    assert [b'{"a":"a"}\n', model.Unparsed("took too long"), b'{"a":"aa"}\n'] == outcomes


# --- types, names and dashes ------------------------------------------------------------------


def test_types_are_of_json() -> None:
    """Digits stay as they are written; `-` is null."""
    record = APACHE.replace(b"203.0.113.7", b"12.50") + b"\n"

    (outcome,) = read("common_apache", record, types={"bytes": "int", "host": "float"})

    assert isinstance(outcome, bytes)
    assert outcome.startswith(b'{"host":12.50,')
    assert outcome.endswith(b'"bytes":6291}\n')
    nothing = read_one("common_apache", APACHE.replace(b"6291", b"-"), types={"bytes": "int"})
    assert nothing["bytes"] is None


@pytest.mark.parametrize("others", [0, 3])
def test_a_value_of_another_type_makes_the_line_unparsed(others: int) -> None:
    """The message names the field, and not what stands in it."""
    records = [APACHE + b"\n"] * others
    wrong = APACHE.replace(b"- - [", b"- bob [") + b"\n"

    outcomes = read("common_apache", *records, wrong, types={"authuser": "int"})

    assert model.Unparsed("'authuser' is no int") == outcomes[-1]
    assert all(isinstance(outcome, bytes) for outcome in outcomes[:-1])


def test_fields_may_have_other_names_and_twins() -> None:
    """Of two alike the last value counts, in the place of the first, as in the Java agent."""
    names = ("a", "b", "c", "%d", "a", 'f"', "g")

    (outcome,) = read("common_apache", APACHE, fields=names)

    assert b'{"a":"GET /items/42 HTTP/1.1","b":null,"c":null,' in outcome  # type: ignore[operator]
    assert b'"%d":"07/Mar/2004:16:10:02 -0800","f\\"":"200","g":"6291"}\n' in outcome  # type: ignore[operator]


@pytest.mark.parametrize("count", [1, 40])
def test_a_dash_may_stay(count: int) -> None:
    """Or become null where the format keeps it."""
    kept = read("common_apache", *[APACHE] * count, dash="keep")
    line = b"Mar  7 12:00:08 - sshd[308]: -\n"

    assert [b'"ident":"-","authuser":"-"' in one for one in kept] == [True] * count  # type: ignore[operator]
    assert read_one("syslog", line, dash="nullify")["hostname"] is None


@pytest.mark.parametrize(
    "options",
    [
        {"format": "common_apache", "types": {"agent": "int"}},
        {"format": "common_apache", "fields": ("a", "b")},
        {"format": "json", "fields": ("a",)},
        {"format": "logfmt", "dash": "keep"},
        {"format": "apache"},
        {"format": "json", "pattern": "(?P<a>.)"},
        {"pattern": "(a)"},
        {"pattern": "(?P<a>."},
        {"pattern": "(a)(b)", "fields": ("n",)},
        {"pattern": "(?P<a>.)", "types": {"b": "int"}},
        {},
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    """When the configuration is read, and not when a line comes."""
    with pytest.raises(pydantic.ValidationError):
        log_to_json.LogToJson(**options)


# --- what failed ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format_", "record", "expected"),
    [
        ("common_apache", b"\n", "'host' does not match"),
        ("common_apache", b" " + APACHE, "'host' does not match"),
        ("common_apache", b"a:80 " + APACHE, "'datetime' does not match"),
        ("common_apache", APACHE.replace(b'"', b""), "'request' does not match"),
        ("common_apache", APACHE.replace(b" 200", b" OK"), "'request' does not match"),
        ("common_apache", APACHE + b"\n" + APACHE, "more follows the last field"),
        ("combined_apache", APACHE, "'referer' does not match"),
        ("combined_apache", APACHE + b' "r"', "'referer' does not match"),
        ("nginx_error", b"2023/01/02 03:04:05 [ERROR] 1#1: x", "'severity' does not match"),
        ("syslog", b"Mar 12 web-2 sshd: x", "'timestamp' does not match"),
        ("syslog", b"<34>1 2003-10-11T22:14:15Z a b c d [x", "'structured data' does not match"),
        ("rfc3339_syslog", b"Mar  7 12:00:08 a b: c", "'timestamp' does not match"),
        ("alb", ALB.replace(b":2817", b""), "'client' does not match"),
    ],
)
def test_the_part_that_failed_is_said(format_: str, record: bytes, expected: str) -> None:
    """And no word of what stands there."""
    assert expected == part_failed(format_, record)


# --- fast and exact ---------------------------------------------------------------------------

TABLES = sorted(log_to_json.FORMATS)

ATOMS = st.sampled_from(
    [
        *(b"-", b"", b" ", b'"', b"\\", b'\\"', b"[", b"]", b":", b"<", b",", b"0", b"-1", b"x"),
        *(
            b"\t",
            b"\r",
            b"\n",
            b"\0",
            b"\x1b",
            b"\x7f",
            b"\x85",
            b"\xff",
            b"\xe2\x82",
            b"\xc3\xa9",
        ),
        *("\u2028".encode(), b' "', b'" ', b"] [", b"client ", b": ", b"007", b"200", b"%b", b"%"),
    ]
)
LINES = {
    "common_apache": APACHE,
    "combined_apache": COMBINED,
    "apache_error": ERROR + b"[client 198.51.100.9:5000] File: x",
    "nginx": APACHE + b' "-" "curl/8" "203.0.113.9"',
    "nginx_error": b'2023/01/02 03:04:05 [error] 1#2: *3 x, client: ::1, server: s, host: "e"',
    "syslog": b"Mar  7 12:00:08 web-2 sshd[308]: Accepted: yes",
    "rfc3339_syslog": b"2019-08-04T08:40:11Z web-2 sshd[308]: Accepted: yes",
    "alb": ALB + ALB_BEHIND,
}


# Made once: one that is made for a draw is checked again by each draw, for longer than it takes.
PIECES = ATOMS | st.binary(max_size=3)
EDITS = st.sampled_from([0, 1, 1, 1, 2, 3])
REPLACED_BYTES = st.sampled_from([0, 0, 1, 2, 5, 9])
ENDINGS = st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b""])


@st.composite
def blocks(draw: st.DrawFn, line: bytes) -> list[bytes]:
    """Draw some records: a format's line, in most of them something else somewhere."""
    records = []
    for _ in range(draw(st.integers(1, 5))):
        record = line
        for _ in range(draw(EDITS)):
            start = draw(st.integers(0, len(record)))
            end = start + draw(REPLACED_BYTES)
            record = record[:start] + draw(PIECES) + record[end:]
        records.append(record + draw(ENDINGS))
    return records


def exact(reader: readers.Reader, records: list[bytes]) -> list[model.Outcome]:
    """Return what a reader says of records that it is given one by one, without a fast pattern."""
    plain = getattr(reader, "_plain", reader)
    fast, plain._fast = plain._fast, []
    try:
        return reader.read(records)
    finally:
        plain._fast = fast


def check(outcomes: list[model.Outcome]) -> None:
    for outcome in outcomes:
        if isinstance(outcome, bytes):
            assert isinstance(json.loads(outcome), dict)
            assert (b"\n", 1) == (outcome[-1:], outcome.count(b"\n"))


@pytest.mark.parametrize("format_", TABLES)
@hypothesis.settings(deadline=None, max_examples=250)
@hypothesis.given(data=st.data())
def test_blocks_and_single_records_give_the_same_bytes(
    format_: log_to_json.FormatName, data: st.DataObject
) -> None:
    """Whatever stands in the lines; and what comes out is one JSON object a line."""
    records = data.draw(blocks(LINES[format_]))
    types = data.draw(st.sampled_from([{}, {}, {log_to_json.FORMATS[format_].names[-1]: "int"}]))
    reader = log_to_json.LogToJson(format=format_, types=types)._reader

    expected = exact(reader, records)

    assert expected == reader.read(records)
    check(expected)


@pytest.mark.parametrize("format_", [*TABLES, "logfmt", "json"])
@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(records=st.lists(st.binary(max_size=40) | ATOMS, max_size=4))
def test_any_bytes_give_an_object_or_a_reason(format_: str, records: list[bytes]) -> None:
    """Nothing raises, nothing is lost."""
    outcomes = read(format_, *records)

    assert len(records) == len(outcomes)
    check(outcomes)
    assert all(isinstance(one, bytes | model.Unparsed) for one in outcomes)


@pytest.mark.parametrize("format_", TABLES)
@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b""])
def test_ordinary_lines_take_the_fast_way(format_: log_to_json.FormatName, ending: bytes) -> None:
    """Those of more than one shape in a block as well, and those with backslashes and latin-1."""
    reader = log_to_json.LogToJson(format=format_)._reader
    plain = getattr(reader, "_plain", reader)
    if not plain._fast:
        return
    line = LINES[format_] + ending
    odd = line.replace(b"e", b"\\x\xe9", 1) if format_ != "rfc3339_syslog" else line

    for records in ([line] * 3, [line, line.replace(b"- -", b"- bob"), line], [odd, line]):
        assert plain._read_block(records) is not None
        assert exact(reader, records) == plain._read_block(records)


@pytest.mark.parametrize(
    "long",
    [
        pytest.param(b"x" * (1 << 20), id="plain"),
        pytest.param(b"\xff\\\x1b\xe2\x80\xa8" * (1 << 17), id="to be replaced and escaped"),
        pytest.param(b'"' * (1 << 20), id="quotes"),
        pytest.param(b'\\"' * (1 << 19), id="escaped quotes"),
    ],
)
@pytest.mark.parametrize("format_", ["combined_apache", "syslog"])
def test_a_line_of_1_mib_is_the_same_among_others(
    format_: log_to_json.FormatName, long: bytes
) -> None:
    """Wherever it is long."""
    reader = log_to_json.LogToJson(format=format_)._reader
    line = LINES[format_]
    records = [line + b"\n", line.replace(b"42", long).replace(b"yes", long) + b"\n", line + b"\n"]

    expected = exact(reader, records)

    assert expected == reader.read(records)
    assert all(isinstance(one, bytes) for one in expected)


def test_one_odd_line_does_not_send_the_block_the_slow_way() -> None:
    """Only its neighbours: most of 2,000 lines are never read one by one."""
    reader = log_to_json.LogToJson(format="combined_apache")._reader
    assert isinstance(reader, readers.FormatReader)
    alone: list[bytes] = []
    read_one_ = reader._read_one
    reader._read_one = lambda record: (alone.append(record), read_one_(record))[1]  # type: ignore[method-assign]
    records = [COMBINED + b"\n"] * 2000
    records[777] = b"odd\n"

    outcomes = reader.read(records)

    assert len(alone) <= jsontext.SMALL_BLOCK_RECORDS
    assert [777] == [index for index, one in enumerate(outcomes) if not isinstance(one, bytes)]


# --- patterns are linear ----------------------------------------------------------------------

HOSTILE = [
    *(b" ", b'"', b'\\"', b"[", b"]", b":", b"1:1 ", b'" ', b' "', b', client: "', b", host: "),
    *(b"a=", b'a="', b"<1>", b"- ", b"- - ", b"\t", b"1", b"[pid 1]", b"x: ", b"[a ", b'[a b="'),
    *(b"{", b'{"a":', b"[[", b"\r", b"::", b"\xff"),
]


def ratio_of(stage: log_to_json.LogToJson, beginning: bytes, hostile: bytes) -> float:
    """Return how much longer a line takes that is 16 times as long."""
    took = []
    for size in (1 << 14, 1 << 18):
        records = [beginning + hostile * (size // len(hostile))]
        begun = time.thread_time()
        stage(records, CONTEXT)
        took.append(time.thread_time() - begun)
    return took[1] / max(took[0], 1e-3)


@pytest.mark.parametrize("format_", [*TABLES, "logfmt", "json"])
def test_no_line_takes_more_than_its_length(format_: str) -> None:
    """16 times the line takes about 16 times as long, where a square would take 256 times."""
    stage = log_to_json.LogToJson(format=format_)  # type: ignore[arg-type]
    line = LINES.get(format_, b"")
    for hostile in HOSTILE:
        for beginning in {b"", line}:
            ratios = (ratio_of(stage, beginning, hostile) for _ in range(5))

            assert any(ratio < 100 for ratio in ratios), (hostile, beginning)
