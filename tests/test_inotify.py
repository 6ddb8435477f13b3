"""`inotify`: the kernel tells once of each file that is written to; contract with the fake."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import fakes
import pytest

from kagent import inotify, model


class _Real:
    """A real file that the kernel watches."""

    def __init__(self, directory: Path) -> None:
        self.growth: model.Growth = inotify.Inotify()
        self._path = directory / "a.log"
        self._path.write_bytes(b"1\n")
        self.handle = os.open(self._path, os.O_RDONLY)

    def append(self, data: bytes) -> None:
        with open(self._path, "ab") as file:
            file.write(data)

    def truncate(self) -> None:
        os.truncate(self._path, 0)

    def rename(self) -> None:
        self._path = self._path.rename(self._path.with_suffix(".1"))


class _Fake:
    """The same of `fakes`."""

    def __init__(self, directory: Path) -> None:
        self._files = fakes.FakeFiles(fakes.FakeClock())
        self.growth: model.Growth = self._files.growth()
        self._path = "/a.log"
        self._node = self._files.create(self._path)
        self.handle = self._files.open(self._path, "/")

    def append(self, data: bytes) -> None:
        self._files.append(self._node, data)

    def truncate(self) -> None:
        self._files.truncate(self._node, 0)

    def rename(self) -> None:
        old, self._path = self._path, self._path + ".1"
        self._files.rename(old, self._path)


@pytest.fixture(params=[_Real, _Fake])
def watched(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[_Real | _Fake]:
    make: Callable[[Path], _Real | _Fake] = request.param
    one = make(tmp_path)
    with contextlib.closing(one.growth):
        yield one


def test_growth_is_told_once(watched: _Real | _Fake) -> None:
    """However much is written: the watch ends with the first event, and is begun anew."""
    token = watched.growth.watch(watched.handle)
    silent = watched.growth.told()
    watched.append(b"2\n")
    watched.append(b"3\n")
    first = watched.growth.told()
    watched.append(b"4\n")
    after = watched.growth.told()
    again = watched.growth.watch(watched.handle)
    watched.append(b"5\n")

    assert (silent, first, after) == ([], [token], [])
    assert again != token
    assert watched.growth.told() == [again]


def test_truncation_is_told(watched: _Real | _Fake) -> None:
    """A file that was cut has another size as well."""
    token = watched.growth.watch(watched.handle)
    watched.truncate()

    assert watched.growth.told() == [token]


def test_renamed_file_is_watched_on(watched: _Real | _Fake) -> None:
    """The descriptor is watched, whatever the file is called."""
    watched.rename()
    token = watched.growth.watch(watched.handle)
    watched.rename()
    watched.append(b"2\n")

    assert watched.growth.told() == [token]


def test_file_that_is_watched_twice_has_one_token(watched: _Real | _Fake) -> None:
    """Whoever is not sure asks again."""
    assert watched.growth.watch(watched.handle) == watched.growth.watch(watched.handle)


def test_forgotten_file_is_not_told_of(watched: _Real | _Fake) -> None:
    """What is under way may still say that the watch ended; nothing follows."""
    watched.growth.forget(watched.growth.watch(watched.handle))
    watched.growth.told()
    watched.append(b"2\n")

    assert watched.growth.told() == []


def test_handle_that_is_closed_cannot_be_watched() -> None:
    """As the system says it."""
    with contextlib.closing(inotify.Inotify()) as growth, pytest.raises(FileNotFoundError):
        growth.watch(987_654)
