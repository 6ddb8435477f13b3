"""One call and its answer: which records were taken, as far as the answer proves it.

An answer is believed only when everything in it agrees: as many entries as records, an error code
or a receipt of the service for each, and the service's own count of refusals. Anything else is
*unavailable* and ambiguous, never success; the records are sent again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kagent import model
from kagent.destinations import aws, verdicts

_SHARD = re.compile(r"\bshardId-[0-9]{12}\b")


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


def refusals(
    entries: Any, *, sent: int, refused_count: Any, accepted_by: str
) -> tuple[model.Refusal, ...]:
    """Return the records that the service did not take.

    Args:
        entries: The answer's list of results, one for each record, in their order.
        sent: How many records were sent.
        refused_count: The service's own count of refusals.
        accepted_by: The key that the service adds to the result of a record that it took.

    Raises:
        CallError: the answer does not add up.
    """
    if not isinstance(entries, list) or len(entries) != sent:
        found = len(entries) if isinstance(entries, list) else "no"
        raise verdicts.of_nonsense(f"{found} results for {sent} records")
    refused = tuple(
        model.Refusal(index, str(entry["ErrorCode"]), _shard(entry))
        for index, entry in enumerate(entries)
        if entry.get("ErrorCode")
    )
    accepted = sum(1 for entry in entries if entry.get(accepted_by) and not entry.get("ErrorCode"))
    if refused_count != len(refused) or accepted + len(refused) != sent:
        raise verdicts.of_nonsense(
            f"{accepted} accepted and {len(refused)} refused of {sent} records,"
            f" but {refused_count} counted as refused"
        )
    return refused


def _shard(entry: Mapping[str, Any]) -> str:
    """Return the shard that a throttling message names, or nothing."""
    match = _SHARD.search(str(entry.get("ErrorMessage", "")))
    return match[0] if match else ""
