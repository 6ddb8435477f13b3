"""The whole configuration as one model: composed here, declared beside the code that uses it.

Only what has behaviour is a key. Validation, messages, `config/kagent.schema.json` and
`config/reference.md` all come from these declarations; a key is added by declaring it.
"""

from __future__ import annotations

from typing import Annotated

import pydantic

from kagent import options

# Names, not modules: a field called `batch` would hide the module from its own annotation.
from kagent.batch import BatchOptions
from kagent.checkpoint import CheckpointOptions
from kagent.config import stages
from kagent.deadletter import DeadLetterOptions
from kagent.destinations.aws import AwsOptions
from kagent.destinations.firehose import FirehoseOptions
from kagent.destinations.kinesis import KinesisOptions
from kagent.discovery import SourceOptions
from kagent.exporters.cloudwatch import CloudWatchOptions
from kagent.logs import LogOptions
from kagent.pace import RateLimit
from kagent.pack import Setting as PackSetting
from kagent.preprocessors.chain import OnNoMatch
from kagent.split import OversizePolicy

_MIB = 1024**2
_GIB = 1024**3

STATE_DIR = "${STATE_DIRECTORY:-/var/lib/kagent}"

FlowName = Annotated[
    str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", min_length=1, max_length=64)
]


class Destination(options.Options):
    """Where the lines of a flow go: exactly one of these."""

    model_config = pydantic.ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    kinesis: KinesisOptions | None = None
    """An Amazon Kinesis data stream."""

    firehose: FirehoseOptions | None = None
    """An Amazon Data Firehose delivery stream."""


class FlowNames(options.Options):
    """What a flow is called."""

    name: FlowName
    """Unique, and kept for good: positions are saved under it. See `renamed_from`."""

    renamed_from: FlowName | None = None
    """The flow's former name, whose saved positions it takes over."""


class FlowDefaults(options.Options):
    """What `defaults` may hold: every key of a flow but its names."""

    source: SourceOptions
    """Which files the flow reads."""

    preprocess: tuple[Annotated[object, stages.Written()], ...] = ()
    """What is done to records before they are shipped, one preprocessor after another."""

    on_no_match: OnNoMatch = "wrap"
    """What becomes of a record that a preprocessor cannot take apart, and which is always counted:
    it is shipped as {"message": "..."} (wrap), as it is (raw), left out (drop), or put aside
    (dead_letter)."""

    destination: Destination
    """Where its lines go; a flow's own destination replaces one in `defaults`."""

    pack: PackSetting = pydantic.Field(default=None, json_schema_extra={"default": "none"})
    """How many lines share a record, which saves most of the cost and is taken apart by readers:
    see the README. none is a line a record."""

    batch: BatchOptions = BatchOptions()
    """When a request is sent."""

    oversize: OversizePolicy = "auto"
    """What becomes of a line longer than `max_line` or the destination's limit: cut into several
    records (split), cut off (truncate), left out and counted (drop), or put aside (dead_letter).
    auto is split, but what a preprocessor made too long for the destination is put aside."""

    max_in_flight: int = pydantic.Field(default=16, ge=1, le=256)
    """Requests under way at the same time; 1 gives order between batches."""

    max_buffer: Annotated[int, options.Size(1024, 64 * _GIB)] | None = None
    """Bytes of lines held in memory, at least 2MiB and twice the longest record: 4MiB with the
    default `max_line`. Left out: 16MiB, or an equal share of `max_memory` if that is less."""

    rate_limit: RateLimit = RateLimit()
    """What is sent at most in a second, to leave room for others."""


class Flow(FlowDefaults, FlowNames):  # pydantic takes the fields of the last base first
    """Files, and where their lines go."""


class CloudWatch(CloudWatchOptions):
    """The counters that are put to Amazon CloudWatch."""

    aws: AwsOptions = AwsOptions()
    """How it is reached, key by key over `aws` at the top; null resets a key to its default."""


class Metrics(options.Options):
    """What is counted, and who is told."""

    cloudwatch: CloudWatch = CloudWatch()
    """Amazon CloudWatch."""


class Root(options.Options):
    """A configuration file."""

    state_dir: str = pydantic.Field(default=STATE_DIR, pattern="^/")
    """The directory of saved positions; one daemon at a time owns it."""

    max_memory: Annotated[int, options.Size(8 * _MIB, 1024 * _GIB)] = 256 * _MIB
    """Bound of all flows' `max_buffer` together."""

    drain_timeout: Annotated[float, options.Duration(0.0, 3600.0)] = 20.0
    """How long a stop waits for answers that are under way."""

    checkpoint: CheckpointOptions = CheckpointOptions()
    """Saved positions."""

    dead_letter: DeadLetterOptions = DeadLetterOptions()
    """Records that a service will never take."""

    forget: tuple[FlowName, ...] = ()
    """Names of flows that are gone and whose saved positions may be given up."""

    log: LogOptions = LogOptions()
    """What the daemon says."""

    aws: AwsOptions = AwsOptions()
    """How AWS is reached."""

    metrics: Metrics = Metrics()
    """What is counted."""

    include: tuple[str, ...] = ()
    """Files that add flows, as patterns relative to this file; they hold `flows` and no more."""

    defaults: dict[str, object] = pydantic.Field(default_factory=dict)
    """Any key of a flow but its names, for all flows; a flow's own keys win, one by one."""

    flows: tuple[Flow, ...] = ()
    """The flows; may be empty."""


class Included(options.Options):
    """A file that `include` names; its flows are checked as those of the including file."""

    flows: tuple[object, ...] = ()
    """Flows to add."""
