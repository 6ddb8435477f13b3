"""The counters of a flow: where every source byte is, and what the calls to AWS did.

One thread updates them, the flow's own; everyone else gets a frozen copy. The books must balance
(nothing is silent): every byte that was read is delivered, buffered, dropped or dead-lettered.

The five counters that operators of Amazon's Java agent know keep their meaning exactly, see
`count_receipt`; https://docs.aws.amazon.com/streams/latest/dev/agent-health.html, 2026-11.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Sequence

from kagent import errors, model

STOPPING = "Stopping"  # the code of a setback without a call: the senders were told to stop
INTERNAL_FAILURE = "InternalFailure"  # of one record: it may have been written all the same


@dataclasses.dataclass(frozen=True, slots=True)
class Five:
    """The Java agent's five counters, and the number of calls that they are about."""

    bytes_sent: int = 0
    record_send_attempts: int = 0
    records_sent: int = 0
    record_send_errors: int = 0
    service_errors: int = 0
    calls: int = 0

    def __add__(self, other: Five) -> Five:
        """Return both together."""
        return Five(*map(operator.add, _VALUES(self), _VALUES(other)))

    def __sub__(self, other: Five) -> Five:
        """Return what came since an earlier reading."""
        return Five(*map(operator.sub, _VALUES(self), _VALUES(other)))


# Not dataclasses.astuple, which copies deeply: 20 us, twice for each receipt.
_VALUES = operator.attrgetter(*(field.name for field in dataclasses.fields(Five)))


@dataclasses.dataclass(frozen=True, slots=True)
class Counts:
    """A flow's counters at one moment; see FlowCounters."""

    read_bytes: int
    delivered_bytes: int
    dropped_bytes: int
    dead_lettered_bytes: int
    abandoned_bytes: int
    five: Five
    throttled_calls: int
    throttled_records: int
    ambiguous_calls: int
    ambiguous_records: int
    undecoded_lines: int
    replaced_sequences: int
    expired_patterns: int
    unparsed_records: int
    dropped_records: int
    bare_records: int

    @property
    def buffered_bytes(self) -> int:
        """Source bytes that were read and whose fate is open."""
        settled = self.delivered_bytes + self.dropped_bytes + self.dead_lettered_bytes
        return self.read_bytes - settled


@dataclasses.dataclass(slots=True)
class FlowCounters:
    """A flow's counters, owned by its thread; each only grows.

    The first five count bytes of the source, once, when a position moves or a span settles.
    `abandoned_bytes` were never read, and stand outside the balance. What is ambiguous may have
    been taken although it is sent again: `ambiguous_records` bounds the duplicates.
    """

    read_bytes: int = 0
    delivered_bytes: int = 0
    dropped_bytes: int = 0
    dead_lettered_bytes: int = 0
    abandoned_bytes: int = 0
    five: Five = Five()
    throttled_calls: int = 0
    throttled_records: int = 0
    ambiguous_calls: int = 0
    ambiguous_records: int = 0
    undecoded_lines: int = 0  # not in the format of `decode`, shipped as they are
    replaced_sequences: int = 0  # no text in `encoding`, shipped as U+FFFD
    expired_patterns: int = 0  # lines for which a pattern took too long: as if it did not match
    unparsed_records: int = 0  # that a preprocessor could not take apart: see `on_no_match`
    dropped_records: int = 0  # by a preprocessor, or as unparsed; their bytes are in dropped_bytes
    bare_records: int = 0  # without EC2 data or tags that a preprocessor was to add

    def count_receipt(self, receipt: model.Receipt) -> None:
        """Count what one call did, in the meaning that the Java agent gives the five.

        RecordSendAttempts: the records of every call. RecordsSent and BytesSent: those that were
        accepted, without their keys. RecordSendErrors: those that were refused one by one.
        ServiceErrors: the calls that failed as a whole, whose records are no RecordSendErrors.
        """
        setback = receipt.setback
        if setback is not None and setback.code == STOPPING:
            return  # no call was made
        if setback is None:
            self._count_answer(receipt.batch, receipt.refused)
            return
        attempts = len(receipt.batch.records)
        self.five += Five(record_send_attempts=attempts, service_errors=1, calls=1)
        self.throttled_calls += isinstance(setback, errors.ThrottledError)
        if receipt.is_ambiguous:
            self.ambiguous_calls += 1
            self.ambiguous_records += attempts

    def check_balance(self, buffered_bytes: int) -> None:
        """Assert that every byte that was read is accounted for.

        Args:
            buffered_bytes: Source bytes whose fate is open, by the ledgers' own count.
        """
        counts = self.snapshot()
        assert counts.buffered_bytes == buffered_bytes, (counts, buffered_bytes)

    def snapshot(self) -> Counts:
        """Return a copy that never changes, for other threads."""
        return Counts(**{name: getattr(self, name) for name in _NAMES})

    def _count_answer(self, batch: model.Batch, refused: Sequence[model.Refusal]) -> None:
        records = batch.records
        refused_bytes = sum(len(records[refusal.index]) for refusal in refused)
        self.five += Five(
            bytes_sent=batch.data_bytes - refused_bytes,
            record_send_attempts=len(records),
            records_sent=len(records) - len(refused),
            record_send_errors=len(refused),
            calls=1,
        )
        ambiguous = sum(1 for refusal in refused if refusal.code == INTERNAL_FAILURE)
        self.ambiguous_records += ambiguous
        self.throttled_records += len(refused) - ambiguous


_NAMES = [field.name for field in dataclasses.fields(Counts)]
