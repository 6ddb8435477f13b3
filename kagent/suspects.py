"""Where in a log the process died: inside a preprocessor that is not ours, or nowhere.

A preprocessor that hangs cannot be stopped in a thread, and one that ends the process cannot be
caught. So each call is marked before it begins, in a small mmapped file that outlives the process,
and a mark that is found at a start names the records that are suspect:

    a block     its records are called one by one, each marked as tried before
    a record    called once more by itself; if it was tried before, it is poison

Poison is not called any more: it goes to the dead letters. It is remembered, so that a crash
before its letter is on disk does not begin the trial anew. Nothing here is fsynced: after a power
cut it may be lost, and costs no more than another trial.
"""

from __future__ import annotations

import contextlib
import dataclasses
import mmap
import os
import struct
import urllib.parse
from collections.abc import Iterator

from kagent import logs, model, options

POISON_MAX = 16  # records that are remembered; the oldest is forgotten first

# state, records, start, end, tail_id, name of the preprocessor
_SLOT = struct.Struct("<BxxxIQQ32s64s")
_FILE_BYTES = _SLOT.size * (1 + POISON_MAX)
_EMPTY, _CALLED, _CALLED_AGAIN, _POISON = range(4)


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """A call that has not returned, for the main thread to look at."""

    preprocessor: str
    path: str
    start: int
    end: int
    since: float  # monotonic


@dataclasses.dataclass(frozen=True, slots=True)
class _Span:
    state: int
    records: int
    start: int
    end: int
    tail_id: str
    preprocessor: str

    def holds(self, preprocessor: str, context: model.ChunkContext, index: int) -> bool:
        """Return whether a record is in the span."""
        is_same = self.tail_id == context.tail_id and self.preprocessor == preprocessor
        return is_same and self.start < context.ends[index] and context.starts[index] < self.end


class Suspects:
    """The marks of one flow; owned by its thread, but for `call`, which anybody may read."""

    def __init__(self, state_dir: str, flow: str, clock: model.Clock) -> None:
        """Touch nothing yet."""
        self.call: Call | None = None
        self._path = os.path.join(state_dir, "preprocessing", urllib.parse.quote(flow, safe=""))
        self._flow = flow
        self._clock = clock
        self._marks: mmap.mmap | None = None
        self._suspect: _Span | None = None
        self._poison: list[_Span] = []

    def open(self) -> None:
        """Take in what an earlier life left; without a file a call is not marked."""
        try:
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            file = os.open(self._path, flags, 0o600)
            try:
                if os.fstat(file).st_size != _FILE_BYTES:
                    os.ftruncate(file, 0)
                    os.pwrite(file, bytes(_FILE_BYTES), 0)  # a hole could find no room later
                self._marks = mmap.mmap(file, _FILE_BYTES)
            finally:
                os.close(file)
        except (OSError, ValueError) as error:
            logs.of_flow(self._flow).warning(
                "calls not marked flow=%s path=%s error=%s", self._flow, self._path, error
            )
            return
        spans = [self._read(slot) for slot in range(1 + POISON_MAX)]
        self._poison = [span for span in spans[1:] if span.state == _POISON]
        if spans[0].state != _EMPTY:
            self._take_in(spans[0])
        self._write(0, _Span(_EMPTY, 0, 0, 0, "", ""))

    def close(self) -> None:
        """Give the file back."""
        if self._marks is not None:
            self._marks.close()
            self._marks = None

    @property
    def is_wary(self) -> bool:
        """There is anything to be looked for in a block before it is called."""
        return self._suspect is not None or bool(self._poison)

    def judge(self, preprocessor: str, context: model.ChunkContext) -> list[bool] | None:
        """Return which of a block's records are poison, if they must go one by one; else None."""
        spans = [*self._poison, *([self._suspect] if self._suspect else [])]
        indices = range(len(context.starts))
        if not any(one.holds(preprocessor, context, at) for one in spans for at in indices):
            return None
        return [
            any(one.holds(preprocessor, context, at) for one in self._poison) for at in indices
        ]

    @contextlib.contextmanager
    def around(self, preprocessor: str, context: model.ChunkContext) -> Iterator[None]:
        """Mark that records are in a preprocessor's hands while the context lasts."""
        start, end = context.starts[0], context.ends[-1]
        suspect = self._suspect
        is_again = suspect is not None and suspect.holds(preprocessor, context, 0)
        state = _CALLED_AGAIN if is_again else _CALLED
        span = _Span(state, len(context.starts), start, end, context.tail_id, preprocessor)
        self._write(0, span)
        self.call = Call(preprocessor, context.path, start, end, self._clock.monotonic())
        try:
            yield
        finally:
            self.call = None
            if self._marks is not None:
                self._marks[0] = _EMPTY

    def _take_in(self, span: _Span) -> None:
        """Remember a span in which the process died."""
        is_poison = span.state == _CALLED_AGAIN and span.records == 1
        if is_poison:
            span = dataclasses.replace(span, state=_POISON)
            self._poison = [*self._poison, span][-POISON_MAX:]
            for slot, one in enumerate(self._poison, start=1):
                self._write(slot, one)
        else:
            self._suspect = span
        logs.of_flow(self._flow).error(
            "preprocessor did not return flow=%s preprocessor=%s tail_id=%s offset=%d bytes=%d "
            "records=%d; kagent was ended meanwhile; %s",
            self._flow,
            options.printable(span.preprocessor),
            options.printable(span.tail_id),
            span.start,
            span.end - span.start,
            span.records,
            "the record is dead-lettered" if is_poison else "they are tried again one by one",
        )

    def _read(self, slot: int) -> _Span:
        assert self._marks is not None
        state, records, start, end, tail_id, name = _SLOT.unpack_from(
            self._marks, slot * _SLOT.size
        )
        texts = [one.rstrip(b"\0").decode("utf-8", "replace") for one in (tail_id, name)]
        return _Span(state, records, start, end, texts[0], texts[1])

    def _write(self, slot: int, span: _Span) -> None:
        """Write a slot; its state comes last, so that a half of it is never believed."""
        if self._marks is None:
            return
        at = slot * _SLOT.size
        names = (span.tail_id.encode(), span.preprocessor.encode()[:64])
        packed = _SLOT.pack(_EMPTY, span.records, span.start, span.end, *names)
        self._marks[at : at + _SLOT.size] = packed
        self._marks[at] = span.state
