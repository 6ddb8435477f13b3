"""What one incarnation of a flow leaves to the next, and how that takes it over.

A file that is open when a flow ends, by a fault or a reload, may have no name any more: its
descriptor is all that is left of it. It goes on through that once its bytes prove it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from kagent import kept, model, opening, tail


@dataclasses.dataclass(slots=True)
class Estate:
    """What one incarnation of a flow leaves to the next: nothing is closed, nothing forgotten.

    `handles` are open descriptors, by tail_id, each with the base its path was opened below;
    `undurable` are those of them whose rows were not known to be on disk.
    """

    rows: list[model.Checkpoint] = dataclasses.field(default_factory=list)
    scanned: set[str] = dataclasses.field(default_factory=set)
    handles: dict[str, tuple[int, str]] = dataclasses.field(default_factory=dict)
    undurable: set[str] = dataclasses.field(default_factory=set)


class Inheritance:
    """The open descriptors of an earlier incarnation; owned by the flow's roster."""

    def __init__(
        self,
        opener: opening.Opener,
        faults: opening.Faults,
        files: model.Files,
        rows: kept.Rows,
    ) -> None:
        """Have none."""
        self.handles: dict[str, tuple[int, str]] = {}  # yet to prove their files
        self.undurable: set[str] = set()  # of them
        self._opener = opener
        self._faults = faults
        self._files = files
        self._rows = rows

    def take_over(self, estate: Estate) -> None:
        """Take over what an earlier incarnation held open."""
        self.handles, self.undurable = dict(estate.handles), set(estate.undurable)

    def proved(self, now: float) -> Iterator[tuple[model.Checkpoint, tail.Tail]]:
        """Yield a tail for each file that can be read now, with the row that it had before.

        The tail has another tail_id, and begins at 0, if the file holds other content now.
        """
        for tail_id, (handle, base) in list(self.handles.items()):
            row = self._rows.get(tail_id)
            if row is None:
                self.drop(tail_id)  # it was never saved
                continue
            try:
                one = self._opener.inherit(row, handle, base, now)
            except OSError as error:
                self._faults.report(row.paths[0], f"cannot read: {error.strerror}")
                continue  # it keeps its descriptor and is tried again at the next scan
            del self.handles[tail_id]
            yield row, one

    def drop(self, tail_id: str) -> None:
        """Close a descriptor that nobody needs."""
        if tail_id in self.handles:
            handle, _ = self.handles.pop(tail_id)
            self._files.close(handle)
