"""The text that a log signs: origin, size, root. Pure.

Source: https://c2sp.org/tlog-checkpoint.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from yumen_core.errors import CallError, PeerError
from yumen_core.log.merkle import HASH_BYTES
from yumen_core.log.note import Signer, Verifier, open_note, sign_note


@dataclass(frozen=True)
class Checkpoint:
    """`size` entries with the Merkle `root` (32 bytes), of the log named `origin`.

    `extensions` are further lines, opaque here. Raises `CallError` (argument).
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.size < 1 << 63:
            raise CallError("argument", f"a log's size has at most 63 bits, got `{self.size}`")
        if len(self.root) != HASH_BYTES:
            raise CallError("argument", f"a root has 32 bytes, got `{len(self.root)}`")
        if not all(line and "\n" not in line for line in (self.origin, *self.extensions)):
            raise CallError("argument", "a checkpoint's origin and extensions are non-empty lines")

    @property
    def text(self) -> str:
        root = base64.b64encode(self.root).decode()
        return "\n".join((self.origin, str(self.size), root, *self.extensions, ""))


def parse_checkpoint(text: str) -> Checkpoint:
    """Raises `PeerError` (log_corrupt) for any but the canonical form."""
    lines = text.split("\n")
    try:
        origin, size, root = lines[:3]
        if not re.fullmatch("0|[1-9][0-9]{0,18}", size, re.ASCII):
            raise ValueError
        decoded = base64.b64decode(root, validate=True)
        checkpoint = Checkpoint(origin, int(size), decoded, tuple(lines[3:-1]))
    except (ValueError, binascii.Error, CallError):
        checkpoint = None
    if checkpoint is None or checkpoint.text != text:
        raise PeerError(
            "log_corrupt", "the checkpoint is malformed: expected an origin, a size and a root"
        )
    return checkpoint


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer) -> bytes:
    """The signed note. Raises `CallError` (argument)."""
    return sign_note(checkpoint.text, [signer])


def open_checkpoint(data: bytes, verifier: Verifier) -> Checkpoint:
    """The checkpoint in a signed note. Raises `PeerError` (log_corrupt).

    1. The note carries a good signature by `verifier`. 2. Its text is a checkpoint. 3. The origin
    is the key's name: one key signs for one log, so that a checkpoint of another log is refused.
    """
    checkpoint = parse_checkpoint(open_note(data, [verifier]).text)
    if checkpoint.origin != verifier.name:
        raise PeerError(
            "log_corrupt",
            f"expected a checkpoint of the log `{verifier.name}`, got one of `{checkpoint.origin}`",
        )
    return checkpoint
