"""The log of one member of a federation: its key, its guard, its folder."""

from __future__ import annotations

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
from yumen_core.log.note import Signer

PUBLISH_DELAY_S = 0.1
"""How long an auditor may wait to see an entry that is durable: one checkpoint serves a burst."""


def open_log(directory: Path, *, member: Identity, secrets: Path, clock: Clock) -> TileLog:
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
    return TileLog.open(
        directory,
        signer,
        origin=origin,
        guard=secrets / "log.guard",
        clock=clock,
        publish_delay_s=PUBLISH_DELAY_S,
    )
