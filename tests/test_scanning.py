"""`scanning` on real directories: what a scan sees, what it refuses, when it looks again."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from kagent import listings, model, patterns, scanning, system

EPOCH_S = 1_700_000_000  # the time of the fake clock at its start
OLD_S = 1000  # how long before that a directory of a test changed


class Clock:
    """A clock that stands still unless it is told to go on."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return EPOCH_S + self.now

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        self.now += timeout_s
        return event.is_set()


class FaultyFiles(system.OsFiles):
    """The real file system, which notes what was listed and fails where it is told to."""

    def __init__(self) -> None:
        self.listed: list[str] = []
        self.unlistable: dict[str, int] = {}
        self.unseen: dict[str, int] = {}  # paths whose status fails, with the error number
        self.replaced: dict[str, model.FileStatus] = {}

    def list_directory(self, path: str, base: str) -> list[model.DirectoryEntry]:
        if path in self.unlistable:
            raise OSError(self.unlistable[path], os.strerror(self.unlistable[path]), path)
        self.listed.append(path)
        return super().list_directory(path, base)

    def status(self, path: str, base: str) -> model.FileStatus:
        if path in self.unseen:
            raise OSError(self.unseen[path], os.strerror(self.unseen[path]), path)
        return self.replaced.get(path) or super().status(path, base)


class Place:
    """A directory with files of which the changes seem long ago, and what scans it."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.files = FaultyFiles()
        self.clock = Clock()

    def __truediv__(self, name: str) -> str:
        return os.path.join(self.root, name)

    def make(self, *names: str) -> None:
        """Make files; every directory on the way looks as if it had not changed for long."""
        for name in names:
            path = Path(self / name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"line\n")
        self.age()

    def age(self, seconds: float = OLD_S) -> None:
        """Let all directories have changed last so many seconds before the clock's start."""
        at = EPOCH_S - seconds
        for directory, _, _ in os.walk(self.root):
            os.utime(directory, (at, at))

    def scanner(self, *paths: str, exclude: Iterable[str] = ()) -> scanning.Scanner:
        texts = [self / path for path in paths]
        return scanning.Scanner(texts, exclude, self.files, self.clock)

    def found(self, result: scanning.ScanResult) -> list[str]:
        """Return the paths that a scan saw, below the root."""
        return sorted(os.path.relpath(one.path, self.root) for one in result.sightings)

    def reasons(self, result: scanning.ScanResult) -> dict[str, str]:
        return {os.path.relpath(one.path, self.root): one.reason for one in result.faults}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# --- what is seen -----------------------------------------------------------------------------


def test_sighting_says_what_the_file_system_says(place: Place) -> None:
    """Path, identity, size and mtime; the base is what the operator wrote out."""
    place.make("a.log")
    os.utime(place / "a.log", ns=(5, 7))

    result = place.scanner("*.log").scan()

    status = os.stat(place / "a.log")
    identity = model.FileIdentity(status.st_dev, status.st_ino)
    expected = model.Sighting(place / "a.log", place.root, identity, 5, 7, (place / "*.log",))
    assert [expected] == result.sightings
    assert {place / "*.log": set()} == result.failed


@pytest.mark.parametrize(
    ("paths", "exclude", "expected"),
    [
        pytest.param(["*.log"], [], ["a.log", "b.log"], id="a wildcard"),
        pytest.param(["a.log"], [], ["a.log"], id="written out"),
        pytest.param(["absent.log", "absent/*.log"], [], [], id="absent"),
        pytest.param(["a.log/*.log"], [], [], id="a file as a directory"),
        pytest.param(["web/*/a.log"], [], ["web/1/a.log", "web/2/a.log"], id="in directories"),
        pytest.param(["web/*/*/*"], [], ["web/2/deep/a.log"], id="further down"),
        pytest.param(["**/deep/*"], [], ["web/2/deep/a.log"], id="anywhere"),
        pytest.param(["**/**/deep/*"], [], ["web/2/deep/a.log"], id="anywhere, said twice"),
        pytest.param(["**/a.log"], ["/*/**/2/**/*"], ["a.log", "web/1/a.log"], id="path left out"),
        pytest.param(["*", "web/1/*"], ["b.*"], ["a.log", "web/1/a.log"], id="name left out"),
        pytest.param(["{a,b}.log", "a.*"], [], ["a.log", "b.log"], id="found twice"),
    ],
)
def test_scan_finds_the_files_that_are_meant(
    place: Place, paths: list[str], exclude: list[str], expected: list[str]
) -> None:
    """In every component, and never what was left out or is hidden."""
    place.make("a.log", "b.log", ".c.log", "web/1/a.log", "web/2/a.log", "web/2/deep/a.log")
    place.make(".old/a.log")

    result = place.scanner(*paths, exclude=exclude).scan()

    assert expected == place.found(result)


def test_file_of_two_patterns_is_seen_once_with_both(place: Place) -> None:
    """The longest part that was written out is the base: there, links are the operator's."""
    place.make("web/a.log")

    result = place.scanner("*/a.log", "web/*.log", "**/a.log").scan()

    (seen,) = result.sightings
    assert (place / "*/a.log", place / "web/*.log", place / "**/a.log") == seen.patterns
    assert place / "web" == seen.base


def test_directories_to_be_watched_are_all_that_were_looked_at(place: Place) -> None:
    """Those on the way, and the one that a written-out file is in; absent ones are none."""
    place.make("web/1/a.log", "one/b.log")

    result = place.scanner("web/*/a.log", "one/b.log", "absent/*.log").scan()

    assert {place / "web", place / "web/1", place / "one"} == result.directories


def test_file_in_no_directory_that_matches_is_not_looked_for(place: Place) -> None:
    """Only directories that the pattern means are listed."""
    place.make("web/a.log", "mail/a.log")

    place.scanner("web/*.log").scan()

    assert [place / "web"] == place.files.listed


tree_names = st.sampled_from(["a", "b", ".h", "x.log", ".y.log", "a.log"])
trees = st.lists(st.lists(tree_names, min_size=1, max_size=4), max_size=12)
components = st.sampled_from(
    ["*", "**", "a", "?", "[ab]", "[!a]*", "*.log", ".h", ".*", "{a,b}", "x.log", "{a/,}x.log"]
)
last_components = components.filter(lambda component: component != "**")


@hypothesis.settings(deadline=None, max_examples=120)
@hypothesis.given(
    tree=trees,
    wanted=st.builds(
        lambda most, last: [*most, last], st.lists(components, max_size=3), last_components
    ),
)
def test_scan_finds_exactly_what_the_expression_matches(
    tree: list[list[str]], wanted: list[str]
) -> None:
    """In any tree: the scanner walks to a file if and only if Pattern.regex means its path."""
    with tempfile.TemporaryDirectory() as root:
        made = set()
        for path in tree:
            name = os.path.join(root, *path)
            try:
                os.makedirs(os.path.dirname(name), exist_ok=True)
                Path(name).write_bytes(b"")
            except OSError:
                continue  # a file stands where a directory should, or the other way round
            made.add(name)
        text = os.path.join(root, *wanted)
        scanner = scanning.Scanner([text], [], system.OsFiles(), Clock())

        result = scanner.scan()

        regex = patterns.parse_pattern(text).regex
        assert {name for name in made if regex.fullmatch(name)} == {
            one.path for one in result.sightings
        }


# --- what is refused --------------------------------------------------------------------------


def test_what_is_no_regular_file_is_reported_and_not_seen(place: Place) -> None:
    """A planted directory, link or FIFO at a matching name hinders nothing and is named."""
    place.make("a.log")
    os.mkdir(place / "directory.log")
    os.symlink("a.log", place / "link.log")
    os.mkfifo(place / "fifo.log")

    result = place.scanner("*.log").scan()

    assert ["a.log"] == place.found(result)
    assert {
        "directory.log": "is a directory",
        "link.log": "is a link, and links that a wildcard matched are not followed",
        "fifo.log": "is no regular file",
    } == place.reasons(result)


def test_what_is_left_out_is_not_reported(place: Place) -> None:
    """The operator knows of it."""
    os.mkdir(place / "old.log")

    result = place.scanner("*.log", exclude=["old.*"]).scan()

    assert [] == result.faults


NOT_FOLLOWED = "is a link, and links that a wildcard matched are not followed"


@pytest.mark.parametrize("pattern", ["*/a.log", "**/a.log", "{*/b,*/a}.log", "**"])
def test_links_to_directories_that_wildcards_match_are_named(place: Place, pattern: str) -> None:
    """Once, and not entered: who looks for what is behind it has to be told of that."""
    place.make("real/a.log")
    os.symlink("real", place / "link")

    result = place.scanner(pattern).scan()

    assert ["real/a.log"] == place.found(result)
    assert {"link": NOT_FOLLOWED} == place.reasons(result)
    assert 1 == len(result.faults)


def test_only_links_that_would_lead_on_are_named(place: Place) -> None:
    """Not those to files or to nothing, those without a match, those of other patterns."""
    place.make("real/a.log", "b.txt")
    for link, target in [
        ("file", "b.txt"),
        ("nothing", "absent"),
        ("left", "real"),
        ("written", "real"),
    ]:
        os.symlink(target, place / link)
    os.symlink("real", place / ".hidden")

    result = place.scanner("*/a.log", "written/*.log", exclude=["left"]).scan()

    assert ["real/a.log", "written/a.log"] == place.found(result)
    assert [] == result.faults


def test_directory_that_becomes_a_link_and_a_directory_again(place: Place) -> None:
    """It is named as long as it is one; what it leads to may come later."""
    place.make("app/a.log")
    scanner = place.scanner("*/a.log")
    scanner.scan()

    os.rename(place / "app", place / ".real")
    os.symlink("absent", place / "app")
    reasons = [place.reasons(scanner.scan())]
    os.symlink(".real", place / "absent")
    place.clock.now += listings.RELIST_S
    reasons.append(place.reasons(scanner.scan()))
    os.unlink(place / "app")
    os.rename(place / ".real", place / "app")
    os.unlink(place / "absent")
    result = scanner.scan()

    assert [{}, {"app": NOT_FOLLOWED, "absent": NOT_FOLLOWED}] == reasons
    assert {} == place.reasons(result)
    assert ["app/a.log"] == place.found(result)


def test_no_more_links_are_named_than_a_log_can_bear(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tree may be full of them."""
    monkeypatch.setattr(scanning, "LINKS_MAX", 3)
    place.make("real/a.log")
    for number in range(5):
        os.symlink("real", place / f"link{number}")

    result = place.scanner("**/a.log").scan()

    assert {f"link{number}": NOT_FOLLOWED for number in range(3)} == place.reasons(result)


def test_links_that_are_written_out_are_followed(place: Place) -> None:
    """In the directory part and in the file's own name; the identity is the file's."""
    place.make("real/a.log")
    os.symlink("real", place / "link")
    os.symlink("real/a.log", place / "current.log")

    result = place.scanner("link/*.log", "current.log").scan()

    assert ["current.log", "link/a.log"] == place.found(result)
    assert {os.stat(place / "real/a.log").st_ino} == {
        one.identity.inode for one in result.sightings
    }


def test_written_out_path_that_is_no_file_is_reported(place: Place) -> None:
    """Directory, FIFO and a link to nothing are named; a file that is not there is no fault."""
    os.mkdir(place / "directory")
    os.mkfifo(place / "fifo")
    os.symlink("nothing", place / "dangling")

    result = place.scanner("directory", "fifo", "dangling", "absent").scan()

    assert [] == result.sightings
    assert {
        "directory": "is a directory",
        "fifo": "is no regular file",
        "dangling": "is a link to nothing",
    } == place.reasons(result)


def test_file_that_cannot_be_looked_at_is_reported(place: Place) -> None:
    """A status that fails is a fault of that file alone, and no failure of the directory."""
    place.make("a.log", "b.log")
    place.files.unseen[place / "a.log"] = errno.EACCES

    result = place.scanner("*.log").scan()

    assert ["b.log"] == place.found(result)
    assert {"a.log": "cannot look at it: Permission denied"} == place.reasons(result)
    assert {place / "*.log": set()} == result.failed


def test_file_that_went_away_after_the_listing_is_no_fault(place: Place) -> None:
    """The next scan sees what is there then."""
    place.make("a.log", "b.log")
    place.files.unseen[place / "a.log"] = errno.ENOENT

    result = place.scanner("*.log", "a.log").scan()

    assert (["b.log"], []) == (place.found(result), result.faults)


def test_file_that_became_a_link_after_the_listing_is_refused(place: Place) -> None:
    """What the listing called a file is not believed: the status says what it is."""
    place.make("a.log")
    os.symlink("a.log", place / "link")
    link = system.OsFiles().status(place / "link", place.root)
    place.files.replaced[place / "a.log"] = link

    result = place.scanner("*.log").scan()

    assert [] == result.sightings
    assert ["a.log"] == list(place.reasons(result))


@pytest.mark.parametrize(
    ("number", "failed", "reasons"),
    [
        pytest.param(
            errno.EACCES, {"shut"}, {"shut": "cannot list: Permission denied"}, id="shut"
        ),
        pytest.param(
            errno.EIO, {"shut"}, {"shut": "cannot list: Input/output error"}, id="broken"
        ),
        pytest.param(errno.ENOENT, set(), {}, id="gone"),
        pytest.param(errno.ENOTDIR, set(), {}, id="a file by now"),
    ],
)
def test_directory_that_cannot_be_listed_is_a_failure_unless_it_is_gone(
    place: Place, number: int, failed: set[str], reasons: dict[str, str]
) -> None:
    """It counts for the patterns that lead through it, and hinders no other directory."""
    place.make("open/a.log", "shut/b.log")
    place.files.unlistable[place / "shut"] = number

    result = place.scanner("*/*.log", "open/a.*").scan()

    assert ["open/a.log"] == place.found(result)
    assert {place / "*/*.log": {place / name for name in failed}, place / "open/a.*": set()} == (
        result.failed
    )
    assert reasons == place.reasons(result)


# --- when a directory is listed again ---------------------------------------------------------


def listed(place: Place, scanner: scanning.Scanner, hinted: Iterable[str] = ()) -> list[str]:
    """Return what a scan lists, below the root."""
    place.files.listed.clear()
    scanner.scan(hinted)
    return [os.path.relpath(path, place.root) for path in place.files.listed]


@pytest.mark.parametrize(
    ("after_s", "expected"),
    [
        pytest.param(0.0, [], id="at once"),
        pytest.param(listings.RELIST_S - 0.001, [], id="shortly before"),
        pytest.param(listings.RELIST_S, ["."], id="after RELIST_S"),
    ],
)
def test_unchanged_directory_is_listed_every_relist_s(
    place: Place, after_s: float, expected: list[str]
) -> None:
    """Without hint and change the last listing serves, for so long."""
    place.make("a.log")
    scanner = place.scanner("*.log")
    first = listed(place, scanner)

    place.clock.now += after_s
    second = listed(place, scanner)

    assert ["."] == first
    assert expected == second


def test_sizes_are_looked_at_without_a_listing(place: Place) -> None:
    """The files of a kept listing are asked for their status at each scan."""
    place.make("a.log")
    scanner = place.scanner("*.log")
    scanner.scan()
    Path(place / "a.log").write_bytes(b"line\nmore\n")

    result = scanner.scan()

    assert [10] == [one.size for one in result.sightings]


def test_hinted_directory_is_listed_at_once(place: Place) -> None:
    """Only that one; a hint about a directory that is not looked at means nothing."""
    place.make("a/1.log", "b/2.log")
    scanner = place.scanner("*/*.log")
    scanner.scan()

    second = listed(place, scanner, [place / "b", place / "nowhere"])

    assert ["b"] == second


def test_changed_directory_is_listed_at_once(place: Place) -> None:
    """Its mtime moved, so a name came or went."""
    place.make("a/1.log", "b/2.log")
    scanner = place.scanner("*/*.log")
    scanner.scan()
    Path(place / "b/3.log").write_bytes(b"")
    os.utime(place / "b", (EPOCH_S, EPOCH_S))

    second = listed(place, scanner)

    assert ["b"] == second


@pytest.mark.parametrize(
    ("age_s", "expected"),
    [
        pytest.param(listings.YOUNG_S + 0.5, [], id="old enough"),
        pytest.param(listings.YOUNG_S - 0.5, ["."], id="young"),
        pytest.param(-3600.0, ["."], id="of the future"),
    ],
)
def test_directory_that_had_just_changed_is_listed_again(
    place: Place, age_s: float, expected: list[str]
) -> None:
    """A change right after the listing may not have moved the mtime."""
    place.make("a.log")
    place.age(age_s)
    scanner = place.scanner("*.log")
    scanner.scan()

    second = listed(place, scanner)

    assert expected == second


def test_young_directory_grows_old(place: Place) -> None:
    """Once it is listed when it was no longer young, that listing serves."""
    place.make("a.log")
    place.age(0.0)
    scanner = place.scanner("*.log")
    scanner.scan()
    place.clock.now += listings.YOUNG_S

    assert [["."], []] == [listed(place, scanner), listed(place, scanner)]


def test_directory_that_was_gone_is_listed_when_it_is_back(place: Place) -> None:
    """Nothing is remembered of a directory that a scan did not see."""
    place.make("a/1.log")
    scanner = place.scanner("*/*.log")
    scanner.scan()
    os.rename(place / "a", place / ".hidden")
    scanner.scan([place.root])
    os.rename(place / ".hidden", place / "a")
    place.age()

    again = listed(place, scanner, [place.root])

    assert [".", "a"] == again


def test_directory_that_can_be_listed_again_is_no_failure_any_more(place: Place) -> None:
    """A failed listing is not kept: the next scan asks again."""
    place.make("a.log")
    place.files.unlistable[place.root] = errno.EACCES
    scanner = place.scanner("*.log")
    first = scanner.scan()
    place.files.unlistable.clear()

    second = scanner.scan()

    assert {place.root} == first.failed[place / "*.log"]
    assert set() == second.failed[place / "*.log"]
    assert ["a.log"] == place.found(second)
