"""`firstscan`: `start_at` is for what the first complete scan of a pattern finds, once."""

from __future__ import annotations

import pytest

from kagent import firstscan, model

LOGS = "/logs/*.log"
DEEP = "/srv/**/*.log"


def sighting(path: str, *patterns: str) -> model.Sighting:
    return model.Sighting(path, "/", model.FileIdentity(1, 1), 0, 0, patterns or (LOGS,))


def test_first_scan_of_a_pattern_is_for_start_at() -> None:
    """Everything it finds is there for the first time, and the pattern is marked to be saved."""
    scans = firstscan.FirstScans(())

    paths = scans.note([sighting("/logs/a.log"), sighting("/logs/b.log")], {LOGS: set()})

    assert {"/logs/a.log", "/logs/b.log"} == paths
    assert {LOGS} == scans.marked == scans.unsaved


def test_later_files_begin_at_0() -> None:
    """After the mark nothing is there for the first time, not even in a new directory."""
    scans = firstscan.FirstScans(())
    scans.note([], {DEEP: set()})

    paths = scans.note([sighting("/srv/new/a.log", DEEP)], {DEEP: set()})

    assert frozenset() == paths


def test_saved_mark_outlives_a_restart() -> None:
    """A pattern whose mark is on disk was scanned by an earlier run; it is not saved again."""
    scans = firstscan.FirstScans([LOGS])

    paths = scans.note([sighting("/logs/a.log")], {LOGS: set()})

    assert frozenset() == paths
    assert ({LOGS}, set()) == (scans.marked, scans.unsaved)


def test_new_pattern_has_a_first_scan_of_its_own() -> None:
    """A pattern that a reload added is scanned for the first time; the older one is not."""
    scans = firstscan.FirstScans([LOGS])

    paths = scans.note(
        [sighting("/logs/a.log"), sighting("/srv/b.log", DEEP)], {LOGS: set(), DEEP: set()}
    )

    assert {"/srv/b.log"} == paths
    assert {DEEP} == scans.unsaved


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        pytest.param([], {"/srv/a.log"}, id="both for the first time"),
        pytest.param([LOGS], set(), id="one watched it before"),
    ],
)
def test_file_of_two_patterns_is_new_to_both_or_late(
    marked: list[str], expected: set[str]
) -> None:
    """A file that one of its patterns watched was written while kagent was watching."""
    scans = firstscan.FirstScans(marked)

    paths = scans.note([sighting("/srv/a.log", LOGS, DEEP)], {LOGS: set(), DEEP: set()})

    assert expected == paths


# --- directories that could not be listed -----------------------------------------------------


def test_failed_listing_keeps_the_mark_back() -> None:
    """What else the scan found is there for the first time all the same."""
    scans = firstscan.FirstScans(())

    paths = scans.note([sighting("/srv/open/a.log", DEEP)], {DEEP: {"/srv/shut"}})

    assert {"/srv/open/a.log"} == paths
    assert (set(), set()) == (scans.marked, scans.unsaved)


def test_start_at_is_for_a_directory_that_can_be_listed_at_last() -> None:
    """Its files are there for the first time; those of other directories are late by then."""
    scans = firstscan.FirstScans(())
    scans.note([], {DEEP: {"/srv/shut"}})

    paths = scans.note(
        [
            sighting("/srv/shut/deep/a.log", DEEP),
            sighting("/srv/shutters/b.log", DEEP),
            sighting("/srv/c.log", DEEP),
        ],
        {DEEP: set()},
    )

    assert {"/srv/shut/deep/a.log"} == paths
    assert {DEEP} == scans.marked


def test_directories_can_be_listed_one_after_the_other() -> None:
    """Each has its first time; the mark comes with the last one."""
    scans = firstscan.FirstScans(())
    scans.note([], {DEEP: {"/srv/a", "/srv/b"}})

    second = scans.note([sighting("/srv/a/1.log", DEEP)], {DEEP: {"/srv/b"}})
    third = scans.note(
        [sighting("/srv/a/2.log", DEEP), sighting("/srv/b/1.log", DEEP)], {DEEP: set()}
    )

    assert {"/srv/a/1.log"} == second
    assert {"/srv/b/1.log"} == third
    assert {DEEP} == scans.marked


def test_directory_that_fails_after_the_mark_changes_nothing() -> None:
    """The first complete scan was done; what comes back later begins at 0."""
    scans = firstscan.FirstScans([DEEP])

    scans.note([], {DEEP: {"/srv/shut"}})
    paths = scans.note([sighting("/srv/shut/a.log", DEEP)], {DEEP: set()})

    assert frozenset() == paths
    assert set() == scans.unsaved
