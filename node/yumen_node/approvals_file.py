"""The file `approvals.sqlite`: its tables, its permissions, its transactions."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from yumen_core.errors import StateError
from yumen_core.identity.files import PRIVATE_MODE, make_private_directory

FILE_NAME = "approvals.sqlite"
# How long one process waits for the other's write.
BUSY_TIMEOUT_S = 10.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS bundles (
    digest BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    requester TEXT NOT NULL,
    content BLOB NOT NULL,
    offered_at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS asks (
    digest BLOB NOT NULL,
    job_id TEXT NOT NULL,
    ask TEXT NOT NULL,
    asked_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (digest, job_id)
) STRICT;
CREATE TABLE IF NOT EXISTS reviews (
    digest BLOB NOT NULL,
    reviewer TEXT NOT NULL,
    envelope BLOB NOT NULL,
    revoked INTEGER NOT NULL,
    PRIMARY KEY (digest, reviewer)
) STRICT;
"""


def open_file(folder: Path) -> sqlite3.Connection:
    """Open, or make, the file in `folder` for its user alone.

    SQLite gives its two companion files (`-wal`, `-shm`) the permissions of this one. Raises
    `StateError` (`state`) where the file is no database or is open to others.
    """
    make_private_directory(folder)
    path = folder / FILE_NAME
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, PRIVATE_MODE))
    except FileExistsError:
        # Looked at by name: to open and close it here would end this process's locks on it.
        _check_private(path)
    except OSError as error:
        raise StateError(
            "state", f"`{path}` cannot be written: {error.strerror}", remedy="see the folder"
        ) from None
    try:
        db = sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_S)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.executescript(_SCHEMA)
    except sqlite3.DatabaseError as error:
        raise StateError("state", f"`{path}` cannot be read: {error}") from None
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing, and no other writer meanwhile.

    Raises `StateError` (`state`) where the file cannot be written, or another process holds it
    for longer than 10 s.
    """
    try:
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
    except sqlite3.OperationalError as error:
        raise StateError(
            "state",
            f"`{FILE_NAME}` cannot be written: {error}",
            remedy="try again; see that the disk has space and the file is this user's",
        ) from None


def _check_private(path: Path) -> None:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise StateError("state", f"`{path}` is not a file")
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise StateError(
            "state",
            f"`{path}` is open to others: expected mode 600, got {mode:o}",
            remedy=f"run `chmod 600 {path}`, and review the code again if others could write it",
        )
