"""`retired`: a writer that nobody told goes on in the old file, on a real file system."""

from __future__ import annotations

import os
import pathlib

import pytest
from real_files import Host, lines


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Host:
    """A file that was renamed away, shipped and closed; its writer is silent."""
    one = Host(tmp_path, rotate_wait="30s")
    one.write("app.log", b"one", b"two")
    one.start()
    one.run()
    os.rename(tmp_path / "app.log", tmp_path / "app.log.1")
    one.write("app.log", b"new")
    one.run(60.0)
    assert ["app.log"] == one.open_paths
    return one


def test_growth_opens_it_again_at_its_checkpoint(host: Host) -> None:
    """Again and again, and each time it is let go after `rotate_wait`."""
    for word in (b"late", b"later"):
        host.write("app.log.1", word)
        assert lines([word]) == host.run(5.0)
        host.run(60.0)
        assert ["app.log"] == host.open_paths


def test_it_is_found_by_another_generation_s_name(host: Host, tmp_path: pathlib.Path) -> None:
    """The next rotation renames it once more; what took its name is another file."""
    os.rename(tmp_path / "app.log.1", tmp_path / "app.log.2")
    os.rename(tmp_path / "app.log", tmp_path / "app.log.1")
    host.run(60.0)

    host.write("app.log.2", b"late")

    assert lines([b"late"]) == host.run(5.0)


def test_it_is_known_after_a_restart(host: Host) -> None:
    """Whether it grew before or after."""
    host.stop()
    host.write("app.log.1", b"while down")
    host.start()
    first = host.run(5.0)
    host.run(60.0)
    host.stop()
    host.start()
    host.run(5.0)
    host.write("app.log.1", b"after")

    assert lines([b"while down"]) == first
    assert lines([b"after"]) == host.run(5.0)


def test_other_content_under_its_name_is_not_shipped(host: Host, tmp_path: pathlib.Path) -> None:
    """Deleted, overwritten or shortened: nothing of it is anybody's."""
    with (tmp_path / "app.log.1").open("r+b") as file:
        file.write(b"ONE\nTWO\nTHREE\n")
    first = host.run(5.0)
    (tmp_path / "app.log.1").unlink()
    (tmp_path / "app.log.1").write_bytes(b"another file\n")

    assert [[], []] == [first, host.run(5.0)]


def test_a_file_that_comes_back_into_the_pattern_is_followed(
    host: Host, tmp_path: pathlib.Path
) -> None:
    """By the pattern's scan, from its checkpoint on."""
    os.rename(tmp_path / "app.log.1", tmp_path / "back.log")
    host.write("back.log", b"late")

    assert lines([b"late"]) == host.run(5.0)
    assert ["app.log", "back.log"] == host.open_paths
