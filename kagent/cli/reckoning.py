"""What `kagent test-config` says of the cost of a flow's lines, and of what readers must do."""

from __future__ import annotations

from collections.abc import Iterator

from kagent import config, cost

_GB = 1e9


def lines(flow: config.FlowConfig, found: cost.Estimate | None) -> Iterator[str]:
    """Yield what a flow's lines cost, packed against not packed, and what readers must do."""
    if found is not None:
        what = "line" if found.lines == 1 else "lines"
        where = "1 file" if found.files == 1 else f"{found.files} files"
        sample = f"{found.lines:,} {what} of {where}, {found.line_bytes:,.0f} B each"
        yield f"a million lines, by {sample}:"
        if found.is_packed:
            yield f"  {_packing(flow)}: {_bill(flow, found.packed)}"
            yield f"  a line a record: {_bill(flow, found.plain)}"
        else:
            yield f"  a line a record: {_bill(flow, found.plain)}"
            yield f"  with pack: newline: {_bill(flow, found.packed)}"
    if flow.batch.pack is not None:
        yield readers(flow)


def readers(flow: config.FlowConfig) -> str:
    """Return what the readers of a flow's records must do."""
    packing = flow.batch.pack
    if packing is None:
        return "readers get a line a record"
    said = cost.READERS[packing.form]
    if packing.compression == "none":
        is_same = packing.form == "newline"
        return f"{said}; Firehose delivers what it would without" if is_same else said
    if packing.form == "newline":
        said += "; what Firehose delivers is compressed, too"
    else:
        said = "take it apart with aws-kinesis-agg, as KCL does not decompress"
    return f"readers decompress each record ({packing.compression}), then {said}".replace(
        "then readers ", "then "
    )


def _packing(flow: config.FlowConfig) -> str:
    packing = flow.batch.pack
    assert packing is not None
    return packing.form if packing.compression == "none" else f"{packing.form}, compressed"


def _bill(flow: config.FlowConfig, one: cost.Cost) -> str:
    each = cost.MILLION / one.records
    held = "1 line each" if each == 1 else f"{each:,.0f} lines each"
    records = f"{one.records:,.0f} records, {held}"
    if flow.destination.service == "firehose":
        return f"{records}; {one.firehose_bytes / _GB:,.2f} GB billed"
    return (
        f"{records}; {one.put_units:,.0f} PUT units, "
        f"or {one.on_demand_bytes / _GB:,.2f} GB billed on demand"
    )
