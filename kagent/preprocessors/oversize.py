"""What becomes of a record that a preprocessor made too long for the destination. Pure.

auto, dead_letter   put aside: a piece of JSON is seldom of use
split               parts of the limit's length, each a record
truncate            cut between two characters of UTF-8; it keeps its newline
drop                left out

The newline that a preprocessor puts behind a part of a line, which had none, is not what makes it
too long: it is taken off again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from kagent import model, split
from kagent.preprocessors import chain

TOO_LONG = "longer than the destination takes, after preprocessing"


def limit(
    result: chain.Result,
    sources: Sequence[bytes],
    record_bytes_max: int,
    policy: split.OversizePolicy,
) -> None:
    """Decide the records of a result that are longer than the limit.

    Args:
        result: Is changed.
        sources: The records that it was made of.
        record_bytes_max: The limit.
        policy: The flow's `oversize`.
    """
    if max((len(record) for record in result.records if record), default=0) <= record_bytes_max:
        return
    for index, record in enumerate(result.records):
        if record is None or len(record) <= record_bytes_max or index in result.dead:
            continue
        is_ended = record.endswith(b"\n") and not sources[index].endswith(b"\n")
        if is_ended and len(record) - 1 <= record_bytes_max:
            result.records[index] = record[:-1]
        elif policy == "split":
            result.long.append(index)
        elif policy == "truncate":
            ending = b"\n" if record.endswith(b"\n") else b""
            kept = split.text_end(record, record_bytes_max - len(ending))
            result.records[index] = record[:kept] + ending
        elif policy == "drop":
            result.records[index] = None
            result.dropped.setdefault("oversize", []).append(index)
        else:
            result.dead[index] = TOO_LONG


def parts_of(chunk: model.Chunk, record_bytes_max: int) -> list[model.Chunk]:
    """Return a lone record that is too long as parts, which settle together."""
    (record,) = chunk.records
    datas = [record[at : at + record_bytes_max] for at in range(0, len(record), record_bytes_max)]
    whole = model.Whole(len(datas))
    return [
        dataclasses.replace(chunk, records=[data], whole=whole, part=number, is_plain=False)
        for number, data in enumerate(datas, start=1)
    ]
