"""`follow_symlinks`: links that a wildcard matched, as they are now, on a real file system."""

from __future__ import annotations

import gzip
import os
import pathlib
import shutil

import pytest
from real_files import Host, lines

from kagent import scanning, system

POD = "pods/shop_web-7d9f_1c2e/nginx"


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Host:
    """Containers' logs as Kubernetes lays them out: a link, to a link, to the file."""
    one = Host(
        tmp_path, paths=(f"{tmp_path}/containers/*.log",), follow_symlinks=True, rotate_wait="30s"
    )
    one.write("docker/c1/c1-json.log", b"first")
    (tmp_path / POD).mkdir(parents=True)
    os.symlink(tmp_path / "docker/c1/c1-json.log", tmp_path / POD / "0.log")
    (tmp_path / "containers").mkdir()
    link(one, f"{POD}/0.log")
    one.start()
    return one


def link(host: Host, target: str, name: str = "web_shop_nginx-c1.log") -> None:
    """Let a container's link lead somewhere, in one move, as `ln -sfn` and kubelet do."""
    new = host.directory / "containers" / ".new"
    os.symlink(host.directory / target, new)
    os.replace(new, host.directory / "containers" / name)


def test_file_behind_links_is_followed(host: Host) -> None:
    """Through as many links as there are; it goes by the name that matched."""
    first = host.run()
    host.write("docker/c1/c1-json.log", b"second")

    assert lines([b"first"]) == first
    assert lines([b"second"]) == host.run()
    assert ["containers/web_shop_nginx-c1.log"] == host.open_paths


def test_rotation_behind_a_link_is_noticed_though_its_directory_did_not_change(
    host: Host,
) -> None:
    """Kubelet renames 0.log and makes a new one: the old one is read to its end, then the new."""
    real = host.directory / "docker/c1/c1-json.log"
    host.run()
    host.write("docker/c1/c1-json.log", b"before")
    os.rename(real, f"{real}.20261126-010203")
    with open(f"{real}.20261126-010203", "ab") as writer:
        host.write("docker/c1/c1-json.log", b"after")
        found = host.run()
        writer.write(b"late, by the old descriptor\n")
        writer.flush()
        late = host.run()

    assert sorted(lines([b"before", b"after"])) == sorted(found)
    assert lines([b"late, by the old descriptor"]) == late


def test_link_that_leads_elsewhere_is_followed_there(host: Host) -> None:
    """The new file from its beginning, the rest of the old one, too, and nothing twice."""
    host.run()
    host.write("docker/c1/c1-json.log", b"rest")
    host.write(f"{POD}/1.log", b"restarted")
    link(host, f"{POD}/1.log")

    found = host.run()

    assert sorted(lines([b"rest", b"restarted"])) == sorted(found)
    host.run(60.0)
    assert ["containers/web_shop_nginx-c1.log"] == host.open_paths
    link(host, f"{POD}/0.log")
    assert [] == host.run()


def test_position_behind_a_link_survives_a_restart(host: Host) -> None:
    """Whether the link leads where it led or not."""
    host.run()
    host.stop()
    host.write("docker/c1/c1-json.log", b"second")
    host.start()
    second = host.run()
    host.stop()
    host.write(f"{POD}/1.log", b"restarted")
    link(host, f"{POD}/1.log")
    host.start()

    assert lines([b"second"]) == second
    assert lines([b"restarted"]) == host.run()


def test_rotations_behind_a_link_while_kagent_was_down_are_found(host: Host) -> None:
    """Generations are beside what the link leads to: the rest of the old one, then the younger."""
    real = host.directory / "docker/c1/c1-json.log"
    host.write("docker/c1/c1-json.log", b"x" * 1100)
    host.run()
    host.stop()
    host.write("docker/c1/c1-json.log", b"rest")
    os.rename(real, f"{real}.20261126-010203")
    host.write("docker/c1/c1-json.log", b"between")
    os.rename(real, f"{real}.20261126-010204")
    host.write("docker/c1/c1-json.log", b"now")
    host.start()

    assert sorted(lines([b"rest", b"between", b"now"])) == sorted(host.run(30.0))


@pytest.mark.parametrize("is_rotated", [False, True], ids=["as it was", "rotated"])
def test_what_a_link_led_to_before_kagent_was_down_is_read_on(
    host: Host, *, is_rotated: bool
) -> None:
    """A container was started again: what its link led to has a place in the checkpoint."""
    real = host.directory / "docker/c1/c1-json.log"
    host.write("docker/c1/c1-json.log", b"x" * 1100)
    host.run()
    host.stop()
    host.write("docker/c1/c1-json.log", b"rest")
    if is_rotated:
        packed = gzip.compress(real.read_bytes())
        pathlib.Path(f"{real}.20261126-010203.gz").write_bytes(packed)
        os.unlink(real)
    host.write("docker/c1/c1-json.log", b"its end")
    host.write("docker/c2/c2-json.log", b"again")
    os.symlink(host.directory / "docker/c2/c2-json.log", host.directory / POD / "1.log")
    link(host, f"{POD}/1.log")
    host.start()

    assert sorted(lines([b"rest", b"its end", b"again"])) == sorted(host.run(60.0))


def test_links_to_directories_are_entered_once(tmp_path: pathlib.Path) -> None:
    """A loop ends, and what is reached twice is one file."""
    host = Host(tmp_path, paths=(f"{tmp_path}/logs/**/*.log",), follow_symlinks=True)
    host.write("elsewhere/a.log", b"a")
    (tmp_path / "logs").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "logs" / "in")
    os.symlink(tmp_path / "elsewhere", tmp_path / "logs" / "again")
    os.symlink(tmp_path / "logs", tmp_path / "elsewhere" / "loop")
    host.start()

    assert lines([b"a"]) == host.run()
    os.unlink(tmp_path / "logs" / "in")
    os.unlink(tmp_path / "logs" / "again")
    host.write("new/b.log", b"b")
    os.symlink(tmp_path / "new", tmp_path / "logs" / "in")
    assert lines([b"b"]) == host.run()


def test_what_a_link_leads_to_is_still_a_regular_file_or_nothing(tmp_path: pathlib.Path) -> None:
    """A FIFO, a device, a directory, nothing: said, and looked at again when it is mended."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    for name in ["fifo", "directory", "nothing"]:
        os.symlink(tmp_path / name, tmp_path / f"{name}.log")
    os.symlink("/dev/null", tmp_path / "device.log")
    host = Host(tmp_path, follow_symlinks=True)
    scanner = scanning.Scanner(
        [f"{tmp_path}/*.log"], [], system.OsFiles(), host.clock, follows_links=True
    )
    reasons = {os.path.basename(one.path): one.reason for one in scanner.scan().faults}
    host.start()
    nothing = host.run()
    (tmp_path / "nothing").write_bytes(b"there now\n")

    assert [] == nothing
    assert {
        "fifo.log": "is no regular file",
        "device.log": "is no regular file",
        "directory.log": "is a directory",
        "nothing.log": "is a link to nothing",
    } == reasons
    assert [b"there now\n"] == host.run()


def test_links_are_not_followed_by_default(tmp_path: pathlib.Path) -> None:
    """Whoever may write to a log directory could let kagent read what it may read."""
    host = Host(tmp_path)
    (tmp_path / "secret").write_bytes(b"secret\n")
    os.symlink(tmp_path / "secret", tmp_path / "a.log")
    host.start()

    assert [] == host.run()


@pytest.mark.parametrize("name", ["a.log", "b.log"])
def test_copy_of_a_file_of_several_names_is_found_beside_each(
    tmp_path: pathlib.Path, name: str
) -> None:
    """With links followed as without: a generation's name may be made of any of them."""
    host = Host(tmp_path, follow_symlinks=True)
    real = host.write("a.log", b"x" * 1100)
    os.link(real, tmp_path / "b.log")
    host.start()
    host.run()
    host.write("a.log", b"rest")
    shutil.copy(real, tmp_path / f"{name}.1")
    os.truncate(real, 0)
    host.write("a.log", b"new")

    assert lines([b"new", b"rest"]) == sorted(host.run(10.0))


@pytest.mark.parametrize("name", ["a.log", "b.log"])
def test_growth_of_a_file_that_had_several_names_is_noticed(
    tmp_path: pathlib.Path, name: str
) -> None:
    """It was closed; a writer that nobody told goes on in it, whichever of them it was given."""
    host = Host(tmp_path, follow_symlinks=True, rotate_wait="30s")
    real = host.write("a.log", b"old")
    os.link(real, tmp_path / "b.log")
    host.start()
    host.run()
    os.rename(tmp_path / name, tmp_path / f"{name}.1")
    (tmp_path / ("b.log" if name == "a.log" else "a.log")).unlink()
    host.run(60.0)
    closed = host.open_paths
    host.write(f"{name}.1", b"late")

    assert [[], lines([b"late"])] == [closed, host.run(5.0)]
