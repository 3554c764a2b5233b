"""The guard: the last size and root that may have been signed, kept apart from the log.

Trust line: whoever can change the guard and the log together can roll the log back unnoticed; a
restored backup of the log alone is seen. The file has two slots, written in turn in place, so that
one write and one sync make a new state durable and a torn write leaves the state before it.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

from yumen_core.errors import PeerError, StateError
from yumen_core.log.checkpoint import Checkpoint, parse_checkpoint
from yumen_core.log.storage import Storage

SLOT_BYTES = 4096
_MAGIC = "yumen-log-guard/v1\n"


def encode_slot(state: Checkpoint) -> bytes:
    """`SLOT_BYTES` bytes: magic, checkpoint lines, SHA-256 of these, newlines to the end."""
    text = _MAGIC + state.text
    check = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"{text}{check}\n".encode().ljust(SLOT_BYTES, b"\n")


def decode_slot(data: bytes) -> Checkpoint | None:
    """The state in one slot, None where a write was cut short."""
    lines = data.rstrip(b"\n").decode(errors="replace").split("\n")
    text = "\n".join((*lines[1:-1], ""))
    try:
        state = parse_checkpoint(text)
    except PeerError:
        return None
    return state if encode_slot(state) == data else None


@dataclass
class Guard:
    """The guard file at `path`. Methods raise `OSError`, `load` also `StateError`."""

    storage: Storage
    path: Path
    _slot: int = 0

    def load(self) -> Checkpoint | None:
        """The newest whole state; None where there is no file.

        Raises `StateError` (log_corrupt) where the file has no whole state.
        """
        try:
            data = self.storage.read(self.path, 2 * SLOT_BYTES)
        except FileNotFoundError:
            return None
        slots = [decode_slot(data[at : at + SLOT_BYTES]) for at in (0, SLOT_BYTES)]
        whole = [(state.size, slot) for slot, state in enumerate(slots) if state is not None]
        if len(data) != 2 * SLOT_BYTES or not whole:
            raise StateError("log_corrupt", f"the log's guard `{self.path}` is damaged")
        self._slot = max(whole)[1]
        return slots[self._slot]

    def create(self, state: Checkpoint) -> None:
        """Make the file, both slots alike, durable on return."""
        folder = self.path.parent
        fresh = folder / (self.path.name + ".new")
        self.storage.write(fresh, encode_slot(state) * 2)
        self.storage.sync_file(fresh)
        self.storage.rename(fresh, self.path)
        self.storage.sync_dir(folder)

    def store(self, state: Checkpoint) -> None:
        """Put `state` beside the one before it, durable on return."""
        slot = 1 - self._slot
        self.storage.patch(self.path, slot * SLOT_BYTES, encode_slot(state))
        self.storage.sync_file(self.path)
        self._slot = slot
