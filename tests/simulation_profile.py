"""What a simulated world knows: which actions and faults, and how kagent is configured in it."""

from __future__ import annotations

import dataclasses
import random
import zlib

from kagent import batch as batching
from kagent import model, pack, preprocessors, split


@dataclasses.dataclass
class Profile:
    """What a world knows."""

    writers: list[str]
    destination: list[str]  # what may become of an attempt, beside being accepted
    crashes: list[str]
    disk_faults: bool
    file_faults: bool
    races: bool
    policy: split.OversizePolicy
    start_at: str
    rotate_wait_s: float
    record_bytes_max: int
    max_in_flight: int
    max_buffer_bytes: int
    batch: batching.BatchSettings
    limits: model.BatchLimits
    block_bytes: int
    lines_max: int
    head_bytes: int  # of the fingerprint
    reads_compressed: bool
    operation_s: float  # how long an operation on a file takes
    is_preprocessed: bool  # record by record, without changing a byte

    @property
    def devices_change(self) -> bool:
        """A reboot gives device numbers anew; then a file is known by its path and inode."""
        return not any(
            kind.startswith(("ren", "rot", "move", "copyt", "compr")) for kind in self.writers
        )

    @property
    def is_clean(self) -> bool:
        """Nothing happens that explains a duplicate or a change of order."""
        return not (self.destination or self.crashes)

    @property
    def is_ordered(self) -> bool:
        """Nothing happens that may change the order within a file."""
        is_poisoned = "append_poison" in self.writers or self.policy == "dead_letter"
        return self.is_clean and not is_poisoned and self.max_in_flight == 1


WRITERS = {
    "append": 10,
    "append_half": 3,
    "append_long": 1,
    "append_poison": 1,
    "create": 2,
    "rotate": 2,
    "rename_in": 1,
    "rename_within": 1,
    "rename_out": 1,
    "truncate": 1,
    "stale": 1,
    "regrow": 1,
    "shorten": 1,
    "rewrite_same": 1,
    "unlink": 1,
    "replace": 1,
    "copy": 1,
    "copytruncate": 3,
    "compress": 2,
    "twin": 1,
    "link": 1,
    "make_directory": 1,
    "move_directory": 1,
    "plant": 1,
    "write_back": 2,
}
ROTATORS = ("copytruncate", "rotate", "rename_out", "compress", "write_back")
ANSWERS = (
    "refuse_some",
    "refuse_all",
    "internal_failure",
    "throttled",
    "unavailable",
    "denied",
    "not_found",
    "lost_answer",
    "lost_call",
)
CRASHES = ("restart_flow", "restart", "crash", "power_cut")


def draw_profile(chooser: random.Random) -> Profile:
    """Return a random profile; a third of them have nothing that could explain a duplicate."""
    is_clean = chooser.random() < 0.3
    record_bytes_max = chooser.choice([30, 64, 200])
    has_keys = chooser.random() < 0.1
    records_max = chooser.choice([1, 3, 10, 50])
    bytes_max = chooser.choice([record_bytes_max + 10, 600, 4000])
    max_in_flight = chooser.choice([1, 1, 2, 5])
    form = chooser.choice(["none", "none", "newline", "kpl"])
    if form == "kpl":  # its envelope alone is longer than the shorter lines
        record_bytes_max, has_keys = 400, True

    def some(kinds: tuple[str, ...] | list[str], share: float) -> list[str]:
        return [kind for kind in kinds if chooser.random() < share]

    writers = ["append", "create", *some(list(WRITERS), chooser.choice([0.2, 0.5, 1.0]))]
    is_rotating = chooser.random() < 0.3
    if is_rotating:  # the more of it, the less of all else
        writers = [one for one in writers if chooser.random() < 0.5 or one in ROTATORS]
        writers += ["append", "create", *some(ROTATORS * 3, 0.5)]
    max_buffer_bytes = chooser.choice([4, 40]) * (record_bytes_max + 150)
    if max_buffer_bytes < 5000 and "append_poison" in writers:
        writers.remove("append_poison")  # a buffer full of it blocks the flow, as it must

    return Profile(
        writers=writers,
        destination=[] if is_clean else some(ANSWERS, chooser.choice([0.0, 0.3, 0.8])),
        crashes=[] if is_clean else some(CRASHES, chooser.choice([0.0, 0.4, 1.0])),
        disk_faults=chooser.random() < 0.3,
        file_faults=chooser.random() < 0.3,
        races=chooser.random() < 0.3,
        policy=chooser.choice(["auto", "split", "truncate", "drop", "dead_letter"]),
        start_at=chooser.choice(["beginning", "end"]),
        rotate_wait_s=chooser.choice([20.0, 60.0]),
        record_bytes_max=record_bytes_max,
        max_in_flight=max_in_flight,
        max_buffer_bytes=max_buffer_bytes,
        batch=batching.BatchSettings(
            chooser.choice([0.0, 1.0]),
            records_max,
            bytes_max,
            is_ordered=max_in_flight == 1,
            pack=draw_pack(chooser, form, record_bytes_max, max_buffer_bytes),
        ),
        limits=model.BatchLimits(
            50,
            4000,
            record_bytes_max + (form == "newline") + 8 * has_keys,
            has_keys,
        ),
        block_bytes=chooser.choice([70, 300, 1024**2]),
        lines_max=chooser.choice([2, 65536]),
        head_bytes=16 if is_rotating else chooser.choice([16, 1024]),
        reads_compressed=chooser.random() < 0.3,
        operation_s=chooser.choice([0.0, 0.0, 0.01]),
        is_preprocessed=len(writers) % 3 == 0,  # drawn already: found seeds stay what they are
    )


def pass_through(records: list[bytes], context: model.ChunkContext) -> list[model.Outcome]:
    """Take some records apart and leave the others to `on_no_match: raw`: all stay as they are."""
    assert len(records) == len(context.starts) == len(context.ends)
    return [model.UNPARSED if zlib.crc32(one) % 5 == 0 else one for one in records]


PREPROCESS = (preprocessors.Stage("own", pass_through, is_built_in=False),)


def draw_pack(
    chooser: random.Random, form: str, record_bytes_max: int, max_buffer_bytes: int
) -> pack.PackSettings | None:
    """Return how lines share records, whose own limit is little more than a line's."""
    if form == "none":
        return None
    return pack.PackSettings(
        form,  # type: ignore[arg-type]
        target_bytes=chooser.choice([record_bytes_max // 2, record_bytes_max]),
        is_plain=True,
        open_bytes_max=chooser.choice([max_buffer_bytes // 8, max_buffer_bytes // 2]),
    )
