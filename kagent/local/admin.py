"""What is not AWS: counts, faults, journals and deliveries under /_local/, without a signature.

    GET  /_local/counts
    GET  /_local/faults
    POST /_local/faults       a JSON object with the fields of faults.Faults; {} ends all faults
    GET  /_local/journal?stream=NAME&from=N&limit=N            or delivery_stream=NAME
    GET  /_local/deliveries?stream=NAME&from=N&limit=N         of a delivery stream: order and data
    GET  /_local/metrics      the CloudWatch data points

Journals and deliveries are JSON lines, data in base64; at most `limit` (10,000) of them, so that
the next page begins `from` the last order plus one.
"""

from __future__ import annotations

import base64
import dataclasses
import typing
import urllib.parse
from collections.abc import Iterable
from typing import Any

import orjson

from kagent.local import connection, faults, http1

if typing.TYPE_CHECKING:
    from kagent.local import service

PREFIX = "/_local/"
_LIMIT_DEFAULT = 10_000


def answer(local: service.Service, request: http1.Request) -> connection.Answer:
    """Answer one request under /_local/."""
    query = {name: values[-1] for name, values in urllib.parse.parse_qs(request.query).items()}
    match request.method, request.path.removeprefix(PREFIX):
        case "GET", "counts":
            return _json(local.counts())
        case "GET", "faults":
            return _json(dataclasses.asdict(local.source.faults))
        case "POST", "faults":
            return _set_faults(local, request.body)
        case "GET", "metrics":
            return _json(local.metrics())
        case "GET", "journal":
            return _journal(local, query)
        case "GET", "deliveries":
            query["delivery_stream"] = query.pop("stream", "")
            return _journal(local, query, members=("order", "data"))
    return _json({"message": f"no {request.method} {request.path} here"}, 404)


def _set_faults(local: service.Service, body: bytes) -> connection.Answer:
    try:
        wanted = faults.faults_from_json(orjson.loads(body))
    except ValueError as error:  # orjson.JSONDecodeError is one
        return _json({"message": str(error)}, 400)
    local.set_faults(wanted)
    return _json(dataclasses.asdict(wanted))


def _journal(
    local: service.Service, query: dict[str, str], members: tuple[str, ...] = ()
) -> connection.Answer:
    try:
        start, limit = int(query.get("from", 0)), int(query.get("limit", _LIMIT_DEFAULT))
        if "delivery_stream" in query:
            entries = local.delivery_journal(query["delivery_stream"], start, limit)
        else:
            entries = local.journal(query.get("stream", ""), start, limit)
    except ValueError as error:
        return _json({"message": str(error)}, 400)
    except KeyError as error:
        return _json({"message": f"no stream {error}"}, 404)
    rows = (entry._asdict() | {"data": base64.b64encode(entry.data).decode()} for entry in entries)
    if members:
        rows = ({name: row[name] for name in members} for row in rows)
    return _json_lines(rows)


def _json(value: Any, status: int = 200) -> connection.Answer:
    body = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    return connection.Answer(status, body, {"Content-Type": "application/json"})


def _json_lines(rows: Iterable[dict[str, Any]]) -> connection.Answer:
    body = b"".join(orjson.dumps(row) + b"\n" for row in rows)
    return connection.Answer(200, body, {"Content-Type": "application/jsonl"})
