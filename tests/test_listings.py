"""`listings`: the same object as long as nothing changed. Most of it is proved by `scanning`'s."""

from __future__ import annotations

import fakes
import pytest

from kagent import listings


def test_entries_are_the_same_object_until_they_change() -> None:
    """Whoever keeps what was made of them compares by identity; a new listing may be equal."""
    clock = fakes.FakeClock()
    files = fakes.FakeFiles(clock)
    files.make_directory("/logs")
    files.create("/logs/a.log")
    one = listings.Listings(files, clock)
    clock.now += listings.YOUNG_S
    first = one.entries("/logs", "/logs")

    one.begin(["/logs"])
    hinted = one.entries("/logs", "/logs")
    fresh = set(one.fresh)
    clock.now += listings.RELIST_S
    one.begin([])
    later = one.entries("/logs", "/logs")
    files.create("/logs/b.log")
    one.begin([])
    changed = one.entries("/logs", "/logs")

    assert (first, first) == (hinted, later)
    assert {"/logs"} == fresh
    assert {"a.log", "b.log"} == {entry.name for entry in changed}


def test_nothing_is_remembered_of_a_directory_that_cannot_be_listed() -> None:
    """When it can be listed again, it is."""
    clock = fakes.FakeClock()
    files = fakes.FakeFiles(clock)
    files.make_directory("/logs")
    one = listings.Listings(files, clock)
    one.entries("/logs", "/logs")
    files.rename("/logs", "/old")
    one.begin([])

    with pytest.raises(FileNotFoundError):
        one.entries("/logs", "/logs")
    files.rename("/old", "/logs")
    one.entries("/logs", "/logs")

    assert {"/logs"} == one.fresh
    assert ["/logs"] == one.keep([])
