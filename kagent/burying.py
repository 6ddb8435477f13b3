"""Dead letters of one flow on their way to disk: a record settles when its letter is there.

Keeps each record until it is known to be durable, tries again what found no room, and says what
was put aside: at once when the reason changes, then once a minute. Never says what a record holds.
"""

from __future__ import annotations

from collections.abc import Callable

from kagent import logs, model, options

RETRY_S = 10.0
SAY_AGAIN_S = 60.0


class Burials:
    """Records that wait for their dead letter; owned by the flow's thread."""

    def __init__(
        self, flow: str, bury: Callable[[model.DeadLetter], None], clock: model.Clock
    ) -> None:
        """Hand letters to `bury`; what becomes of them comes back through `collect`."""
        self.error = ""  # why the last letter is not on disk; empty if it is
        self._flow = flow
        self._bury = bury
        self._clock = clock
        self._burying: dict[tuple[str, int, int], tuple[model.DeadLetter, model.Chunk]] = {}
        self._unburied: list[tuple[float, model.DeadLetter]] = []
        self._said = ("", float("-inf"))
        self._unsaid = 0

    def add(self, chunk: model.Chunk, path: str, reason: str) -> None:
        """Hand over records, each with its bytes of the source."""
        for index, record in enumerate(chunk.records):  # rare: one record at a time by nature
            one = chunk.slice(index, index + 1)
            letter = model.DeadLetter(
                self._flow,
                chunk.tail_id,
                path,
                one.starts[0],
                one.ends[0],
                reason,
                record,
                chunk.part,
            )
            self._burying[chunk.tail_id, letter.start, letter.part] = (letter, one)
            self._bury(letter)

    def collect(self, report: model.DeadLettered) -> model.Chunk | None:
        """Return the record whose letter is on disk, None if it is not and is tried again."""
        letter = report.letter
        self.error = report.error
        if report.error:
            self._unburied.append((self._clock.monotonic() + RETRY_S, letter))
            return None
        _, chunk = self._burying.pop((letter.tail_id, letter.start, letter.part))
        self._say(letter)
        return chunk

    def retry(self) -> None:
        """Hand over again what found no room, if it is time."""
        now = self._clock.monotonic()
        due = [letter for at, letter in self._unburied if at <= now]
        self._unburied = [item for item in self._unburied if item[0] > now]
        for letter in due:
            self._bury(letter)

    @property
    def is_idle(self) -> bool:
        """Nothing is under way but what found no room."""
        return len(self._burying) == len(self._unburied)

    @property
    def letters(self) -> list[model.DeadLetter]:
        """The letters that are not known to be on disk."""
        return [letter for letter, _ in self._burying.values()]

    @property
    def dues(self) -> list[float]:
        """The monotonic times at which there is something to try again."""
        return [at for at, _ in self._unburied]

    def _say(self, letter: model.DeadLetter) -> None:
        reason, at = self._said
        now = self._clock.monotonic()
        self._unsaid += 1
        if letter.reason == reason and now - at < SAY_AGAIN_S:
            return
        logs.of_flow(letter.flow).warning(
            "record dead-lettered flow=%s path=%s offset=%d bytes=%d reason=%s records=%d",
            letter.flow,
            options.printable(letter.path),
            letter.start,
            len(letter.data),
            options.printable(letter.reason),
            self._unsaid,
        )
        self._said, self._unsaid = (letter.reason, now), 0
