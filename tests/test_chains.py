"""Chains of preprocessors as an operator writes them, on hostile lines, from end to end."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import pathlib
import sqlite3
from collections.abc import Iterator
from typing import Any

import click.testing
import pytest
import yaml
from daemon import Daemon, running, wait_until

from kagent import cli, local

SECRETS = [b"4111 1111 1111 1111", b"joe@example.com", b"hunter2", b"AKIAIOSFODNN7EXAMPLE"]
RUNAWAY = "z(a|aa)+$"
HOSTILE = b"z" + b"a" * 60 + b"!"
REDACT = {
    "redact": {
        "kinds": ["card_numbers", "email_addresses", "ip_addresses", "aws_keys"],
        "patterns": [r'password=(?P<secret>[^\s"\\]+)', RUNAWAY],
    }
}
PATTERN = {"log_to_json": {"pattern": r"(?P<time>\S+ \S+) (?P<level>[A-Z]+) (?P<text>(?s:.*))"}}
TIME = {"parse_timestamp": {"field": "time", "formats": ["iso8601"], "into": "time"}}
METADATA = {"add_metadata": {"fields": {"app": "{app}", "at": "{offset}"}}}
CSV = {"csv_to_json": {"columns": ["a", "b"]}}


def shipped(root: pathlib.Path, sample: bytes, **flow: Any) -> bytes:
    """Return exactly what `kagent test-config --sample --raw` would send."""
    source = {"paths": [f"{root}/*.log"], "capture": r"/(?P<app>[a-z]+)\.log$"}
    source.update(flow.pop("source", {}))
    tree = {
        "name": "web",
        "source": source,
        "destination": {"kinesis": {"stream": "web"}},
        **flow,
    }
    (root / "kagent.yaml").write_text(yaml.safe_dump({"flows": [tree]}, sort_keys=False))
    (root / "shop.log").write_bytes(sample)
    result = click.testing.CliRunner().invoke(
        cli.main,
        ["test-config", "-c", f"{root}/kagent.yaml", "--sample", f"{root}/shop.log", "--raw"],
    )
    assert 0 == result.exit_code, result.stderr
    return result.stdout_bytes


def test_a_stack_trace_becomes_an_object_without_secrets(tmp_path: pathlib.Path) -> None:
    """Whose other lines are wrapped, whatever bytes they have; offsets are the source's."""
    sample = (
        b"2026-11-26 01:02:03,004 ERROR no card 4111 1111 1111 1111\n"
        b'java.lang.IllegalStateException: "password=hunter2" \\ back\tslash\n'
        b"\tat com.example.Pay.pay(Pay.java:12)\n"
        b"Caused by: java.io.IOException: 10.0.0.1 refused\n"
        b"\t... 3 more\n"
        b"2026-11-26 01:02:04,005 INFO GET /healthz\n"
        b"no match joe@example.com \xff\xfe\x00 end\n"
        b"2026-13-26 01:02:04,005 INFO 10.0.0.1\n"
        b"2026-11-26 01:02:05,000 WARN \xe2\x80\xa8 \xf0\x9f\x98\x80\r\n"
    )

    found = shipped(
        tmp_path,
        sample,
        source={"multiline": "java"},
        preprocess=[{"filter": {"exclude": ["GET /healthz"]}}, PATTERN, TIME, REDACT, METADATA],
    )

    trace = (
        'no card [redacted]\njava.lang.IllegalStateException: "password=[redacted]" \\ back\t'
        "slash\n\tat com.example.Pay.pay(Pay.java:12)\n"
        "Caused by: java.io.IOException: [redacted] refused\n\t... 3 more"
    )
    bad_time = '{"time":"2026-13-26 01:02:04,005","level":"INFO","text":"[redacted]"}'
    rest = {"app": "shop"}
    at = [sample.index(one) for one in (b"no match", b"2026-13", b"2026-11-26 01:02:05")]
    assert [
        {"time": "2026-11-26T01:02:03.004Z", "level": "ERROR", "text": trace, **rest, "at": 0},
        {"message": "no match [redacted] \ufffd\ufffd\0 end", **rest, "at": at[0]},
        {"message": bad_time, **rest, "at": at[1]},
        {
            "time": "2026-11-26T01:02:05.000Z",
            "level": "WARN",
            "text": "\u2028 \U0001f600",
            **rest,
            "at": at[2],
        },
    ] == [json.loads(line) for line in found.split(b"\n")[:-1]]


CHAINS = [
    [REDACT],
    [PATTERN, REDACT],
    [REDACT, PATTERN],
    [PATTERN, REDACT, METADATA],
    [METADATA, REDACT, PATTERN],
    [CSV, REDACT, METADATA],
    [PATTERN, TIME, METADATA, REDACT],
    ["single_line", {"log_to_json": {"format": "json"}}, REDACT],
    [{"filter": {"exclude": [RUNAWAY]}}, PATTERN, REDACT],
    ["add_brackets", {"log_to_json": {"format": "json"}}, REDACT, METADATA],
]
LINES = [
    b"%b",
    b"2026-11-26 01:02:03 INFO %b",
    b'{"a":"%b","b":[{"c":"x%%y %b"}]}',
    b'"a":"%b"',
    b'a "%b,"" %b",b,c',
    b'"%b","%b"',
    b"\xff\xfe\x00%b\xc3",
    b"\xe2\x80\xa8%b\xe2\x80\xa8\t%b\\",
    b"%b " + HOSTILE,
    b"2026-11-26 01:02:03 INFO %b " + HOSTILE,
]


def hostile_lines() -> list[bytes]:
    """Return every line with every secret, set apart as a log would have it."""
    lines = []
    for line, secret in itertools.product(LINES, SECRETS):
        if HOSTILE in line and secret != SECRETS[0]:
            continue  # each of them takes its time
        lines.append(line.replace(b"%b", b" %b " % named(secret)).replace(b"%%", b"%"))
    return lines


def named(secret: bytes) -> bytes:
    """Return a secret as it is found: a password by what stands before it."""
    return b"password=" + secret if secret == b"hunter2" else secret


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("on_no_match", ["wrap", "raw"])
def test_no_chain_with_redact_ships_a_secret(
    tmp_path: pathlib.Path, chain: list[Any], on_no_match: str
) -> None:
    """Wherever it stands in the chain, and whatever becomes of the lines that do not fit."""
    lines = hostile_lines()

    found = shipped(tmp_path, b"\n".join(lines) + b"\n", preprocess=chain, on_no_match=on_no_match)

    assert [] == [one for one in SECRETS if one in found]
    assert HOSTILE not in found
    assert b"[redacted]" in found


@pytest.fixture
def daemon(tmp_path: pathlib.Path) -> Iterator[Daemon]:
    """A daemon over log/*.log and a stream that does not throttle."""
    service = local.Service(
        local.ServiceOptions(streams={"web": local.StreamOptions(is_throttled=False)})
    )
    with running(tmp_path, service) as one:
        yield one


def test_no_secret_leaves_the_daemon_or_lies_among_its_dead_letters(daemon: Daemon) -> None:
    """Neither of lines that do not fit, nor of those that are too long or take too long."""
    lines = hostile_lines()
    lines += [b"long " + named(secret) + b" " + b"x" * 3000 for secret in SECRETS]
    flows = []
    for on_no_match in ("wrap", "raw", "dead_letter"):
        daemon.path(f"{on_no_match}/a.log").write_bytes(b"\n".join([*lines, b"the end\n"]))
        source = {
            "paths": [f"{daemon.root}/log/{on_no_match}/*.log"],
            "start_at": "beginning",
            "max_line": "2KiB",
        }
        flows.append(
            daemon.flow(
                name=on_no_match,
                source=source,
                preprocess=[PATTERN, REDACT],
                on_no_match=on_no_match,
                oversize="dead_letter",
            )
        )
    daemon.configure(*flows)
    daemon.start()

    def are_settled() -> bool:
        sizes = [path.stat().st_size for path in daemon.root.glob("log/*/a.log")]
        try:
            return sorted(saved(daemon)) == sorted(sizes)
        except sqlite3.Error:
            return False  # it is not there yet

    wait_until(are_settled, f"all settled:\n{daemon.log[-3000:]}")
    assert 0 == daemon.stop()

    letters = [
        json.loads(line)
        for path in daemon.root.glob("state/dead-letter/*")
        for line in path.read_bytes().splitlines()
    ]
    kept = b"\n".join(base64.b64decode(one["data"]) for one in letters)
    everything = b"".join(daemon.lines) + kept + daemon.log.encode()
    assert [] == [one for one in [*SECRETS, HOSTILE] if one in everything]
    assert b"[redacted]" in b"".join(daemon.lines)
    assert b"[redacted]" in kept
    reasons = {one["reason"] for one in letters}
    assert {"longer than max_line", "redact: patterns[1] took too long"} <= reasons
    assert any(one.startswith("log_to_json: ") for one in reasons)


def saved(daemon: Daemon) -> list[int]:
    """Return the saved offsets of all files."""
    database = daemon.root / "state" / "checkpoints.db"
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as found:
        return [offset for (offset,) in found.execute("SELECT offset FROM checkpoint")]
