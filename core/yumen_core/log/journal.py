"""The log as the other rooms use it: typed acts in, a durable index out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from yumen_core.clock import Clock
from yumen_core.identity.files import (
    PRIVATE_MODE,
    make_private_directory,
    read_file,
    replace_file,
)
from yumen_core.identity.names import Identity
from yumen_core.log.appender import TileLog
from yumen_core.log.entry import Act, Entry, Value
from yumen_core.log.note import Signer


class Journal:
    """Writes acts to one Merkle log, with the time of one clock."""

    def __init__(self, log: TileLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock

    @property
    def log(self) -> TileLog:
        return self._log

    def record(
        self,
        act: Act,
        *,
        subject: Mapping[str, str] | None = None,
        digests: Mapping[str, bytes] | None = None,
        detail: Mapping[str, Value] | None = None,
    ) -> int:
        """Append one act and return its index. On return it is on disk and in the checkpoint.

        Raises `StateError` (`log_closed`) once a write has failed: nothing is done unlogged.
        """
        entry = Entry(
            time_ms=self._clock.now_ms(),
            act=act,
            subject=subject or {},
            digests=digests or {},
            detail=detail or {},
        )
        return self._log.append(entry.encode())


def open_journal(directory: Path, *, member: Identity, secrets: Path, clock: Clock) -> Journal:
    """Open the log of `member` in `directory`, made on first use.

    The signing key and the guard live in `secrets`, apart from the log, so that the log can be
    handed to an auditor, or restored from a backup, without them. The verifier key stands in
    `directory/log.vkey`. Raises `StateError` (`log_fork`, `log_corrupt`, `state`).
    """
    origin = member.uri.removeprefix("spiffe://")
    key_file = secrets / "log.key"
    if key_file.exists():
        signer = Signer.parse(read_file(key_file, private=True).decode().strip())
    else:
        make_private_directory(secrets)
        signer = Signer.generate(origin)
        replace_file(key_file, signer.reveal_text().encode() + b"\n", mode=PRIVATE_MODE)
    log = TileLog.open(directory, signer, origin=origin, guard=secrets / "log.guard", clock=clock)
    return Journal(log, clock)
