"""The README does not lie: its examples are run, and what it names exists."""

from __future__ import annotations

import pathlib
import re

import pytest

from kagent import cli, config

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """Return the README's code blocks of a language, without their indentation."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", README, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


@pytest.mark.parametrize("text", blocks("yaml"))
def test_every_configuration_is_accepted(text: str, tmp_path: pathlib.Path) -> None:
    """An example that an operator copies is a right configuration."""
    path = tmp_path / "kagent.yaml"
    path.write_text(text)

    loaded = config.load(str(path), {})

    assert loaded.flows


def test_every_make_target_exists() -> None:
    """What the README says to type, make knows."""
    targets = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))

    named = set(re.findall(r"make ([a-z]+)", "\n".join(blocks("console"))))

    assert named
    assert named <= targets


def test_the_commands_are_the_ones_that_exist() -> None:
    """The table of commands has a row for each command, and no other row."""
    rows = re.findall(r"^\| `kagent ([a-z-]+)", README, re.MULTILINE)

    assert sorted(cli.main.commands) == sorted(rows)


def test_every_file_that_is_named_exists() -> None:
    """A link or a test that the README points to is there."""
    named = re.findall(r"\]\(([^)]+)\)", README)
    named += re.findall(r"`((?:tests|systemd|packaging|kagent|config)/[\w./-]*)`", README)

    assert [] == [name for name in named if not (ROOT / name).exists()]


def test_every_key_in_the_text_is_a_key() -> None:
    """An option that the text names in backticks stands in the reference page."""
    reference = (ROOT / "config" / "reference.md").read_text()

    named = set(re.findall(r"`(max_[a-z_]+|rotate_wait|drain_timeout|renamed_from)`", README))

    assert {name for name in named if name not in reference} == set()
