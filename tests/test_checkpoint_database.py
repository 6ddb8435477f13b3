"""The state directory and the database file: taken safely, or refused with words that help."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kagent import errors
from kagent.checkpoint import database

SCHEMA = "CREATE TABLE fact (value TEXT);"


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "checkpoints.db")


def create(path: str) -> None:
    connection = database.open_database(path, SCHEMA)
    connection.execute("INSERT INTO fact VALUES ('kept')")
    connection.close()


def facts(path: str) -> list[str]:
    connection = database.open_database(path, SCHEMA)
    try:
        return [row["value"] for row in connection.execute("SELECT * FROM fact")]
    finally:
        connection.close()


def execute(path: str, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


# --- the directory and its lock ---------------------------------------------------------------


def test_directory_is_created_for_its_owner_alone(tmp_path: Path) -> None:
    """Positions name files and dead letters hold their lines: nobody else may look."""
    path = tmp_path / "lib" / "kagent"

    os.close(database.lock_directory(str(path)))

    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((path / "lock").stat().st_mode) == 0o600


def test_second_process_is_refused_and_told_the_first(tmp_path: Path) -> None:
    """Two daemons on one state would both ship everything; the message names whom to stop."""
    descriptor = database.lock_directory(str(tmp_path))
    program = (
        "import sys; from kagent.checkpoint import database as d; d.lock_directory(sys.argv[1])"
    )

    second = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=False
    )

    os.close(descriptor)
    assert second.returncode == 1
    assert f"AlreadyRunningError: {tmp_path}: in use by another kagent, pid {os.getpid()};" in (
        second.stderr
    )


def test_lock_ends_with_its_holder(tmp_path: Path) -> None:
    """A lock file that a killed daemon left behind is no lock; a longer number leaves no trace."""
    (tmp_path / "lock").write_text("4194304000\n")

    os.close(database.lock_directory(str(tmp_path)))
    os.close(database.lock_directory(str(tmp_path)))

    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_lock_that_the_system_cannot_take_is_its_error(tmp_path: Path) -> None:
    """A planted link is not followed: the lock file would be overwritten wherever it leads."""
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OSError, match="lock") as refused:
        database.lock_directory(str(tmp_path))

    assert refused.value.errno == errno.ELOOP


def test_directory_that_others_can_write_is_refused(tmp_path: Path) -> None:
    """Whoever can write there can plant positions that skip lines."""
    tmp_path.chmod(0o770)

    with pytest.raises(
        errors.CheckpointError, match="can be written by other accounts; hint: make"
    ):
        database.lock_directory(str(tmp_path))


@pytest.mark.parametrize(
    ("owner", "mode", "reason"),
    [
        pytest.param(0, 0o755, "belongs to user 0", id="another user's"),
        pytest.param(65534, 0o500, "cannot be written", id="ours, but not writable"),
    ],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_directory_that_is_not_ours_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: int, mode: int, reason: str
) -> None:
    """The user is told before anything is written, and what to do."""
    path = tmp_path / "state"
    path.mkdir(mode=mode)
    os.chown(path, owner, -1)
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    os.seteuid(65534)

    try:
        with pytest.raises(errors.CheckpointError, match=f"^state: {reason}; hint: make it"):
            database.lock_directory("state")
    finally:
        os.seteuid(0)


def test_directory_that_cannot_be_created_is_refused(tmp_path: Path) -> None:
    """A file in the way is the operator's to move."""
    (tmp_path / "state").touch()

    with pytest.raises(
        errors.CheckpointError, match="state: cannot be created: File exists; hint"
    ):
        database.lock_directory(str(tmp_path / "state"))


# --- opening ----------------------------------------------------------------------------------


def test_database_is_created_private_and_durable(path: str) -> None:
    """A new database is complete, ours by its marks, and on disk at every commit."""
    create(path)

    connection = database.open_database(path, SCHEMA)

    pragmas = ("application_id", "user_version", "journal_mode", "synchronous", "temp_store")
    found = [connection.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in pragmas]
    modes = {stat.S_IMODE(os.stat(file).st_mode) for file in (path, f"{path}-wal", f"{path}-shm")}
    connection.close()
    assert found == [0x6B61676E, 1002, "wal", 2, 2]
    assert modes == {0o600}
    assert not os.path.exists(f"{path}.new")


def test_creation_that_a_crash_cut_short_begins_again(path: str) -> None:
    """Only the rename makes a database: what lies beside it was never used."""
    Path(f"{path}.new").write_bytes(b"half a database")

    create(path)

    assert facts(path) == ["kept"]


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("PRAGMA user_version = 1007", id="a newer minor version"),
        pytest.param("ALTER TABLE fact ADD COLUMN novelty TEXT", id="a newer column"),
    ],
)
def test_release_opens_what_its_neighbours_wrote(path: str, statement: str) -> None:
    """A release that is taken back leaves a database that the one before reads."""
    create(path)
    execute(path, statement)

    found = facts(path)

    assert found == ["kept"]


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        pytest.param("PRAGMA user_version = 2000", "has version 2000", id="a newer major"),
        pytest.param("PRAGMA user_version = 0", "has version 0", id="no version"),
        pytest.param("PRAGMA application_id = 7", "is not a database of kagent", id="foreign"),
    ],
)
def test_foreign_database_is_refused_and_left_alone(
    path: str, statement: str, reason: str
) -> None:
    """What this release cannot read it does not touch."""
    create(path)
    execute(path, statement)
    before = Path(path).read_bytes()

    with pytest.raises(errors.CheckpointError, match=f"{reason}.*; hint: "):
        facts(path)

    assert Path(path).read_bytes() == before


def damage_header(path: Path) -> None:
    path.write_bytes(b"X" + path.read_bytes()[1:])


def damage_page(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 4096)


def cut(path: Path) -> None:
    os.truncate(path, 4096)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def replace_by_log(path: Path) -> None:
    path.write_bytes(b"this is no database\n" * 1000)


@pytest.mark.parametrize("damage", [damage_header, damage_page, cut, empty, replace_by_log])
def test_damage_stops_the_start_and_deletes_nothing(
    path: str, damage: Callable[[Path], None]
) -> None:
    """Beginning anew would skip lines, so a human decides; the hint says between what."""
    create(path)
    damage(Path(path))
    before = Path(path).read_bytes()

    with pytest.raises(errors.CheckpointError, match="is damaged: ") as refused:
        facts(path)

    assert refused.value.path == path
    assert "move checkpoints.db, checkpoints.db-wal and checkpoints.db-shm" in refused.value.hint
    assert Path(path).read_bytes() == before


def test_log_without_its_database_is_damage(path: str) -> None:
    """SQLite would replay a left-over -wal into a database that was just created."""
    Path(f"{path}-wal").write_bytes(b"frames")

    with pytest.raises(errors.CheckpointError, match="is missing, but its -wal is there"):
        create(path)

    assert not os.path.exists(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_database_of_another_user_is_refused(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who once ran kagent as root is told which file to give back."""
    create(path)
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    os.seteuid(65534)

    try:
        with pytest.raises(
            errors.CheckpointError, match="may not be read and written; hint: chown"
        ):
            create("checkpoints.db")
    finally:
        os.seteuid(0)


# --- errors while running ---------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let us mount, to fill a disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


def fill(disk: Path) -> None:
    with open(disk / "ballast", "wb", buffering=0) as ballast:
        for size in (4096, 1):
            try:
                while True:
                    ballast.write(b"x" * size)
            except OSError:
                pass


def test_full_disk_at_the_start_is_no_damage(small_disk: Path) -> None:
    """It passes when someone makes room, so the error is one that lets systemd try again."""
    fill(small_disk)

    with pytest.raises(OSError, match=r"checkpoints.db"):
        create(str(small_disk / "checkpoints.db"))

    (small_disk / "ballast").unlink()
    create(str(small_disk / "checkpoints.db"))
    assert facts(str(small_disk / "checkpoints.db")) == ["kept"]


def test_lock_is_taken_on_a_full_disk(small_disk: Path) -> None:
    """The number in the lock file is for people only."""
    os.close(database.lock_directory(str(small_disk)))
    fill(small_disk)

    descriptor = database.lock_directory(str(small_disk))

    with pytest.raises(errors.AlreadyRunningError, match=r"pid (unknown|[0-9]+);"):
        database.lock_directory(str(small_disk))
    os.close(descriptor)


def test_mistake_of_ours_is_not_called_damage(path: str) -> None:
    """Only what SQLite finds in the file is damage; wrong use of it is a bug and says so."""
    connection = database.open_database(path, SCHEMA)
    connection.close()

    with pytest.raises(sqlite3.ProgrammingError), database.map_errors(path):
        connection.execute("SELECT 1")
