"""What a service says of a stream or delivery stream: asked by the service thread alone.

Nothing depends on an answer: without the permission to ask, or before the first answer, the limits
that AWS documents hold. A fleet that restarts must not ask at one moment (DescribeStreamSummary
answers 20 calls a second for a whole account), so the first question waits a random part of
FIRST_S, unless a flow cannot do without the answer, and later ones come at random times. What was
once known is kept when a later question is not answered.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import tenacity

from kagent import errors, model

HASH_KEYS = 2**128
FIRST_S = 120.0
WANTED_S = 1.0
AGAIN_S = (300.0, 900.0)
_PAGES_MAX = 200  # of 1,000 shards: ten times the largest quota of an account

_FAILURE_WAIT = tenacity.wait_random_exponential(multiplier=2.0, max=300.0)
_LASTING = (errors.DeniedError, errors.NotFoundError, errors.RejectedError)


class Ask(Protocol):
    """Makes one control call; raises DestinationError."""

    def __call__(self, operation: str, **parameters: object) -> Mapping[str, Any]:
        """Return what AWS answers to an operation, such as 'ListShards'."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """Whose facts are asked for, and how."""

    kind: Literal["kinesis", "firehose"]
    name: str
    ask: Ask = dataclasses.field(compare=False)
    place: object = None  # what tells it from others of that name
    is_wanted: bool = False  # the flow waits for them


def fetch(subject: Subject) -> model.StreamFacts:
    """Ask for the facts of a destination; what is not answered is the fault, or not known."""
    of = _of_stream if subject.kind == "kinesis" else _of_delivery_stream
    return of(subject.name, subject.ask)


def merged(last: model.StreamFacts, found: model.StreamFacts) -> model.StreamFacts:
    """Return newer facts, with the last ones where nothing was said now."""
    nothing = model.StreamFacts()
    kept = {
        field.name: getattr(last, field.name)
        for field in dataclasses.fields(model.StreamFacts)
        if field.name not in {"fault", "shards_fault"}
        and getattr(found, field.name) == getattr(nothing, field.name)
        and found.fault is not None
    }
    return dataclasses.replace(found, **kept)


def limits_with(limits: model.BatchLimits, facts: model.StreamFacts) -> model.BatchLimits:
    """Return a destination's limits as its stream has them; the documented ones, if unknown."""
    if facts.record_bytes_max is None or not limits.record_bytes_possible:
        return limits
    most = min(facts.record_bytes_max, limits.record_bytes_possible, limits.request_bytes_max)
    return dataclasses.replace(limits, record_bytes_max=most)


# --- questions --------------------------------------------------------------------------------


def _of_stream(name: str, ask: Ask) -> model.StreamFacts:
    fault: errors.DestinationError | None = None
    facts = model.StreamFacts()
    try:
        facts = _of_summary(ask("DescribeStreamSummary", StreamName=name))
    except errors.DestinationError as error:
        fault = error
    try:
        facts = dataclasses.replace(facts, shards=_open_shards(name, ask))
    except errors.DestinationError as error:
        facts = dataclasses.replace(facts, shards_fault=error)
    return dataclasses.replace(facts, fault=fault or facts.shards_fault)


def _of_summary(answer: Mapping[str, Any]) -> model.StreamFacts:
    """Return what DescribeStreamSummary says.

    https://docs.aws.amazon.com/kinesis/latest/APIReference/API_StreamDescriptionSummary.html,
    2026-11.
    """
    found = answer.get("StreamDescriptionSummary", {})
    mode = found.get("StreamModeDetails", {}).get("StreamMode")
    size_kib = found.get("MaxRecordSizeInKiB")
    return model.StreamFacts(
        status=str(found.get("StreamStatus", "")),
        mode="on-demand" if mode == "ON_DEMAND" else "provisioned",
        record_bytes_max=1024 * size_kib if isinstance(size_kib, int) else None,
        retention_hours=found.get("RetentionPeriodHours"),
        encryption="kms" if found.get("EncryptionType") == "KMS" else "none",
    )


def _open_shards(name: str, ask: Ask) -> tuple[model.ShardRange, ...]:
    """Return the open shards of a stream, in the order of their hash keys.

    Raises:
        DestinationError: they are not known, or do not tile the hash keys: caught while some are
            being split or merged.
    """
    found: list[model.ShardRange] = []
    parameters: dict[str, object] = {"StreamName": name, "ShardFilter": {"Type": "AT_LATEST"}}
    for _ in range(_PAGES_MAX):
        answer = ask("ListShards", **parameters)
        found += map(_range_of, answer.get("Shards", ()))
        if not answer.get("NextToken"):
            break
        parameters = {"NextToken": answer["NextToken"]}
    found.sort(key=lambda one: one.start)
    edges = [0, *(one.end for one in found)]
    is_tiling = edges[-1] == HASH_KEYS and all(
        one.start == edge for one, edge in zip(found, edges, strict=False)
    )
    if not is_tiling:
        message = "the shards do not take all hash keys: they are being split or merged"
        raise errors.UnavailableError("ShardsIncomplete", message, "nothing to do, asked again")
    return tuple(found)


def _range_of(shard: Mapping[str, Any]) -> model.ShardRange:
    keys = shard["HashKeyRange"]
    return model.ShardRange(
        str(shard["ShardId"]), int(keys["StartingHashKey"]), int(keys["EndingHashKey"]) + 1
    )


def _of_delivery_stream(name: str, ask: Ask) -> model.StreamFacts:
    """Return what DescribeDeliveryStream says.

    https://docs.aws.amazon.com/firehose/latest/APIReference/API_DeliveryStreamDescription.html,
    2026-11.
    """
    try:
        answer = ask("DescribeDeliveryStream", DeliveryStreamName=name, Limit=1)
    except errors.DestinationError as error:
        return model.StreamFacts(fault=error)
    found = answer.get("DeliveryStreamDescription", {})
    encryption = found.get("DeliveryStreamEncryptionConfiguration", {}).get("Status", "DISABLED")
    return model.StreamFacts(
        status=str(found.get("DeliveryStreamStatus", "")),
        encryption="none" if encryption == "DISABLED" else "kms",
        takes_puts=found.get("DeliveryStreamType", "DirectPut") == "DirectPut",
    )


# --- when -------------------------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class _Watched:
    subject: Subject
    due: float
    failures: int = 0
    facts: model.StreamFacts | None = None


class Surveyor:
    """Asks for the facts of all flows' destinations, each in its time; owned by one thread."""

    def __init__(
        self,
        clock: model.Clock,
        chooser: random.Random,
        report: Callable[[str, model.StreamFacts], None],
    ) -> None:
        """Ask nothing yet.

        Args:
            clock: Of the times.
            chooser: Of the jitter.
            report: Takes facts that are new, by the flow's name.
        """
        self._clock = clock
        self._chooser = chooser
        self._report = report
        self._watched: dict[str, _Watched] = {}

    def set_subjects(self, subjects: Mapping[str, Subject]) -> None:
        """Replace the flows that are asked for; what is known of the others stays known."""
        watched = {}
        for flow, subject in subjects.items():
            known = self._watched.get(flow)
            if known is None or known.subject != subject:
                wait_s = self._chooser.uniform(0.0, WANTED_S if subject.is_wanted else FIRST_S)
                known = _Watched(subject, self._clock.monotonic() + wait_s)
            watched[flow] = known
        self._watched = watched

    def next_due(self) -> float | None:
        """Return when the next question is due; None if there is none."""
        return min((one.due for one in self._watched.values()), default=None)

    def survey(self) -> None:
        """Ask what is due, and report what is new."""
        for flow, one in list(self._watched.items()):
            if one.due <= self._clock.monotonic():
                self._survey(flow, one)

    def _survey(self, flow: str, one: _Watched) -> None:
        found = fetch(one.subject)
        is_first = one.facts is None
        facts = merged(one.facts or model.StreamFacts(), found)
        one.failures = one.failures + 1 if found.fault else 0
        one.due = self._clock.monotonic() + self._wait_s(one, found.fault)
        if is_first or _known(facts) != _known(one.facts):
            self._report(flow, facts)
        one.facts = facts

    def _wait_s(self, one: _Watched, fault: errors.DestinationError | None) -> float:
        if fault is None or (isinstance(fault, _LASTING) and not one.subject.is_wanted):
            return self._chooser.uniform(*AGAIN_S)
        state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
        state.attempt_number = min(one.failures, 64)
        return 1.0 + _FAILURE_WAIT(state)


def _known(facts: model.StreamFacts | None) -> object:
    """Return facts so that two faults of one code are the same."""
    if facts is None:
        return None
    codes = [one and one.code for one in (facts.fault, facts.shards_fault)]
    return dataclasses.replace(facts, fault=None, shards_fault=None), codes
