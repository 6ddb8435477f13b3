"""The README does not lie: its examples are run, and what it names exists."""

from __future__ import annotations

import base64
import contextlib
import json
import pathlib
import re
import sqlite3
from typing import Any

import boto3
import click.testing
import moto
import pytest
import yaml

from kagent import cli, config

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """Return the README's code blocks of a language, without their indentation."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", README, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def complete(text: str) -> str:
    """Return a whole configuration for an example that shows a part of one flow only."""
    part = yaml.safe_load(text)
    if "flows" in part:
        return text
    flow = {"name": "example", "destination": {"kinesis": {"stream": "example"}}, **part}
    flow["source"] = {"paths": ["/var/log/example.log"], **part.get("source", {})}
    return yaml.safe_dump({"flows": [flow]}, sort_keys=False)


def examples() -> list[tuple[str, str, str]]:
    """Return the examples that say what comes in and what is shipped, and their yaml."""
    within = r"((?:(?!^```).)*)"
    pattern = f"^```yaml\n{within}```\n+```input\n{within}```\n+```output\n{within}```$"
    return re.findall(pattern, README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_every_configuration_is_accepted(text: str, tmp_path: pathlib.Path) -> None:
    """An example that an operator copies is a right configuration."""
    path = tmp_path / "kagent.yaml"
    path.write_text(complete(text))

    loaded = config.load(str(path), {})

    assert loaded.flows


@pytest.mark.parametrize(("text", "given", "shipped"), examples())
def test_every_example_ships_what_it_says(
    text: str, given: str, shipped: str, tmp_path: pathlib.Path
) -> None:
    """The bytes of the block below `input`, through `test-config --sample`."""
    (tmp_path / "kagent.yaml").write_text(complete(text))
    (tmp_path / "example.log").write_text(given)
    command = ["test-config", "-c", f"{tmp_path}/kagent.yaml", "--raw"]

    result = click.testing.CliRunner().invoke(
        cli.main, [*command, "--sample", f"{tmp_path}/example.log"]
    )

    assert (shipped, 0) == (result.stdout, result.exit_code), result.stderr


def test_every_example_with_input_is_run() -> None:
    """None is overlooked because something stands between its blocks."""
    assert len(blocks("input")) == len(blocks("output")) == len(examples())


def test_every_make_target_exists() -> None:
    """What the README says to type, make knows."""
    targets = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))

    named = set(re.findall(r"make ([a-z]+)", "\n".join(blocks("console"))))

    assert named
    assert named <= targets


def test_the_commands_are_the_ones_that_exist() -> None:
    """The table of commands has a row for each command, and no other row."""
    rows = set(re.findall(r"^\| `kagent ([a-z-]+)", README, re.MULTILINE))

    assert set(cli.main.commands) == rows


def test_every_file_that_is_named_exists() -> None:
    """A link or a test that the README points to is there."""
    named = re.findall(r"\]\(([^)#]+)\)", README)
    named += re.findall(r"`((?:tests|systemd|packaging|kagent|config)/[\w./-]*)`", README)

    assert [] == [name for name in named if not (ROOT / name).exists()]


def test_every_test_that_is_named_exists() -> None:
    """What the table of rotation styles says is proved is a test that runs."""
    named = set(re.findall(r"`(tests/\w+\.py)::(\w+)`", README))

    defined = {
        (path, name)
        for path, _ in named
        for name in re.findall(r"^def (test_\w+)\(", (ROOT / path).read_text(), re.MULTILINE)
    }
    assert len(named) >= 15
    assert set() == named - defined


def test_every_key_in_the_text_is_a_key() -> None:
    """An option that the text names in backticks stands in the reference page."""
    reference = (ROOT / "config" / "reference.md").read_text()

    named = set(re.findall(r"`(max_[a-z_]+|rotate_wait|drain_timeout|renamed_from)`", README))

    assert {name for name in named if name not in reference} == set()


def test_the_lambda_function_works_each_line_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes again in the same batch or in another one is dropped; what failed comes again."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "eu-west-1")
    (code,) = [text for text in blocks("python") if "seen.get_item" in text]
    done: list[str] = []

    def process(line: dict[str, str]) -> None:
        if line["message"] == "fails" and "fails" not in failed:
            failed.append("fails")
            raise RuntimeError
        done.append(line["message"])

    def event(*numbers: int) -> dict[str, object]:
        texts = ["zero", "one", "fails"]
        lines = [json.dumps({"id": f"t:{number}", "message": texts[number]}) for number in numbers]
        data = [base64.b64encode(line.encode()).decode() for line in lines]
        return {"Records": [{"kinesis": {"data": one}} for one in data]}

    failed: list[str] = []
    with moto.mock_aws():
        boto3.client("dynamodb").create_table(
            TableName="seen",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        space: dict[str, Any] = {"process": process}
        exec(compile(code, "README.md", "exec"), space)
        space["handler"](event(0, 0), None)
        with pytest.raises(RuntimeError):
            space["handler"](event(0, 1, 2), None)
        space["handler"](event(0, 1, 2), None)

    assert ["zero", "one", "fails"] == done


def test_the_query_returns_each_line_once() -> None:
    """In any database with window functions."""
    (query,) = blocks("sql")
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE web_logs (id TEXT, message TEXT)")
        rows = [("t:0-2", "a"), ("t:2-4", "b"), ("t:0-2", "a"), ("t:4-6", "a")]
        database.executemany("INSERT INTO web_logs VALUES (?, ?)", rows)

        found = database.execute(query).fetchall()

    assert sorted(set(rows)) == sorted(row[:2] for row in found)
