"""What the contenders ship to: an endpoint over TLS that answers at full size and proves content.

It takes PutRecords and PutRecordBatch in JSON, unpacks what is packed (newlines, KPL containers,
gzip), counts the lines and adds up their hashes: a sum does not depend on order. It is no strict
service (no limits, no signatures, no throttling): `kagent.local` is, and is too slow to be run
ahead of. The hashes are Python's, so PYTHONHASHSEED must be the same where the file is hashed.

    GET /sink    {"calls": ..., "records": ..., "bytes": ..., "lines": ..., "sum": ...}
"""

from __future__ import annotations

import argparse
import gc
import gzip
import io
import json
import signal
import sys
import threading
from collections.abc import Iterable

import orjson
import pybase64

from kagent.local import certificate, connection, http1, server

SUM_MASK = 2**64 - 1
_KPL_MAGIC = b"\xf3\x89\x9a\xc2"
_SEQUENCE = "49590338271490256608559692538361571095921575989136588898"
_RECORD_ID = "Q" * 216
_JSON = {"Content-Type": "application/x-amz-json-1.1"}


def lines_of(data: bytes) -> list[bytes]:
    """Return lines without their ends; empty ones count, too."""
    if not data.endswith(b"\n"):
        data += b"\n"
    return io.BytesIO(data).readlines()


def sum_of(lines: Iterable[bytes]) -> int:
    """Return what stands for these lines in any order."""
    return sum(map(hash, lines)) & SUM_MASK


def canonical(lines: list[bytes]) -> list[bytes]:
    """Return JSON lines in one form, whatever wrote them."""
    return [orjson.dumps(orjson.loads(line), option=orjson.OPT_SORT_KEYS) for line in lines]


def unpacked(record: bytes) -> list[bytes]:
    """Return the lines of one record."""
    if record.startswith(b"\x1f\x8b"):
        record = gzip.decompress(record)
    if record.startswith(_KPL_MAGIC):
        return lines_of(b"".join(_of_kpl(record)))
    return lines_of(record)


def _of_kpl(record: bytes) -> Iterable[bytes]:
    """Yield the user records of a container: field 3 holds records, whose field 3 is the data."""
    for number, value in _fields(memoryview(record)[4:-16]):
        if number == 3:
            yield from (bytes(data) for field, data in _fields(value) if field == 3)


def _fields(message: memoryview) -> Iterable[tuple[int, memoryview]]:
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        size, at = _varint(message, at)
        if tag & 7 == 2:
            yield tag >> 3, message[at : at + size]
            at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


class Sink:
    """Answers every put with success, after `latency_s`; any thread may call it."""

    def __init__(self, latency_s: float, *, is_json: bool) -> None:
        self._latency_s = latency_s
        self._is_json = is_json
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(("calls", "records", "bytes", "lines", "sum"), 0)
        self._answers: dict[tuple[bool, int], bytes] = {}

    def begin(self, request: http1.Request) -> None:
        """Read every body; see connection.Application."""

    def answer(self, request: http1.Request) -> connection.Answer:
        """Take a put, or say what was taken so far; see connection.Application."""
        if request.method == "GET":
            return connection.Answer(200, json.dumps(self._counts).encode())
        target = request.headers.get("x-amz-target", "")
        if not target.endswith((".PutRecords", ".PutRecordBatch")):  # facts of the stream
            body = b'{"__type":"AccessDeniedException","message":"a sink has no facts"}'
            return connection.Answer(400, body, _JSON)
        is_kinesis = target.startswith("Kinesis")
        records = [
            pybase64.b64decode(entry["Data"]) for entry in orjson.loads(request.body)["Records"]
        ]
        self._count(records)
        body = self._answers.get((is_kinesis, len(records)))
        if body is None:
            body = self._answers[is_kinesis, len(records)] = _answer(is_kinesis, len(records))
        return connection.Answer(200, body, _JSON, delay_s=self._latency_s)

    def _count(self, records: list[bytes]) -> None:
        is_plain = not records[0].startswith((_KPL_MAGIC, b"\x1f\x8b"))
        if is_plain and all(record.endswith(b"\n") for record in records):
            lines = lines_of(b"".join(records))
        else:
            lines = [line for record in records for line in unpacked(record)]
        if self._is_json:
            lines = canonical(lines)
        total = sum_of(lines)
        with self._lock:
            self._counts["calls"] += 1
            self._counts["records"] += len(records)
            self._counts["bytes"] += sum(map(len, records))
            self._counts["lines"] += len(lines)
            self._counts["sum"] = (self._counts["sum"] + total) & SUM_MASK


def _answer(is_kinesis: bool, count: int) -> bytes:
    """Return a success as AWS writes it: 111 bytes a record of Kinesis, 233 of Firehose."""
    if is_kinesis:
        one = {"SequenceNumber": _SEQUENCE, "ShardId": "shardId-000000000000"}
        return orjson.dumps({"FailedRecordCount": 0, "Records": [one] * count})
    ids = [{"RecordId": _RECORD_ID}] * count
    return orjson.dumps({"FailedPutCount": 0, "Encrypted": False, "RequestResponses": ids})


def main() -> int:
    """Serve until SIGTERM; print the endpoint and the CA file as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--json", action="store_true", help="compare records as JSON values")
    given = parser.parse_args()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    identity = certificate.Identity()  # its files live as long as this name
    served = server.Server(
        Sink(given.latency, is_json=given.json),
        "127.0.0.1",
        0,
        identity=identity,
        idle_timeout_s=60.0,
        connections_max=512,
    )
    served.open()
    with served:
        ready = {"endpoint_url": served.endpoint_url, "ca_file": served.ca_file}
        print(json.dumps(ready), flush=True)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
    return 0


if __name__ == "__main__":
    sys.exit(main())
