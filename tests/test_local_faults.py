"""kagent.local going wrong on request, and its books: faults, duplicates, lost answers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import botocore.config
import botocore.exceptions
import pytest
from test_local_rig import Rig, refused, running

from kagent.local import DeliveryStreamOptions, Faults, StreamOptions, faults

LOST = botocore.exceptions.BotoCoreError  # no answer; a refusal is a ClientError


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A stream and a delivery stream, both without throttling."""
    with running(
        streams={"web": StreamOptions(shards=4, is_throttled=False)},
        delivery_streams={"audit": DeliveryStreamOptions(is_throttled=False)},
    ) as rig:
        yield rig


def put_in_vain(rig: Rig, *lines: bytes) -> None:
    """Put lines whose answer gets lost. Of a cut answer botocore makes one without records."""
    with contextlib.suppress(LOST):
        assert "Records" not in rig.put(*lines)


def web_counts(rig: Rig) -> dict[str, Any]:
    return dict(rig.service.counts()["streams"]["web"])


def test_a_share_of_records_is_refused_with_the_wanted_code(rig: Rig) -> None:
    """refuse_share refuses about that share, in both services, and each refusal is counted."""
    rig.service.set_faults(Faults(refuse_share=0.2, refuse_code="InternalFailure"))

    kinesis = rig.put(*[b"x"] * 500)
    firehose = rig.firehose.put_record_batch(
        DeliveryStreamName="audit", Records=[{"Data": b"x"}] * 500
    )

    total = kinesis["FailedRecordCount"] + firehose["FailedPutCount"]
    assert 150 < total < 250
    assert {"refuse": total} == rig.service.counts()["faults"]
    assert web_counts(rig)["records_refused"] == {"InternalFailure": kinesis["FailedRecordCount"]}


def test_the_same_seed_draws_the_same_faults() -> None:
    """Two services with one seed refuse the same records; with another seed, others."""

    def drawn(seed: int) -> list[bool]:
        with running(seed=seed) as rig:
            rig.service.set_faults(Faults(refuse_share=0.5))
            return ["ErrorCode" in result for result in rig.put(*[b"x"] * 100)["Records"]]

    first, again, other = drawn(1), drawn(1), drawn(2)

    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("status", "code"),
    [
        pytest.param(500, "InternalFailure", id="internal"),
        pytest.param(400, "ExpiredTokenException", id="credentials"),
        pytest.param(503, "ServiceUnavailable", id="unavailable"),
        pytest.param(599, "Odd", id="status without a name"),
    ],
)
def test_a_whole_call_is_refused_and_stores_nothing(rig: Rig, status: int, code: str) -> None:
    """fail_share answers with the wanted status and code, and nothing was stored."""
    rig.service.set_faults(Faults(fail_share=1, fail_status=status, fail_code=code))

    with refused(code):
        rig.put(b"x")

    assert [] == rig.service.records("web")
    assert {code: 1} == web_counts(rig)["calls_refused"]


def test_faults_max_ends_them(rig: Rig) -> None:
    """After faults_max faults calls are served again: an exact number, for exact tests."""
    rig.service.set_faults(Faults(fail_share=1, faults_max=1))

    with refused("InternalFailure"):
        rig.put(b"x")
    rig.put(b"x")

    assert {"fail": 1} == rig.service.counts()["faults"]


@pytest.mark.parametrize("kind", ["lose", "truncate"])
def test_a_lost_answer_is_stored_and_explains_its_duplicate(rig: Rig, kind: str) -> None:
    """What was stored without a good answer is counted so, and explains the second copy."""
    rig.service.set_faults(faults.faults_from_json({f"{kind}_share": 1, "faults_max": 1}))
    lines = [b"%d\n" % number for number in range(500)]

    put_in_vain(rig, *lines)
    rig.put(*lines[1:], b"new\n")

    counts = web_counts(rig)
    assert 500 == counts["records_answer_lost"]
    assert (1000, 501) == (counts["lines"], counts["lines_distinct"])
    assert (499, 0) == (counts["duplicates_after_lost_answer"], counts["duplicates_other"])
    answers = [entry.answer for entry in rig.service.journal("web")]
    assert ["lost"] * 500 + ["good"] * 500 == answers


@pytest.mark.parametrize("kind", ["garble", "miscount", "bloat"])
def test_a_spoiled_answer_explains_its_duplicate(rig: Rig, kind: str) -> None:
    """What was stored but not said as AWS would may come again; the plain answer is whole."""
    rig.service.set_faults(faults.faults_from_json({f"{kind}_share": 1, "faults_max": 1}))

    with contextlib.suppress(LOST, ValueError):
        spoiled = rig.put(b"x\n", b"y\n")
        assert spoiled.get("FailedRecordCount") != 0 or "Padding" not in spoiled
    again = rig.put(b"x\n")

    counts = web_counts(rig)
    assert 0 == again["FailedRecordCount"]
    assert (2, 1) == (counts["records_answer_lost"], counts["duplicates_after_lost_answer"])


def test_a_redirect_stores_nothing(rig: Rig) -> None:
    """redirect_share sends the client elsewhere, as no AWS service does."""
    rig.service.set_faults(Faults(redirect_share=1))

    with refused("TemporaryRedirect"):
        rig.put(b"x")

    assert [] == rig.service.records("web")


def test_a_stale_connection_was_closed_without_a_word(rig: Rig) -> None:
    """stale_share answers well, and the next request needs another connection."""
    rig.service.set_faults(Faults(stale_share=1))

    answers = []
    for _ in range(6):  # botocore notices now and then before it sends, and connects anew
        with contextlib.suppress(LOST):
            answers.append(rig.put(b"x")["FailedRecordCount"])

    assert {0} == set(answers)
    assert 3 <= len(answers) <= rig.server.connections_accepted


def test_an_internal_error_after_storing_explains_duplicates_too(rig: Rig) -> None:
    """fail_late answers 500 although the records were stored, as Firehose documents."""
    rig.service.set_faults(Faults(fail_late_share=1, faults_max=1))

    with refused("InternalFailure"):
        rig.firehose.put_record_batch(DeliveryStreamName="audit", Records=[{"Data": b"x"}])
    rig.firehose.put_record_batch(DeliveryStreamName="audit", Records=[{"Data": b"x"}])

    counts = rig.service.counts()["delivery_streams"]["audit"]
    assert (1, 0) == (counts["duplicates_after_lost_answer"], counts["duplicates_other"])
    answers = [entry.answer for entry in rig.service.delivery_journal("audit")]
    assert ["lost", "good"] == answers


def test_a_duplicate_without_a_lost_answer_is_the_client_s_fault(rig: Rig) -> None:
    """A line that comes again after a good answer is counted as `other`, also within a call."""
    rig.put(b"one\n", b"two\n")

    rig.put(b"one\n", b"three\n", b"three\n")

    counts = web_counts(rig)
    assert (0, 2) == (counts["duplicates_after_lost_answer"], counts["duplicates_other"])


def test_a_reset_connection_stored_nothing(rig: Rig) -> None:
    """Reset closes the connection with a reset before the body is read."""
    rig.service.set_faults(Faults(reset_share=1, faults_max=1))

    put_in_vain(rig, b"x")

    assert [] == rig.service.records("web")
    assert {"reset": 1} == rig.service.counts()["faults"]


def test_an_early_refusal_comes_before_the_body(rig: Rig) -> None:
    """fail_early answers after the head and closes, whether or not the body was sent."""
    rig.service.set_faults(Faults(fail_early_share=1, fail_status=403, fail_code="Denied"))

    status, answer = rig.post("Kinesis_20131202.PutRecords", {"StreamName": "web"})

    assert (403, "Denied") == (status, answer["__type"])


def test_a_slow_answer_arrives_whole(rig: Rig) -> None:
    """An answer that drips over slow_s seconds is complete and counts as good."""
    rig.service.set_faults(Faults(slow_share=1, slow_s=0.1))

    answer = rig.put(b"x")

    assert 0 == answer["FailedRecordCount"]
    assert ["good"] == [entry.answer for entry in rig.service.journal("web")]


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(Faults(latency_s=600), id="latency"),
        pytest.param(Faults(slow_share=1, slow_s=600), id="slow"),
    ],
)
def test_a_client_that_gave_up_has_lost_its_answer(wanted: Faults) -> None:
    """A time-out of the client makes a lost answer, and closing does not wait for the delay."""
    impatient = botocore.config.Config(
        read_timeout=0.1, retries={"total_max_attempts": 1}, parameter_validation=False
    )
    with running() as rig:
        rig.service.set_faults(wanted)
        client = rig.client("kinesis", config=impatient)

        with pytest.raises(LOST):
            client.put_records(StreamName="web", Records=[{"Data": b"x", "PartitionKey": "k"}])

    assert ["lost"] == [entry.answer for entry in rig.service.journal("web")]


def test_a_resend_while_the_first_answer_is_under_way_is_explained() -> None:
    """A second copy that comes before the first copy's answer is complete is no `other`."""
    with running() as rig:
        rig.service.set_faults(Faults(latency_s=600, streams=("web",)))
        first = threading.Thread(target=put_in_vain, args=(rig, b"x"))
        first.start()
        while not rig.service.records("web"):
            pass
        rig.service.set_faults(Faults())

        rig.client("kinesis").put_records(
            StreamName="web", Records=[{"Data": b"x", "PartitionKey": "k"}]
        )

        counts = web_counts(rig)
        assert (1, 0) == (counts["duplicates_after_lost_answer"], counts["duplicates_other"])
        rig.server.close()  # ends the wait, without an answer
        first.join()


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_the_books_balance_under_every_fault_at_once(tls: bool) -> None:
    """Who resends what was not confirmed loses nothing; lost answers explain all duplicates."""
    kinds = ("refuse", "reset", "fail_early", "fail", "fail_late", "lose", "truncate", "slow")
    wanted = faults.faults_from_json({"slow_s": 0.01} | {f"{kind}_share": 0.05 for kind in kinds})
    with running(streams={"web": StreamOptions(is_throttled=False)}, tls=tls) as rig:
        rig.service.set_faults(wanted)
        rounds = 0
        while rounds < 10 and not set(kinds) <= rig.service.counts()["faults"].keys():
            senders = [
                threading.Thread(target=send_until_confirmed, args=(rig, 4 * rounds + number))
                for number in range(4)
            ]
            for thread in senders:
                thread.start()
            for thread in senders:
                thread.join()
            rounds += 1

        counts = web_counts(rig)
        assert rounds * 4 * 1000 == counts["lines_distinct"]
        assert 0 == counts["duplicates_other"]
        assert 0 < counts["duplicates_after_lost_answer"] <= counts["records_answer_lost"]
        assert set(kinds) == rig.service.counts()["faults"].keys()


def send_until_confirmed(rig: Rig, sender: int) -> None:
    """Put 1,000 lines, 50 a call, each again until an answer has its sequence number."""
    kinesis = rig.client("kinesis")
    left = [b"%d %d" % (sender, number) for number in range(1000)]
    while left:
        sent, left = left[:50], left[50:]
        records = [{"Data": line, "PartitionKey": str(len(left))} for line in sent]
        results: list[dict[str, str]] = []
        with contextlib.suppress(LOST, botocore.exceptions.ClientError):
            results = kinesis.put_records(StreamName="web", Records=records).get("Records", [])
        for index, line in enumerate(sent):
            if not results or "SequenceNumber" not in results[index]:
                left.append(line)


def test_one_shard_can_be_throttled(rig: Rig) -> None:
    """throttle_shards refuses every record of that shard and no other."""
    rig.service.set_faults(Faults(throttle_shards=("shardId-000000000001",)))
    records = [
        {"Data": b"x", "PartitionKey": "k", "ExplicitHashKey": str(number * 2**126)}
        for number in range(4)
    ]

    answer = rig.kinesis.put_records(StreamName="web", Records=records)

    assert [False, True, False, False] == ["ErrorCode" in result for result in answer["Records"]]
    assert {"throttle_shard": 1} == rig.service.counts()["faults"]


def test_poison_refuses_the_call_that_holds_it(rig: Rig) -> None:
    """A call with one poisoned record is refused as a whole; without it, it passes."""
    rig.service.set_faults(Faults(poison="BAD"))

    with refused("InvalidArgumentException"):
        rig.put(b"good", b"xBADx")
    with refused("InvalidArgumentException"):
        rig.firehose.put_record_batch(DeliveryStreamName="audit", Records=[{"Data": b"BAD"}])
    rig.put(b"good")

    assert [b"good"] == rig.service.records("web")
    assert {"poison": 2} == rig.service.counts()["faults"]


def test_faults_apply_to_the_named_streams_and_operations_only(rig: Rig) -> None:
    """Neither other streams nor other operations suffer from faults meant for one."""
    rig.service.set_faults(Faults(fail_share=1, streams=("audit",)))

    rig.put(b"x")
    rig.firehose.describe_delivery_stream(DeliveryStreamName="audit")

    with refused("InternalFailure"):
        rig.firehose.put_record_batch(DeliveryStreamName="audit", Records=[{"Data": b"x"}])


@pytest.mark.parametrize("kind", ["kinesis", "firehose"])
def test_botched_records_are_stored_and_called_failures(rig: Rig, kind: str) -> None:
    """An internal failure of one record may have written it: that is what AWS warns of."""
    rig.service.set_faults(Faults(botch_share=0.5))
    lines = [b"%d" % number for number in range(100)]

    if kind == "kinesis":
        answer = rig.put(*lines)
        results, count = answer["Records"], answer["FailedRecordCount"]
        counts, stored = rig.service.counts()["streams"]["web"], rig.service.records("web")
    else:
        records = [{"Data": line} for line in lines]
        answer = rig.firehose.put_record_batch(DeliveryStreamName="audit", Records=records)
        results, count = answer["RequestResponses"], answer["FailedPutCount"]
        counts = rig.service.counts()["delivery_streams"]["audit"]
        stored = rig.service.deliveries("audit")

    failed = [one for one in results if one.get("ErrorCode") == "InternalFailure"]
    assert 20 < len(failed) < 80
    assert count == len(failed) == counts["records_answer_lost"]
    assert sorted(lines) == sorted(stored)
    assert {"InternalFailure": count} == counts["records_refused"]
