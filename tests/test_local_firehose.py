"""kagent.local as Firehose: the limits and the throttling of PutRecordBatch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from test_local_rig import Rig, refused, running

from kagent.local import DeliveryStreamOptions


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A delivery stream without throttling."""
    audit = DeliveryStreamOptions(is_throttled=False)
    with running(delivery_streams={"audit": audit}) as rig:
        yield rig


def test_put_record_batch_answers_one_record_id_each(rig: Rig) -> None:
    """Each record of a batch gets an id of 224 characters that no other record has."""
    answer = rig.firehose.put_record_batch(
        DeliveryStreamName="audit", Records=[{"Data": b"%d" % n} for n in range(500)]
    )

    ids = {result["RecordId"] for result in answer["RequestResponses"]}
    assert (0, False) == (answer["FailedPutCount"], answer["Encrypted"])
    assert 500 == len(ids)
    assert {224} == set(map(len, ids))
    assert [b"%d" % n for n in range(500)] == rig.service.deliveries("audit")


@pytest.mark.parametrize(
    ("records", "code"),
    [
        pytest.param([b"x"] * 501, "ValidationException", id="501 records"),
        pytest.param([b"x" * (1000 * 1024 + 1)], "ValidationException", id="above 1,000 KiB"),
        pytest.param([b"x" * 1000 * 1024] * 5, "InvalidArgumentException", id="above 4 MiB"),
    ],
)
def test_put_record_batch_refuses_what_aws_refuses(
    rig: Rig, records: list[bytes], code: str
) -> None:
    """A batch beyond a limit is refused as a whole and nothing of it is stored."""
    with refused(code):
        rig.firehose.put_record_batch(
            DeliveryStreamName="audit", Records=[{"Data": data} for data in records]
        )

    assert [] == rig.service.deliveries("audit")


def test_put_record_batch_takes_exactly_four_mib(rig: Rig) -> None:
    """Four records of 1,000 KiB and one of 96 KiB, 4 MiB in all before base64, are accepted."""
    answer = rig.firehose.put_record_batch(
        DeliveryStreamName="audit",
        Records=[{"Data": b"x" * 1000 * 1024}] * 4 + [{"Data": b"x" * 96 * 1024}],
    )

    assert 0 == answer["FailedPutCount"]


def test_a_delivery_stream_fed_by_kinesis_takes_no_puts() -> None:
    """PutRecordBatch is refused when the source of the delivery stream is a Kinesis stream."""
    fed = DeliveryStreamOptions(takes_direct_put=False)
    with running(delivery_streams={"fed": fed}) as rig:
        with refused("InvalidArgumentException"):
            rig.firehose.put_record_batch(DeliveryStreamName="fed", Records=[{"Data": b"x"}])

        described = rig.firehose.describe_delivery_stream(DeliveryStreamName="fed")
        kind = described["DeliveryStreamDescription"]["DeliveryStreamType"]
        assert "KinesisStreamAsSource" == kind


def test_firehose_asks_to_slow_down_record_by_record() -> None:
    """Beyond the delivery stream's rate a record is refused with ServiceUnavailableException."""
    slow = DeliveryStreamOptions(bytes_per_s=1000)
    with running(delivery_streams={"slow": slow}) as rig:
        answer = rig.firehose.put_record_batch(
            DeliveryStreamName="slow", Records=[{"Data": b"x" * 400}] * 3
        )

        assert 1 == answer["FailedPutCount"]
        assert {
            "ErrorCode": "ServiceUnavailableException",
            "ErrorMessage": "Slow down.",
        } == answer["RequestResponses"][2]


def test_firehose_refuses_calls_beyond_its_request_rate() -> None:
    """Beyond the requests a second the whole call is answered 503, and none of it is stored."""
    slow = DeliveryStreamOptions(requests_per_s=1)
    with running(delivery_streams={"slow": slow}) as rig:
        rig.firehose.put_record_batch(DeliveryStreamName="slow", Records=[{"Data": b"1"}])

        with refused("ServiceUnavailableException", "Slow down."):
            rig.firehose.put_record_batch(DeliveryStreamName="slow", Records=[{"Data": b"2"}])

        assert [b"1"] == rig.service.deliveries("slow")
