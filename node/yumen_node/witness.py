"""The node as a witness of other logs: what it has cosigned, kept before a cosignature leaves.

Trust line: whoever can write here, or has `secrets/witness.key`, can make this node cosign two
forms of one log. It gives no access to rows.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from pathlib import Path

from yumen_core.errors import CallError, PeerError, StateError
from yumen_core.identity.envelope import PayloadType, SignedEnvelope
from yumen_core.identity.files import (
    PRIVATE_MODE,
    make_private_directory,
    read_file,
    replace_file,
)
from yumen_core.identity.membership import Membership
from yumen_core.identity.names import Identity
from yumen_core.jobs.book import open_descriptor
from yumen_core.jobs.coordinator_descriptor import open_coordinator_descriptor
from yumen_core.log import Act, TileLog
from yumen_core.log.cosign import WitnessSigner
from yumen_core.log.note import split_note
from yumen_core.log.witness import FORK, Seen, Stale, judge
from yumen_core.rpc.v1 import link_pb2

_LOG = logging.getLogger(__name__)
MAX_OWNERS = 4096
MAX_EVIDENCE = 100
MAX_LOGGED = 1000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS seen (
    owner TEXT PRIMARY KEY,
    log_key TEXT NOT NULL,
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    note BLOB NOT NULL
) STRICT;
"""


def load_witness_key(secrets: Path, member: Identity) -> WitnessSigner:
    """The key in `secrets/witness.key`, made on first use. Raises `StateError`."""
    file = secrets / "witness.key"
    if file.exists():
        try:
            return WitnessSigner.parse(read_file(file, private=True).decode().strip())
        except (CallError, UnicodeDecodeError):
            raise StateError(
                "state", f"`{file}` is no secret key of a witness", remedy="restore it"
            ) from None
    make_private_directory(secrets)
    signer = WitnessSigner.generate(member.uri.removeprefix("spiffe://") + "/witness")
    replace_file(file, signer.reveal_text().encode() + b"\n", mode=PRIVATE_MODE)
    return signer


class Witness:
    """Cosigns for one node. Used from its event loop only."""

    def __init__(
        self,
        membership: Membership,
        signer: WitnessSigner,
        log: TileLog,
        *,
        state: Path,
        evidence: Path,
    ) -> None:
        """`state` is the node's state folder; two checkpoints that contradict each other are kept
        in the folder `evidence`."""
        make_private_directory(state)
        self._membership = membership
        self._signer = signer
        self._log = log
        self._evidence = evidence
        self._logged: set[tuple[str, bytes]] = set()
        self._db = sqlite3.connect(state / "witness.sqlite", isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._db.close()

    def answer(self, request: link_pb2.CosignRequest) -> link_pb2.Cosigned:
        """Cosign, say from where the proof has to start, or refuse; a refusal is logged once.

        Whatever comes, there is an answer: who asks cannot end this node's connection.
        """
        try:
            try:
                return self._cosign(request)
            except PeerError as error:
                message = error.message
                self._refuse(request, error)
        except (StateError, sqlite3.Error, OSError) as error:
            _LOG.error("no cosignature for the log of %s: %s", request.owner[:400], error)
            message = "the witness cannot keep what it would cosign"
        me = self._membership.identity.uri
        return link_pb2.Cosigned(witness=me, owner=request.owner[:400], refusal=message[:500])

    def _cosign(self, request: link_pb2.CosignRequest) -> link_pb2.Cosigned:
        """The cosignature, or the size to start from.

        1. This node is asked, by another. 2. The owner's descriptor is signed by it and good.
        3. The log goes on from what was cosigned last (`judge`). 4. That is durable. 5. Cosign.
        Raises `PeerError` for what is refused, `StateError`, `OSError` and SQLite's for own files.
        """
        me = self._membership.identity.uri
        answer = link_pb2.Cosigned(witness=me, owner=request.owner[:400])
        if request.witness != me or request.owner == me:  # 1
            raise PeerError("identity", "expected a request for this witness, got another")
        origin, log_key = self._owner(request)  # 2
        seen = self._seen(request.owner)
        found = judge(  # 3
            seen,
            origin=origin,
            log_key=log_key,
            old_size=request.old_size,
            hashes=list(request.hashes),
            note=request.checkpoint,
        )
        if isinstance(found, Stale):
            answer.size = found.size
            return answer
        if seen is None:
            self._first_sight(request.owner)
        self._keep(request.owner, Seen(log_key, found.size, found.root, request.checkpoint))  # 4
        text, _ = split_note(request.checkpoint)
        now_s = self._membership.clock.now_ms() // 1000
        answer.size, answer.line = found.size, self._signer.cosign(text, now_s).line  # 5
        return answer

    def _owner(self, request: link_pb2.CosignRequest) -> tuple[str, str]:
        """The name and key of the owner's log, by its signed descriptor."""
        envelope = SignedEnvelope.from_proto(request.descriptor)
        if envelope.payload_type == PayloadType.COORDINATOR_DESCRIPTOR:
            described = open_coordinator_descriptor(envelope, self._membership)
            owner, key = described.coordinator, described.log_key
        else:
            node = open_descriptor(envelope, self._membership).descriptor
            owner, key = node.node, node.log_key
        if owner.uri != request.owner:
            raise PeerError("identity", "expected the descriptor of the log's owner, got another's")
        if owner.federation != self._membership.identity.federation:
            raise PeerError("identity", "expected a log of this federation, got another's")
        return owner.uri.removeprefix("spiffe://"), key

    def _seen(self, owner: str) -> Seen | None:
        row = self._db.execute(
            "SELECT log_key, size, root, note FROM seen WHERE owner = ?", (owner,)
        ).fetchone()
        return None if row is None else Seen(*row)

    def _first_sight(self, owner: str) -> None:
        """From now on this log has this key. There is a limit on how many are watched."""
        (count,) = self._db.execute("SELECT COUNT(*) FROM seen").fetchone()
        if count >= MAX_OWNERS:
            raise PeerError(
                "payload_too_large", f"expected at most {MAX_OWNERS} logs to witness, got more"
            )
        self._log.record(Act.WITNESS, subject={"owner": owner}, detail={"what": "first_sight"})

    def _keep(self, owner: str, seen: Seen) -> None:
        self._db.execute(
            "INSERT INTO seen (owner, log_key, size, root, note) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (owner) DO UPDATE SET"
            " size = excluded.size, root = excluded.root, note = excluded.note",
            (owner, seen.log_key, seen.size, seen.root, seen.note),
        )

    def _refuse(self, request: link_pb2.CosignRequest, error: PeerError) -> None:
        """Log it, with the evidence of a fork; what is sent over and over fills no log."""
        digest = hashlib.sha256(request.checkpoint).digest()
        if (request.owner, digest) in self._logged or len(self._logged) >= MAX_LOGGED:
            return
        self._logged.add((request.owner, digest))
        _LOG.error("no cosignature for the log of %s: %s", request.owner, error)
        digests = {"checkpoint": digest}
        seen = self._seen(request.owner)
        if error.code == FORK and seen is not None:
            digests["cosigned"] = hashlib.sha256(seen.note).digest()
            self._keep_evidence(seen.note, request.checkpoint)
        self._log.record(
            Act.WITNESS,
            subject={"owner": request.owner[:400]},
            digests=digests,
            detail={"what": "refusal", "code": error.code, "message": error.message},
        )

    def _keep_evidence(self, *notes: bytes) -> None:
        """Both checkpoints, as their owner signed them, each under its digest."""
        self._evidence.mkdir(parents=True, exist_ok=True)
        for note in notes:
            file = self._evidence / f"{hashlib.sha256(note).hexdigest()}.checkpoint"
            if not file.exists() and len(list(self._evidence.iterdir())) < MAX_EVIDENCE:
                replace_file(file, note)
