"""Amazon Data Firehose: PutRecordBatch with its limits, and DescribeDeliveryStream."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kagent.local import errors, faults, intake, limits, options, rate, records

_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_SLOW_DOWN = intake.Refusal("ServiceUnavailableException", "Slow down.")


class DeliveryStream:
    """One delivery stream: what it accepted, and how much it takes in a second."""

    def __init__(
        self,
        name: str,
        stream_options: options.DeliveryStreamOptions,
        region: str,
        now_s: float,
        created_at_s: float,
    ) -> None:
        is_large = region in limits.FIREHOSE_LARGE_REGIONS
        bytes_per_s = stream_options.bytes_per_s or (
            limits.FIREHOSE_BYTES_PER_S_LARGE if is_large else limits.FIREHOSE_BYTES_PER_S
        )
        requests_per_s = stream_options.requests_per_s or (
            limits.FIREHOSE_REQUESTS_PER_S_LARGE if is_large else limits.FIREHOSE_REQUESTS_PER_S
        )
        records_per_s = stream_options.records_per_s or (
            limits.FIREHOSE_RECORDS_PER_S_LARGE if is_large else limits.FIREHOSE_RECORDS_PER_S
        )
        self.name = name
        self.options = stream_options
        self.created_at_s = created_at_s  # wall clock
        self.store = records.Store(stream_options)
        self.requests = rate.Bucket(requests_per_s, requests_per_s, now_s)
        self.throughput = rate.Throughput(records_per_s, bytes_per_s, bytes_per_s, now_s)
        # A real record id has 224 characters; these begin alike and end in the record's number.
        self._record_id_prefix = (hashlib.sha512(name.encode()).hexdigest() * 2)[:204]

    def record_id(self, number: int) -> str:
        """Return the 224 characters that name a record."""
        return f"{self._record_id_prefix}{number:020d}"


class Firehose:
    """Owns the delivery streams and answers the API; any thread may call it."""

    def __init__(
        self,
        service_options: options.ServiceOptions,
        source: faults.FaultSource,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._account = service_options.account
        self._region = service_options.region
        self._source = source
        self._monotonic = monotonic
        self._wall = wall
        self.by_name: Mapping[str, DeliveryStream] = {
            name: DeliveryStream(name, stream_options, self._region, monotonic(), wall())
            for name, stream_options in service_options.delivery_streams.items()
        }

    def put_record_batch(self, params: intake.Json, call: intake.Call) -> bytes:
        """Store what fits; return the answer, which has one entry for each record."""
        entries = intake.entries_of(params, limits.PUT_RECORD_BATCH_RECORDS_MAX)
        datas = intake.datas_of(entries, limits.FIREHOSE_RECORD_BYTES_MAX)
        stream = self._stream_of(params)
        if not stream.options.takes_direct_put:
            raise errors.ServiceError(
                "InvalidArgumentException",
                "This operation is not permitted on KinesisStreamAsSource delivery stream type.",
            )
        sizes = list(map(len, datas))
        if sum(sizes) > limits.PUT_RECORD_BATCH_REQUEST_BYTES_MAX:
            raise errors.ServiceError(
                "InvalidArgumentException", "Records size exceeds 4 MB limit"
            )
        intake.check_poison(datas, self._source, call, "InvalidArgumentException")

        with stream.store.lock:
            refused = self._refused(stream, sizes, call)
            taken = [index for index in range(len(datas)) if index not in refused]
            taken, botched = intake.without_botched(taken, self._source, call)

            def accept(indexes: list[int]) -> records.Unsettled:
                first = stream.store.counts.records_accepted
                places = [("", 0, number) for number in range(first, first + len(indexes))]
                kept = [datas[index] for index in indexes]
                return stream.store.locked_accept(kept, places, self._wall())

            first = stream.store.counts.records_accepted
            if taken:
                call.stored = accept(taken)
            if botched:
                call.botched = accept(botched)
                refused.update(dict.fromkeys(botched, intake.INTERNAL_FAILURE))
            stream.store.counts.records_refused.update(why.code for why in refused.values())
        return _answer(stream, len(datas), refused, first)

    def _refused(
        self, stream: DeliveryStream, sizes: Sequence[int], call: intake.Call
    ) -> dict[int, intake.Refusal]:
        """Decide which records are not taken: drawn faults first, then the stream's rate."""
        now_s = self._monotonic()
        if stream.options.is_throttled:
            stream.requests.refill(now_s)
            if not stream.requests.has(1):
                raise errors.ServiceError(*_SLOW_DOWN, status=503)
            stream.requests.tokens -= 1
        code = call.wanted.refuse_code
        why = intake.INTERNAL_FAILURE if code == intake.INTERNAL_FAILURE.code else _SLOW_DOWN
        drawn = self._source.draw_refused(call.operation, stream.name, len(sizes))
        refused = dict.fromkeys(drawn, why)
        if stream.options.is_throttled:
            left = [index for index in range(len(sizes)) if index not in refused]
            admitted = stream.throughput.admit([sizes[index] for index in left], now_s)
            refused.update(
                (index, _SLOW_DOWN)
                for index, is_in in zip(left, admitted, strict=True)
                if not is_in
            )
        return refused

    def describe_delivery_stream(self, params: intake.Json, _call: intake.Call) -> dict[str, Any]:
        """Return what an operator would see of a delivery stream that writes to S3."""
        stream = self._stream_of(params)
        bucket = f"arn:aws:s3:::{stream.name}"
        return {
            "DeliveryStreamDescription": {
                "DeliveryStreamName": stream.name,
                "DeliveryStreamARN": f"arn:aws:firehose:{self._region}:{self._account}:"
                f"deliverystream/{stream.name}",
                "DeliveryStreamStatus": "ACTIVE",
                "DeliveryStreamType": "DirectPut"
                if stream.options.takes_direct_put
                else "KinesisStreamAsSource",
                "VersionId": "1",
                "CreateTimestamp": round(stream.created_at_s, 3),
                "Destinations": [
                    {
                        "DestinationId": "destinationId-000000000001",
                        "ExtendedS3DestinationDescription": {
                            "RoleARN": f"arn:aws:iam::{self._account}:role/firehose",
                            "BucketARN": bucket,
                            "BufferingHints": {"SizeInMBs": 5, "IntervalInSeconds": 300},
                            "CompressionFormat": "UNCOMPRESSED",
                            "EncryptionConfiguration": {"NoEncryptionConfig": "NoEncryption"},
                        },
                    }
                ],
                "HasMoreDestinations": False,
            }
        }

    def _stream_of(self, params: intake.Json) -> DeliveryStream:
        name = params.get("DeliveryStreamName")
        if name is None:
            raise errors.validation_error("deliveryStreamName", "Member must not be null")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise errors.validation_error(
                "deliveryStreamName",
                "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+",
            )
        stream = self.by_name.get(name)
        if stream is None:
            raise errors.ServiceError(
                "ResourceNotFoundException",
                f"Firehose {name} under account {self._account} not found.",
            )
        return stream


def _answer(
    stream: DeliveryStream, count: int, refused: dict[int, intake.Refusal], first: int
) -> bytes:
    accepted = (
        f'{{"RecordId":"{stream.record_id(number)}"}}' for number in range(first, first + count)
    )
    results = [
        f'{{"ErrorCode":"{refused[index].code}","ErrorMessage":"{refused[index].message}"}}'
        if index in refused
        else next(accepted)
        for index in range(count)
    ]
    return (
        f'{{"FailedPutCount":{len(refused)},"Encrypted":false,'
        f'"RequestResponses":[{",".join(results)}]}}'
    ).encode()
