"""The local service as a whole: from a request to an answer, and everything a test wants to know.

    service = Service(ServiceOptions(streams={"web": StreamOptions(shards=4)}))
    with service.listen() as server:
        client = boto3.client("kinesis", endpoint_url=server.endpoint_url, ...)
        service.set_faults(Faults(lose_share=0.1))
    assert service.counts()["streams"]["web"]["duplicates_other"] == 0

Any thread may call any method; several servers may listen for one service.
"""

from __future__ import annotations

import base64
import collections
import email.utils
import functools
import random
import threading
import time
import typing
import uuid
from collections.abc import Callable
from typing import Any

from kagent.local import (
    admin,
    certificate,
    cloudwatch,
    connection,
    errors,
    faults,
    firehose,
    http1,
    intake,
    journals,
    kinesis,
    kinesis_describe,
    kinesis_read,
    kinesis_scale,
    options,
    protocol,
    records,
    server,
    sigv4,
    spoiling,
    streams,
    sts,
)

Operation = Callable[[intake.Json, intake.Call], bytes | dict[str, Any]]

_SENDING: dict[faults.Outcome, connection.Sending] = {
    "lose": "nothing",
    "truncate": "partly",
    "slow": "slowly",
}


class Service:
    """Owns the streams, the delivery streams, the metrics and the faults of one account."""

    def __init__(
        self,
        service_options: options.ServiceOptions,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.options = service_options
        self.source = faults.FaultSource(service_options.seed)
        self._streams = streams.Streams(service_options, monotonic(), wall())
        self._firehose = firehose.Firehose(service_options, self.source, monotonic, wall)
        self._cloudwatch = cloudwatch.CloudWatch()
        self._wall = wall
        self.verifier = sigv4.SignatureVerifier(service_options, self._service_time)
        self.sts = sts.Sts(
            service_options, self.verifier, lambda: self.source.faults, self._service_time
        )
        self._random = random.Random(service_options.seed)
        self._lock = threading.Lock()
        self._identity: certificate.Identity | None = None
        self._operation_counts: collections.Counter[str] = collections.Counter()
        self._refused_counts: collections.Counter[str] = collections.Counter()
        writer = kinesis.KinesisWriter(self._streams, self.source, monotonic, wall)
        reader = kinesis_read.KinesisReader(self._streams, wall)
        describer = kinesis_describe.KinesisDescriber(self._streams, monotonic)
        scaler = kinesis_scale.KinesisScaler(self._streams, monotonic, wall)
        self._operations: dict[tuple[str, str], Operation] = {
            ("kinesis", "PutRecords"): writer.put_records,
            ("kinesis", "GetShardIterator"): reader.get_shard_iterator,
            ("kinesis", "GetRecords"): reader.get_records,
            ("kinesis", "DescribeStreamSummary"): describer.describe_stream_summary,
            ("kinesis", "ListShards"): describer.list_shards,
            ("kinesis", "SplitShard"): scaler.split_shard,
            ("kinesis", "MergeShards"): scaler.merge_shards,
            ("kinesis", "UpdateShardCount"): scaler.update_shard_count,
            ("kinesis", "UpdateMaxRecordSize"): scaler.update_max_record_size,
            ("kinesis", "UpdateStreamMode"): scaler.update_stream_mode,
            ("kinesis", "StartStreamEncryption"): scaler.start_stream_encryption,
            ("kinesis", "StopStreamEncryption"): scaler.stop_stream_encryption,
            ("firehose", "PutRecordBatch"): self._firehose.put_record_batch,
            ("firehose", "DescribeDeliveryStream"): self._firehose.describe_delivery_stream,
            ("monitoring", "PutMetricData"): self._cloudwatch.put_metric_data,
            ("sts", "AssumeRole"): self.sts.assume_role,
            ("sts", "GetCallerIdentity"): self.sts.get_caller_identity,
            ("iam", "SimulatePrincipalPolicy"): self.sts.simulate_principal_policy,
        }

    def listen(self, host: str = "127.0.0.1", port: int = 0) -> server.Server:
        """Return an open server for this service; port 0 chooses a free one.

        After an outage (`close`, then `listen` on the same port) the records, the counts and the
        certificate are those from before.
        """
        with self._lock:
            if self.options.tls and self._identity is None:
                self._identity = certificate.Identity()
        opened = server.Server(
            self,
            host,
            port,
            identity=self._identity,
            idle_timeout_s=self.options.idle_timeout_s,
            connections_max=self.options.connections_max,
        )
        opened.open()
        return opened

    def set_faults(self, wanted: faults.Faults) -> None:
        """Replace the faults in force; `Faults()` ends them all."""
        self.source.set(wanted)

    def counts(self) -> dict[str, Any]:
        """Return the service's own books; the same as GET /_local/counts."""
        with self._lock:
            calls, refused = dict(self._operation_counts), dict(self._refused_counts)
        return {
            "calls": calls,  # by operation
            "calls_refused": refused,  # by code, of all operations
            "streams": {
                name: stream.counts_json() for name, stream in self._streams.by_name.items()
            },
            "delivery_streams": {
                name: stream.store.counts_json() for name, stream in self._firehose.by_name.items()
            },
            "metrics": self._cloudwatch.counts_json(),
            "faults": self.source.counts(),
        }

    def records(self, stream: str) -> list[bytes]:
        """Return the kept records of a stream in the order in which they were accepted."""
        return [entry.data for entry in self.journal(stream)]

    def deliveries(self, delivery_stream: str) -> list[bytes]:
        """Return the kept records of a delivery stream in the order of their acceptance."""
        return [entry.data for entry in self.delivery_journal(delivery_stream)]

    def metrics(self) -> list[dict[str, Any]]:
        """Return the CloudWatch data points that were put, each with its Namespace."""
        return self._cloudwatch.metrics()

    def journal(
        self, stream: str, start: int = 0, limit: int | None = None
    ) -> list[journals.JournalEntry]:
        """Return what a stream accepted, from the given order on.

        Raises:
            KeyError: No such stream.
        """
        return journals.of_stream(self._streams.by_name[stream], start, limit)

    def delivery_journal(
        self, delivery_stream: str, start: int = 0, limit: int | None = None
    ) -> list[journals.JournalEntry]:
        """Return what a delivery stream accepted; as `journal`."""
        return journals.of_delivery_stream(self._firehose.by_name[delivery_stream], start, limit)

    def begin(self, request: http1.Request) -> connection.Answer | typing.Literal["reset"] | None:
        """Decide after the head of a request; see connection.Application."""
        operation = request.headers.get("x-amz-target", "").rpartition(".")[2]
        outcome = self.source.draw_early(operation)
        if outcome == "reset":
            return "reset"
        if outcome == "fail_early":
            return self._refusal(protocol.UNKNOWN, _injected(self.source.faults))
        return None

    def answer(self, request: http1.Request) -> connection.Answer:
        """Answer a whole request; see connection.Application."""
        if request.path.startswith(admin.PREFIX):
            return admin.answer(self, request)
        api, call = protocol.UNKNOWN, intake.Call()
        try:
            api, call.operation = protocol.operation_of(request)
            result = self._result(request, api, call)
        except errors.ServiceError as error:
            self._count_refused(call, error.code)
            answer = self._refusal(api, error)
            if error.status == 307:
                answer.headers["Location"] = "https://elsewhere.invalid/"
        else:
            answer = self._headed(200, api)
            request_id = answer.headers["x-amzn-RequestId"]
            answer.body = protocol.result_bytes(api, call.operation, result, request_id)
        return self._with_faults(answer, call)

    def _result(
        self, request: http1.Request, api: protocol.Api, call: intake.Call
    ) -> bytes | dict[str, Any]:
        """Verify a call, do what it asks for, and return the result."""
        operation = self._operations.get((api.signing_name, call.operation))
        if operation is None:
            raise errors.ServiceError("UnknownOperationException", "")
        with self._lock:
            self._operation_counts[call.operation] += 1
        if self.options.checks_signatures:
            self.verifier.verify(request, api.signing_name)
        params = protocol.params_of(request, api)
        self._name_stream(params, api, call)
        in_force = self.source.faults
        if call.operation in in_force.denied:
            raise errors.denied(self.options, api.signing_name, call.operation, call.stream)
        if in_force.apply_to(call.operation, call.stream):
            call.wanted = in_force
        call.outcome = self.source.draw_outcome(call.operation, call.stream)
        if call.outcome == "fail":
            raise _injected(call.wanted)
        if call.outcome == "redirect":
            raise errors.ServiceError("TemporaryRedirect", "Please go elsewhere.", 307)
        result = operation(params, call)
        if call.botched is not None:
            call.botched.settle(is_good=False)
        if call.outcome == "fail_late":
            raise _injected(call.wanted)
        return result

    def _name_stream(self, params: intake.Json, api: protocol.Api, call: intake.Call) -> None:
        """Note which stream a call is for, so that faults and counts find it."""
        if api.signing_name == "kinesis":
            call.stream = streams.name_in(params)
            known = self._streams.by_name.get(call.stream)
            call.store = known.store if known else None
        elif api.signing_name == "firehose":
            call.stream = str(params.get("DeliveryStreamName", ""))
            found = self._firehose.by_name.get(call.stream)
            call.store = found.store if found else None
        if call.store is not None:
            call.store.count_call(call.operation)

    def _count_refused(self, call: intake.Call, code: str) -> None:
        with self._lock:
            self._refused_counts[code] += 1
        if call.store is not None:
            call.store.count_refused_call(code)

    def _refusal(self, api: protocol.Api, error: errors.ServiceError) -> connection.Answer:
        answer = self._headed(error.status, api)
        answer.body = protocol.error_bytes(api, error, answer.headers["x-amzn-RequestId"])
        if api.signing_name == "monitoring":
            answer.headers["x-amzn-query-error"] = protocol.query_error(error)
        return answer

    def _headed(self, status: int, api: protocol.Api) -> connection.Answer:
        """Return an answer with the headers that AWS sends and no body yet."""
        headers = {
            "x-amzn-RequestId": str(uuid.UUID(int=self._random.getrandbits(128), version=4)),
            "x-amz-id-2": base64.b64encode(self._random.randbytes(72)).decode(),
            "Date": email.utils.formatdate(self._service_time(), usegmt=True),
            "Content-Type": api.content_type,
        }
        return connection.Answer(status, b"", headers)

    def _service_time(self) -> float:
        return self._wall() + self.source.faults.clock_skew

    def _with_faults(self, answer: connection.Answer, call: intake.Call) -> connection.Answer:
        """Give an answer its fate on the wire, and let the store learn of it."""
        answer.sending = _SENDING.get(call.outcome, "whole")
        answer.slow_s = call.wanted.slow_s
        answer.delay_s = call.wanted.latency_s
        if answer.delay_s:
            self.source.count("latency")
        if answer.sending == "partly":
            answer.part = self.source.draw_part()
        answer.is_last = call.outcome == "stale"
        is_good = answer.status == 200
        if is_good and call.outcome in spoiling.SPOILED:
            is_good, answer.body = False, spoiling.SPOILED[call.outcome](answer.body)
        if call.stored is not None:
            answer.settle = functools.partial(_settle, call.stored, is_good)
        return answer


def _injected(wanted: faults.Faults) -> errors.ServiceError:
    return errors.ServiceError(wanted.fail_code, "A fault on request.", wanted.fail_status)


def _settle(stored: records.Unsettled, is_success: object, is_sent: object, /) -> None:
    stored.settle(is_good=bool(is_success and is_sent))
