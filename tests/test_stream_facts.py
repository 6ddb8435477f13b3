"""`stream_facts`: what is learned of a stream, when it is asked, and what is kept."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping
from typing import Any

import fakes
import pytest

from kagent import errors, model, stream_facts
from kagent.destinations import kinesis

SUMMARY = {
    "StreamDescriptionSummary": {
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": {"StreamMode": "PROVISIONED"},
        "RetentionPeriodHours": 24,
        "EncryptionType": "KMS",
        "MaxRecordSizeInKiB": 10240,
    }
}
DENIED = errors.DeniedError("AccessDeniedException", "no", "allow it")
THROTTLED = errors.ThrottledError("LimitExceededException", "slow down")


def shard(name: str, first: int, last: int) -> dict[str, Any]:
    keys = {"StartingHashKey": str(first), "EndingHashKey": str(last)}
    return {"ShardId": name, "HashKeyRange": keys}


@dataclasses.dataclass
class Service:
    """Answers with what a test lays down for an operation; an error is raised."""

    answers: dict[str, Any]
    asked: list[tuple[str, dict[str, object]]] = dataclasses.field(default_factory=list)

    def __call__(self, operation: str, **parameters: object) -> Mapping[str, Any]:
        self.asked.append((operation, parameters))
        answer = self.answers[operation]
        if isinstance(answer, Callable):  # type: ignore[arg-type]
            answer = answer(**parameters)
        if isinstance(answer, Exception):
            raise answer
        return answer


def service(**more: Any) -> Service:
    half = 2**127
    shards = {"Shards": [shard("b", half, 2**128 - 1), shard("a", 0, half - 1)]}
    return Service({"DescribeStreamSummary": SUMMARY, "ListShards": shards} | more)


def subject(ask: Service, **more: Any) -> stream_facts.Subject:
    return stream_facts.Subject("kinesis", "web", ask, **more)


def test_facts_of_a_stream() -> None:
    """Everything that the service says, in kagent's words; open shards in the order of keys."""
    asked = service()

    facts = stream_facts.fetch(subject(asked))

    assert ("ACTIVE", "provisioned", 24, "kms") == (
        facts.status,
        facts.mode,
        facts.retention_hours,
        facts.encryption,
    )
    assert 10 * 1024**2 == facts.record_bytes_max
    half = 2**127
    assert (
        model.ShardRange("a", 0, half),
        model.ShardRange("b", half, 2**128),
    ) == facts.shards
    assert facts.fault is None
    assert {"Type": "AT_LATEST"} == asked.asked[1][1]["ShardFilter"]


def test_shards_of_many_pages_are_one_list() -> None:
    """A later page is asked for by its token alone."""

    def pages(**parameters: object) -> Mapping[str, Any]:
        if "NextToken" in parameters:
            assert {"NextToken"} == set(parameters)
            return {"Shards": [shard("b", 10, 2**128 - 1)]}
        return {"Shards": [shard("a", 0, 9)], "NextToken": "t"}

    facts = stream_facts.fetch(subject(service(ListShards=pages)))

    assert ["a", "b"] == [one.shard for one in facts.shards]


@pytest.mark.parametrize(
    "shards",
    [
        pytest.param([], id="none"),
        pytest.param([shard("a", 0, 9)], id="the last is missing"),
        pytest.param([shard("a", 1, 2**128 - 1)], id="the first is missing"),
        pytest.param([shard("a", 0, 9), shard("b", 9, 2**128 - 1)], id="two overlap"),
        pytest.param([shard("a", 0, 9), shard("b", 11, 2**128 - 1)], id="a gap"),
    ],
)
def test_shards_that_do_not_tile_the_hash_keys_are_not_known(shards: list[Any]) -> None:
    """A list that was taken while shards were split is asked for again."""
    facts = stream_facts.fetch(subject(service(ListShards={"Shards": shards})))

    assert () == facts.shards
    assert isinstance(facts.fault, errors.UnavailableError)
    assert "ACTIVE" == facts.status


def test_one_denied_question_does_not_keep_the_other_from_an_answer() -> None:
    """Each permission is useful by itself, and the missing one is told."""
    no_summary = stream_facts.fetch(subject(service(DescribeStreamSummary=DENIED)))
    no_shards = stream_facts.fetch(subject(service(ListShards=DENIED)))

    assert 2 == len(no_summary.shards)
    assert no_summary.record_bytes_max is None
    assert "provisioned" == no_shards.mode
    assert DENIED is no_summary.fault is no_shards.fault


@pytest.mark.parametrize(
    ("kind", "takes_puts"),
    [pytest.param("DirectPut", True), pytest.param("KinesisStreamAsSource", False)],
)
def test_facts_of_a_delivery_stream(kind: str, *, takes_puts: bool) -> None:
    """Whether it is active, and whether it may be written to at all."""
    description = {"DeliveryStreamStatus": "ACTIVE", "DeliveryStreamType": kind}
    asked = Service({"DescribeDeliveryStream": {"DeliveryStreamDescription": description}})

    facts = stream_facts.fetch(stream_facts.Subject("firehose", "audit", asked))

    assert ("ACTIVE", takes_puts, "none") == (facts.status, facts.takes_puts, facts.encryption)


def test_delivery_stream_that_may_not_be_described_is_taken_to_take_puts() -> None:
    """What is not known stops nothing."""
    asked = Service({"DescribeDeliveryStream": DENIED})

    facts = stream_facts.fetch(stream_facts.Subject("firehose", "audit", asked))

    assert facts.takes_puts
    assert DENIED is facts.fault


# --- limits -----------------------------------------------------------------------------------


def test_limits_are_those_of_the_stream() -> None:
    """A stream may take records of 10 MiB; what is not known leaves the documented limit."""
    large = model.StreamFacts(record_bytes_max=10 * 1024**2)

    assert 10 * 1024**2 == stream_facts.limits_with(kinesis.LIMITS, large).record_bytes_max
    assert kinesis.LIMITS == stream_facts.limits_with(kinesis.LIMITS, model.StreamFacts())


def test_limits_that_no_stream_can_change_stay() -> None:
    """Such as Firehose's."""
    large = model.StreamFacts(record_bytes_max=10 * 1024**2)

    assert fakes.LIMITS == stream_facts.limits_with(fakes.LIMITS, large)


# --- when -------------------------------------------------------------------------------------


class Watch:
    """A surveyor with its clock and everything it reported."""

    def __init__(self, asked: Service, **more: Any) -> None:
        self.clock = fakes.FakeClock()
        self.reported: list[tuple[str, model.StreamFacts]] = []
        self.surveyor = stream_facts.Surveyor(
            self.clock, random.Random(1), lambda *one: self.reported.append(one)
        )
        self.surveyor.set_subjects({"web": subject(asked, **more)})

    def pass_time(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while (due := self.surveyor.next_due()) is not None and due <= end:
            self.clock.now = max(self.clock.now, due)
            self.surveyor.survey()
        self.clock.now = end


def test_first_question_comes_at_a_random_moment_and_others_rarely() -> None:
    """A fleet that restarts does not ask at once; what has not changed is not told again."""
    asked = service()
    watch = Watch(asked)

    watch.pass_time(stream_facts.FIRST_S)
    assert 2 == len(asked.asked)
    watch.pass_time(3600.0)

    assert 2 * 4 <= len(asked.asked) <= 2 * 14
    assert 1 == len(watch.reported)


def test_wanted_facts_are_asked_for_at_once_and_again() -> None:
    """A flow waits for them: a permission that comes later is noticed within minutes."""
    asked = service(ListShards=DENIED)
    watch = Watch(asked, is_wanted=True)

    watch.pass_time(stream_facts.WANTED_S)
    assert DENIED is watch.reported[0][1].fault
    del asked.answers["ListShards"]
    asked.answers["ListShards"] = service().answers["ListShards"]
    watch.pass_time(600.0)

    assert watch.reported[-1][1].fault is None


def test_last_facts_are_kept_when_a_question_is_throttled() -> None:
    """And the question is asked again, after waits that grow."""
    asked = service()
    watch = Watch(asked)
    watch.pass_time(200.0)
    asked.answers = {"DescribeStreamSummary": THROTTLED, "ListShards": THROTTLED}

    watch.pass_time(3600.0)

    assert 2 == len(watch.reported)
    kept = watch.reported[-1][1]
    assert (2, 10 * 1024**2, "kms") == (len(kept.shards), kept.record_bytes_max, kept.encryption)
    assert THROTTLED is kept.fault
    assert len(asked.asked) < 2 * 60


def test_changed_facts_are_told() -> None:
    """A stream that was split, or allows larger records."""
    asked = service()
    watch = Watch(asked)
    watch.pass_time(200.0)
    asked.answers["ListShards"] = {"Shards": [shard("c", 0, 2**128 - 1)]}

    watch.pass_time(1000.0)

    assert ["a", "c"] == [facts.shards[0].shard for _, facts in watch.reported]


def test_flows_that_stay_keep_their_facts() -> None:
    """A reload asks for what is new only; a flow that is gone is forgotten."""
    asked = service()
    watch = Watch(asked)
    watch.pass_time(200.0)

    due = watch.surveyor.next_due()
    watch.surveyor.set_subjects({"web": subject(asked)})
    assert due == watch.surveyor.next_due()
    watch.surveyor.set_subjects({})

    assert watch.surveyor.next_due() is None
