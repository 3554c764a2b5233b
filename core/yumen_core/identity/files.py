"""Reading and replacing small files whole, with the permissions that keys need."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from yumen_core.errors import StateError

MAX_FILE_BYTES = 4 * 1024 * 1024
PRIVATE_MODE = 0o600
PUBLIC_MODE = 0o644


def read_file(
    path: Path,
    *,
    private: bool = False,
    max_bytes: int = MAX_FILE_BYTES,
    remedy: str | None = None,
) -> bytes:
    """The bytes of `path`.

    With `private`, a file that its group or others can read or write is refused. The mode is
    taken from the open descriptor, so the file cannot be exchanged between check and read.
    Raises `StateError` ("state") where the file is missing, unreadable, too large or too open;
    `remedy` is the advice given where it is missing.
    """
    try:
        # Not blocking, so that a pipe in the file's place cannot hang the process.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise StateError("state", f"`{path}` is missing", remedy=remedy) from None
    except OSError as error:
        raise StateError(
            "state", f"`{path}` cannot be read: {error.strerror}", remedy="correct its permissions"
        ) from None
    try:
        _check_status(path, os.fstat(descriptor), private=private)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(max_bytes + 1)
    finally:
        os.close(descriptor)
    if len(data) > max_bytes:
        raise StateError("state", f"`{path}` is larger than the {max_bytes} bytes allowed")
    return data


def replace_file(path: Path, data: bytes, *, mode: int = PUBLIC_MODE) -> None:
    """Write `data` as `path`, whole or not at all, and durably.

    The new file has `mode` from its first byte on. Raises `StateError` ("state").
    """
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, mode)
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from None


def move_file(source: Path, target: Path) -> None:
    """Rename durably; `target` is replaced. Raises `StateError` ("state")."""
    try:
        os.replace(source, target)
        _sync_directory(target.parent)
    except OSError as error:
        raise _unwritable(target, error) from None


def make_private_directory(path: Path) -> None:
    """Make `path`, readable by its owner only, where it does not exist yet."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None


def _check_status(path: Path, status: os.stat_result, *, private: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise StateError("state", f"`{path}` is not a file")
    if private and status.st_mode & 0o077:
        raise StateError(
            "state",
            f"`{path}` is open to others: expected mode 600, got {stat.S_IMODE(status.st_mode):o}",
            remedy=f"run `chmod 600 {path}` and replace the key if others could read it",
        )


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> StateError:
    return StateError(
        "state",
        f"`{path}` cannot be written: {error.strerror}",
        remedy="correct the folder's permissions or free some space",
    )
