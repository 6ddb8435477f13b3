"""Included files and `defaults`: what they add, and where their mistakes are reported."""

from __future__ import annotations

import pathlib

import pytest

from kagent import config, errors
from kagent.config import merging

ONE = "flows:\n- {name: one, source: {paths: [/1]}, destination: {kinesis: {stream: s}}}\n"
TWO = ONE.replace("one", "two")


def load(directory: pathlib.Path, **files: str) -> config.Config:
    for name, content in files.items():
        (directory / f"{name}.yaml").write_text(content)
    return config.load(str(directory / "kagent.yaml"), {"PART": "b"})


def problems(directory: pathlib.Path, **files: str) -> list[str]:
    with pytest.raises(errors.ConfigError) as caught:
        load(directory, **files)
    heads = [problem.render().splitlines()[0] for problem in caught.value.problems]
    return [head.removeprefix(f"{directory}/") for head in heads]


def names(loaded: config.Config) -> list[str]:
    return [flow.name for flow in loaded.flows]


def test_included_files_add_flows_in_the_order_of_their_names(tmp_path: pathlib.Path) -> None:
    """A pattern is relative to the including file; its own flows come first."""
    loaded = load(
        tmp_path,
        kagent=f"include: ['[a-c].yaml']\n{ONE}",
        b=TWO,
        a=ONE.replace("one", "zero"),
        d="flows: wrong, but not included",
    )

    assert ["one", "zero", "two"] == names(loaded)


@pytest.mark.parametrize(
    "include",
    [
        pytest.param("['*.yaml']", id="the including file itself matches"),
        pytest.param("[b.yaml, './b.yaml', '*.yaml']", id="three times"),
        pytest.param("['${PART}.yaml']", id="by a variable"),
    ],
)
def test_a_file_is_included_once(tmp_path: pathlib.Path, include: str) -> None:
    """However many patterns name it."""
    loaded = load(tmp_path, kagent=f"include: {include}\nflows:\n", b=ONE)

    assert ["one"] == names(loaded)


def test_a_pattern_that_matches_nothing_is_fine(tmp_path: pathlib.Path) -> None:
    """An empty conf.d is how it starts."""
    assert () == load(tmp_path, kagent="include: [conf.d/*.yaml]").flows


def test_brackets_in_the_directory_s_name_are_no_pattern(tmp_path: pathlib.Path) -> None:
    """Only what the operator wrote is a pattern, not where the file happens to lie."""
    directory = tmp_path / "[x]"
    directory.mkdir()

    assert ["one"] == names(load(directory, kagent="include: ['b*']", b=ONE))


def test_mistakes_in_an_included_file_are_reported_there(tmp_path: pathlib.Path) -> None:
    """Flows are counted from 0 in each file; another file's line has the file's name."""
    found = problems(
        tmp_path,
        kagent=f"include: [b.yaml, c.yaml, d.yaml]\n{ONE}",
        b=f"aws: {{}}\n{ONE}",
        c="flows: {}",
        d="flows: [",
    )

    assert [
        "b.yaml:1:1: aws: unknown key",
        (
            "b.yaml:3:4: flows[0].name: 'one' is already the name of flows[0] "
            f"({tmp_path}/kagent.yaml:3)"
        ),
        "c.yaml:1:8: flows: found an empty mapping, expected a list",
        "d.yaml:2:1: is no YAML: did not find expected node content, while parsing a flow node",
    ] == found


@pytest.mark.parametrize(
    ("include", "expected"),
    [
        pytest.param(
            "[no.yaml]",
            "1:11: include[0]: found 'no.yaml', expected a file that exists",
            id="a file that is not there",
        ),
        pytest.param(
            "[conf.d]",
            "conf.d: cannot be read: Is a directory",
            id="a directory without a pattern",
        ),
        pytest.param("x.yaml", "1:10: include: found 'x.yaml', expected a list", id="no list"),
        pytest.param("[4]", "1:11: include[0]: found 4, expected text", id="no text"),
        pytest.param(
            '["a\\0*"]',
            "1:11: include[0]: holds a character that no text can hold",
            id="a NUL",
        ),
    ],
)
def test_what_cannot_be_included_is_a_problem(
    tmp_path: pathlib.Path, include: str, expected: str
) -> None:
    """A path without wildcards must exist: it was meant."""
    (tmp_path / "conf.d").mkdir()

    found = problems(tmp_path, kagent=f"include: {include}\nflows: []")

    assert [expected] == [one.removeprefix("kagent.yaml:") for one in found]


def test_a_pattern_cannot_include_the_whole_disk(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than a thousand files are a mistake in the pattern."""
    monkeypatch.setattr(merging, "FILES_MAX", 2)

    found = problems(tmp_path, kagent="include: ['*']", a="", b="")

    expected = "expected a pattern that matches at most 2 files"
    assert [f"kagent.yaml:1:11: include[0]: found '*', {expected}"] == found


def test_defaults_hold_for_all_flows_key_by_key(tmp_path: pathlib.Path) -> None:
    """A flow's own keys win one by one; lists replace; null is the built-in default again."""
    loaded = load(
        tmp_path,
        kagent="""
defaults:
  source: {start_at: beginning, exclude: ["*.gz"], max_line: 64KiB}
  batch: {max_age: 3s, max_records: 7}
  max_in_flight: 4
flows:
- {name: a, source: {paths: [/a]}, destination: {kinesis: {stream: s}}}
- name: b
  source: {paths: [/b], exclude: [], max_line: 2KiB}
  destination: {kinesis: {stream: s}}
  batch: {max_age: 5s}
  max_in_flight: ~
""",
    )
    a, b = loaded.flows

    assert ("beginning", ("*.gz",), 65536) == (
        a.source.start_at,
        a.source.exclude,
        a.source.max_line,
    )
    assert ("beginning", (), 2048) == (b.source.start_at, b.source.exclude, b.source.max_line)
    assert (3.0, 7, 4) == (a.batch.max_age_s, a.batch.records_max, a.max_in_flight)
    assert (5.0, 7, 16) == (b.batch.max_age_s, b.batch.records_max, b.max_in_flight)


def test_a_flow_s_destination_replaces_the_one_in_defaults(tmp_path: pathlib.Path) -> None:
    """Merged key by key, they would be two destinations."""
    loaded = load(
        tmp_path,
        kagent="""
defaults: {destination: {kinesis: {stream: s}}}
flows:
- {name: a, source: {paths: [/a]}}
- {name: b, source: {paths: [/b]}, destination: {firehose: {delivery_stream: d}}}
""",
    )

    assert ["kinesis s", "firehose d"] == [flow.destination.description for flow in loaded.flows]


def test_a_mistake_in_defaults_is_reported_once_and_there(tmp_path: pathlib.Path) -> None:
    """However many flows it reaches, and even if it reaches none."""
    found = problems(
        tmp_path,
        kagent="""
defaults:
  name: x
  source: {start_at: en, max_lin: 1}
  batch: {max_bytes: 9MiB}
  destination: {firehose: {}}
  max_buffer: 1MiB
flows:
- {name: a, source: {paths: [/a]}}
- {name: b, source: {paths: [/b]}}
- 4
""",
    )

    assert [
        "kagent.yaml:3:3: defaults.name: unknown key",
        (
            "kagent.yaml:4:22: defaults.source.start_at: found 'en', "
            "expected one of 'end', 'beginning'"
        ),
        "kagent.yaml:4:26: defaults.source.max_lin: unknown key",
        (
            "kagent.yaml:5:22: defaults.batch.max_bytes: found '9MiB', "
            "expected at most 4MiB, the destination's limit of a request"
        ),
        (
            "kagent.yaml:6:27: defaults.destination.firehose.delivery_stream: missing; "
            "expected 1 to 64 characters: letters, digits, '_', '.', '-'"
        ),
        (
            "kagent.yaml:7:15: defaults.max_buffer: found '1MiB', "
            "expected at least 4048KiB (2MiB and twice the longest record)"
        ),
        (
            "kagent.yaml:11:3: flows[2]: found 4, expected a mapping with 'name', 'source', "
            "'destination'"
        ),
    ] == found


def test_defaults_without_flows_are_checked_too(tmp_path: pathlib.Path) -> None:
    """What no flow needs yet may lack required keys, but not be wrong."""
    found = problems(
        tmp_path, kagent="defaults: {source: {start_at: end}, max_in_flight: 0}\nflows: []"
    )

    assert [
        "kagent.yaml:1:52: defaults.max_in_flight: found 0, expected a whole number from 1 to 256"
    ] == found


def test_defaults_that_are_no_mapping_are_a_problem(tmp_path: pathlib.Path) -> None:
    """Nothing is merged, and it is said once."""
    found = problems(tmp_path, kagent=f"defaults: []\n{ONE}")

    assert ["kagent.yaml:1:11: defaults: found an empty list, expected a mapping"] == found
