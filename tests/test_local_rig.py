"""What the tests of kagent.local share: a running service, real clients, a clock set by hand."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import http.client
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.exceptions
import pytest

from kagent.local import (
    DeliveryStreamOptions,
    Server,
    Service,
    ServiceOptions,
    StreamOptions,
)

OPTIONS = ServiceOptions(
    streams={"web": StreamOptions(shards=4)},
    delivery_streams={"audit": DeliveryStreamOptions()},
)


class HandClock:
    """A clock that moves when it is told to; its wall time starts now, for signatures' sake."""

    def __init__(self) -> None:
        self.now_s = time.time()

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


@dataclasses.dataclass
class Rig:
    """A running service and everything to talk to it."""

    service: Service
    server: Server
    clock: HandClock
    clients: contextlib.ExitStack

    def client(self, name: str, **overrides: Any) -> Any:
        """Return a real client of 'kinesis', 'firehose' or 'cloudwatch' that never retries."""
        options = self.service.options
        arguments = {
            "endpoint_url": self.server.endpoint_url,
            "region_name": options.region,
            "aws_access_key_id": options.access_key,
            "aws_secret_access_key": options.secret_key,
            "verify": self.server.ca_file,
            "config": botocore.config.Config(
                retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=5
            ),
        }
        client = session().client(name, **(arguments | overrides))
        return self.clients.enter_context(contextlib.closing(client))

    def put(self, *lines: bytes, stream: str = "web", key: str = "k") -> Any:
        """Put one record per line into a stream."""
        records = [{"Data": line, "PartitionKey": key} for line in lines]
        return self.kinesis.put_records(StreamName=stream, Records=records)

    def post(self, target: str, body: object, **headers: str) -> tuple[int, Any]:
        """Send a signed JSON body that no SDK would let pass; return the status and the answer."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"{self.server.endpoint_url}/"
        headers = {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1"} | headers
        request = botocore.awsrequest.AWSRequest("POST", url, headers=headers, data=data)
        options = self.service.options
        credentials = botocore.credentials.Credentials(options.access_key, options.secret_key)
        service = {"F": "firehose", "K": "kinesis"}.get(target[:1], "monitoring")
        botocore.auth.SigV4Auth(credentials, service, options.region).add_auth(request)
        return self.send("POST", data, dict(request.headers))

    def admin(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Send a request to what is not AWS; return the status and the answer."""
        return self.send(method, json.dumps(body).encode() if body is not None else b"", {}, path)

    def send(
        self, method: str, data: bytes, headers: dict[str, str], path: str = "/"
    ) -> tuple[int, Any]:
        """Send a request as it is; return the status and what the JSON of its answer says."""
        host = self.server.endpoint_url.removeprefix("http://")
        with contextlib.closing(http.client.HTTPConnection(host, timeout=5)) as connection:
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            body = answer.read()
        return answer.status, json.loads(body) if body[:1] in {b"{", b"["} else body

    @functools.cached_property
    def kinesis(self) -> Any:
        return self.client("kinesis")

    @functools.cached_property
    def firehose(self) -> Any:
        return self.client("firehose")

    @functools.cached_property
    def cloudwatch(self) -> Any:
        return self.client("cloudwatch")


@functools.cache
def session() -> boto3.session.Session:
    """Return the one session: loading the API models costs more than all the rest."""
    return boto3.session.Session()


@contextlib.contextmanager
def running(options: ServiceOptions = OPTIONS, **changes: Any) -> Iterator[Rig]:
    """Run a service with these options until the end of the block."""
    clock = HandClock()
    service = Service(dataclasses.replace(options, **changes), monotonic=clock, wall=clock)
    with service.listen() as server, contextlib.ExitStack() as clients:
        yield Rig(service, server, clock, clients)


def exchange(server: Server, sent: bytes) -> bytes:
    """Send raw bytes over a new connection and return all that comes back until its end."""
    host, port = server.endpoint_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as sock:
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)
        received = b""
        while piece := sock.recv(65536):
            received += piece
    return received


@contextlib.contextmanager
def refused(code: str, message: str = "") -> Iterator[None]:
    """Expect the call in the block to be refused as a whole with this code."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        yield
    assert code == caught.value.response["Error"]["Code"]
    assert message in caught.value.response["Error"]["Message"]
