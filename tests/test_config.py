"""A configuration file becomes a Config, or all of its problems at once."""

from __future__ import annotations

import contextlib
import pathlib

import hypothesis
import hypothesis.strategies as st
import pytest

from kagent import config, errors

ROOT = pathlib.Path(__file__).parents[1]

# Every example of CONVENTIONS.md, section 5, with the lines and columns that it gives.
FOUR = """\
# kagent

state_dir: /var/lib/kagent
aws:
  region: eu-west-1

flows:
  - name: nginx
    destination:
    source: {paths: [/var/log/nginx/*.log]}

  - name: audit
    batch:
      max_aeg: 60s
      max_bytes: 4
    source:
      paths: [/var/log/audit/audit.log]
    destination:
      firehose: {delivery_stream: audit}

  - name: nginx
    source: {paths: [/srv/*.log]}
    destination: {kinesis: {stream: web-logs}}
"""
FOUR_PROBLEMS = """\
FILE:9:5: flows[0].destination: missing; expected one of 'kinesis', 'firehose'

FILE:14:7: flows[1].batch.max_aeg: unknown key
   14 |       max_aeg: 60s
      |       ^^^^^^^
   did you mean 'max_age'? Allowed here: max_age, max_bytes, max_records.

FILE:15:18: flows[1].batch.max_bytes: found 4, expected a size with a unit, from 1KiB to 10MiB
   15 |       max_bytes: 4
      |                  ^
   Write for example 'max_bytes: 4MiB'.

FILE:21:5: flows[2].name: 'nginx' is already the name of flows[0] (line 8)

kagent: 4 problems in FILE"""

TEN = """\
state_dir: var/lib/kagent
max_memory: 256
colour: blue
log: {level: verbose}
aws:
  region: eu-west-1
  region: eu-west-2
flows:
  - name: web
    source:
      paths: [var/log/*.log, "/srv/{a,b/*.log"]
      start_at: begining
    destination: {kinesis: {stream: ${STREAM}}}
    max_in_flight: 0
  - name: web
    source: {paths: [/var/log/a.log]}
    destination: {kinesis: {stream: a}, firehose: {delivery_stream: b}}
"""


def load(file: pathlib.Path, content: str, **environ: str) -> config.Config:
    file.write_text(content)
    return config.load(str(file), environ)


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "kagent.yaml"


def test_problems_read_as_the_conventions_say(file: pathlib.Path) -> None:
    """Where, which key, what was found, what is allowed, what was meant; and how many."""
    with pytest.raises(errors.ConfigError) as caught:
        load(file, FOUR)

    assert FOUR_PROBLEMS.replace("FILE", str(file)) == str(caught.value)


def test_ten_mistakes_are_ten_problems_and_more_are_more(file: pathlib.Path) -> None:
    """None hides another, each has its line and column, and they are sorted by them."""
    with pytest.raises(errors.ConfigError) as caught:
        load(file, TEN.replace("stream: ${STREAM}", 'stream: "${STREAM}"'))

    assert [
        (1, 12, "state_dir"),
        (2, 13, "max_memory"),
        (3, 1, "colour"),
        (4, 14, "log.level"),
        (7, 3, "aws.region"),
        (11, 15, "flows[0].source.paths[0]"),
        (11, 30, "flows[0].source.paths[1]"),
        (12, 17, "flows[0].source.start_at"),
        (13, 37, "flows[0].destination.kinesis.stream"),
        (14, 20, "flows[0].max_in_flight"),
        (15, 5, "flows[1].name"),
        (17, 41, "flows[1].destination"),
    ] == [(one.line, one.column, one.key) for one in caught.value.problems]
    assert str(caught.value).endswith(f"\n\nkagent: 12 problems in {file}")


def test_one_problem_is_counted_as_one(file: pathlib.Path) -> None:
    """The last line is a sentence."""
    with pytest.raises(errors.ConfigError, match=r"\n\nkagent: 1 problem in /\S+$"):
        load(file, "flows: []\nlog: 4")


def test_a_mistake_under_an_anchor_is_reported_once(file: pathlib.Path) -> None:
    """However often an alias repeats it; a missing key is no other missing key."""
    flow = "source: {paths: [/a], x: 1}, destination: {kinesis: {}}, batch: {max_age: 1}"

    with pytest.raises(errors.ConfigError) as caught:
        load(file, f"flows:\n- &f {{name: a, {flow}}}\n- {{<<: *f, name: b}}\n- {{}}\n")

    assert [
        "flows[0].source.x",
        "flows[0].destination.kinesis.stream",
        "flows[0].batch.max_age",
        "flows[2].name",
        "flows[2].source",
        "flows[2].destination",
    ] == [one.key for one in caught.value.problems]


def test_a_place_far_to_the_right_is_shown_in_its_surroundings(file: pathlib.Path) -> None:
    """A terminal shows what is around the mistake, not a line of a million characters."""
    with pytest.raises(errors.ConfigError) as caught:
        load(file, f"flows: []\nlog: {{{'x: 1, ' * 5000}leveL: info}}".replace("x: 1, ", " " * 6))

    shown = caught.value.problems[0].render().splitlines()
    assert 30_007 == caught.value.problems[0].column
    assert [f"    2 | {' ' * 80}leveL: info}}", f"      | {' ' * 80}^^^^^"] == shown[1:3]


def test_the_shortest_configuration_has_every_default(file: pathlib.Path) -> None:
    """Only name, paths and destination must be written."""
    loaded = load(
        file,
        """
flows:
- {name: a, source: {paths: [/a]}, destination: {kinesis: {stream: s}}}
- {name: b, source: {paths: [/b]}, destination: {firehose: {delivery_stream: d}}}
""",
    )
    a, b = loaded.flows

    assert (str(file), "/var/lib/kagent") == (loaded.file, loaded.state_dir)
    assert "/var/lib/kagent/dead-letter" == loaded.dead_letter_dir
    assert (256 * 1024**2, 32 * 1024**2) == (loaded.max_memory, loaded.buffers_bytes)
    assert (20.0, "text") == (loaded.drain_timeout, loaded.log.format)
    assert ["info", "info"] == [loaded.log.level.default, loaded.log.level.of("a")]
    assert ("end", 1.0, 500, 5 * 1024**2) == (
        a.source.start_at,
        a.batch.max_age_s,
        a.batch.records_max,
        a.batch.bytes_max,
    )
    assert (10.0, 4 * 1024**2) == (b.batch.max_age_s, b.batch.bytes_max)
    assert ("auto", 16, False) == (a.oversize, a.max_in_flight, a.batch.is_ordered)


def test_what_is_written_wins_over_defaults(file: pathlib.Path) -> None:
    """Zero is a value, not nothing."""
    loaded = load(
        file,
        """
state_dir: /s
dead_letter: {dir: /d}
flows:
- name: a
  source: {paths: [/a]}
  destination: {kinesis: {stream: s}}
  batch: {max_age: 0s, max_records: 1, max_bytes: 2KiB}
  max_in_flight: 1
  max_buffer: 8MiB
""",
    )
    flow = loaded.flows[0]

    assert ("/s", "/d") == (loaded.state_dir, loaded.dead_letter_dir)
    assert (0.0, 1, 2048, True) == (
        flow.batch.max_age_s,
        flow.batch.records_max,
        flow.batch.bytes_max,
        flow.batch.is_ordered,
    )
    assert 8 * 1024**2 == flow.max_buffer


def test_many_flows_share_the_memory(file: pathlib.Path) -> None:
    """32 flows with 256 MiB have 8 MiB each."""
    flows = "".join(
        f"- {{name: f{n}, source: {{paths: [/a]}}, destination: {{kinesis: {{stream: s}}}}}}\n"
        for n in range(32)
    )

    loaded = load(file, f"flows:\n{flows}")

    assert {8 * 1024**2} == {flow.max_buffer for flow in loaded.flows}


def test_systemd_decides_the_state_directory(file: pathlib.Path) -> None:
    """STATE_DIRECTORY is what systemd made for the service, with the right owner."""
    assert "/run/x" == load(file, "flows: []", STATE_DIRECTORY="/run/x").state_dir


def test_a_state_directory_from_the_environment_is_checked_too(file: pathlib.Path) -> None:
    """The message shows what the default is, not what the variable holds."""
    with pytest.raises(errors.ConfigError) as caught:
        load(file, "flows: []", STATE_DIRECTORY="x")

    found = "found '${STATE_DIRECTORY:-/var/lib/kagent}', expected an absolute path"
    assert [(found, "")] == [(one.message, one.source_line) for one in caught.value.problems]


@pytest.mark.parametrize(
    ("option", "environ", "path"),
    [
        pytest.param("/c", {"KAGENT_CONFIG": "/e"}, "/c", id="-c wins"),
        pytest.param(None, {"KAGENT_CONFIG": "/e"}, "/e", id="then the environment"),
        pytest.param(
            None, {"KAGENT_CONFIG": ""}, "/etc/kagent/kagent.yaml", id="if it is not empty"
        ),
        pytest.param(None, {}, "/etc/kagent/kagent.yaml", id="then the usual place"),
    ],
)
def test_the_configuration_is_found(
    option: str | None, environ: dict[str, str], path: str
) -> None:
    """-c, then KAGENT_CONFIG, then /etc."""
    assert path == config.default_path(option, environ)


def test_the_example_that_is_shipped_is_right() -> None:
    """What a user copies works as it is."""
    loaded = config.load(str(ROOT / "config" / "kagent.yaml"), {})

    assert ["nginx", "audit", "shop"] == [flow.name for flow in loaded.flows]
    assert ["kinesis web-logs", "firehose audit", "kinesis shop-logs"] == [
        flow.destination.description for flow in loaded.flows
    ]


_KEYS = ["flows:", "name: a", "source:", "destination:", "kinesis:", "stream: s", "defaults:"]
_VALUES = ["paths: [/a]", "include: ['*']", "batch: {max_age: 1s}", "max_buffer: 4", "forget: [a]"]
_SIGNS = [
    "- ",
    "<<: ",
    "&a ",
    "*a",
    "${X}",
    "{",
    "}",
    "[",
    "]",
    "\n",
    "\n  ",
    ":",
    "~",
    "4",
    '"\\0"',
]


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(
    st.one_of(
        st.binary(max_size=100),
        st.lists(st.sampled_from(_KEYS + _VALUES + _SIGNS)).map("".join).map(str.encode),
    )
)
def test_any_bytes_are_a_configuration_or_have_problems(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    """Nothing but ConfigError comes out, whatever is in the file and in the environment."""
    file = tmp_path_factory.getbasetemp() / "any" / "k.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data)

    with contextlib.suppress(errors.ConfigError):
        config.load(str(file), {"X": "\udcff4"})
