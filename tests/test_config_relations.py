"""What keys must be to each other: names, patterns, limits of destinations, memory."""

from __future__ import annotations

import pathlib

import pytest

from kagent import config, errors

KINESIS = "destination: {kinesis: {stream: s}}"
FIREHOSE = "destination: {firehose: {delivery_stream: d}}"


def flow(name: str, more: str = KINESIS, source: str = "paths: [/a]") -> str:
    """Return a flow's three lines."""
    return f"- name: {name}\n  source: {{{source}}}\n  {more}\n"


def load(directory: pathlib.Path, content: str) -> config.Config:
    (directory / "k").write_text(content)
    return config.load(str(directory / "k"), {"SECRET": "hunter2"})


def problems(directory: pathlib.Path, content: str) -> list[str]:
    with pytest.raises(errors.ConfigError) as caught:
        load(directory, content)
    return [f"{one.line}:{one.column}: {one.key}: {one.message}" for one in caught.value.problems]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(
            f"flows:\n{flow('a')}{flow('b')}{flow('a')}",
            "8:3: flows[2].name: 'a' is already the name of flows[0] (line 2)",
            id="a name twice",
        ),
        pytest.param(
            f"flows:\n{flow('hunter2')}{flow('${SECRET}')}",
            "5:3: flows[1].name: '${SECRET}' is already the name of flows[0] (line 2)",
            id="a name twice, once from a variable",
        ),
        pytest.param(
            f"flows:\n{flow('a')}{flow('b')}  renamed_from: a\n",
            "8:17: flows[1].renamed_from: 'a' is the name of flows[0] (line 2)",
            id="renamed from a flow that is there",
        ),
        pytest.param(
            f"flows:\n{flow('a')}  renamed_from: a\n",
            "5:17: flows[0].renamed_from: 'a' is the name of flows[0] (line 2)",
            id="renamed from itself",
        ),
        pytest.param(
            f"flows:\n{flow('a')}  renamed_from: x\n{flow('b')}  renamed_from: x\n",
            "9:17: flows[1].renamed_from: 'x' is already the former name of flows[0] (line 5)",
            id="two renamed from one",
        ),
        pytest.param(
            f"forget: [x, a]\nflows:\n{flow('a')}",
            "1:13: forget[1]: 'a' is in use by flows[0] (line 3)",
            id="forgetting a flow that is there",
        ),
        pytest.param(
            f"forget: [x]\nflows:\n{flow('a')}  renamed_from: x\n",
            "1:10: forget[0]: 'x' is in use by flows[0] (line 6)",
            id="forgetting what another flow takes over",
        ),
    ],
)
def test_a_name_belongs_to_one_flow(tmp_path: pathlib.Path, content: str, expected: str) -> None:
    """Saved positions are kept under names: two flows with one name would share them."""
    assert [expected] == problems(tmp_path, content)


@pytest.mark.parametrize(
    ("level", "of_web", "of_api"),
    [
        pytest.param("warning", "warning", "warning", id="one for all"),
        pytest.param("{web: debug}", "debug", "info", id="one flow's"),
        pytest.param("{default: error, web: debug}", "debug", "error", id="both"),
        pytest.param("{default: error, web: }", "error", "error", id="nothing is no level"),
        pytest.param("{default: , web.api: error}", "info", "error", id="a dot is no part"),
    ],
)
def test_a_flow_has_its_log_level_or_the_default(
    tmp_path: pathlib.Path, level: str, of_web: str, of_api: str
) -> None:
    """`default` is for flows that are not named, and info when it is left out."""
    log = f"log: {{level: {level}}}"

    found = load(tmp_path, f"{log}\nflows:\n{flow('web')}{flow('web.api')}").log.level

    assert (of_web, of_api) == (found.of("web"), found.of("web.api"))


def test_a_level_of_a_flow_that_is_not_there_is_an_unknown_key(tmp_path: pathlib.Path) -> None:
    """A name that nobody has would change nothing, and who wrote it would wonder."""
    (tmp_path / "more").write_text(f"flows:\n{flow('audit')}")
    log = "log: {level: {wbe: debug, audit: error, web: loud}}"

    with pytest.raises(errors.ConfigError) as caught:
        load(tmp_path, f"{log}\ninclude: [more]\nflows:\n{flow('web')}")

    misspelt, wrong = caught.value.problems
    assert ("log.level.wbe", "unknown key") == (misspelt.key, misspelt.message)
    assert "did you mean 'web'? Allowed here: audit, default, web." == misspelt.hint
    assert "log.level.web" == wrong.key
    assert "found 'loud', expected one of 'debug', 'info', 'warning', 'error'" == wrong.message


def test_default_cannot_be_one_flow_and_all_others(tmp_path: pathlib.Path) -> None:
    """A flow may be called so, as long as no key `default` could mean it."""
    flows = f"flows:\n{flow('default')}{flow('web')}"

    (problem,) = problems(tmp_path, f"log: {{level: {{default: debug}}}}\n{flows}")
    assert problem == (
        "1:15: log.level.default: 'default' means all that is not named here, "
        "and is the name of flows[0] (line 3)"
    )
    assert "error" == load(tmp_path, f"log: {{level: error}}\n{flows}").log.level.of("default")
    others = load(tmp_path, f"log: {{level: {{web: error}}}}\n{flows}").log.level
    assert ["info", "error"] == [others.of("default"), others.of("web")]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param(
            "paths: [/a, log/*.log]",
            "3:24: flows[0].source.paths[1]: found 'log/*.log', expected an absolute path",
            id="a relative path",
        ),
        pytest.param(
            "paths: [/var/log/]",
            "3:20: flows[0].source.paths[0]: found '/var/log/', "
            "expected a pattern of files, with no '/' at its end",
            id="a directory",
        ),
        pytest.param(
            "paths: ['/a/{b,c.log']",
            "3:20: flows[0].source.paths[0]: '/a/{b,c.log' is no pattern: "
            "a '{' is not closed by '}'",
            id="braces that do not close",
        ),
        pytest.param(
            "paths: ['/a/[b/c]']",
            "3:20: flows[0].source.paths[0]: '/a/[b/c]' is no pattern: "
            "a '[' is not closed by ']' in the same component",
            id="brackets that do not close",
        ),
        pytest.param(
            "paths: [/a], exclude: [b/c]",
            "3:35: flows[0].source.exclude[0]: found 'b/c', "
            "expected an absolute path, or a name without '/'",
            id="a relative path to leave out",
        ),
        pytest.param(
            "paths: [/a], exclude: ['}']",
            "3:35: flows[0].source.exclude[0]: '}' is no pattern: a '}' is not opened by '{'",
            id="no pattern to leave out",
        ),
        pytest.param(
            f"paths: [/{'a' * 5000}]",
            f"3:20: flows[0].source.paths[0]: found '/{'a' * 59}...', "
            "expected at most 4,096 characters",
            id="longer than a path can be",
        ),
    ],
)
def test_patterns_are_absolute_and_complete(
    tmp_path: pathlib.Path, source: str, expected: str
) -> None:
    """A pattern that can match nothing, or not what was meant, never starts."""
    assert [expected] == problems(tmp_path, f"flows:\n{flow('a', source=source)}")


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        pytest.param(
            "destination: {}",
            ["4:3: flows[0].destination: missing; expected one of 'kinesis', 'firehose'"],
            id="an empty one",
        ),
        pytest.param(
            "destination: {kinesis: }",
            ["4:17: flows[0].destination.kinesis: missing; expected a mapping"],
            id="nothing behind its key",
        ),
        pytest.param(
            "destination: {firehose: {delivery_stream: d}, kinesis: {stream: s}}",
            ["4:49: flows[0].destination: found 'firehose' and 'kinesis', expected one of them"],
            id="two",
        ),
        pytest.param(
            "destination: {stream: s}",
            ["4:17: flows[0].destination.stream: unknown key"],
            id="none, but a key that is none",
        ),
        pytest.param(
            "destination: kinesis",
            ["4:16: flows[0].destination: found 'kinesis', expected one of 'kinesis', 'firehose'"],
            id="its name alone",
        ),
    ],
)
def test_a_flow_has_exactly_one_destination(
    tmp_path: pathlib.Path, destination: str, expected: list[str]
) -> None:
    """One mistake is one problem."""
    assert expected == problems(tmp_path, f"flows:\n{flow('a', destination)}")


def test_a_request_is_no_larger_than_the_destination_takes(tmp_path: pathlib.Path) -> None:
    """10 MiB is a request to Kinesis; to Firehose it is refused."""
    flows = (
        f"{flow('a')}  batch: {{max_bytes: 10MiB}}\n"
        f"{flow('b', FIREHOSE)}  batch: {{max_bytes: 10MiB}}\n"
    )

    assert [
        (
            "9:22: flows[1].batch.max_bytes: found '10MiB', "
            "expected at most 4MiB, the destination's limit of a request"
        )
    ] == problems(tmp_path, f"flows:\n{flows}")


@pytest.mark.parametrize(
    ("more", "least"),
    [
        pytest.param(KINESIS, "4MiB", id="Kinesis"),
        pytest.param(FIREHOSE, "4048KiB", id="Firehose, whose records are smaller"),
    ],
)
def test_a_buffer_holds_two_of_the_longest_record_and_block(
    tmp_path: pathlib.Path, more: str, least: str
) -> None:
    """With less, a flow could stand still for ever."""
    content = f"flows:\n{flow('a', more)}  max_buffer: "

    found = problems(tmp_path, f"{content}2MiB")
    allowed = load(tmp_path, f"{content}{least}")

    assert [
        (
            f"5:15: flows[0].max_buffer: found '2MiB', expected at least {least} "
            "(2MiB and twice the longest record)"
        )
    ] == found
    assert allowed.buffers_bytes < 4 * 1024**2 + 1


def test_a_short_max_line_needs_a_smaller_buffer(tmp_path: pathlib.Path) -> None:
    """The longest record is what the flow lets through."""
    content = f"flows:\n{flow('a', source='paths: [/a], max_line: 1KiB')}  max_buffer: 2050KiB"

    assert 2050 * 1024 == load(tmp_path, content).buffers_bytes


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        pytest.param(
            "max_memory: 16MiB\n",
            "1:1: max_memory: found '16MiB', expected at least 20MiB, "
            "what the buffers of all flows may hold",
            id="written",
        ),
        pytest.param(
            "",
            "1:1: max_memory: found 256MiB by default, expected at least 280MiB, "
            "what the buffers of all flows may hold",
            id="left out",
        ),
    ],
)
def test_all_buffers_together_fit_the_memory(
    tmp_path: pathlib.Path, head: str, expected: str
) -> None:
    """Flows without their own share what there is, and each needs its least."""
    count = 5 if head else 70
    flows = "".join(flow(f"f{n}") for n in range(count))

    assert [expected] == problems(tmp_path, f"{head}flows:\n{flows}")


def test_a_buffer_of_its_own_counts_against_the_memory(tmp_path: pathlib.Path) -> None:
    """max_buffer of one flow leaves less for the others."""
    content = f"flows:\n{flow('a')}  max_buffer: 250MiB\n{flow('b')}"

    assert [
        (
            "1:1: max_memory: found 256MiB by default, expected at least 266MiB, "
            "what the buffers of all flows may hold"
        )
    ] == problems(tmp_path, content)


def test_memory_that_is_no_size_has_one_problem(tmp_path: pathlib.Path) -> None:
    """What its own key does not allow is not compared with anything."""
    found = problems(tmp_path, f"max_memory: 4\nflows:\n{flow('a')}  max_buffer: x\n")

    assert ["1:13: max_memory", "6:15: flows[0].max_buffer"] == [
        one.partition(": found")[0] for one in found
    ]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="an empty file"),
        pytest.param("flows:", id="nothing behind the key"),
    ],
)
def test_a_file_without_flows_says_how_to_have_none(tmp_path: pathlib.Path, content: str) -> None:
    """A file that was never filled in is no configuration."""
    assert ["1:1: flows: missing; expected a list of flows, '[]' for none"] == problems(
        tmp_path, content
    )


def test_flows_may_be_empty(tmp_path: pathlib.Path) -> None:
    """A daemon that waits for its first flow is all right."""
    assert () == load(tmp_path, "flows: []").flows


def test_flows_that_are_no_mappings_have_their_problem_only(tmp_path: pathlib.Path) -> None:
    """Relations are looked for between what can be read."""
    found = problems(tmp_path, "flows:\n- x\n- name: [y]\n  source: z\n  destination: ~\n")

    assert [
        "flows[0]: found 'x'",
        "flows[1].name: found a list",
        "flows[1].source: found 'z'",
        "flows[1].destination: missing; expected one of 'kinesis', 'firehose'",
    ] == [one.partition(": ")[2].partition(", expected")[0] for one in found]
