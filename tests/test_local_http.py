"""kagent.local on the wire: HTTP/1.1 as clients and their bugs speak it, TLS, and the end."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import io
import socket
import ssl
import threading
from collections.abc import Iterator

import botocore.exceptions
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_local_rig import Rig, exchange, refused, running

from kagent.local import http1


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with running(checks_signatures=False) as rig:
        yield rig


def test_connections_are_kept_and_pipelined(rig: Rig) -> None:
    """Two requests sent at once on one connection get two answers, in order."""
    get = b"GET /_local/counts HTTP/1.1\r\nHost: x\r\n\r\n"
    bad = b"GET /_local/nope HTTP/1.1\r\nHost: x\r\n\r\n"

    received = exchange(rig.server, get + bad)

    assert 2 == received.count(b"HTTP/1.1 ")
    assert received.index(b"HTTP/1.1 200 OK") < received.index(b"HTTP/1.1 404 Not Found")


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"GET /_local/counts HTTP/1.1\r\nConnection: close\r\n", id="close"),
        pytest.param(b"GET /_local/counts HTTP/1.0\r\n", id="HTTP/1.0"),
    ],
)
def test_connections_end_when_the_client_says_so(rig: Rig, head: bytes) -> None:
    """After Connection: close, or in HTTP/1.0, one answer is the last."""
    received = exchange(rig.server, (head + b"\r\n") * 2)

    assert 1 == received.count(b"HTTP/1.1 200 OK")
    assert b"\r\nConnection: close\r\n" in received


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"nonsense\r\n\r\n", 400, id="no request"),
        pytest.param(b"POST / HTTP/1.1\r\nno colon\r\n\r\n", 400, id="no header"),
        pytest.param(b"POST / HTTP/1.1\r\nName : x\r\n\r\n", 400, id="space before colon"),
        pytest.param(b"POST / HTTP/1.1\r\n\r\n", 411, id="no length"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400, id="length no number"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413, id="too long"),
        pytest.param(
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411, id="chunked"
        ),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nshort", 400, id="cut body"),
        pytest.param(b"GET / HTTP/1.1\r\nA: " + b"x" * 20_000, 431, id="long header"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"A: x\r\n" * 200, 431, id="many headers"),
        pytest.param(b"GET / HTTP/1.1\r\nA: cut", 400, id="cut head"),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_ends(
    rig: Rig, sent: bytes, status: int
) -> None:
    """Malformed bytes get one answer that says why, then the end; no thread dies of them."""
    received = exchange(rig.server, sent)

    assert received.startswith(b"HTTP/1.1 %d " % status)
    assert 1 == received.count(b"HTTP/1.1 ")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    """Whatever bytes come, the reader returns a request, the end, or refuses; nothing else."""
    reader = io.BytesIO(data)

    with contextlib.suppress(http1.BadRequestError):
        request = http1.read_head(reader)
        assert request is None or request.body_bytes >= 0


def test_expect_100_continue_is_answered(rig: Rig) -> None:
    """A client that asks first hears 100 Continue and then the answer."""
    head = b"POST /_local/faults HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"

    received = exchange(rig.server, head + b"{}")

    assert received.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        pytest.param({}, b"{}", "AccessDeniedException", id="no target"),
        pytest.param(
            {
                "X-Amz-Target": "Kinesis_20131202.Nope",
                "Content-Type": "application/x-amz-json-1.1",
            },
            b"{}",
            "UnknownOperationException",
            id="unknown operation",
        ),
        pytest.param(
            {
                "X-Amz-Target": "Kinesis_20131202.PutRecords",
                "Content-Type": "application/x-amz-cbor-1.1",
            },
            b"\xa0",
            "UnknownOperationException",
            id="CBOR",
        ),
        pytest.param(
            {
                "X-Amz-Target": "Kinesis_20131202.PutRecords",
                "Content-Type": "application/x-amz-json-1.1",
            },
            b"{",
            "SerializationException",
            id="no JSON",
        ),
        pytest.param(
            {
                "X-Amz-Target": "Kinesis_20131202.PutRecords",
                "Content-Type": "application/x-amz-json-1.1",
            },
            b"[]",
            "SerializationException",
            id="no object",
        ),
        pytest.param(
            {
                "X-Amz-Target": "Kinesis_20131202.PutRecords",
                "Content-Type": "application/x-amz-json-1.1",
                "Content-Encoding": "br",
            },
            b"",
            "SerializationException",
            id="unknown compression",
        ),
        pytest.param(
            {
                "X-Amz-Target": "Kinesis_20131202.PutRecords",
                "Content-Type": "application/x-amz-json-1.1",
                "Content-Encoding": "gzip",
            },
            b"no gzip",
            "SerializationException",
            id="no gzip",
        ),
        pytest.param(
            {
                "X-Amz-Target": "Kinesis_20131202.PutRecords",
                "Content-Type": "application/x-amz-json-1.1",
                "Content-Encoding": "gzip",
            },
            gzip.compress(b"{}" * 100)[:-9],
            "SerializationException",
            id="cut gzip",
        ),
    ],
)
def test_what_is_no_call_is_refused(
    rig: Rig, headers: dict[str, str], body: bytes, code: str
) -> None:
    """A request that names no operation, or whose body is not what it says, has a code."""
    _, answer = rig.send("POST", body, headers)

    assert code == answer["__type"]


def test_tls_is_served_with_a_certificate_of_its_own() -> None:
    """boto3 puts over TLS when it trusts ca_file, and refuses to when it does not."""
    with running(tls=True) as rig:
        answer = rig.put(b"x")

        assert rig.server.endpoint_url.startswith("https://")
        assert 0 == answer["FailedRecordCount"]
        with pytest.raises(botocore.exceptions.SSLError):
            rig.client("kinesis", verify=True).describe_stream_summary(StreamName="web")


def test_tls_is_at_least_1_2() -> None:
    """A client that speaks TLS 1.1 at most is refused in the handshake."""
    with running(tls=True) as rig:
        context = ssl.create_default_context(cafile=rig.server.ca_file)
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        port = int(rig.server.endpoint_url.rpartition(":")[2])

        with (
            socket.create_connection(("127.0.0.1", port), timeout=5) as sock,
            pytest.raises((ssl.SSLError, ConnectionError)),
        ):
            context.wrap_socket(sock, server_hostname="localhost")


def test_an_outage_ends_with_everything_still_there() -> None:
    """A service that listens again on its port has the same records, counts and certificate."""
    with running(tls=True) as rig:
        rig.put(b"before")
        port = int(rig.server.endpoint_url.rpartition(":")[2])

        rig.server.close()
        with pytest.raises(botocore.exceptions.EndpointConnectionError):
            rig.put(b"during")
        with rig.service.listen(port=port):
            rig.put(b"after")

        assert [b"before", b"after"] == rig.service.records("web")


def test_idle_connections_are_closed() -> None:
    """A connection without a request for idle_timeout_s ends without an answer."""
    with running(idle_timeout_s=0.05) as rig:
        host, port = rig.server.endpoint_url.removeprefix("http://").split(":")

        with socket.create_connection((host, int(port)), timeout=5) as sock:
            assert b"" == sock.recv(1)


def test_connections_beyond_the_maximum_are_closed() -> None:
    """With connections_max open ones a further one is closed at once; the others live on."""
    with running(connections_max=1) as rig:
        rig.put(b"x")
        host, port = rig.server.endpoint_url.removeprefix("http://").split(":")

        with socket.create_connection((host, int(port)), timeout=5) as sock:
            assert b"" == sock.recv(1)

        rig.put(b"x")
        assert 2 == rig.server.connections_accepted


def test_closing_ends_every_thread_and_open_connection() -> None:
    """close() returns although clients keep connections open, and no thread is left."""
    before = set(threading.enumerate())
    with running() as rig:
        host = rig.server.endpoint_url.removeprefix("http://")
        held = [http.client.HTTPConnection(host, timeout=5) for _ in range(3)]
        for connection in held:
            connection.connect()

        rig.server.close()

        for connection in held:
            connection.close()
        assert before == set(threading.enumerate())


def test_concurrent_writers_lose_nothing() -> None:
    """Eight clients at once: every accepted record is stored once, numbers stay unique."""
    with running(checks_signatures=False) as rig:
        writers = [threading.Thread(target=write, args=(rig, writer)) for writer in range(8)]
        for thread in writers:
            thread.start()
        for thread in writers:
            thread.join()

        counts = rig.service.counts()["streams"]["web"]
        journal = rig.service.journal("web")
        assert counts["records_accepted"] == counts["lines_distinct"] == 8 * 20 * 10
        assert 8 * 20 * 10 == len({entry.id for entry in journal})
        assert 0 == counts["duplicates"]


def write(rig: Rig, writer: int) -> None:
    kinesis = rig.client("kinesis")
    for call in range(20):
        lines = [b"%d %d %d" % (writer, call, line) for line in range(10)]
        records = [{"Data": line, "PartitionKey": str(line)} for line in lines]
        kinesis.put_records(StreamName="web", Records=records)


def test_a_refused_call_leaves_the_connection_usable(rig: Rig) -> None:
    """After an error answer the next call goes over the same connection and is served."""
    with refused("ResourceNotFoundException"):
        rig.put(b"x", stream="nope")

    assert 0 == rig.put(b"x")["FailedRecordCount"]
