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
from yumen_core.log.witness import FORK, ChangedKey, OldCheckpoint, Seen, Stale, TwoRoots, judge
from yumen_core.rpc.v1 import link_pb2

_LOG = logging.getLogger(__name__)
MAX_OWNERS = 4096
# What one log's owner, or whoever sends in its name, can make a witness write, of each kind of
# refusal apart: what is sent of one kind or of one log takes no room from another.
MAX_TWO_ROOTS = 4
MAX_LOGGED = 8
MAX_OTHER = 100
SUMMARY_MS = 3_600_000
_ROOTS, _FORK, _OLD, _KEY, _OTHER = "two_roots", "fork", "old", "key", "other"
_UNKNOWN = ""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS seen (
    owner TEXT PRIMARY KEY,
    log_key TEXT NOT NULL,
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    note BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS refused (
    owner TEXT NOT NULL,
    kind TEXT NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (owner, kind, digest)
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
        interval_ms: int = 0,
    ) -> None:
        """`state` is the node's state folder; two checkpoints that contradict each other are kept
        in the folder `evidence`. A log is cosigned at most once in `interval_ms`."""
        make_private_directory(state)
        self._membership = membership
        self._signer = signer
        self._log = log
        self._evidence = evidence
        self._interval_ms = interval_ms
        self._cosigned_ms: dict[str, int] = {}
        self._dropped = 0
        self._dropped_since_ms = 0
        self._db = sqlite3.connect(state / "witness.sqlite", isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Before the node's log is closed, in which what was dropped is summed up."""
        try:
            self._sum_up(now=True)
        except (StateError, OSError) as error:
            _LOG.error("%s refusals of witnessing are in no log: %s", self._dropped, error)
        finally:
            self._db.close()

    def answer(self, request: link_pb2.CosignRequest) -> link_pb2.Cosigned:
        """Cosign, say from where the proof has to start, or refuse; a refusal is logged once.

        Whatever comes, there is an answer: who asks cannot end this node's connection.
        """
        try:
            self._sum_up()
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
        now_ms = self._membership.clock.now_ms()
        before_ms = self._cosigned_ms.get(request.owner)
        if before_ms is not None and 0 <= now_ms - before_ms < self._interval_ms:
            answer.refusal = f"expected one request in {self._interval_ms} ms, got another"
            return answer
        if seen is None:
            self._first_sight(request.owner)
        self._keep(request.owner, Seen(log_key, found.size, found.root, request.checkpoint))  # 4
        text, _ = split_note(request.checkpoint)
        answer.size, answer.line = found.size, self._signer.cosign(text, now_ms // 1000).line  # 5
        self._cosigned_ms[request.owner] = now_ms
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
        """Log it, with the evidence of a fork. What is sent over and over fills no log.

        1. A request whose owner is not proven counts for nobody. 2. Each kind of each log has its
        own limit, kept over restarts. 3. What is beyond is counted, for one entry that sums it up.
        4. It counts as told once it is: a crash before that tells it twice, never not at all.
        """
        digest = hashlib.sha256(request.checkpoint).digest()
        seen = self._seen(request.owner)
        kind = _kind(error)
        owner = _UNKNOWN if kind == _OTHER or seen is None else request.owner  # 1
        if not self._untold(owner, kind, digest):  # 2, 3
            return
        _LOG.error("no cosignature for the log of %s: %s", request.owner[:400], error)
        digests = {"checkpoint": digest}
        if error.code == FORK and seen is not None:
            digests["cosigned"] = hashlib.sha256(seen.note).digest()
            self._keep_evidence(seen.note, request.checkpoint)
        self._log.record(
            Act.WITNESS,
            subject={"owner": request.owner[:400]},
            digests=digests,
            detail={"what": "refusal", "code": error.code, "message": error.message},
        )
        self._db.execute("INSERT INTO refused VALUES (?, ?, ?)", (owner, kind, digest))  # 4

    def _untold(self, owner: str, kind: str, digest: bytes) -> bool:
        """Whether this refusal is new and within its limit; beyond it, it is counted."""
        known = {
            bytes(row[0])
            for row in self._db.execute(
                "SELECT digest FROM refused WHERE owner = ? AND kind = ?", (owner, kind)
            )
        }
        if digest in known:
            return False
        if len(known) >= _limit(kind):
            if not self._dropped:
                self._dropped_since_ms = self._membership.clock.now_ms()
            self._dropped += 1
            return False
        return True

    def _sum_up(self, *, now: bool = False) -> None:
        """One entry for all that was refused and not told, an hour after the first of them."""
        age_ms = self._membership.clock.now_ms() - self._dropped_since_ms
        if not self._dropped or (age_ms < SUMMARY_MS and not now):
            return
        self._log.record(
            Act.WITNESS,
            subject={"witness": self._membership.identity.uri},
            detail={"what": "refusals_dropped", "count": self._dropped},
        )
        self._dropped = 0

    def _keep_evidence(self, *notes: bytes) -> None:
        """Both checkpoints, as their owner signed them, each under its digest."""
        self._evidence.mkdir(parents=True, exist_ok=True)
        for note in notes:
            file = self._evidence / f"{hashlib.sha256(note).hexdigest()}.checkpoint"
            if not file.exists():
                replace_file(file, note)


def _kind(error: PeerError) -> str:
    """What a refusal counts as: an old checkpoint or a bad note never counts as a fork."""
    if isinstance(error, TwoRoots):
        return _ROOTS
    if isinstance(error, OldCheckpoint):
        return _OLD
    if isinstance(error, ChangedKey):
        return _KEY
    return _FORK if error.code == FORK else _OTHER


def _limit(kind: str) -> int:
    return {_ROOTS: MAX_TWO_ROOTS, _OTHER: MAX_OTHER}.get(kind, MAX_LOGGED)
