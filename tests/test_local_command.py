"""`python -m kagent.local`: the service as a process of its own."""

from __future__ import annotations

import contextlib
import json
import signal
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from kagent.local import __main__ as command


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Start the command; give the process and its line on stdout; kill it at the end."""
    line = [sys.executable, "-m", "kagent.local", *arguments]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def test_it_says_where_it_listens_and_ends_at_sigterm() -> None:
    """One line of JSON says endpoint and CA file; SIGTERM ends it with status 0."""
    arguments = ("--stream", "web=2", "--delivery-stream", "audit", "--tls")
    with started(*arguments, "--faults", '{"lose_share": 0.5}') as (process, ready):
        context = ssl.create_default_context(cafile=ready["ca_file"])
        url = f"{ready['endpoint_url']}/_local/counts"
        with urllib.request.urlopen(url, context=context, timeout=5) as answer:
            counts = json.load(answer)

        process.send_signal(signal.SIGTERM)

        assert 0 == process.wait(timeout=10)
        assert [0, 0] == list(counts["streams"]["web"]["records_by_shard"].values())
        assert 0 == counts["delivery_streams"]["audit"]["records_accepted"]
        assert ready["pid"] == process.pid


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--stream", "web=none"], id="shards no number"),
        pytest.param(["--stream", "web=0"], id="no shard"),
        pytest.param(["--stream", "a b"], id="no name"),
        pytest.param(["--faults", "{"], id="no JSON"),
        pytest.param(["--faults", '{"lose": 1}'], id="unknown fault"),
        pytest.param(["--record-bytes", "1", "--stream", "web"], id="record size"),
    ],
)
def test_wrong_arguments_end_it_with_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong argument is exit status 2 with a message, and nothing on stdout."""
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)

    assert 2 == ended.value.code
    output = capsys.readouterr()
    assert "" == output.out
    assert "error: " in output.err
