"""What a witness cosigns, and what it refuses. Pure.

Source: https://c2sp.org/tlog-witness, `add-checkpoint`. A witness cosigns only what extends all it
has cosigned before of the same log, so that one log cannot be shown to two parties in two forms
without two witnesses lying.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from yumen_core.errors import CallError, PeerError
from yumen_core.log.checkpoint import Checkpoint, open_checkpoint
from yumen_core.log.merkle import MAX_PROOF_HASHES, verify_consistency
from yumen_core.log.note import MAX_NOTE_BYTES, Verifier

FORK = "log_fork"
"""The code of a refusal whose evidence is two checkpoints that the log's own key has signed."""


class OldCheckpoint(PeerError):
    """A smaller size than before: an old checkpoint that anybody could have sent again."""


class ChangedKey(PeerError):
    """Another key than the one first seen of a log, which its owner's certificate vouches for."""


class TwoRoots(PeerError):
    """Two signed roots of one size: by themselves they convict the log's owner."""


@dataclass(frozen=True)
class Seen:
    """The last checkpoint of a log that the witness has cosigned, as it was signed: `note`."""

    log_key: str
    size: int
    root: bytes
    note: bytes


@dataclass(frozen=True)
class Stale:
    """The request starts from another size than what the witness cosigned last: `size`."""

    size: int


def judge(
    seen: Seen | None,
    *,
    origin: str,
    log_key: str,
    old_size: int,
    hashes: Sequence[bytes],
    note: bytes,
) -> Checkpoint | Stale:
    """The checkpoint to cosign, or the size from which its proof has to start.

    `origin` and `log_key` are of the log's owner, by its signed descriptor.

    1. The checkpoint is of the owner's log, signed by its key. 2. The key is the one seen first.
    3. The log has not become smaller, 4. nor another one of the same size. 5. The proof starts
    where the witness stopped, 6. and shows that nothing before has changed.
    Raises `PeerError`: `log_proof` (1), `descriptor` (2, as `ChangedKey`), `log_fork` (3 as
    `OldCheckpoint`, 4 as `TwoRoots`, 6).
    """
    checkpoint = _opened(origin, log_key, hashes, note)  # 1
    if seen is None:
        if old_size:
            return Stale(0)
        return checkpoint
    if seen.log_key != log_key:  # 2
        raise ChangedKey("descriptor", f"expected the key first seen of the log `{origin}`")
    if checkpoint.size < seen.size:  # 3
        raise OldCheckpoint(
            FORK,
            f"expected the log `{origin}` to hold {seen.size} entries or more, "
            f"got a checkpoint of {checkpoint.size}: it was cut, or an old one was sent again",
        )
    if checkpoint.size == seen.size and checkpoint.root != seen.root:  # 4
        raise TwoRoots(
            FORK, f"expected one root of the log `{origin}` at size {seen.size}, got two"
        )
    if old_size != seen.size:  # 5
        return Stale(seen.size)
    try:
        verify_consistency(seen.size, seen.root, checkpoint.size, checkpoint.root, hashes)  # 6
    except PeerError as error:
        raise PeerError(
            FORK, f"expected the log `{origin}` to go on from size {seen.size}: {error.message}"
        ) from None
    return checkpoint


def _opened(origin: str, log_key: str, hashes: Sequence[bytes], note: bytes) -> Checkpoint:
    if len(note) > MAX_NOTE_BYTES or len(hashes) > MAX_PROOF_HASHES:
        raise PeerError("log_proof", "expected a request within its limits, got a larger one")
    try:
        verifier = Verifier.parse(log_key)
        if verifier.name != origin:
            raise PeerError("log_proof", f"expected the key of the log `{origin}`, got another's")
        return open_checkpoint(note, verifier)
    except CallError:
        raise PeerError("log_proof", "expected a descriptor that names a log's key") from None
    except PeerError as error:
        raise PeerError("log_proof", error.message) from None
