"""The formats of web servers and load balancers. Pure.

Where the Java agent has a format, the fields have its names and order.
"""

from __future__ import annotations

from kagent.preprocessors import formats

# A user's name may hold spaces, if there is no ident: `vhost:80 host - user [` is another format.
_USER = rb"(?P<%b>(?<= - )[^ \n]++(?: (?!\[)[^ \n]++)*+|[^ \n]++)"
_AFTER_REQUEST = rb" (?:[+-]?+[0-9]|-)"


def _access(
    host: str, ident: str, user: str, time: str, request: str, status: str, size: str
) -> tuple[formats.Part, ...]:
    """Return the parts of an access log's line up to the size of the answer."""
    return (
        formats.token(host, b""),
        formats.token(ident) if ident != "-" else formats.Part("-", b" -"),
        formats.Part(user, b" " + _USER % user.encode()),
        formats.Part(time, rb" \[(?P<%b>[^\]\n]++)\]" % time.encode()),
        formats.quoted(request, _AFTER_REQUEST),
        formats.Part(status, b" " + formats.NUMBER % status.encode()),
        formats.Part(size, rb"(?: %b)?+" % (formats.NUMBER % size.encode())),
    )


_FAST_ACCESS = rb'([^ ]+) %b \[([^]]+)\] "([^"]*)" ([0-9]+) ([0-9]+|-)'
_FAST_QUOTED = rb' "([^"]*)"'
_FAST_REST = rb"(?: [^\n]*)?"
_FAST_REST_BARE = rb"(?: (?!\x22)[^\n]*)?"
_FAST_WORD = rb"([^ ]+)"


def _fast_access(
    names: tuple[str, ...], rest: bytes, *, has_ident: bool
) -> tuple[formats.Fast, ...]:
    """Return patterns of lines without a user, which nearly all are, and of others."""
    user = names[1:3] if has_ident else names[1:2]
    some = _FAST_WORD + b" " + _FAST_WORD if has_ident else b"- " + _FAST_WORD
    nobody = tuple(name for name in names if name not in user)
    return (
        formats.Fast(_FAST_ACCESS % b"- -" + rest, nobody, dict.fromkeys(nobody, b"-")),
        formats.Fast(_FAST_ACCESS % some + rest, names, dict.fromkeys(names, b"-")),
    )


_COMMON = formats.words("host ident authuser datetime request response bytes")
_COMBINED = (*_COMMON, "referer", "agent")
_NGINX = formats.words(
    "remote_addr remote_user time_local request status body_bytes_sent http_referer "
    "http_user_agent http_x_forwarded_for"
)

COMMON_APACHE = formats.Format(
    names=_COMMON,
    parts=(*_access(*_COMMON), formats.REST),
    fast=_fast_access(_COMMON, _FAST_REST, has_ident=True),
    null=b"-",
)

COMBINED_APACHE = formats.Format(
    names=_COMBINED,
    parts=(
        *_access(*_COMMON),
        formats.quoted("referer", b' "'),
        formats.quoted("agent"),
        formats.REST,
    ),
    fast=_fast_access(_COMBINED, 2 * _FAST_QUOTED + _FAST_REST, has_ident=True),
    null=b"-",
)

NGINX = formats.Format(
    names=_NGINX,
    parts=(
        *_access(_NGINX[0], "-", *_NGINX[1:6]),
        formats.quoted("http_referer", b' "'),
        formats.quoted("http_user_agent"),
        formats.Part(
            "http_x_forwarded_for", rb"(?:%b)?+" % formats.quoted("http_x_forwarded_for").pattern
        ),
        formats.REST,
    ),
    fast=(
        *_fast_access(_NGINX[:-1], 2 * _FAST_QUOTED + _FAST_REST_BARE, has_ident=False),
        *_fast_access(_NGINX, 3 * _FAST_QUOTED + _FAST_REST, has_ident=False),
    ),
    null=b"-",
    optional=frozenset({"http_x_forwarded_for"}),
)

# https://httpd.apache.org/docs/2.4/mod/core.html#errorlogformat: what is unknown is left out; 2.2
# had no module and no process, and modules of others often write `[:error]`.
_ERROR = ("timestamp", "module", "severity", "processid", "threadid", "client", "message")
APACHE_ERROR = formats.Format(
    names=_ERROR,
    parts=(
        formats.Part("timestamp", rb"\[(?P<timestamp>[^\]\n]++)\]"),
        formats.Part(
            "severity", rb" \[(?:(?P<module>[^\]: \n]++)?+:)?+(?P<severity>[^\]: \n]++)\]"
        ),
        formats.Part(
            "processid", rb"(?: \[pid (?P<processid>[0-9]++)(?::tid (?P<threadid>[0-9]++))?+\])?+"
        ),
        formats.Part("client", rb"(?: \[client (?P<client>[^\] \n]++)\])?+"),
        formats.Part("message", rb" (?P<message>[^\n]*+)"),
    ),
    fast=(
        formats.Fast(
            rb"\[([^]-][^]]*)\] \[(?:([^] :-][^] :]*):)?([^] :-][^] :]*)\] "
            rb"\[pid ([0-9]+)(?::tid ([0-9]+))?\](?: \[client ([^] -][^] ]*)\])?+"
            rb" (?!\[client )([^\n]*)",
            _ERROR,
            {"module": b"", "threadid": b"", "client": b"", "message": b"-"},
        ),
    ),
    null=b"-",
)

# https://nginx.org/en/docs/ngx_core_module.html#error_log; the context stands behind the message.
NGINX_ERROR = formats.Format(
    names=formats.words(
        "timestamp severity processid threadid connection message client server request "
        "subrequest upstream host referrer"
    ),
    parts=(
        formats.Part("timestamp", rb"(?P<timestamp>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d)"),
        formats.Part("severity", rb" \[(?P<severity>[a-z]++)\]"),
        formats.Part("processid", rb" (?P<processid>\d++)#(?P<threadid>\d++):"),
        formats.Part("connection", rb"(?: \*(?P<connection>\d++))?+"),
        formats.Part("message", rb" (?P<message>(?:[^,\n]++|,(?! client: ))*+)"),
        formats.Part("client", rb"(?:, client: (?P<client>[^,\n]++))?+"),
        formats.Part("server", rb"(?:, server: (?P<server>(?:[^,\n]++|,(?! ))*+))?+"),
        *(
            formats.Part(
                name,
                rb"(?:%b)?+" % formats.quoted(name, rb", |\Z", b", %b: " % name.encode()).pattern,
            )
            for name in ("request", "subrequest", "upstream", "host", "referrer")
        ),
        formats.Part("what follows", rb"(?:, [^\n]*+)?+"),
    ),
    optional=frozenset(
        formats.words("connection client server request subrequest upstream host referrer")
    ),
)

# --- load balancers ---------------------------------------------------------------------------

# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html,
# 2026-11; names as in the documented Athena table, but one field for the request.
_ENDPOINT = rb" (?:(?P<%b_ip>(?:[^ :\n]++|:(?!\d++ ))++):(?P<%b_port>\d++)|-)"
_ALB_NUMBERS = formats.words(
    "request_processing_time target_processing_time response_processing_time elb_status_code "
    "target_status_code received_bytes sent_bytes"
)
_ALB_TLS = formats.words("ssl_cipher ssl_protocol target_group_arn")
# "name" is in quotes; what later versions of the format added may not be there.
_ALB_LATER = (
    '"trace_id" "domain_name" "chosen_cert_arn" matched_rule_priority request_creation_time '
    '"actions_executed" "redirect_url" "lambda_error_reason" "target_port_list" '
    '"target_status_code_list" "classification" "classification_reason" conn_trace_id '
    '"transformed_host" "transformed_uri" "request_transform_status"'
)


def _alb_later(name: str) -> formats.Part:
    part = formats.quoted(name.strip('"')) if name.startswith('"') else formats.token(name)
    return formats.Part(part.name, rb"(?:%b)?+" % part.pattern)


def _endpoint(name: bytes) -> formats.Part:
    return formats.Part(name.decode(), _ENDPOINT % (name, name))


ALB = formats.Format(
    names=(
        *formats.words("type time elb client_ip client_port target_ip target_port"),
        *_ALB_NUMBERS,
        "request",
        "user_agent",
        *_ALB_TLS,
        *formats.words(_ALB_LATER.replace('"', "")),
    ),
    parts=(
        formats.token("type", b""),
        formats.token("time"),
        formats.token("elb"),
        _endpoint(b"client"),
        _endpoint(b"target"),
        *map(formats.token, _ALB_NUMBERS),
        formats.quoted("request"),
        formats.quoted("user_agent"),
        *map(formats.token, _ALB_TLS),
        *map(_alb_later, formats.words(_ALB_LATER)),
        formats.REST,
    ),
    null=b"-",
    optional=frozenset(formats.words(_ALB_LATER.replace('"', ""))),
)
