"""Other agents that are found on PATH, each told to ship the same files to the same sink.

Only what can be told to do the same work takes part: raw lines, one a record, to Kinesis. rsyslogd
knows no Kinesis and writes to a file: its figures are for reading and parsing alone.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from typing import Any

Start = Callable[[Any, pathlib.Path], "subprocess.Popen[bytes]"]


@dataclasses.dataclass(frozen=True)
class Peer:
    """One agent: its name on PATH, and what writes its configuration and returns its arguments."""

    name: str
    configure: Callable[[Any, pathlib.Path, pathlib.Path, str], list[str]]
    output: str = ""  # of one that ships to a file: its name in the peer's directory

    def start(self, stream: str, environment: dict[str, str]) -> Start:
        """Return what starts it on a directory of files, in a fresh directory of its own."""

        def start(served: Any, directory: pathlib.Path) -> subprocess.Popen[bytes]:
            root = pathlib.Path(tempfile.mkdtemp(prefix="peer-", dir=directory.parent))
            arguments = self.configure(served, directory, root, stream)
            return subprocess.Popen(
                [self.name, *arguments],
                env={**os.environ, **environment},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

        return start


def _fluent_bit(served: Any, files: pathlib.Path, root: pathlib.Path, stream: str) -> list[str]:
    host, port = served.endpoint_url.removeprefix("https://").split(":")
    (root / "fluent-bit.conf").write_text(
        f"""\
[SERVICE]
    flush 1
    grace 5
    log_level error
[INPUT]
    name tail
    path {files}/*.log
    read_from_head on
    mem_buf_limit 50M
    db {root}/tail.db
[OUTPUT]
    name kinesis_streams
    match *
    region eu-west-1
    stream {stream}
    endpoint {host}
    port {port}
    log_key log
    tls.ca_file {served.ca_file}
    workers 2
"""
    )
    return ["-c", str(root / "fluent-bit.conf")]


def _vector(served: Any, files: pathlib.Path, root: pathlib.Path, stream: str) -> list[str]:
    tree = {
        "data_dir": str(root),
        "sources": {
            "files": {"type": "file", "include": [f"{files}/*.log"], "read_from": "beginning"}
        },
        "sinks": {
            "kinesis": {
                "type": "aws_kinesis_streams",
                "inputs": ["files"],
                "stream_name": stream,
                "region": "eu-west-1",
                "endpoint": served.endpoint_url,
                "encoding": {"codec": "text"},
                "tls": {"ca_file": served.ca_file},
            }
        },
    }
    (root / "vector.json").write_text(json.dumps(tree))
    return ["--quiet", "--config", str(root / "vector.json")]


def _rsyslogd(_served: Any, files: pathlib.Path, root: pathlib.Path, _stream: str) -> list[str]:
    (root / "rsyslog.conf").write_text(
        f"""\
global(workDirectory="{root}" maxMessageSize="64k")
module(load="imfile")
template(name="raw" type="string" string="%msg%\\n")
input(type="imfile" file="{files}/*.log" tag="bench" ruleset="out" freshStartTail="off")
ruleset(name="out") {{
    action(type="omfile" file="{root}/out" template="raw" ioBufferSize="256k")
}}
"""
    )
    return ["-n", "-f", str(root / "rsyslog.conf"), "-i", str(root / "pid")]


def _java_agent(served: Any, files: pathlib.Path, root: pathlib.Path, stream: str) -> list[str]:
    tree = {
        "kinesis.endpoint": served.endpoint_url,
        "cloudwatch.emitMetrics": False,
        "checkpointFile": str(root / "checkpoints"),
        "flows": [
            {
                "filePattern": f"{files}/*.log",
                "kinesisStream": stream,
                "initialPosition": "START_OF_FILE",
            }
        ],
    }
    (root / "agent.json").write_text(json.dumps(tree))
    return ["-c", str(root / "agent.json"), "-l", str(root / "agent.log")]


ALL = [
    Peer("fluent-bit", _fluent_bit),
    Peer("vector", _vector),
    Peer("rsyslogd", _rsyslogd, output="out"),
    Peer("start-aws-kinesis-agent", _java_agent),
]
ENVIRONMENT = {  # Amazon's agent trusts what Java trusts, and the sink's certificate is its own
    "JAVA_TOOL_OPTIONS": "-Dcom.amazonaws.sdk.disableCertChecking=true"
}


def found(service: str, parse: str, flow: dict[str, Any]) -> list[Peer]:
    """Return the agents on PATH that can do the work of a case."""
    if service != "kinesis" or parse != "raw" or flow:
        return []
    return [peer for peer in ALL if shutil.which(peer.name)]
