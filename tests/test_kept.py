"""The rows that no open file has: found by inode and head, aged, saved."""

from __future__ import annotations

import dataclasses

from kagent import kept, model

HEAD = model.Fingerprint(model.FINGERPRINT_BYTES_MAX, b"head")


def row(tail_id: str, inode: int = 1, fingerprint: model.Fingerprint = HEAD) -> model.Checkpoint:
    return model.Checkpoint(
        tail_id,
        ("/logs/a.log",),
        model.FileIdentity(1, inode),
        0,
        False,
        0,
        2000,
        fingerprint,
        model.Frontier(2000, b"end"),
    )


def test_rows_are_found_by_inode_and_by_a_whole_head() -> None:
    """An unlinked file has no inode any more, and a short head is no evidence."""
    gone = dataclasses.replace(row("gone"), was_unlinked=True)
    short = row("short", 2, model.Fingerprint(10, b"head"))
    rows = kept.Rows([row("here"), gone, short], 3600.0, 0.0)

    assert [row("here")] == rows.located(model.FileIdentity(1, 1))
    assert [] == rows.located(model.FileIdentity(2, 1))
    assert [gone, row("here")] == rows.begin_like(HEAD)
    assert [] == rows.begin_like(model.Fingerprint(10, b"other"))


def test_row_that_a_tail_takes_is_kept_no_more() -> None:
    """It is not found, and what was to be saved of it is the tail's business."""
    rows = kept.Rows([], 3600.0, 0.0)
    rows.keep(row("a"))

    taken = rows.take("a")

    assert row("a") == taken
    assert len(rows) == 0
    assert set() == rows.changed | rows.forgotten
    assert [] == rows.located(model.FileIdentity(1, 1)) + rows.begin_like(HEAD)
    assert rows.take("a") is None


def test_row_that_changes_is_found_by_what_it_is_now() -> None:
    """The old inode leads nowhere; the change is to be saved."""
    rows = kept.Rows([row("a")], 3600.0, 0.0)

    rows.keep(row("a", inode=7))

    assert {"a"} == rows.changed
    assert [] == rows.located(model.FileIdentity(1, 1))
    assert [row("a", inode=7)] == rows.located(model.FileIdentity(1, 7))


def test_rows_of_files_that_nobody_sees_age_and_are_forgotten() -> None:
    """Observed running time counts; a file that comes back begins anew."""
    rows = kept.Rows([row("seen", 1), row("unseen", 2)], 1500.0, 0.0)
    seen = {model.FileIdentity(1, 1)}

    early = rows.age(seen, 10.0)
    rows.age(seen, 700.0)
    aged = rows["unseen"].unseen_s
    rows.age(seen, 1400.0)
    rows.age(seen, 2100.0)

    assert not early
    assert aged == 700.0
    assert ["seen"] == list(rows)
    assert {"unseen"} == rows.forgotten
