"""`cost`: what a sample of real lines says of the bill, and what the README says of it."""

from __future__ import annotations

import errno
import os
import pathlib
import re

import fakes
import pytest
from test_config_relations import FIREHOSE, KINESIS, flow, load

from kagent import config, cost
from kagent.cli import reckoning, test_config

ROOT = pathlib.Path(__file__).parent.parent


def configured(
    directory: pathlib.Path, more: str = KINESIS, packing: str = "none", source: str = ""
) -> config.FlowConfig:
    sources = f"paths: ['/logs/*.log']{source}"
    (one,) = load(directory, f"flows:\n{flow('a', more, sources)}  pack: {packing}\n").flows
    return one


class Logs:
    """Files of lines, in memory."""

    def __init__(self, *contents: bytes) -> None:
        self.clock = fakes.FakeClock()
        self.files = fakes.FakeFiles(self.clock)
        self.files.make_directory("/logs")
        self.paths = [f"/logs/{number}.log" for number in range(len(contents))]
        for path, data in zip(self.paths, contents, strict=True):
            self.files.append(self.files.create(path), data)

    def estimate(self, one: config.FlowConfig) -> cost.Estimate | None:
        return cost.estimate(one, self.paths, self.files, self.clock)


def lines_of(size: int, count: int) -> bytes:
    return (b"x" * (size - 1) + b"\n") * count


@pytest.mark.parametrize(
    ("size", "units", "on_demand_gb", "firehose_gb"),
    [
        (100, 1_000_000, 1.0, 5.0),
        (1000, 1_000_000, 1.0, 5.0),
        (1001, 1_000_000, 2.0, 5.0),
        (25_000, 1_000_000, 25.0, 25.0),
        (25_001, 2_000_000, 26.0, 30.0),
    ],
)
def test_record_is_billed_by_started_units(
    size: int, units: int, on_demand_gb: float, firehose_gb: float
) -> None:
    """25 KB, 1 KB and 5 KB; KB is 1000."""
    found = cost.cost_of([size] * 3, 3)

    assert (1_000_000, units) == (found.records, found.put_units)
    assert (on_demand_gb, firehose_gb) == (found.on_demand_bytes / 1e9, found.firehose_bytes / 1e9)


def test_packing_is_set_against_a_line_a_record(tmp_path: pathlib.Path) -> None:
    """As the flow packs, or as newline packing would."""
    logs = Logs(lines_of(200, 3000), lines_of(200, 1000))
    for packing, is_packed in (("none", False), ("newline", True)):
        found = logs.estimate(configured(tmp_path, packing=packing))

        assert found is not None
        assert (4000, 2, 200.0, is_packed) == (
            found.lines,
            found.files,
            found.line_bytes,
            found.is_packed,
        )
        assert 1_000_000 == found.plain.put_units
        assert 8065 == round(found.packed.put_units)


def test_readme_says_what_is_computed(tmp_path: pathlib.Path) -> None:
    """Its table of costs, line by line."""
    rows = re.findall(
        r"\| ([\d,]+) B \| ([\d,]+) → ([\d,]+) \| ([\d.]+) → ([\d.]+) \| ([\d.]+) → ([\d.]+) \|",
        (ROOT / "README.md").read_text(),
    )
    assert len(rows) == 3
    for size, *said in rows:
        logs = Logs(lines_of(int(size.replace(",", "")), 5000))
        found = logs.estimate(configured(tmp_path, packing="newline"))
        delivered = logs.estimate(configured(tmp_path, FIREHOSE, "newline"))
        assert found is not None
        assert delivered is not None

        assert [
            f"{found.plain.put_units:,.0f}",
            f"{found.packed.put_units:,.0f}",
            f"{found.plain.on_demand_bytes / 1e9:.2f}",
            f"{found.packed.on_demand_bytes / 1e9:.2f}",
            f"{delivered.plain.firehose_bytes / 1e9:.2f}",
            f"{delivered.packed.firehose_bytes / 1e9:.2f}",
        ] == said


def test_few_lines_count_as_if_there_were_more(tmp_path: pathlib.Path) -> None:
    """A record that a short sample does not fill would be filled by the lines that follow."""
    found = Logs(lines_of(100, 10)).estimate(configured(tmp_path, packing="newline"))

    assert found is not None
    assert 4000 == found.packed.put_units


def test_keys_that_differ_leave_nothing_to_pack(tmp_path: pathlib.Path) -> None:
    """Lines share a record by their key: with another one for each line there is no saving."""
    destination = "destination: {kinesis: {stream: s, partition_key: '{id}'}}"

    found = Logs(lines_of(100, 500)).estimate(configured(tmp_path, destination, "newline"))

    assert found is not None
    assert 1_000_000 == found.packed.records


def test_compressed_records_are_counted_as_they_are(tmp_path: pathlib.Path) -> None:
    """What counts is what goes over the line."""
    data = b"".join(b"%d GET /shop %s 200\n" % (number, b"x" * 200) for number in range(5000))

    plain = Logs(data).estimate(configured(tmp_path, packing="kpl"))
    shrunk = Logs(data).estimate(configured(tmp_path, packing="{as: kpl, compression: gzip}"))

    assert plain is not None
    assert shrunk is not None
    assert shrunk.packed.put_units < plain.packed.put_units / 2


def test_sample_is_bounded_and_skips_what_it_cannot_read(tmp_path: pathlib.Path) -> None:
    """Some lines of some files; a file that cannot be opened or read is left out."""
    logs = Logs(b"", *[lines_of(10, 2 * cost.LINES_MAX)] * 10)

    def before(operation: str, path: str) -> None:
        if (operation, path) in {("open", "/logs/1.log"), ("read", "/logs/2.log")}:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    logs.files.before = before
    found = logs.estimate(configured(tmp_path))

    assert found is not None
    assert (cost.FILES_MAX, cost.FILES_MAX * cost.LINES_MAX) == (found.files, found.lines)
    assert not logs.files.handles


def test_without_lines_there_is_no_estimate(tmp_path: pathlib.Path) -> None:
    """Nothing is made up."""
    assert Logs(b"").estimate(configured(tmp_path)) is None
    assert [] == list(reckoning.lines(configured(tmp_path), None))


@pytest.mark.parametrize(
    ("destination", "packing", "expected"),
    [
        pytest.param(KINESIS, "none", "readers get a line a record", id="none"),
        pytest.param(
            KINESIS,
            "newline",
            "readers split each record at newlines; Firehose delivers what it would without",
            id="newline",
        ),
        pytest.param(KINESIS, "kpl", cost.READERS["kpl"], id="kpl"),
        pytest.param(
            FIREHOSE,
            "{as: newline, compression: gzip}",
            "readers decompress each record (gzip), then split each record at newlines; "
            "what Firehose delivers is compressed, too",
            id="newline, compressed",
        ),
        pytest.param(
            KINESIS,
            "{as: kpl, compression: zstd}",
            "readers decompress each record (zstd), then take it apart with aws-kinesis-agg, "
            "as KCL does not decompress",
            id="kpl, compressed",
        ),
    ],
)
def test_what_readers_must_do_is_said(
    tmp_path: pathlib.Path, destination: str, packing: str, expected: str
) -> None:
    """One sentence for each way to pack."""
    one = configured(tmp_path, destination, packing)

    assert expected == reckoning.readers(one)
    assert ([] if packing == "none" else [expected]) == list(reckoning.lines(one, None))


def test_records_of_several_lines_under_newline_packing_are_warned_of(
    tmp_path: pathlib.Path,
) -> None:
    """Readers would take them apart."""
    torn = configured(tmp_path, packing="newline", source=", multiline: java")
    whole = configured(tmp_path, packing="kpl", source=", multiline: java")

    assert 1 == len(list(test_config._torn_apart(torn)))
    assert [] == list(test_config._torn_apart(whole))


def test_a_packed_flow_is_set_against_a_line_a_record(tmp_path: pathlib.Path) -> None:
    """In the words of test-config; records that are dropped cost nothing."""
    stage = "  preprocess: [{filter: {exclude: [secret]}}]\n"
    content = f"flows:\n{flow('a', KINESIS, 'paths: [/logs/*.log]')}{stage}  pack: kpl\n"
    (one,) = load(tmp_path, content).flows
    logs = Logs(b"secret\n" * 10 + lines_of(100, 5000))

    first, packed, plain, readers = reckoning.lines(one, logs.estimate(one))

    assert "a million lines, by 5,000 lines of 1 file, 100 B each:" == first
    assert packed.startswith("  kpl: 4,")
    assert "  a line a record: 1,000,000 records, 1 line each; 1,000,000 PUT units" in plain
    assert cost.READERS["kpl"] == readers
    squeezed = configured(tmp_path, packing="{as: newline, compression: gzip}")
    assert list(reckoning.lines(squeezed, logs.estimate(squeezed)))[1].startswith(
        "  newline, compressed: "
    )
