"""One line about the whole daemon, for `systemctl status`, and one about a flow, for the log.

Pure: words for the conditions that flows publish.
"""

from __future__ import annotations

from collections.abc import Mapping

from kagent import flow, model, options

STALLED_S = 60.0  # a flow that made no step for so long is named


def status_line(conditions: Mapping[str, flow.Condition], now: float) -> str:
    """Return what `systemctl status` shows: the sums, then every flow that is not well."""
    files = sum(one.files for one in conditions.values())
    records = sum(one.counts.five.records_sent for one in conditions.values())
    buffered = sum(one.counts.buffered_bytes for one in conditions.values())
    parts = [
        f"{len(conditions)} flows",
        f"{files} files",
        f"{records} records delivered",
        f"{buffered} bytes read and not yet delivered",
    ]
    for name, one in conditions.items():
        if one.blocked:
            parts.append(f"{name} blocked: {one.blocked}")
        elif now - one.stepped > STALLED_S:
            parts.append(f"{name} has not moved for {now - one.stepped:.0f} s")
    return ", ".join(parts)


def facts_line(name: str, facts: model.StreamFacts) -> str:
    """Return what is known of a flow's destination, as `key=value` words, and why not more is."""
    known = {
        "status": facts.status,
        "mode": facts.mode,
        "open_shards": len(facts.shards) or "",
        "record_bytes_max": facts.record_bytes_max or "",
        "retention_hours": facts.retention_hours or "",
        "encryption": facts.encryption,
        "source": "" if facts.takes_puts else "not-direct-put",
    }
    words = [f"{key}={options.printable(str(value))}" for key, value in known.items() if value]
    line = " ".join([f"stream facts flow={name}", *words])
    if facts.fault is None:
        return line
    what = f"{facts.fault.code}: {options.printable(facts.fault.message)}".removesuffix(": ")
    return (
        f'{line} error="{what}"; where nothing is known the documented limits hold; '
        f"hint: {facts.fault.hint}"
    )


def progress_line(name: str, condition: flow.Condition) -> str:
    """Return where every byte of a flow is, as `key=value` words."""
    counts = condition.counts
    return (
        f"progress flow={name} files={condition.files} read_bytes={counts.read_bytes} "
        f"delivered_bytes={counts.delivered_bytes} buffered_bytes={counts.buffered_bytes} "
        f"dropped_bytes={counts.dropped_bytes} dead_lettered_bytes={counts.dead_lettered_bytes} "
        f"abandoned_bytes={counts.abandoned_bytes} unparsed={counts.unparsed_records} "
        f"dropped={counts.dropped_records} bare={counts.bare_records} "
        f"records={counts.five.records_sent} "
        f"refused={counts.five.record_send_errors} throttled={counts.throttled_records} "
        f"calls={counts.five.calls} failed_calls={counts.five.service_errors} "
        f"throttled_calls={counts.throttled_calls} ambiguous_calls={counts.ambiguous_calls} "
        f"ambiguous_records={counts.ambiguous_records} in_flight={condition.in_flight}"
    )
