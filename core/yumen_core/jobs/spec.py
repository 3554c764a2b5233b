"""The job: what a requester signs, and how every party reads it.

The exact signed bytes are what counts: parties exchange and hash the payload as it was signed and
never serialise a parsed spec again.
"""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from yumen_core.errors import CallError, PeerError
from yumen_core.identity.names import Identity, Role
from yumen_core.jobs.job_id import check_job_id
from yumen_core.privacy import Privacy
from yumen_core.rpc.v1 import job_pb2
from yumen_core.securesum.suite import Suite
from yumen_core.statistics.statistic import Statistic, parse_statistic
from yumen_core.training.spec import TrainingSpec, parse_training

PAYLOAD_TYPE = "application/vnd.yumen.job-spec.v1"
MAX_BYTES = 1 << 20
MAX_SQL_BYTES = 20_000
MAX_PURPOSE_CHARS = 200
MAX_PROJECT_CHARS = 100
MAX_PARTICIPANTS = 255  # as many 40-bit limbs as a slot has room for; see securesum.modulus
MIN_PARTICIPANTS = 3
MAX_LIFETIME_MS = 24 * 3600 * 1000
MAX_SKEW_MS = 60 * 1000
MAX_SEALED_BYTES = 4096
MAX_TABLE_CHARS = 200
MAX_JOINED = 8
_DIGEST_BYTES = 32
_SUITES = {Suite.BFV: job_pb2.SUITE_BFV, Suite.STREAM: job_pb2.SUITE_STREAM}


@dataclass(frozen=True)
class Participant:
    """A node asked to take part, the descriptor the requester saw, and the job's secret for it."""

    node: Identity
    descriptor_digest: bytes
    sealed_secret: bytes


@dataclass(frozen=True)
class JoinedTable:
    """A table that the statement reads beside the job's own, with the digest of its schema."""

    table: str
    schema_digest: bytes


@dataclass(frozen=True)
class JobSpec:
    """A signed job. Times are milliseconds since the Unix epoch; digests are SHA-256.

    `sql` is a query's statement, or the statement of the rows of `statistic` or `training`, where
    there is one; `plan_digest` is of the plan that every party derives from it. With `privacy`
    every sum of the job carries noise. `project` is what budgets are kept for; empty for the
    purpose.
    """

    job_id: str
    requester: Identity
    purpose: str
    table: str
    schema_digest: bytes
    sql: str
    plan_digest: bytes
    participants: tuple[Participant, ...]
    min_nodes: int
    public_key_digest: bytes
    issued_at_ms: int
    expires_at_ms: int
    dry_run: bool = False
    statistic: Statistic | None = None
    joined: tuple[JoinedTable, ...] = ()
    training: TrainingSpec | None = None
    suite: Suite = Suite.BFV
    privacy: Privacy | None = None
    project: str = ""

    @property
    def charged_project(self) -> str:
        """Whose budget pays: the requester's organisation, and the project or else the purpose."""
        return f"{self.requester.organisation}/{self.project or self.purpose}"

    @property
    def method(self) -> str:
        """What the author of a statistic calls it, or a training's program; empty for a query."""
        if self.training is not None:
            return self.training.name
        return "" if self.statistic is None else self.statistic.method

    @property
    def operation(self) -> str:
        """What is asked, as policies name it."""
        if self.training is not None:
            return "train"
        return "query" if self.statistic is None else "statistic"

    @property
    def interactive(self) -> bool:
        """Whether the job has several runs, driven by its requester."""
        return self.operation != "query"

    @property
    def tables(self) -> dict[str, bytes]:
        """The digest of the schema of every table that the job names, its own first."""
        others = {entry.table: entry.schema_digest for entry in self.joined}
        return {self.table: self.schema_digest, **others}

    @property
    def federation(self) -> str:
        return self.requester.federation

    @property
    def nodes(self) -> tuple[str, ...]:
        """The participants' SPIFFE ids, sorted."""
        return tuple(sorted(p.node.uri for p in self.participants))

    def participant(self, node: Identity) -> Participant:
        """The entry of `node`. Raises `PeerError` (`job_spec`) where the job does not name it."""
        for entry in self.participants:
            if entry.node == node:
                return entry
        raise PeerError(
            "job_spec", f"expected a job that names `{node.uri}`, got one that does not"
        )

    def to_bytes(self) -> bytes:
        """The payload to sign."""
        message = job_pb2.JobSpec(
            job_id=self.job_id,
            federation=self.federation,
            requester=self.requester.uri,
            purpose=self.purpose,
            table=self.table,
            schema_digest=self.schema_digest,
            min_nodes=self.min_nodes,
            suite=_SUITES[self.suite],
            public_key_digest=self.public_key_digest,
            issued_at_ms=self.issued_at_ms,
            expires_at_ms=self.expires_at_ms,
            dry_run=self.dry_run,
            project=self.project,
        )
        if self.privacy is not None:
            message.privacy.micro_rho = self.privacy.micro_rho
            message.privacy.delta = self.privacy.delta
        if self.training is not None:
            message.training.body = self.training.to_bytes()
            message.training.plan_digest = self.plan_digest
        elif self.statistic is None:
            message.query.sql = self.sql
            message.query.plan_digest = self.plan_digest
            for other in sorted(self.joined, key=lambda j: j.table):
                message.query.joined.add(table=other.table, schema_digest=other.schema_digest)
        else:
            message.statistic.body = self.statistic.to_bytes()
            message.statistic.plan_digest = self.plan_digest
        for entry in sorted(self.participants, key=lambda p: p.node.uri):
            message.participants.add(
                node=entry.node.uri,
                descriptor_digest=entry.descriptor_digest,
                sealed_secret=entry.sealed_secret,
            )
        return message.SerializeToString(deterministic=True)


def secret_info(job_id: str, node: str) -> bytes:
    """The HPKE `info` that binds a sealed job secret to its job and its node."""
    return b"yumen/v1/job-secret\x00" + job_id.encode() + b"\x00" + node.encode()


def spec_digest(payload: bytes) -> bytes:
    """SHA-256 of the signed payload: the name of the job in decisions and logs."""
    return hashlib.sha256(payload).digest()


def parse_spec(payload: bytes, *, signer: Identity, now_ms: int) -> JobSpec:
    """Read a job whose signature by `signer` has been verified.

    Raises `PeerError` (`job_spec`, `identity` or `job_expired`) at the first step that fails:

    1. the payload is a JobSpec of at most `MAX_BYTES`;
    2. requester and federation are those of the signing certificate, whose role is `user`;
    3. id, purpose, tables and SQL are well-formed and within their limits, no table named twice;
    4. the suite and the digests are of known kinds;
    5. it was not issued in the future, has not expired, and lives for 24 hours at most;
    6. it names 3 to 255 distinct nodes of the federation, and a minimum among them.
    """
    message = _message(payload)
    _check_requester(message, signer)
    check_job_id(message.job_id)
    _check_texts(message)
    _check_digests(message)
    _check_times(message, now_ms)
    return _spec(message, signer)


def read_stored_spec(payload: bytes, *, signer: Identity) -> JobSpec:
    """Read a job that `parse_spec` accepted before it was stored, however long ago.

    Raises `PeerError` (`job_spec`) where the bytes are no job.
    """
    return _spec(_message(payload), signer)


def _message(payload: bytes) -> job_pb2.JobSpec:
    if len(payload) > MAX_BYTES:
        raise _malformed(f"expected a job of {MAX_BYTES} bytes at most, got {len(payload)}")
    try:
        return job_pb2.JobSpec.FromString(payload)
    except DecodeError:
        raise _malformed("expected a job, got other bytes") from None


def _spec(message: job_pb2.JobSpec, signer: Identity) -> JobSpec:
    participants = _participants(message)
    operation, sql, plan_digest = _operation(message)
    return JobSpec(
        job_id=message.job_id,
        requester=signer,
        purpose=message.purpose,
        table=message.table,
        schema_digest=message.schema_digest,
        sql=sql,
        plan_digest=plan_digest,
        participants=participants,
        min_nodes=message.min_nodes,
        public_key_digest=message.public_key_digest,
        issued_at_ms=message.issued_at_ms,
        expires_at_ms=message.expires_at_ms,
        dry_run=message.dry_run,
        statistic=operation if isinstance(operation, Statistic) else None,
        joined=tuple(JoinedTable(j.table, j.schema_digest) for j in message.query.joined),
        training=operation if isinstance(operation, TrainingSpec) else None,
        suite=next(suite for suite, number in _SUITES.items() if number == message.suite),
        privacy=_privacy(message),
        project=message.project,
    )


def _privacy(message: job_pb2.JobSpec) -> Privacy | None:
    if not message.HasField("privacy"):
        return None
    try:
        return Privacy(message.privacy.micro_rho, message.privacy.delta)
    except CallError as error:
        raise _malformed(error.message) from None


def _operation(message: job_pb2.JobSpec) -> tuple[Statistic | TrainingSpec | None, str, bytes]:
    """The statistic or the training, if it is one, the statement, and the digest of its plan."""
    match message.WhichOneof("operation"):
        case "statistic":
            statistic = parse_statistic(message.statistic.body)
            return statistic, statistic.sql, message.statistic.plan_digest
        case "training":
            training = parse_training(message.training.body)
            return training, training.sql, message.training.plan_digest
        case _:
            return None, message.query.sql, message.query.plan_digest


def _malformed(message: str) -> PeerError:
    return PeerError("job_spec", message)


def _check_requester(message: job_pb2.JobSpec, signer: Identity) -> None:
    if signer.role is not Role.USER:
        raise PeerError(
            "identity", f"expected a job signed by a user, got one signed by a {signer.role}"
        )
    if message.requester != signer.uri:
        raise PeerError(
            "identity",
            f"expected the requester that the certificate names, `{signer.uri}`, "
            f"got `{message.requester[:200]}`",
        )
    if message.federation != signer.federation:
        raise PeerError(
            "identity",
            f"expected a job of federation `{signer.federation}`, "
            f"got one of `{message.federation[:200]}`",
        )


def _check_texts(message: job_pb2.JobSpec) -> None:
    operation = message.WhichOneof("operation")
    if operation not in ("query", "statistic", "training"):
        raise _malformed(
            "expected an operation that this version knows (query, statistic, training), got none"
        )
    joined = message.query.joined
    if len(joined) > MAX_JOINED:
        raise _malformed(f"expected at most {MAX_JOINED} joined tables, got {len(joined)}")
    tables = [message.table, *(entry.table for entry in joined)]
    if len(set(tables)) != len(tables):
        raise _malformed("expected distinct tables, got one twice")
    texts = [
        ("a purpose", message.purpose, MAX_PURPOSE_CHARS),
        *(("a table name", table, MAX_TABLE_CHARS) for table in tables),
    ]
    if operation == "query":
        texts.append(("a statement", message.query.sql, MAX_SQL_BYTES))
    for what, text, limit in texts:
        if not text.strip() or len(text.encode()) > limit * 4 or len(text) > limit:
            raise _malformed(f"expected {what} of 1 to {limit} characters, got one of {len(text)}")
    if len(message.project) > MAX_PROJECT_CHARS or message.project != message.project.strip():
        raise _malformed(
            f"expected a project of at most {MAX_PROJECT_CHARS} characters, no spaces around it"
        )
    for char in message.purpose + message.project + "".join(tables):
        if unicodedata.category(char) in {"Cc", "Cf", "Cs"}:
            raise _malformed(
                "expected a purpose, a project and a table without control characters, got one"
            )


def _check_digests(message: job_pb2.JobSpec) -> None:
    _check_suite(message)
    digests = [message.schema_digest, _operation(message)[2]]
    digests += [entry.schema_digest for entry in message.query.joined]
    if not message.dry_run and message.suite == job_pb2.SUITE_BFV:
        digests.append(message.public_key_digest)
    if any(len(value) != _DIGEST_BYTES for value in digests):
        raise _malformed("expected digests of 32 bytes, got another length")


def _check_suite(message: job_pb2.JobSpec) -> None:
    if message.suite not in _SUITES.values():
        raise _malformed(f"expected suite bfv or stream, got suite number {message.suite}")
    if message.suite == job_pb2.SUITE_STREAM:
        if message.WhichOneof("operation") != "training":
            raise _malformed("expected suite bfv for what is not a training, got stream")
        if message.public_key_digest:
            raise _malformed("expected no public key in suite stream, got the digest of one")


def _check_times(message: job_pb2.JobSpec, now_ms: int) -> None:
    if message.issued_at_ms > now_ms + MAX_SKEW_MS:
        ahead_s = (message.issued_at_ms - now_ms) / 1000
        raise PeerError(
            "job_expired",
            f"expected a job issued by now, got one issued {ahead_s:.0f} s in the future",
            remedy="set the requester's clock",
        )
    if not 0 < message.expires_at_ms - message.issued_at_ms <= MAX_LIFETIME_MS:
        lives_s = (message.expires_at_ms - message.issued_at_ms) / 1000
        raise PeerError(
            "job_expired", f"expected a job that lives for 24 hours at most, got {lives_s:.0f} s"
        )
    if message.expires_at_ms <= now_ms:
        late_s = (now_ms - message.expires_at_ms) / 1000
        raise PeerError(
            "job_expired", f"expected a job that is still valid, got one expired {late_s:.0f} s ago"
        )


def _participants(message: job_pb2.JobSpec) -> tuple[Participant, ...]:
    count = len(message.participants)
    if not MIN_PARTICIPANTS <= count <= MAX_PARTICIPANTS:
        raise _malformed(
            f"expected {MIN_PARTICIPANTS} to {MAX_PARTICIPANTS} participants, got {count}"
        )
    if not MIN_PARTICIPANTS <= message.min_nodes <= count:
        raise _malformed(
            f"expected a minimum of {MIN_PARTICIPANTS} to {count} nodes, got {message.min_nodes}"
        )
    participants: list[Participant] = []
    for entry in message.participants:
        node = Identity.parse(entry.node)
        if node.role is not Role.NODE or node.federation != message.federation:
            raise _malformed(f"expected nodes of the job's federation, got `{entry.node}`")
        if len(entry.descriptor_digest) != _DIGEST_BYTES:
            raise _malformed("expected digests of 32 bytes, got another length")
        if not message.dry_run and not 0 < len(entry.sealed_secret) <= MAX_SEALED_BYTES:
            raise _malformed(
                f"expected a sealed secret of 1 to {MAX_SEALED_BYTES} bytes for `{entry.node}`, "
                f"got {len(entry.sealed_secret)}"
            )
        participants.append(Participant(node, entry.descriptor_digest, entry.sealed_secret))
    if len({p.node for p in participants}) != count:
        raise _malformed("expected distinct participants, got one twice")
    return tuple(participants)
