"""Acts that commands leave for the node to tell of in its log: one file each, oldest first.

Trust line: whoever can write the folder can put a false name to an act, or take an act away before
the node has seen it. It is for the node's user alone; the system's own root has the same power, as
over all else here. What another user could have written is not believed.
"""

from __future__ import annotations

import errno
import hashlib
import heapq
import logging
import os
import secrets
import stat
import time
from pathlib import Path

from yumen_core.clock import Clock, SystemClock
from yumen_core.errors import PeerError, StateError
from yumen_core.identity.files import (
    PRIVATE_MODE,
    make_private_directory,
    move_file,
    replace_file,
)
from yumen_core.log import Act, TileLog

from yumen_node.operators import MAX_BYTES, Doing, Left, record

_LOG = logging.getLogger(__name__)
FOLDER = "operator-acts"
REFUSED_FOLDER = "operator-acts-refused"
REFUSAL = "operator_act"
"""The code of a refusal in the log: an act that was left is not one."""

MAX_WAITING = 10_000
MAX_AT_ONCE = 100
"""How many are told of at a time, so that the node's other work goes on."""
MAX_REFUSED = 100
_SCRATCH_AGE_S = 3600.0


def leave(state: Path, doing: Doing, *, clock: Clock | None = None) -> None:
    """Leave `doing` for the node with the state folder `state`; durable on return.

    Raises `StateError` (`state`) where it cannot be left: then it must not be done either.
    """
    folder = state / FOLDER
    now_ms = (clock or SystemClock()).now_ms()
    name = f"{time.time_ns():020d}-{secrets.token_hex(4)}.json"
    scratch = folder / f".{name}"
    try:
        for path in (state, folder):
            if not path.exists():
                make_private_directory(path)
                give_to(path.parent, path)
        status = folder.lstat()
        # Root may act at anybody's node.
        check_folder(folder, status, owner=status.st_uid if os.geteuid() == 0 else os.geteuid())
        waiting = sum(1 for _ in os.scandir(folder))
        if waiting >= MAX_WAITING:
            raise StateError("state", f"{waiting} acts wait for the node, which is not running")
        replace_file(scratch, Left(doing, now_ms).to_bytes(), mode=PRIVATE_MODE)
        try:
            give_to(folder, scratch)
            move_file(scratch, folder / name)
        finally:
            scratch.unlink(missing_ok=True)
    except (StateError, OSError) as error:
        reason = error.message if isinstance(error, StateError) else error.strerror or str(error)
        raise StateError(
            "state",
            f"this act could not be left for the node's log: {reason}",
            remedy="run the command as the node's user, free some space or start the node;"
            " an auditor works on a copy of the log's folder",
        ) from None


def give_to(owner: Path, path: Path) -> None:
    """What root makes belongs to the owner of `owner`, who could not read it otherwise."""
    if os.geteuid() == 0:
        like = owner.stat()
        os.chown(path, like.st_uid, like.st_gid, follow_symlinks=False)


def check_folder(folder: Path, status: os.stat_result, *, owner: int) -> None:
    """Raises `StateError` (`state`) where others than the user `owner` and root could have written
    into the folder."""
    if not stat.S_ISDIR(status.st_mode):
        raise StateError("state", f"`{folder}` is not a folder")
    if status.st_uid not in (owner, 0):
        raise StateError("state", f"`{folder}` belongs to another user of this machine")
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise StateError("state", f"`{folder}` is open to others: expected mode 700, got {mode:o}")


class OperatorSpool:
    """The node's end of the folder. Used from one thread."""

    def __init__(self, state: Path, log: TileLog, node: str) -> None:
        """`state` is the node's state folder, `node` its identity."""
        self._state = state
        self._folder = state / FOLDER
        self._log = log
        self._node = node
        self._stuck: set[str] = set()  # told of, and not to be removed
        self._complaint = ""
        self._remove_scratch()

    def tell(self) -> None:
        """Log the acts that wait, oldest first, 100 at most; what is no act is refused, once.

        Logged first and removed next: a crash between repeats the entry. A folder or file that
        cannot be read now is read again at the next call. Raises `StateError` (`log_closed`).
        """
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(self._folder, flags)
        except FileNotFoundError:
            return
        except OSError as error:
            self._complain(f"`{self._folder}` cannot be read: {error.strerror}")
            return
        try:
            check_folder(self._folder, os.fstat(handle), owner=os.geteuid())
            names = (name for name in os.listdir(handle) if not name.startswith("."))
            for name in heapq.nsmallest(
                MAX_AT_ONCE, (name for name in names if name not in self._stuck)
            ):
                self._tell_one(handle, name)
            self._complaint = ""
        except OSError as error:
            self._complain(f"`{self._folder}` cannot be read: {error.strerror}")
        except StateError as error:
            if error.code != "state":
                raise
            self._complain(error.message, in_log=True)
        finally:
            os.close(handle)

    def _tell_one(self, handle: int, name: str) -> None:
        data = b""
        try:
            data = _read(handle, name)
            left = Left.from_bytes(data)
        except FileNotFoundError:
            return
        except PeerError as error:
            aside = f"{secrets.token_hex(8)}.refused"
            self._refuse(error.message, file=aside, data=data)
            self._put_aside(handle, name, aside)
            return
        digest = hashlib.sha256(data).digest()
        record(self._log, self._node, left.doing, digest=digest, left_at_ms=left.at_ms)
        try:
            os.unlink(name, dir_fd=handle)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._keep(name, error)

    def _refuse(self, message: str, *, file: str = "", data: bytes = b"") -> None:
        self._log.record(
            Act.REFUSAL,
            subject={"node": self._node},
            digests={"left": hashlib.sha256(data).digest()} if data else {},
            detail={"code": REFUSAL, "message": message, "file": file},
        )

    def _put_aside(self, handle: int, name: str, as_name: str) -> None:
        """Out of the way, and kept for whoever asks, up to 100 of them."""
        aside = self._state / REFUSED_FOLDER
        try:
            make_private_directory(aside)
            if len(os.listdir(aside)) < MAX_REFUSED:
                os.rename(name, aside / as_name, src_dir_fd=handle)
            else:
                os.unlink(name, dir_fd=handle)
        except FileNotFoundError:
            return
        except (OSError, StateError) as error:
            self._keep(name, error)

    def _keep(self, name: str, error: OSError | StateError) -> None:
        self._stuck.add(name)
        _LOG.error("`%s` in `%s` cannot be removed: %s", ascii(name), self._folder, error)

    def _complain(self, message: str, *, in_log: bool = False) -> None:
        """Once, until something else is the matter."""
        if message == self._complaint:
            return
        self._complaint = message
        _LOG.error("acts of operators could not be told in the log: %s", message)
        if in_log:
            self._refuse(message.replace(str(self._folder), FOLDER))

    def _remove_scratch(self) -> None:
        """Half an act of a command that was killed, which showed nothing."""
        try:
            for entry in os.scandir(self._folder):
                old = entry.stat(follow_symlinks=False).st_mtime < time.time() - _SCRATCH_AGE_S
                if entry.name.startswith(".") and old:
                    os.unlink(entry.path)
        except FileNotFoundError:
            return
        except OSError as error:
            _LOG.warning("`%s` cannot be tidied: %s", self._folder, error.strerror)


def _read(handle: int, name: str) -> bytes:
    """The bytes of a file that the node's user, or root, alone could have written.

    Raises `PeerError` (`argument`) for any other, `OSError` where it cannot be read now.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.open(name, flags, dir_fd=handle)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENXIO):
            raise _unfit("a file that this node may read") from None
        raise
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise _unfit("a plain file with one name")
        if status.st_uid not in (os.geteuid(), 0) or status.st_mode & 0o077:
            raise _unfit("a file of the node's user that is closed to others")
        if status.st_size > MAX_BYTES:
            raise PeerError(
                "argument",
                f"expected an operator's act of at most {MAX_BYTES} bytes, got {status.st_size}",
            )
        return os.read(file, MAX_BYTES + 1)
    finally:
        os.close(file)


def _unfit(expected: str) -> PeerError:
    return PeerError("argument", f"expected an act in {expected}, got another")
