"""That an entry stands in the log of the party that wrote it. Pure.

Whoever depends on a decision wants it in a log that its author can no longer change unnoticed:
the coordinator releases no sum, and a requester believes none, without the proof of each
participant's decision.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass

from yumen_core.canonical import Json
from yumen_core.errors import CallError, PeerError
from yumen_core.log.appender import TileLog
from yumen_core.log.checkpoint import Checkpoint, open_checkpoint
from yumen_core.log.entry import Act, Entry, decode_entry
from yumen_core.log.merkle import MAX_PROOF_HASHES, leaf_hash, verify_inclusion
from yumen_core.log.note import MAX_NOTE_BYTES, Verifier
from yumen_core.log.tiles import MAX_ENTRY_BYTES
from yumen_core.rpc.v1 import job_pb2


@dataclass(frozen=True)
class LogProof:
    """`entry`, the canonical bytes at `index`, under the signed note `checkpoint`, by the inclusion
    proof `hashes` of RFC 6962, from the leaf upwards, 32 bytes each."""

    entry: bytes
    index: int
    checkpoint: bytes
    hashes: tuple[bytes, ...]

    def to_proto(self) -> job_pb2.LogProof:
        return job_pb2.LogProof(
            entry=self.entry, index=self.index, checkpoint=self.checkpoint, hashes=self.hashes
        )

    @classmethod
    def from_proto(cls, message: job_pb2.LogProof) -> LogProof:
        """As it came, nothing verified. Raises `PeerError` (`log_proof`) beyond the limits."""
        if (
            len(message.entry) > MAX_ENTRY_BYTES
            or len(message.checkpoint) > MAX_NOTE_BYTES
            or len(message.hashes) > MAX_PROOF_HASHES
        ):
            raise PeerError("log_proof", "expected a proof within its limits, got a larger one")
        return cls(message.entry, message.index, message.checkpoint, tuple(message.hashes))

    def to_json(self) -> Json:
        """For a file: bytes in base64, the note as text."""
        return {
            "entry": self.entry.decode(),
            "index": self.index,
            "checkpoint": self.checkpoint.decode(),
            "hashes": [base64.b64encode(value).decode() for value in self.hashes],
        }

    @classmethod
    def from_json(cls, value: Json) -> LogProof:
        """Raises `PeerError` (`log_proof`) for another form."""
        try:
            if not isinstance(value, dict) or len(json.dumps(value)) > 4 * MAX_ENTRY_BYTES:
                raise ValueError
            entry, index, note, hashes = (
                value[name] for name in ("entry", "index", "checkpoint", "hashes")
            )
            if not isinstance(entry, str) or not isinstance(note, str) or type(index) is not int:
                raise ValueError
            if not isinstance(hashes, list) or not all(isinstance(text, str) for text in hashes):
                raise ValueError
            found = tuple(base64.b64decode(str(text), validate=True) for text in hashes)
        except (KeyError, ValueError):
            raise PeerError("log_proof", "expected the proof of a log entry, got another") from None
        return cls(entry.encode(), index, note.encode(), found)


def prove(log: TileLog, index: int) -> LogProof:
    """The proof of an entry of one's own log. Raises `CallError`, `StateError` as the log does."""
    checkpoint, hashes = log.proof(index)
    return LogProof(log.entry(index), index, checkpoint, tuple(hashes))


def verify_proof(proof: LogProof, verifier: Verifier) -> tuple[Entry, Checkpoint]:
    """The entry, and the checkpoint it stands under.

    1. The checkpoint is signed by `verifier`, the key of that party's log. 2. The entry is
    canonical. 3. It stands at its index under the checkpoint's root.
    Raises `PeerError` (`log_proof`).
    """
    try:
        checkpoint = open_checkpoint(proof.checkpoint, verifier)
        entry = decode_entry(proof.entry)
        verify_inclusion(
            leaf_hash(proof.entry), proof.index, checkpoint.size, proof.hashes, checkpoint.root
        )
    except PeerError as error:
        raise PeerError("log_proof", f"expected an entry of the log: {error.message}") from None
    return entry, checkpoint


def verify_decision(
    proof: LogProof, log_key: str, *, job_id: str, spec_digest: bytes, accepted: bool, index: int
) -> Entry:
    """That the proved entry is the decision on this very job, at the place that its signer names.

    `log_key` is the verifier key in the signer's descriptor. Raises `PeerError` (`log_proof`).
    """
    try:
        verifier = Verifier.parse(log_key)
    except CallError:
        raise PeerError("log_proof", "expected a descriptor that names a log's key") from None
    entry, _ = verify_proof(proof, verifier)
    same = (
        entry.act is Act.DECISION
        and entry.subject.get("job") == job_id
        and entry.digests.get("spec") == spec_digest
        and entry.detail.get("accepted") == accepted
        and proof.index == index
    )
    if not same:
        raise PeerError(
            "log_proof", f"expected the log entry of the decision on job `{job_id}`, got another"
        )
    return entry


def proofs_to_proto(proofs: dict[str, LogProof], nodes: Sequence[str]) -> list[job_pb2.NodeProof]:
    """The proofs of `nodes`, by their SPIFFE ids, in that order; those that there are."""
    return [
        job_pb2.NodeProof(node=node, proof=proofs[node].to_proto())
        for node in nodes
        if node in proofs
    ]
