"""`kagent test-config`: what it prints where, and what it answers."""

from __future__ import annotations

import errno
import json
import os
import pathlib

import click.testing
import pytest

from kagent import cli, config, model, system
from kagent.cli import test_config as command

FLOWS = """\
aws: {{region: eu-west-1}}
flows:
- name: nginx
  source: {{paths: ["{logs}/nginx/*.log"]}}
  destination: {{kinesis: {{stream: web-logs}}}}
  max_buffer: 32MiB
- name: audit
  source: {{paths: ["{logs}/audit.log"]}}
  destination: {{firehose: {{delivery_stream: audit}}}}
  max_buffer: 32MiB
"""


@pytest.fixture
def logs(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return a directory with the files of both flows."""
    (tmp_path / "logs" / "nginx").mkdir(parents=True)
    for name in ("nginx/a.log", "nginx/b.log", "nginx/c.log", "audit.log"):
        (tmp_path / "logs" / name).write_text("line\n")
    return tmp_path / "logs"


def run(directory: pathlib.Path, content: str, *arguments: str) -> click.testing.Result:
    (directory / "kagent.yaml").write_text(content)
    command_line = ["test-config", "-c", str(directory / "kagent.yaml"), *arguments]
    return click.testing.CliRunner().invoke(cli.main, command_line)


def warnings(directory: pathlib.Path, content: str, files: system.OsFiles) -> list[str]:
    (directory / "kagent.yaml").write_text(content)
    loaded = config.load(str(directory / "kagent.yaml"), {})
    return list(command.look(loaded, files, system.SystemClock()).warnings)


class Guarded(system.OsFiles):
    """The real files, some of which belong to someone else; tests run as root."""

    def __init__(self, *closed: pathlib.Path) -> None:
        self._closed = {str(path) for path in closed}

    def open(self, path: str, base: str) -> int:
        if path in self._closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return super().open(path, base)

    def status(self, path: str, base: str) -> model.FileStatus:
        if path in self._closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return super().status(path, base)


def test_a_right_configuration_says_what_goes_where(logs: pathlib.Path) -> None:
    """One line a pattern, what it costs, the bound on the memory, nothing on stderr, exit 0."""
    result = run(logs.parent, FLOWS.format(logs=logs), "--strict")

    assert [
        f"{logs.parent}/kagent.yaml: ok; 2 flows, at most 64 MiB of buffers",
        f"  nginx   {logs}/nginx/*.log (3 files now)  ->  kinesis web-logs, eu-west-1",
        "          a million lines, by 3 lines of 3 files, 5 B each:",
        (
            "            a line a record: 1,000,000 records, 1 line each; "
            "1,000,000 PUT units, or 1.00 GB billed on demand"
        ),
        (
            "            with pack: newline: 200 records, 5,000 lines each; "
            "200 PUT units, or 0.01 GB billed on demand"
        ),
        f"  audit   {logs}/audit.log (1 file now)  ->  firehose audit, eu-west-1",
        "          a million lines, by 1 line of 1 file, 5 B each:",
        "            a line a record: 1,000,000 records, 1 line each; 5.00 GB billed",
        "            with pack: newline: 5 records, 200,000 lines each; 0.01 GB billed",
    ] == result.stdout.splitlines()
    assert ("", 0) == (result.stderr, result.exit_code)


def test_a_wrong_configuration_leaves_stdout_empty(logs: pathlib.Path) -> None:
    """All problems on stderr, exit 78."""
    result = run(logs.parent, "flows: []\nlog: 4\nx: 1\n", "--json")

    assert ("", 78) == (result.stdout, result.exit_code)
    assert result.stderr.endswith(f"kagent: 2 problems in {logs.parent}/kagent.yaml\n")


def test_a_warning_is_no_failure_unless_strict(logs: pathlib.Path) -> None:
    """A pattern whose files come later is all right, but the first missing directory is named."""
    content = FLOWS.format(logs=f"{logs}/later")

    lenient, strict = run(logs.parent, content), run(logs.parent, content, "--strict")

    assert [
        (
            f"warning: flow nginx: {logs}/later/nginx/*.log matches no file now; "
            f"{logs}/later does not exist"
        ),
        (
            f"warning: flow audit: {logs}/later/audit.log matches no file now; "
            f"{logs}/later does not exist"
        ),
    ] == lenient.stderr.splitlines()
    assert (0, 1) == (lenient.exit_code, strict.exit_code)
    assert lenient.stdout == strict.stdout


def test_a_pattern_whose_directory_exists_just_matches_nothing(logs: pathlib.Path) -> None:
    """There is no directory to name."""
    content = FLOWS.format(logs=logs).replace("*.log", "*.txt").replace("audit.log", "x/../y")

    found = warnings(logs.parent, content, system.OsFiles())

    assert f"flow nginx: {logs}/nginx/*.txt matches no file now" == found[0]
    assert f"flow audit: {logs}/x/../y matches no file now; {logs}/x does not exist" == found[1]


def test_what_matches_and_is_no_file_is_named(logs: pathlib.Path) -> None:
    """A directory, a FIFO and a link that a wildcard matched, and a link to nothing."""
    (logs / "nginx" / "d.log").mkdir()
    os.mkfifo(logs / "nginx" / "e.log")
    (logs / "nginx" / "f.log").symlink_to(logs / "audit.log")
    (logs / "audit.log").unlink()
    (logs / "audit.log").symlink_to("nowhere")

    found = warnings(logs.parent, FLOWS.format(logs=logs), system.OsFiles())

    assert {
        f"flow nginx: {logs}/nginx/d.log: is a directory",
        f"flow nginx: {logs}/nginx/e.log: is no regular file",
        (
            f"flow nginx: {logs}/nginx/f.log: is a link, and links that a wildcard matched "
            "are not followed"
        ),
        f"flow audit: {logs}/audit.log: is a link to nothing",
        f"flow audit: {logs}/audit.log matches no file now",
    } == set(found)


def test_a_file_that_cannot_be_read_is_named(logs: pathlib.Path) -> None:
    """Whoever runs the command should be who runs the daemon."""
    files = Guarded(logs / "nginx" / "b.log")
    files.status = system.OsFiles().status  # type: ignore[method-assign]

    found = warnings(logs.parent, FLOWS.format(logs=logs), files)

    assert [
        f"flow nginx: {logs}/nginx/b.log: cannot be read by this user: Permission denied"
    ] == found


def test_a_directory_that_cannot_be_passed_is_not_called_missing(logs: pathlib.Path) -> None:
    """Nothing is known of what is behind it."""
    found = warnings(logs.parent, FLOWS.format(logs=logs), Guarded(logs, logs / "audit.log"))

    assert [
        f"flow audit: {logs}/audit.log matches no file now",
        f"flow audit: {logs}/audit.log: cannot look at it: Permission denied",
    ] == found


def test_a_thousand_unreadable_files_are_a_few_lines(logs: pathlib.Path) -> None:
    """The first ones are named, the others counted."""
    for number in range(1000):
        (logs / "nginx" / f"{number}.log").mkdir()

    found = warnings(logs.parent, FLOWS.format(logs=logs), system.OsFiles())

    assert command.WARNINGS_MAX + 1 == len(found)
    assert "flow nginx: and 995 more paths that match and are no files" == found[-1]


def test_files_of_two_flows_are_shipped_twice(logs: pathlib.Path) -> None:
    """That may be wanted; once for each two flows is enough to say."""
    content = FLOWS.format(logs=logs).replace(f"{logs}/audit.log", f"{logs}/nginx/[bc].log")

    found = warnings(logs.parent, content, system.OsFiles())

    assert [f"shipped twice, by the flows nginx and audit: {logs}/nginx/b.log and 1 more"] == found


def test_one_stream_name_in_two_regions_is_a_copy_on_purpose(logs: pathlib.Path) -> None:
    """Each flow's line says its region, and nothing is warned of."""
    flow = (
        "  - {{name: {}, source: {{paths: [{}]}}, destination: {{kinesis: {{stream: web{}}}}}}}\n"
    )
    path = f"{logs}/nginx/b.log"
    content = "aws: {region: eu-west-1}\nflows:\n"
    content += flow.format("a", path, "") + flow.format("b", path, ", aws: {region: us-east-1}")

    found = warnings(logs.parent, content, system.OsFiles())
    config_path = logs.parent / "kagent.yaml"
    config_path.write_text(content)
    loaded = config.load(str(config_path), {})
    survey = command.look(loaded, system.OsFiles(), system.SystemClock())

    assert [] == found
    text = "\n".join(command.as_text(loaded, survey, "eu-west-1"))
    assert "kinesis web, eu-west-1" in text
    assert "kinesis web, us-east-1" in text


def test_a_file_of_two_patterns_of_one_flow_is_shipped_once(logs: pathlib.Path) -> None:
    """Each pattern counts it."""
    both = f'paths: ["{logs}/nginx/*.log", "{logs}/nginx/a*"]'
    content = FLOWS.format(logs=logs).replace(f'paths: ["{logs}/nginx/*.log"]', both)

    result = run(logs.parent, content)

    assert "" == result.stderr
    assert f"  nginx   {logs}/nginx/*.log (3 files now)" in result.stdout
    assert f"  nginx   {logs}/nginx/a* (1 file now)" in result.stdout


def test_no_flows_is_a_warning(tmp_path: pathlib.Path) -> None:
    """A daemon that waits for its first flow is allowed."""
    result = run(tmp_path, "flows: []")

    assert f"{tmp_path}/kagent.yaml: ok; 0 flows, at most 0 MiB of buffers\n" == result.stdout
    assert "warning: there are no flows; nothing is shipped\n" == result.stderr


def test_a_file_name_cannot_play_with_the_terminal(logs: pathlib.Path) -> None:
    """Control characters and bytes that are no UTF-8 are escaped, in JSON too."""
    os.mkdir(os.fsencode(f"{logs}/nginx/x\x1b[2J") + b"\xff.log")
    (logs / "nginx" / "y\n.log").write_text("")

    text, document = (
        run(logs.parent, FLOWS.format(logs=logs)),
        run(logs.parent, FLOWS.format(logs=logs), "--json"),
    )

    assert f"warning: flow nginx: {logs}/nginx/x\\x1b[2J\\xff.log: is a directory\n" == text.stderr
    files = json.loads(document.stdout)["flows"][0]["patterns"][0]["files"]
    assert f"{logs}/nginx/y\\n.log" == files[-1]


def test_json_is_one_document_with_the_warnings_in_it(logs: pathlib.Path) -> None:
    """Nothing on stderr, so that both streams can be read together."""
    (logs / "audit.log").unlink()

    result = run(logs.parent, FLOWS.format(logs=logs), "--json", "--strict")

    assert ("", 1) == (result.stderr, result.exit_code)
    document = json.loads(result.stdout)
    costs = [flow.pop("cost_of_a_million_lines") for flow in document["flows"]]
    assert [1_000_000, None] == [cost and cost["plain"]["put_units"] for cost in costs]
    assert {
        "config": f"{logs.parent}/kagent.yaml",
        "max_memory_bytes": 268435456,
        "buffers_bytes": 67108864,
        "region": "eu-west-1",
        "flows": [
            {
                "name": "nginx",
                "patterns": [
                    {
                        "pattern": f"{logs}/nginx/*.log",
                        "files": [f"{logs}/nginx/{name}.log" for name in "abc"],
                    }
                ],
                "preprocess": [],
                "destination": "kinesis web-logs",
                "region": "eu-west-1",
                "max_buffer_bytes": 33554432,
                "readers": "readers get a line a record",
            },
            {
                "name": "audit",
                "patterns": [{"pattern": f"{logs}/audit.log", "files": []}],
                "preprocess": [],
                "destination": "firehose audit",
                "region": "eu-west-1",
                "max_buffer_bytes": 33554432,
                "readers": "readers get a line a record",
            },
        ],
        "warnings": [f"flow audit: {logs}/audit.log matches no file now"],
    } == document


@pytest.mark.parametrize(
    ("head", "environ", "region"),
    [
        pytest.param("aws: {region: eu-west-1}", {"AWS_REGION": "x"}, "eu-west-1", id="its own"),
        pytest.param("", {"AWS_REGION": "x", "AWS_DEFAULT_REGION": "y"}, "y", id="botocore's"),
        pytest.param("", {"AWS_REGION": "x", "AWS_DEFAULT_REGION": ""}, "x", id="other tools'"),
        pytest.param("", {}, None, id="a profile's, or none"),
    ],
)
def test_the_region_is_shown_as_far_as_it_is_known(
    tmp_path: pathlib.Path, head: str, environ: dict[str, str], region: str | None
) -> None:
    """The same order as the daemon's; asking botocore would take longer than all the rest."""
    (tmp_path / "k").write_text(f"flows: []\n{head}")

    assert region == command.region_of(config.load(str(tmp_path / "k"), {}), environ)


def test_an_unknown_region_is_said_to_come_from_boto3(
    logs: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not made up."""
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)

    result = run(logs.parent, FLOWS.format(logs=logs).replace("region: eu-west-1", ""))

    assert "kinesis web-logs, region from boto3's chain\n" in result.stdout


def test_a_path_that_capture_does_not_match_is_named(logs: pathlib.Path) -> None:
    """Its values would be empty, and nobody would know why."""
    source = f'paths: ["{logs}/nginx/*.log"], capture: "/(?P<name>[ab])[.]log$"'
    content = FLOWS.format(logs=logs).replace(f'paths: ["{logs}/nginx/*.log"]', source)

    result = run(logs.parent, content)

    assert [
        f"warning: flow nginx: {logs}/nginx/c.log: 'capture' does not match, its values are empty"
    ] == result.stderr.splitlines()
