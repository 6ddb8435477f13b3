"""A preprocessor that hangs is named, and the watchdog is not fed for ever."""

from __future__ import annotations

import pytest

from kagent import hangs, suspects


def call(since: float) -> suspects.Call:
    return suspects.Call("own\n", "/a\x1b", 10, 30, since)


def test_a_hang_is_said_after_a_while_and_then_each_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where it hangs, and never in what."""
    one = hangs.Hangs()

    for now in range(100, 240):
        one.look({"web": call(100.0)}, float(now))

    assert [10, 70, 130] == [
        int(message.partition("seconds=")[2].partition(";")[0]) for message in caplog.messages
    ]
    assert caplog.messages[0].startswith(
        "preprocessor hangs flow=web preprocessor=own\\n path=/a\\x1b offset=10 bytes=20 "
    )


def test_another_call_that_hangs_is_said_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """It is news."""
    one = hangs.Hangs()

    one.look({"web": call(100.0)}, 110.0)
    one.look({}, 111.0)
    one.look({"web": call(112.0)}, 122.0)

    assert 2 == len(caplog.messages)


def test_the_daemon_is_well_until_a_call_lasted_a_minute() -> None:
    """One flow is enough; when it returns all is well."""
    one = hangs.Hangs()
    calls = {"a": call(100.0), "b": call(150.0)}

    assert one.look(calls, 159.0)
    assert not one.look(calls, 160.0)
    assert one.look({"b": calls["b"]}, 161.0)
    assert one.look({}, 1000.0)
