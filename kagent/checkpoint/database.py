"""A state directory that is ours alone and the SQLite database in it: opened safely or not at all.

Knows nothing of what the tables hold. A database that is damaged, empty or foreign stops the
start and is never deleted: beginning anew would skip lines wherever `start_at` is `end`. So that
no crash of ours can leave an empty one, a new one is made under another name and renamed when it
is complete. What may pass by itself, a full disk for example, leaves as OSError: the next start
may succeed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
import stat
from collections.abc import Iterator

from kagent import errors

_APPLICATION_ID = 0x6B61676E  # "kagn", by which file(1) and we know the file
# user_version is 1000 * major + minor. A minor adds columns, and any release of the same major
# opens it; the file is copied beside itself before columns are added.
_MAJOR = 1
_USER_VERSION = 1000 * _MAJOR + 2  # 1: checkpoint.is_done, 2: its target
_LOCK = "lock"
_BUSY_TIMEOUT_S = 1.0
_WAL_BYTES_MAX = 4 * 1024**2
_ASIDE = (
    "restore it, or move {name}, {name}-wal and {name}-shm aside; without positions every flow"
    " begins at its start_at"
)


# What the system cannot do now, and may be able to do later.
_MAY_PASS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
)


def lock_directory(path: str) -> int:
    """Create the directory, 0700, take its lock, and return the descriptor that holds it.

    Raises:
        AlreadyRunningError: another process holds the lock.
        CheckpointError: the directory is not ours, or not ours alone.
        OSError: the system cannot do it now.
    """
    _prepare_directory(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(os.path.join(path, _LOCK), flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise errors.AlreadyRunningError(
            f"{path}: in use by another kagent, pid {holder or 'unknown'};"
            " hint: stop it first, or give this one a state_dir of its own"
        ) from None
    with contextlib.suppress(OSError):  # the number is for people; a full disk stops no start
        os.truncate(descriptor, os.pwrite(descriptor, b"%d\n" % os.getpid(), 0))
    return descriptor


def open_database(path: str, schema: str) -> sqlite3.Connection:
    """Open the database for writing; create it with `schema` when there is none.

    The connection may be handed from thread to thread, but is used by one at a time. It is in
    autocommit: a transaction begins where one is begun.

    Raises:
        CheckpointError: the database is damaged, foreign, or may not be written.
        OSError: the system cannot do it now.
    """
    with map_errors(path):
        if not os.path.exists(path):
            _create(path, schema)
        if os.path.getsize(path) == 0:
            raise damaged(path, "it is empty")
        if not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
            hint = f"chown it to user {os.geteuid()}, as whom kagent runs"
            raise errors.CheckpointError(path, "may not be read and written", hint)
        database = _connect(path)
        try:
            _verify(path, database)
            _upgrade(path, database, schema)
        except BaseException:
            database.close()
            raise
        return database


@contextlib.contextmanager
def map_errors(path: str) -> Iterator[None]:
    """Translate SQLite's errors: damage is the operator's, the rest may pass by itself."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OSError(f"{path}: {error}") from error
    except sqlite3.DatabaseError as error:
        if type(error) is not sqlite3.DatabaseError:  # a subclass: the mistake is in our code
            raise
        raise damaged(path, str(error)) from error


def damaged(path: str, finding: str) -> errors.CheckpointError:
    """Return the error for a database that does not hold what we wrote."""
    hint = _ASIDE.format(name=os.path.basename(path))
    return errors.CheckpointError(path, f"is damaged: {finding}", hint)


def _prepare_directory(path: str) -> None:
    """Create the directory; refuse one that another account owns or can write to."""
    hint = f"make it a directory of user {os.geteuid()}, mode 0700, or set state_dir"
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as error:
        if error.errno in _MAY_PASS:  # a later try may succeed: not the operator's to mend
            raise
        reason = f"cannot be created: {error.strerror}"
        raise errors.CheckpointError(path, reason, hint) from error
    found = os.stat(path)
    if found.st_uid != os.geteuid():
        raise errors.CheckpointError(path, f"belongs to user {found.st_uid}", hint)
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise errors.CheckpointError(path, "can be written by other accounts", hint)
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        raise errors.CheckpointError(path, "cannot be written", hint)


def _create(path: str, schema: str) -> None:
    """Make a complete database under another name, and give it its own when it is on disk."""
    if os.path.exists(f"{path}-wal"):  # SQLite would replay it into the new database
        raise damaged(path, "it is missing, but its -wal is there")
    new = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)  # a crash left it here before it was ever used
    os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as database:
        database.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = FULL; BEGIN;"
            f"PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {_USER_VERSION};"
            f"{schema} COMMIT;"
        )
    os.rename(new, path)
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _upgrade(path: str, database: sqlite3.Connection, schema: str) -> None:
    """Add the columns that an older release did not know, each with its default."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version >= _USER_VERSION:
        return
    copy = f"{path}.{version}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(copy)  # of an upgrade that a crash cut short
    database.execute("VACUUM INTO ?", (copy,))
    with contextlib.closing(sqlite3.connect(":memory:")) as reference:
        reference.executescript(schema)
        missing = [
            (table, name, kind, default)
            for (table,) in reference.execute("SELECT name FROM sqlite_master").fetchall()
            for _, name, kind, _, default, _ in reference.execute(f"PRAGMA table_info({table})")
            if name not in {known[1] for known in database.execute(f"PRAGMA table_info({table})")}
        ]
    database.execute("BEGIN IMMEDIATE")
    for table, name, kind, default in missing:
        database.execute(
            f"ALTER TABLE {table} ADD COLUMN {name} {kind} NOT NULL DEFAULT {default}"
        )
    database.execute(f"PRAGMA user_version = {_USER_VERSION}")
    database.execute("COMMIT")


def _connect(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(
        path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    database.row_factory = sqlite3.Row
    return database


def verify_kind(path: str, database: sqlite3.Connection) -> None:
    """Refuse what is not a database of ours, or one of another major."""
    (application_id,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if application_id != _APPLICATION_ID:
        hint = "move it aside if it is not kagent's, or set state_dir"
        raise errors.CheckpointError(path, "is not a database of kagent", hint)
    if version // 1000 != _MAJOR:
        reason = f"has version {version}, this release opens {_MAJOR}000 to {_MAJOR}999"
        hint = "run the release that wrote it, or set state_dir"
        raise errors.CheckpointError(path, reason, hint)


def _verify(path: str, database: sqlite3.Connection) -> None:
    """Refuse what is not a sound database of ours, before anything is written to it."""
    verify_kind(path, database)
    (finding,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if finding != "ok":
        raise damaged(path, finding)
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        f"journal_size_limit = {_WAL_BYTES_MAX}",
        "temp_store = MEMORY",  # under systemd nothing but state_dir can be written
    ):
        database.execute(f"PRAGMA {pragma}").fetchall()
