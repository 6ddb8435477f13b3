"""One call and its answer: which records were taken, as far as the answer proves it.

An answer is believed only when everything in it agrees: as many entries as records, an error code
or a receipt of the service for each, and the service's own count of refusals. Anything else is
*unavailable* and ambiguous, never success; the records are sent again.

The fast wire asks the bytes first (`at_a_glance`: 70 us for 500 records, twice that with some of
them refused, where parsing and checking takes 300) and has everything parsed that is not plain.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson

from kagent import model
from kagent.destinations import aws, http1, verdicts

_SHARD = re.compile(r"\bshardId-[0-9]{12}\b")
_SHARD_ID = re.compile(rb'"ShardId":"([0-9A-Za-z-]+)"')
_SAMPLE_BYTES = 8192  # of an answer, 70 records


@dataclasses.dataclass(frozen=True, slots=True)
class Form:
    """How an operation calls what it answers."""

    results: str  # a list, one for each record
    refused_count: str
    accepted_by: str  # the key in the result of a record that was taken


class Judged(NamedTuple):
    """What an answer says of a request's records; see model.Receipt."""

    refused: tuple[model.Refusal, ...] = ()
    shards: Mapping[str, int] = {}


PUT_RECORDS = Form("Records", "FailedRecordCount", "SequenceNumber")
PUT_RECORD_BATCH = Form("RequestResponses", "FailedPutCount", "RecordId")


def ask(
    client: aws.Shared[Any], call: verdicts.Call, parameters: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Make one API call and return the answer as botocore parsed it.

    Raises:
        CallError: the call failed. When credentials may be the reason, the client is given up:
            botocore reads a file such as ~/.aws/credentials only once.
    """
    from botocore import exceptions  # heavy: see aws.py

    is_sent = False
    try:
        method = getattr(client.get(), call.method)
        is_sent = True
        answer: Mapping[str, Any] = method(**parameters)
    except exceptions.ClientError as error:
        failed = verdicts.of_answer(error.response, error.operation_name, call)
    except exceptions.BotoCoreError as error:
        failed = verdicts.of_exception(error, call, is_sent=is_sent)
    except (OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        # Before: the endpoint URL is none. After: botocore's parser met JSON of another shape.
        failed = (
            verdicts.of_nonsense(repr(error))
            if is_sent
            else verdicts.of_exception(error, call, is_sent=False)
        )
    else:
        return answer
    if failed.may_be_credentials:
        client.forget()
    raise failed


def judged_by(answer: http1.Answer, sent: int, form: Form, call: verdicts.Call) -> Judged:
    """Return what an answer, as it came, says of each record.

    Raises:
        CallError: the call failed, or the answer does not add up.
    """
    if answer.status == 200 and answer.is_whole:
        plain = at_a_glance(answer.body, sent, form)
        if plain is not None:
            return plain
    try:
        parsed = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        parsed = None
    if answer.status >= 300:
        raise verdicts.of_answer(_error_in(answer, parsed), call.operation, call)
    if answer.status != 200 or not isinstance(parsed, dict):
        start = answer.body[:80].decode("latin-1")
        raise verdicts.of_nonsense(f"HTTP {answer.status} and no answer of AWS: {start!r}")
    return judged(parsed, sent, form)


def at_a_glance(body: bytes, sent: int, form: Form) -> Judged | None:
    """Return what a complete answer says if it has the form of the service's; None: parse it.

    The service's own count is there once; the results begin as a list of objects, as many as
    records; as many error codes as were counted, and a receipt, not empty, for each of the rest.
    It is not parsed: what only looks so, such as two receipts in one result and none in another,
    is believed.
    """
    count = form.refused_count.encode()
    receipt = b'"%b":"' % form.accepted_by.encode()
    counted = re.search(b'"%b":([0-9]{1,3})[,}]' % count, body)
    if counted is None:
        return None
    refused = int(counted[1])
    is_plain = (
        body.startswith(b"{")
        and b'"%b":[{' % form.results.encode() in body
        and body.endswith(b"}")
        and body.count(receipt) == sent - refused
        and body.count(b"}") == sent + 1
        and body.count(receipt + b'"') == 0
        and body.count(count) == 1  # without quotes: a 15th of the time
    )
    if not is_plain:
        return None
    if refused:
        return _refused_at_a_glance(body, sent, refused, form)
    # One letter is looked for at once, at memory speed, and is in few successes of Kinesis.
    has_error = b"E" in body and b'"ErrorCode"' in body
    return None if has_error or body.count(b"{") != sent + 1 else Judged()


def _refused_at_a_glance(body: bytes, sent: int, count: int, form: Form) -> Judged | None:
    """Return the refusals in an answer whose receipts and closing braces are in order."""
    refused: list[model.Refusal] = []
    index, counted_to, at = -1, 0, body.find(b'"ErrorCode"')  # the first brace is the answer's own
    while at >= 0:
        start, end = body.rfind(b"{", 0, at), body.find(b"}", at) + 1
        try:
            entry = orjson.loads(body[start:end])
        except orjson.JSONDecodeError:
            return None
        code = entry.get("ErrorCode")
        if start == 0 or not (isinstance(code, str) and code) or form.accepted_by in entry:
            return None
        index += body.count(b"{", counted_to, start)
        counted_to = start
        refused.append(model.Refusal(index, code, _shard(entry)))
        at = body.find(b'"ErrorCode"', end)
    if len(refused) != count or index + body.count(b"{", counted_to) != sent:
        return None
    return Judged(tuple(refused), _shards_in(body, refused))


def _shards_in(body: bytes, refused: Iterable[model.Refusal]) -> dict[str, int]:
    """Return how many records went to each shard, from the end of a long answer estimated.

    All 500 would take as long as everything else about an answer. Those that are tried again
    come first in a request, and would say too much of the shard that refused them.
    """
    found = collections.Counter(_SHARD_ID.findall(body, max(0, len(body) - _SAMPLE_BYTES)))
    share = min(1.0, _SAMPLE_BYTES / len(body))
    shards = {name.decode(): round(number / share) for name, number in found.items()}
    for one in refused:
        if one.shard:
            shards[one.shard] = shards.get(one.shard, 0) + 1
    return shards


def judged(answer: Mapping[str, Any], sent: int, form: Form) -> Judged:
    """Return what a parsed answer says of each record.

    Args:
        answer: What a call returned that did not fail as a whole.
        sent: How many records were sent.
        form: The names in it.

    Raises:
        CallError: the answer does not add up.
    """
    entries, refused_count = answer.get(form.results), answer.get(form.refused_count)
    if not isinstance(entries, list) or len(entries) != sent:
        found = len(entries) if isinstance(entries, list) else "no"
        raise verdicts.of_nonsense(f"{found} results for {sent} records")
    if not set(map(type, entries)) <= {dict}:
        raise verdicts.of_nonsense("results that are no objects")
    # Columns: 500 results are 60 us.
    codes = list(map(dict.get, entries, itertools.repeat("ErrorCode")))
    receipts = list(map(dict.get, entries, itertools.repeat(form.accepted_by)))
    refused = tuple(
        model.Refusal(index, str(code), _shard(entries[index]))
        for index, code in enumerate(codes)
        if code
    )
    accepted = sum(map(bool, receipts)) - sum(bool(receipts[one.index]) for one in refused)
    if refused_count != len(refused) or accepted + len(refused) != sent:
        raise verdicts.of_nonsense(
            f"{accepted} accepted and {len(refused)} refused of {sent} records,"
            f" but {refused_count} counted as refused"
        )
    if not refused:
        return Judged()
    names = list(map(dict.get, entries, itertools.repeat("ShardId")))
    if not set(map(type, names)) <= {str, type(None)}:
        return Judged(refused)
    names += [one.shard for one in refused]
    return Judged(refused, dict(collections.Counter(filter(None, names))))


def _error_in(answer: http1.Answer, parsed: Any) -> Mapping[str, Any]:
    """Return the error of an answer in the form that botocore gives it."""
    body = parsed if isinstance(parsed, dict) else {}
    code = str(body.get("__type") or answer.status).partition(":")[0].rpartition("#")[2]
    message = str(body.get("message") or body.get("Message") or "")
    if not body:
        message = answer.body[:1000].decode("utf-8", "replace").strip()
    return {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": answer.status},
    }


def _shard(entry: Mapping[str, Any]) -> str:
    """Return the shard that a throttling message names, or nothing."""
    match = _SHARD.search(str(entry.get("ErrorMessage", "")))
    return match[0] if match else ""
