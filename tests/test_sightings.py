"""`sightings`: what changed since the last scan, and what is to be looked at again."""

from __future__ import annotations

from kagent import model, sightings


def sighting(path: str, inode: int, size: int = 0) -> model.Sighting:
    return model.Sighting(path, "/", model.FileIdentity(1, inode), size, 0, ())


def test_what_changed_is_what_gained_lost_or_changed_a_sighting() -> None:
    """A file that took another's name changes both; one that is as it was changes nothing."""
    one = sightings.Sightings()
    for path, inode in [("/a", 1), ("/b", 2), ("/c", 3), ("/d", 4)]:
        one.see(sighting(path, inode))
    one.changed = {}

    one.see(sighting("/a", 1))
    one.see(sighting("/b", 3))
    one.miss("/d")
    one.miss("/nowhere")

    assert [2, 3, 4] == sorted(identity.inode for identity in one.changed)
    assert ["/b", "/c"] == [seen.path for seen in one.of([model.FileIdentity(1, 3)])]
    assert [] == one.of([model.FileIdentity(1, 2), model.FileIdentity(1, 4)])
    assert {1, 3} == {identity.inode for identity in one.identities}


def test_few_files_are_all_looked_at_each_time() -> None:
    """It costs nothing, and they are seen to change within a second."""
    one = sightings.Sightings()
    for number in range(sightings.LOOKS_MIN):
        one.see(sighting(f"/{number}", number))

    assert sightings.LOOKS_MIN == len(one.due(0.0, ())) == len(one.due(0.0, ()))


def test_many_files_are_looked_at_once_in_a_sweep_and_open_ones_seldom() -> None:
    """Each closed file once in SWEEP_S; each open one once in OPEN_SWEEPS of them."""
    one = sightings.Sightings()
    for number in range(1000):
        one.see(sighting(f"/{number}", number))
    opened = {model.FileIdentity(1, number) for number in range(0, 1000, 2)}
    looked: dict[str, int] = {}

    for second in range((int(sightings.SWEEP_S) + 1) * sightings.OPEN_SWEEPS):
        due = one.due(float(second), opened)
        assert len(due) <= 101
        for path in due:
            looked[path] = looked.get(path, 0) + 1

    assert {sightings.OPEN_SWEEPS} == {looked[f"/{number}"] for number in range(1, 1000, 2)}
    assert {1} == {looked.get(f"/{number}") for number in range(0, 1000, 2)}
