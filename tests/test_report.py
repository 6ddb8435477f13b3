"""One line about the daemon, and one about a flow."""

from __future__ import annotations

from kagent import flow, metrics, report


def condition(**more: object) -> flow.Condition:
    counters = metrics.FlowCounters(read_bytes=100, delivered_bytes=70, dropped_bytes=10)
    counters.five = metrics.Five(records_sent=7)
    given = {"files": 2, "in_flight": 0, "blocked": "", "is_ready": True, "stepped": 1000.0}
    return flow.Condition(counts=counters.snapshot(), **{**given, **more})  # type: ignore[arg-type]


def test_the_status_line_sums_up_and_names_what_is_not_well() -> None:
    """The status line shows the sums, a blocked flow with its reason, and one that stands."""
    conditions = {
        "web": condition(),
        "lost": condition(blocked="error=NotFound"),
        "stuck": condition(stepped=900.0),
    }

    line = report.status_line(conditions, now=1001.0)

    assert line == (
        "3 flows, 6 files, 21 records delivered, 60 bytes read and not yet delivered, "
        "lost blocked: error=NotFound, stuck has not moved for 101 s"
    )


def test_the_progress_line_says_where_every_byte_is() -> None:
    """Read bytes are delivered, buffered, dropped or dead-lettered, and the line shows each."""
    line = report.progress_line("web", condition())

    assert line.startswith("progress flow=web files=2 read_bytes=100 delivered_bytes=70 ")
    assert "buffered_bytes=20 dropped_bytes=10 dead_lettered_bytes=0" in line
