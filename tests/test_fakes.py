"""The fakes keep the contracts of the real things: the same cases pass with both."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import fakes
import pytest

from kagent import checkpoint, model, system


class Place(Protocol):
    """A directory, the files as kagent sees them, and what others do in it."""

    files: model.Files
    base: str

    def write(self, name: str, data: bytes) -> None: ...
    def truncate(self, name: str, size: int) -> None: ...
    def rename(self, old: str, new: str) -> None: ...
    def unlink(self, name: str) -> None: ...
    def link(self, old: str, new: str) -> None: ...
    def symlink(self, target: str, name: str) -> None: ...
    def mkdir(self, name: str) -> None: ...
    def mkfifo(self, name: str) -> None: ...


class RealPlace:
    """A directory of the system."""

    def __init__(self, directory: Path) -> None:
        self.files: model.Files = system.OsFiles()
        self.base = str(directory)

    def _path(self, name: str) -> str:
        return os.path.join(self.base, name)

    def write(self, name: str, data: bytes) -> None:
        with open(self._path(name), "ab") as file:
            file.write(data)

    def truncate(self, name: str, size: int) -> None:
        os.truncate(self._path(name), size)

    def rename(self, old: str, new: str) -> None:
        os.rename(self._path(old), self._path(new))

    def unlink(self, name: str) -> None:
        os.unlink(self._path(name))

    def link(self, old: str, new: str) -> None:
        os.link(self._path(old), self._path(new))

    def symlink(self, target: str, name: str) -> None:
        os.symlink(target, self._path(name))

    def mkdir(self, name: str) -> None:
        os.mkdir(self._path(name))

    def mkfifo(self, name: str) -> None:
        os.mkfifo(self._path(name))


class FakePlace:
    """A directory in memory."""

    def __init__(self) -> None:
        self.fake = fakes.FakeFiles(fakes.FakeClock())
        self.files: model.Files = self.fake
        self.base = "/base"
        self.fake.make_directory(self.base)

    def _path(self, name: str) -> str:
        return f"{self.base}/{name}"

    def write(self, name: str, data: bytes) -> None:
        try:
            node = self.fake.find(self._path(name))
        except FileNotFoundError:
            node = self.fake.create(self._path(name))
        self.fake.append(node, data)

    def truncate(self, name: str, size: int) -> None:
        self.fake.truncate(self.fake.find(self._path(name)), size)

    def rename(self, old: str, new: str) -> None:
        self.fake.rename(self._path(old), self._path(new))

    def unlink(self, name: str) -> None:
        self.fake.unlink(self._path(name))

    def link(self, old: str, new: str) -> None:
        self.fake.add_name(self.fake.find(self._path(old)), self._path(new))

    def symlink(self, target: str, name: str) -> None:
        self.fake.make_link(target, self._path(name))

    def mkdir(self, name: str) -> None:
        self.fake.make_directory(self._path(name))

    def mkfifo(self, name: str) -> None:
        self.fake.make_other(self._path(name))


@pytest.fixture(params=["real", "fake"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return RealPlace(tmp_path) if request.param == "real" else FakePlace()


def path_of(place: Place, name: str) -> str:
    return f"{place.base}/{name}"


def opened(place: Place, name: str) -> int:
    return place.files.open(path_of(place, name), place.base)


# --- files ------------------------------------------------------------------------------------


def test_real_path_is_where_links_lead(place: Place) -> None:
    """Through links in every component; what is not there stays as it is written."""
    base = os.path.realpath(place.base)
    place.mkdir("pods")
    place.write("pods/0.log", b"")
    place.symlink("pods", "link")
    place.symlink("link/0.log", "a.log")

    found = [place.files.real_path(f"{base}/{name}") for name in ("a.log", "link/1.log", "b/c")]

    assert [f"{base}/pods/0.log", f"{base}/pods/1.log", f"{base}/b/c"] == found


def test_read_gives_bytes_at_an_offset_and_fewer_only_at_the_end(place: Place) -> None:
    """A read gives what is there, less at the end of the file, nothing behind it."""
    place.write("a.log", b"0123456789")

    handle = opened(place, "a.log")

    assert place.files.read(handle, 2, 3) == b"234"
    assert place.files.read(handle, 8, 100) == b"89"
    assert place.files.read(handle, 10, 1) == b""
    assert place.files.read(handle, 50, 1) == b""
    assert place.files.size(handle) == 10
    place.files.close(handle)


def test_handle_follows_the_file_through_rename_and_unlink(place: Place) -> None:
    """A handle reads on after its file lost its name, and knows that it has none."""
    place.write("a.log", b"one\n")
    handle = opened(place, "a.log")
    identity = place.files.handle_status(handle).identity

    place.rename("a.log", "a.log.1")
    place.write("a.log.1", b"two\n")

    assert place.files.read(handle, 0, 100) == b"one\ntwo\n"
    assert place.files.status(path_of(place, "a.log.1"), place.base).identity == identity
    assert place.files.handle_status(handle).links == 1
    place.unlink("a.log.1")
    assert place.files.handle_status(handle).links == 0
    assert place.files.read(handle, 4, 100) == b"two\n"
    place.files.close(handle)


def test_rename_replaces_what_had_the_name(place: Place) -> None:
    """The file whose name was taken has no link left; the other has its identity and the name."""
    place.write("a.log", b"old\n")
    place.write("b.log", b"new\n")
    handle = opened(place, "a.log")
    moved = place.files.status(path_of(place, "b.log"), place.base).identity

    place.rename("b.log", "a.log")

    assert place.files.handle_status(handle).links == 0
    assert place.files.status(path_of(place, "a.log"), place.base).identity == moved
    place.files.close(handle)


def test_truncation_shortens_what_a_handle_sees(place: Place) -> None:
    """A truncated file is shorter for every handle, and grows again from there."""
    place.write("a.log", b"0123456789")
    handle = opened(place, "a.log")

    place.truncate("a.log", 3)

    assert place.files.size(handle) == 3
    assert place.files.read(handle, 0, 100) == b"012"
    place.write("a.log", b"xy")
    assert place.files.read(handle, 0, 100) == b"012xy"
    place.files.close(handle)


def test_hard_link_is_the_same_file(place: Place) -> None:
    """Two names lead to one identity, with two links."""
    place.write("a.log", b"one\n")

    place.link("a.log", "b.log")

    first = place.files.status(path_of(place, "a.log"), place.base)
    second = place.files.status(path_of(place, "b.log"), place.base)
    assert first.identity == second.identity
    assert first.links == second.links == 2


def test_status_says_kind_size_and_modification(place: Place) -> None:
    """Size and time of modification move with a write; a directory is one."""
    place.write("a.log", b"one\n")
    before = place.files.status(path_of(place, "a.log"), place.base)

    place.write("a.log", b"two\n")

    after = place.files.status(path_of(place, "a.log"), place.base)
    assert (before.kind, before.size, after.size) == ("file", 4, 8)
    assert after.mtime_ns >= before.mtime_ns
    assert place.files.status(place.base, place.base).kind == "directory"


def test_listing_names_every_entry_with_its_kind(place: Place) -> None:
    """A listing tells files, directories, links and other things apart, and follows no link."""
    place.write("a.log", b"")
    place.mkdir("d.log")
    place.symlink("a.log", "l.log")
    place.mkfifo("p.log")

    entries = place.files.list_directory(place.base, place.base)

    assert {(one.name, one.kind) for one in entries} == {
        ("a.log", "file"),
        ("d.log", "directory"),
        ("l.log", "link"),
        ("p.log", "other"),
    }


@pytest.mark.parametrize(
    ("prepare", "name", "expected"),
    [
        pytest.param(lambda place: None, "no.log", errno.ENOENT, id="nothing"),
        pytest.param(lambda place: place.mkdir("d.log"), "d.log", errno.EINVAL, id="directory"),
        pytest.param(lambda place: place.mkfifo("p.log"), "p.log", errno.EINVAL, id="fifo"),
        pytest.param(
            lambda place: (place.write("a.log", b""), place.symlink("a.log", "l.log")),
            "l.log",
            errno.ELOOP,
            id="link",
        ),
        pytest.param(
            lambda place: (
                place.mkdir("d"),
                place.write("d/a.log", b""),
                place.symlink("d", "e"),
            ),
            "e/a.log",
            errno.ENOTDIR,
            id="directory through a link",
        ),
        pytest.param(
            lambda place: place.write("f", b""), "f/a.log", errno.ENOTDIR, id="file as a directory"
        ),
    ],
)
def test_open_refuses_what_is_no_regular_file_below_base(
    place: Place, prepare: Callable[[Place], object], name: str, expected: int
) -> None:
    """Only a regular file that no link leads to, below base, is opened."""
    prepare(place)

    with pytest.raises(OSError) as caught:  # noqa: PT011 -- its number is compared
        opened(place, name)

    assert caught.value.errno == expected


def test_link_in_base_is_followed(place: Place) -> None:
    """What the operator wrote out may be a link; its status is that of what it leads to."""
    place.write("a.log", b"one\n")
    place.symlink("a.log", "l.log")
    base = path_of(place, "l.log")

    status = place.files.status(base, base)
    handle = place.files.open(base, base)

    assert (status.kind, status.size) == ("file", 4)
    assert place.files.read(handle, 0, 100) == b"one\n"
    place.files.close(handle)


def test_closed_handle_is_gone(place: Place) -> None:
    """A handle cannot be closed twice."""
    place.write("a.log", b"")
    handle = opened(place, "a.log")

    place.files.close(handle)

    with pytest.raises(OSError, match="Bad file descriptor"):
        place.files.close(handle)


def test_fake_gives_a_freed_inode_again() -> None:
    """An inode is given again as soon as neither a name nor a handle leads to it, as on ext4."""
    files = fakes.FakeFiles(fakes.FakeClock())
    first = files.create("/a.log")
    handle = files.open("/a.log", "/")

    files.unlink("/a.log")
    second = files.create("/a.log")
    files.close(handle)
    files.unlink("/a.log")
    third = files.create("/a.log")

    assert second.number != first.number
    assert third.number == first.number


# --- the store --------------------------------------------------------------------------------


class Store(Protocol):
    """What both stores can do."""

    def load(self, flow: str) -> tuple[list[model.Checkpoint], set[str]]: ...
    def write(self, snapshots: list[model.FlowSnapshot]) -> None: ...
    def renew_ids(self) -> None: ...
    def adopt(self, old: str, new: str) -> None: ...
    def forget(self, flow: str) -> None: ...


@pytest.fixture(params=["real", "fake"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "fake":
        yield fakes.FakeStore()
        return
    real = checkpoint.CheckpointStore(str(tmp_path / "state"))
    real.open()
    yield real
    real.close()


def row(tail_id: str, offset: int) -> model.Checkpoint:
    return model.Checkpoint(
        tail_id=tail_id,
        paths=("/logs/a.log",),
        identity=model.FileIdentity(1, 2**63),
        mtime_ns=1_700_000_000_000_000_000,
        was_unlinked=False,
        start=1,
        offset=offset,
        fingerprint=model.Fingerprint(offset, b"f" * 16),
        frontier=model.Frontier(offset, b"g" * 16),
        older=(model.Frontier(2, b"h" * 16),),
        ranges=(model.SettledRange(offset + 1, offset + 9, b"i" * 16),),
        split_digest="1:30:split",
    )


def test_store_gives_back_what_was_written(store: Store) -> None:
    """Rows and marks of a flow come back as they were; another flow has none of them."""
    store.write([model.FlowSnapshot("web", 1, (row("b", 5), row("a", 4)), (), ("/logs/*.log",))])

    assert store.load("web") == ([row("a", 4), row("b", 5)], {"/logs/*.log"})
    assert store.load("other") == ([], set())


def test_last_row_of_a_tail_wins_and_a_forgotten_one_is_gone(store: Store) -> None:
    """A row is replaced by the next one of its tail; a forgotten tail has none."""
    store.write([model.FlowSnapshot("web", 1, (row("a", 4), row("b", 5)))])

    store.write(
        [
            model.FlowSnapshot("web", 2, (row("a", 40),)),
            model.FlowSnapshot("web", 3, (), ("b", "unknown")),
        ]
    )

    assert store.load("web")[0] == [row("a", 40)]


def test_adopted_state_changes_its_flow_and_forgotten_state_goes(store: Store) -> None:
    """What one flow knew belongs to the other after adopt, and to none after forget."""
    store.write([model.FlowSnapshot("old", 1, (row("a", 4),), (), ("/logs/*.log",))])

    store.adopt("old", "new")

    assert store.load("old") == ([], set())
    assert store.load("new") == ([row("a", 4)], {"/logs/*.log"})
    store.forget("new")
    assert store.load("new") == ([], set())


def test_renewed_ids_are_new_and_all_else_stays(store: Store) -> None:
    """Twice renewed, an id never comes again."""
    store.write([model.FlowSnapshot("web", 1, (row("a", 4), row("b", 5)), (), ("/a",))])
    seen = {"a", "b"}

    for turn in range(1, 3):
        store.renew_ids()

        found, scanned = store.load("web")
        seen |= {one.tail_id for one in found}
        assert {"/a"} == scanned
        assert 2 * turn + 2 == len(seen)
        assert [4, 5] == sorted(one.offset for one in found)
        assert [32, 32] == [len(one.tail_id) for one in found]
