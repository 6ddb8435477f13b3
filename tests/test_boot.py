"""Whether the machine started anew, by what the kernel says."""

from __future__ import annotations

import pathlib

import pytest

from kagent import boot


def begin(directory: pathlib.Path, kernels: str | None) -> boot.Boot:
    path = directory / "kernel"
    if kernels is None:
        path.unlink(missing_ok=True)
    else:
        path.write_text(f"{kernels}\n")
    return boot.Boot(str(directory), str(path))


def test_a_start_is_another_until_it_is_remembered(tmp_path: pathlib.Path) -> None:
    """By this process and by those after it, until the machine starts again."""
    one = begin(tmp_path, "first")
    assert one.is_another

    one.remember()

    assert not one.is_another
    assert not begin(tmp_path, "first").is_another
    second = begin(tmp_path, "second")
    assert second.is_another
    second.remember()
    assert not begin(tmp_path, "second").is_another


def test_in_doubt_it_is_another(tmp_path: pathlib.Path) -> None:
    """Where the kernel does not say, or what was remembered is no text."""
    begin(tmp_path, "first").remember()
    (tmp_path / "boot_id").write_bytes(b"\xff\xfe")

    assert begin(tmp_path, "first").is_another
    assert begin(tmp_path, None).is_another


def test_the_kernel_names_its_start() -> None:
    """On every Linux, in containers too."""
    assert boot._text(boot._KERNELS)


def test_without_room_it_stays_another(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The daemon starts all the same."""
    (tmp_path / "boot_id").mkdir()
    one = begin(tmp_path, "first")

    one.remember()

    assert one.is_another
    assert "start of the machine not noted" in caplog.text
