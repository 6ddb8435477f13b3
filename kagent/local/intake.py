"""What PutRecords and PutRecordBatch have in common: their entries, checked and decoded.

Checks work on whole columns; only when one fails are the entries gone through one by one, to name
the first culprit as AWS does.
"""

from __future__ import annotations

import binascii
import dataclasses
import operator
import typing

from kagent.local import errors, faults, records

Json = dict[str, typing.Any]
NO_FAULTS = faults.Faults()


@dataclasses.dataclass(slots=True)
class Call:
    """One API call under way: which stream it is for, what befalls it, what it stored.

    `wanted` are the faults in force when it came; another call may replace them meanwhile.
    """

    operation: str = ""
    stream: str = ""
    store: records.Store | None = None
    wanted: faults.Faults = NO_FAULTS
    outcome: faults.Outcome = ""
    stored: records.Unsettled | None = None
    botched: records.Unsettled | None = None  # stored, and said to be no such thing


class Refusal(typing.NamedTuple):
    """Why one record of an otherwise accepted call was not taken."""

    code: str
    message: str


INTERNAL_FAILURE = Refusal("InternalFailure", "Internal Service Failure")


def entries_of(params: Json, records_max: int) -> list[Json]:
    """Return the `Records` of a request, 1 to records_max objects.

    Raises:
        ServiceError: There are none, too many, or they are no list of objects.
    """
    entries = params.get("Records")
    if entries is None:
        raise errors.validation_error("records", "Member must not be null")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise errors.serialization_error("Records: expected a list of objects")
    if not entries:
        raise errors.validation_error(
            "records", "Member must have length greater than or equal to 1"
        )
    if len(entries) > records_max:
        raise errors.validation_error(
            "records", f"Member must have length less than or equal to {records_max}"
        )
    return entries


def texts_of(entries: list[Json], member: str) -> list[str]:
    """Return a required text member of each entry."""
    try:
        texts = list(map(operator.itemgetter(member), entries))
    except KeyError:
        texts = [entry.get(member) for entry in entries]
    if set(map(type, texts)) == {str}:
        return texts
    index = next(index for index, text in enumerate(texts) if not isinstance(text, str))
    if texts[index] is not None:
        raise errors.serialization_error(f"{member}: expected a string, found {texts[index]!r}")
    place = f"records.{index + 1}.member.{member[0].lower()}{member[1:]}"
    raise errors.validation_error(place, "Member must not be null")


def datas_of(entries: list[Json], data_bytes_max: int) -> list[bytes]:
    """Return the data of each entry, decoded, each at most data_bytes_max."""
    texts = texts_of(entries, "Data")
    try:
        datas = [binascii.a2b_base64(text, strict_mode=True) for text in texts]  # 0.7 us a record
    except ValueError as error:
        raise errors.serialization_error(f"Data: not base64: {error}") from error
    if max(map(len, datas)) > data_bytes_max:
        index = next(index for index, data in enumerate(datas) if len(data) > data_bytes_max)
        raise errors.validation_error(
            f"records.{index + 1}.member.data",
            f"Member must have length less than or equal to {data_bytes_max}",
        )
    return datas


def without_botched(
    taken: list[int], source: faults.FaultSource, call: Call
) -> tuple[list[int], list[int]]:
    """Divide the records that are stored into those that the answer owns up to, and the others."""
    drawn = set(source.draw_botched(call.operation, call.stream, len(taken)))
    kept = [index for place, index in enumerate(taken) if place not in drawn]
    return kept, [taken[place] for place in sorted(drawn)]


def check_poison(datas: list[bytes], source: faults.FaultSource, call: Call, code: str) -> None:
    """Refuse the whole call when a record holds what the faults in force call poison."""
    poison = call.wanted.poison.encode()
    if poison:
        for index, data in enumerate(datas):
            if poison in data:
                source.count("poison")
                raise errors.ServiceError(code, f"Record {index + 1} holds poison")
