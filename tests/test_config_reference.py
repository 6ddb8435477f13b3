"""The schema and the reference page say what the models declare."""

from __future__ import annotations

import json
import pathlib
import re

import pytest
import yaml

from kagent.config import reference, schema

jsonschema = pytest.importorskip("jsonschema")


def test_the_files_in_the_repository_are_what_is_generated() -> None:
    """Run `python -m kagent.config.reference` after a change to an option."""
    committed = {name: (reference.DIRECTORY / name).read_text() for name in reference.files()}

    assert reference.files() == committed


def test_every_key_has_a_meaning() -> None:
    """The string below a field is what the page says of it."""
    rows = [line for line in reference.reference_page().splitlines() if line.startswith("| `")]

    assert [] == [row for row in rows if row.endswith("|  |")]
    assert len(rows) > 30


@pytest.mark.parametrize(
    ("row"),
    [
        "| `max_in_flight` | a whole number from 1 to 256 | `16` |",
        "| `rotate_wait` | a duration with a unit, from 1s to 1d | `5m` |",
        "| `max_memory` | a size with a unit, from 8MiB to 1024GiB | `256MiB` |",
        "| `source` | a mapping with 'paths', see `flows[].source` | required |",
        "| `region` | text, not empty |  |",
        "| `NAME` | one of 'debug', 'info', 'warning', 'error' |  | The level of the flow NAME",
    ],
)
def test_a_row_says_what_is_allowed_and_the_default_as_it_is_written(row: str) -> None:
    """Sizes and durations have their unit."""
    assert re.search(f"^{re.escape(row)}", reference.reference_page(), re.MULTILINE)


def test_the_schema_accepts_the_example_and_defaults_without_required_keys() -> None:
    """An editor marks nothing in a right file."""
    example = yaml.safe_load((reference.DIRECTORY / "kagent.yaml").read_text())
    example["defaults"] = {"source": {"start_at": "end"}, "destination": {"kinesis": {}}}
    validator = jsonschema.Draft202012Validator(reference.json_schema())

    assert [] == list(validator.iter_errors(example))
    assert [] == list(validator.iter_errors({"drain_timeout": "${WAIT:-20s}"}))
    assert [] == list(validator.iter_errors({"log": {"level": {"web": "debug"}}}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"flow": []},
        {"drain_timeout": 20},
        {"flows": [{"name": "a"}]},
        {"defaults": {"name": "a"}},
        {"log": {"level": {"web": "loud"}}},
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(wrong: object) -> None:
    """Unknown keys, numbers without units, missing keys."""
    validator = jsonschema.Draft202012Validator(reference.json_schema())

    assert not validator.is_valid(wrong)


def test_the_generator_writes_and_checks(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--check changes nothing and answers 1 until the files are written."""
    monkeypatch.setattr(reference, "DIRECTORY", tmp_path)

    codes = [reference.main(["--check"]), reference.main([]), reference.main(["--check"])]

    assert [1, 0, 0] == codes
    assert "kagent.schema.json: not up to date" == capsys.readouterr().err.splitlines()[0]
    assert set(schema.Root.model_fields) == set(
        json.loads((tmp_path / "kagent.schema.json").read_text())["properties"]
    )
