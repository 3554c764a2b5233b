"""The seam between the log and the disk, so that every step of a write can be made to fail."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol


class Storage(Protocol):
    """What the log asks of a file system. Every method raises `OSError` when it fails.

    Nothing is durable before `sync_file` (a file's bytes) and `sync_dir` (the names in a directory)
    have returned. `rename` is atomic for readers.
    """

    def lock(self, directory: Path) -> AbstractContextManager[None]:
        """Hold `directory` for one writer; `BlockingIOError` while another holds it."""
        ...

    def make_dir(self, path: Path) -> bool:
        """Make one directory; False where it is there already."""
        ...

    def names(self, path: Path) -> list[str]:
        """The names in a directory, sorted; none where there is no such directory."""
        ...

    def files_under(self, path: Path) -> list[str]:
        """Every file below a directory, as sorted relative paths with slashes."""
        ...

    def read(self, path: Path, limit: int) -> bytes:
        """At most `limit` + 1 bytes from the start, so that the caller sees a file too long."""
        ...

    def write(self, path: Path, data: bytes) -> None:
        """Create the file, or replace its bytes in place."""
        ...

    def extend(self, path: Path, data: bytes) -> None:
        """Append to a file that is there."""
        ...

    def patch(self, path: Path, offset: int, data: bytes) -> None:
        """Overwrite bytes within a file that is there."""
        ...

    def rename(self, source: Path, target: Path) -> None: ...

    def remove(self, path: Path) -> None: ...

    def remove_dir(self, path: Path) -> None: ...

    def sync_file(self, path: Path) -> None: ...

    def sync_dir(self, path: Path) -> None: ...

    def close(self) -> None:
        """Let go of open files."""
        ...


class DiskStorage:
    """The real file system. Files that grow or are patched stay open between calls."""

    def __init__(self) -> None:
        self._open: dict[Path, int] = {}

    @contextmanager
    def lock(self, directory: Path) -> Iterator[None]:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(handle)

    def make_dir(self, path: Path) -> bool:
        try:
            os.mkdir(path)
        except FileExistsError:
            return False
        return True

    def names(self, path: Path) -> list[str]:
        try:
            return sorted(os.listdir(path))
        except FileNotFoundError:
            return []

    def files_under(self, path: Path) -> list[str]:
        found: list[str] = []
        if path.is_file():
            raise NotADirectoryError(path)
        for folder, _, files in os.walk(path, onerror=_raise_unless_gone):
            base = Path(folder).relative_to(path)
            found.extend((base / name).as_posix() for name in files)
        return sorted(found)

    def read(self, path: Path, limit: int) -> bytes:
        # Neither a pipe, which would be waited for without end, nor a link out of the folder.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(errno.EINVAL, "expected a regular file, got another kind")
            with open(handle, "rb", closefd=False) as file:
                return file.read(limit + 1)
        finally:
            os.close(handle)

    def write(self, path: Path, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        handle = os.open(path, flags, 0o644)
        try:
            _write_all(handle, data)
        finally:
            os.close(handle)

    def extend(self, path: Path, data: bytes) -> None:
        handle = self._handle(path)
        os.lseek(handle, 0, os.SEEK_END)
        _write_all(handle, data)

    def patch(self, path: Path, offset: int, data: bytes) -> None:
        handle = self._handle(path)
        os.lseek(handle, offset, os.SEEK_SET)
        _write_all(handle, data)

    def rename(self, source: Path, target: Path) -> None:
        self._forget(target)
        os.rename(source, target)

    def remove(self, path: Path) -> None:
        os.unlink(path)

    def remove_dir(self, path: Path) -> None:
        os.rmdir(path)

    def sync_file(self, path: Path) -> None:
        handle = self._open.get(path)
        if handle is not None:
            os.fdatasync(handle)
            return
        _sync(path, os.O_RDONLY)

    def sync_dir(self, path: Path) -> None:
        _sync(path, os.O_RDONLY | os.O_DIRECTORY)

    def close(self) -> None:
        for path in list(self._open):
            self._forget(path)

    def _handle(self, path: Path) -> int:
        handle = self._open.get(path)
        if handle is None:
            handle = self._open[path] = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        return handle

    def _forget(self, path: Path) -> None:
        handle = self._open.pop(path, None)
        if handle is not None:
            os.close(handle)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
