"""Files, a configuration and durable rows, without a daemon: what `kagent shipped` is asked on."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import zlib

import click.testing
import yaml

from kagent import checkpoint, cli, config, model, proof, system


@dataclasses.dataclass
class Rig:
    """One directory with logs, state and configuration."""

    root: pathlib.Path

    def path(self, name: str, data: bytes | None = None) -> pathlib.Path:
        """Return a path among the logs; with data it is written."""
        path = self.root / "log" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if data is not None:
            path.write_bytes(data)
        return path

    def configure(self, **paths: object) -> None:
        """Write a configuration: for each flow its patterns, or all of its keys."""
        flows = []
        for name, one in paths.items():
            more = dict(one) if isinstance(one, dict) else {"source": {"paths": one}}
            source = more.pop("source")
            source["paths"] = [f"{self.root}/log/{pattern}" for pattern in source["paths"]]
            flows.append(
                {"name": name, "source": source, "destination": {"kinesis": {"stream": name}}}
                | more
            )
        tree = {"state_dir": str(self.root / "state"), "aws": {"region": "eu-west-1"}}
        (self.root / "kagent.yaml").write_text(yaml.safe_dump({**tree, "flows": flows}))

    def row(
        self, path: pathlib.Path, offset: int | None = None, **more: object
    ) -> model.Checkpoint:
        """Return the checkpoint of a file as it is now, shipped up to an offset."""
        files = system.OsFiles()
        handle = files.open(str(path), str(path))
        status = files.handle_status(handle)
        offset = status.size if offset is None else offset
        head = files.read(handle, 0, min(offset, 1024))
        row = model.Checkpoint(
            tail_id=f"{zlib.crc32(os.fsencode(path)):032x}",
            paths=(str(path),),
            identity=status.identity,
            mtime_ns=status.mtime_ns,
            was_unlinked=False,
            start=0,
            offset=offset,
            fingerprint=model.Fingerprint(len(head), proof.digest(head)),
            frontier=proof.read_frontier(files, handle, offset),
            size=status.size,
        )
        files.close(handle)
        return dataclasses.replace(row, **more)  # type: ignore[arg-type]

    def save(self, *rows: model.Checkpoint, flow: str = "web") -> None:
        """Make rows durable, as a daemon does."""
        store = checkpoint.CheckpointStore(str(self.root / "state"))
        store.open()
        for one in config.load(str(self.root / "kagent.yaml"), {}).flows:
            if one.name == flow:
                facts = (one.name, one.source.paths, one.destination.description)
                store.describe(checkpoint.KnownFlow(*facts))
        store.write([model.FlowSnapshot(flow, 1, rows)])
        store.close()

    def run(self, *arguments: object) -> click.testing.Result:
        """Run a command on the configuration."""
        command, *rest = map(str, arguments)
        return click.testing.CliRunner().invoke(
            cli.main, [command, "-c", str(self.root / "kagent.yaml"), *rest]
        )

    def ask(self, *paths: object) -> click.testing.Result:
        """Run `kagent shipped`."""
        return self.run("shipped", *paths)


def numbered(count: int, first: int = 0) -> bytes:
    """Return lines that differ from each other."""
    return b"".join(b"line %d\n" % number for number in range(first, first + count))
