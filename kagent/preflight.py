"""What AWS says of a configuration before a line is sent: read-only calls, and the same hints.

For each flow: who calls, what the destination is, and, as far as that can be known without
writing, whether it may be written to. What cannot be known is said, and is no failure: kagent
needs no permission but the one to write.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Literal

from kagent import config, errors, model, service, stream_facts
from kagent.destinations import aws, control

State = Literal["ok", "unknown", "failed"]

_WRITE = {"kinesis": "kinesis:PutRecords", "firehose": "firehose:PutRecordBatch"}
_RESOURCE = {"kinesis": "stream", "firehose": "deliverystream"}
_ASSUMED = re.compile(r"arn:([^:]+):sts::(\d+):assumed-role/([^/]+)/.*")
_NO_PERMISSION = re.compile("AccessDenied|NotAuthorized|UnauthorizedOperation")
_USABLE = {"ACTIVE", "UPDATING", ""}  # and '' is not known


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    flow: str
    subject: Literal["identity", "destination", "shards", "permission"]
    state: State
    text: str
    hint: str = ""


def checks(loaded: config.Config) -> Iterator[Check]:
    """Yield what was found out, flow by flow; nothing is written."""
    clients = control.Clients()
    identities: dict[aws.AwsOptions, str | errors.DestinationError] = {}
    for flow in loaded.flows:
        reached = flow.destination.aws
        if reached not in identities:
            identities[reached] = _identity(reached, clients)
        identity = identities[reached]
        if isinstance(identity, errors.DestinationError):
            yield _failure(flow, "identity", identity)
        else:
            yield Check(flow.name, "identity", "ok", f"calls as {identity}")
        facts = stream_facts.fetch(service.subject_of(flow, clients))
        yield from _of_destination(flow, facts)
        if not isinstance(identity, errors.DestinationError):
            yield _permission(flow, identity, clients)


def _identity(reached: aws.AwsOptions, clients: control.Clients) -> str | errors.DestinationError:
    try:
        return str(_elsewhere("sts", reached, clients)("GetCallerIdentity")["Arn"])
    except errors.DestinationError as error:
        return error


def _elsewhere(name: str, reached: aws.AwsOptions, clients: control.Clients) -> control.Control:
    """Return what asks another service: the operator's endpoint is not its."""
    options = reached.model_copy(update={"endpoint_url": None})
    return control.Control(name, clients.get(name, options), "account", "aws")


def _of_destination(flow: config.FlowConfig, facts: model.StreamFacts) -> Iterator[Check]:
    fault = facts.fault
    # Without a permission to ask, records may still be taken; with wrong keys or region, none is.
    if fault is not None and not facts.status and not _NO_PERMISSION.search(fault.code):
        yield _failure(flow, "destination", fault)
        return
    if facts.status or not fault:
        yield Check(flow.name, "destination", *_judged(flow, facts))
    elif fault:
        yield _unknown(flow, "destination", fault)
    if facts.shards_fault is not None:
        is_needed = flow.batch.needs_shards
        yield (_failure if is_needed else _unknown)(flow, "shards", facts.shards_fault)


def _judged(flow: config.FlowConfig, facts: model.StreamFacts) -> tuple[State, str, str]:
    name = f"{flow.destination.noun} {flow.destination.name}"
    if facts.status not in _USABLE:
        return "failed", f"{name} is {facts.status}", f"wait until the {name} is active"
    if not facts.takes_puts:
        hint = "its source is a Kinesis stream: write to that, or make one with Direct PUT"
        return "failed", f"{name} takes no records", hint
    words = [f"{name} is {facts.status}", facts.mode]
    shards = "1 open shard" if len(facts.shards) == 1 else f"{len(facts.shards):,} open shards"
    words.append(shards if facts.shards else "")
    if facts.record_bytes_max is not None:
        words.append(f"records up to {facts.record_bytes_max // 1024:,} KiB")
    words.append(f"kept {facts.retention_hours} h" if facts.retention_hours else "")
    words.append("encrypted" if facts.encryption == "kms" else "")
    return "ok", ", ".join(filter(None, words)), ""


def _permission(flow: config.FlowConfig, identity: str, clients: control.Clients) -> Check:
    """Say whether the destination may be written to, by IAM's own simulation of its policies."""
    destination = flow.destination
    action = _WRITE[destination.service]
    _, partition, _, _, account, _ = identity.split(":", 5)
    region = aws.region_for_arns(destination.aws)
    resource = f"arn:{partition}:{destination.service}:{region}:{account}:"
    resource += f"{_RESOURCE[destination.service]}/{destination.name}"
    try:
        answer = _elsewhere("iam", destination.aws, clients)(
            "SimulatePrincipalPolicy",
            PolicySourceArn=_ASSUMED.sub(r"arn:\1:iam::\2:role/\3", identity),
            ActionNames=[action],
            ResourceArns=[resource],
        )
        decision = str(answer["EvaluationResults"][0]["EvalDecision"])
    except (errors.DestinationError, LookupError):
        hint = (
            f"allow iam:SimulatePrincipalPolicy, or see whether the first line arrives: {action}"
        )
        text = "whether records may be written cannot be known without writing"
        return Check(flow.name, "permission", "unknown", text, hint)
    if decision == "allowed":
        return Check(flow.name, "permission", "ok", f"may call {action}")
    hint = f"allow {action} on {resource} to {identity}"
    return Check(flow.name, "permission", "failed", f"may not call {action}: {decision}", hint)


def _failure(
    flow: config.FlowConfig,
    subject: Literal["identity", "destination", "shards", "permission"],
    error: errors.DestinationError,
) -> Check:
    return Check(flow.name, subject, "failed", str(error), error.hint)


def _unknown(
    flow: config.FlowConfig,
    subject: Literal["identity", "destination", "shards", "permission"],
    error: errors.DestinationError,
) -> Check:
    text = f"not known, so the documented limits hold: {error}"
    return Check(flow.name, subject, "unknown", text, error.hint)


def is_good(found: Sequence[Check]) -> bool:
    """Return whether nothing failed."""
    return all(one.state != "failed" for one in found)
