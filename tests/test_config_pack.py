"""`pack`: what may be written, and what it comes to."""

from __future__ import annotations

import pathlib

import pytest
from test_config_relations import FIREHOSE, KINESIS, flow, load, problems

from kagent import pack

BUFFER = 16 * 1024**2


@pytest.mark.parametrize(
    ("destination", "written", "expected"),
    [
        pytest.param(KINESIS, "none", None, id="none"),
        pytest.param(KINESIS, "null", None, id="null"),
        pytest.param(KINESIS, "newline", ("newline", 25_000, "none"), id="one PUT unit"),
        pytest.param(KINESIS, "kpl", ("kpl", 25_000, "none"), id="kpl"),
        pytest.param(FIREHOSE, "newline", ("newline", 1_000_000, "none"), id="Firehose"),
        pytest.param(
            KINESIS,
            "{as: newline, max_bytes: 50KB, compression: gzip}",
            ("newline", 50_000, "gzip"),
            id="all of it",
        ),
    ],
)
def test_packing_has_the_destination_s_size(
    tmp_path: pathlib.Path,
    destination: str,
    written: str,
    expected: tuple[str, int, str] | None,
) -> None:
    """A name alone is enough; the size is that of the billing unit, KB is 1000."""
    loaded = load(tmp_path, f"flows:\n{flow('a', destination)}  pack: {written}\n")

    found = loaded.flows[0].batch.pack

    if expected is None:
        assert found is None
    else:
        form, size, compression = expected
        assert (
            pack.PackSettings(form, size, compression, is_plain=True, open_bytes_max=BUFFER // 2)  # type: ignore[arg-type]
            == found
        )


def test_lines_that_are_no_lines_of_the_file_are_not_plain(tmp_path: pathlib.Path) -> None:
    """Where records are made of more than lines, a place in the file tells no length."""
    content = f"flows:\n{flow('a', source='paths: [/a], multiline: java')}  pack: newline\n"

    found = load(tmp_path, content).flows[0].batch.pack

    assert found is not None
    assert not found.is_plain


@pytest.mark.parametrize(
    ("destination", "written", "expected"),
    [
        pytest.param(
            KINESIS,
            "newlin",
            "5:9: flows[0].pack: found 'newlin', expected one of 'none', 'newline', 'kpl', "
            "or a mapping",
            id="another name",
        ),
        pytest.param(
            KINESIS,
            "{as: newlin}",
            "5:14: flows[0].pack.as: found 'newlin', expected one of 'newline', 'kpl'",
            id="another name in a mapping",
        ),
        pytest.param(
            KINESIS,
            "{max_bytes: 25KB}",
            "5:9: flows[0].pack.as: missing; expected one of 'newline', 'kpl'",
            id="without a form",
        ),
        pytest.param(
            KINESIS,
            "{as: newline, max_bytes: 25}",
            "5:34: flows[0].pack.max_bytes: found 25, expected a size with a unit, "
            "from 1000B to 10MiB",
            id="without a unit",
        ),
        pytest.param(
            FIREHOSE,
            "{as: newline, max_bytes: 1MiB}",
            "5:34: flows[0].pack.max_bytes: found '1MiB', expected at most 1000KiB, "
            "the destination's limit of a record",
            id="beyond the destination",
        ),
        pytest.param(
            FIREHOSE,
            "kpl",
            "5:9: flows[0].pack: found 'kpl', expected 'newline' for Firehose",
            id="kpl to Firehose",
        ),
        pytest.param(
            FIREHOSE,
            "{as: kpl}",
            "5:14: flows[0].pack.as: found 'kpl', expected 'newline' for Firehose",
            id="kpl to Firehose, in a mapping",
        ),
    ],
)
def test_what_cannot_be_packed_so_is_refused(
    tmp_path: pathlib.Path, destination: str, written: str, expected: str
) -> None:
    """With the place, and what is allowed there."""
    assert [expected] == problems(tmp_path, f"flows:\n{flow('a', destination)}  pack: {written}\n")


def test_zstd_needs_its_package(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is optional, and its absence is said before the start, not at the first record."""
    monkeypatch.setattr(pack, "has_zstd", lambda: False)
    written = "{as: newline, compression: zstd}"

    expected = "found 'zstd', but the Python package zstandard is not installed"

    assert [f"5:36: flows[0].pack.compression: {expected}"] == problems(
        tmp_path, f"flows:\n{flow('a')}  pack: {written}\n"
    )


def test_a_fallback_holds_no_values(tmp_path: pathlib.Path) -> None:
    """Taken as it stands, '{path}' would send every record without the field to one shard."""
    key = "{field: user.id, fallback: '{path}'}"
    destination = f"destination: {{kinesis: {{stream: web, partition_key: {key}}}}}"

    (found,) = problems(tmp_path, f"flows:\n{flow('a', destination)}\n")

    assert "partition_key.fallback: found '{path}', expected 'random', 'record_hash'" in found
