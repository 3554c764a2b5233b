"""The coordinator's state in a SQL database: jobs, results, ids seen, nodes' descriptors.

Trust line: whoever can write here can lose jobs or delay them, and can show a requester an old
state of a job. He cannot forge a job or a decision (both are signed elsewhere), read a result (it
is encrypted to the requester) or hide what was logged.

A job is stored before any effect of its new state goes out. Writes are short and synchronous: one
row each, so the event loop that calls them is never held for longer than a commit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Connection,
    Engine,
    LargeBinary,
    String,
    bindparam,
    create_engine,
    delete,
    event,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, defer, mapped_column
from yumen_core.errors import PeerError
from yumen_core.jobs.machine import Job, Round, State, Step
from yumen_core.policy.denial import Denial


class _Base(DeclarativeBase):
    pass


class _JobRow(_Base):
    __tablename__ = "jobs"
    job_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    requester: Mapped[str] = mapped_column(String(400), index=True)
    state: Mapped[str] = mapped_column(String(32), index=True)
    machine: Mapped[str]
    envelope: Mapped[bytes] = mapped_column(LargeBinary)
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    submitted_at_ms: Mapped[int] = mapped_column(BigInteger, index=True)
    updated_at_ms: Mapped[int] = mapped_column(BigInteger)


class _DecisionRow(_Base):
    __tablename__ = "decisions"
    job_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    node: Mapped[str] = mapped_column(String(400), primary_key=True)
    envelope: Mapped[bytes] = mapped_column(LargeBinary)


class _ProofRow(_Base):
    """That a node's decision on a job stands in its log."""

    __tablename__ = "proofs"
    job_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    node: Mapped[str] = mapped_column(String(400), primary_key=True)
    proof: Mapped[bytes] = mapped_column(LargeBinary)


class _InputRow(_Base):
    """The requester's signed input of a job's present run: a restart asks the nodes again."""

    __tablename__ = "inputs"
    job_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    envelope: Mapped[bytes] = mapped_column(LargeBinary)


class _BundleRow(_Base):
    """The code of a training, as its requester sent it: nodes that come back need it again."""

    __tablename__ = "bundles"
    job_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    bundle: Mapped[bytes] = mapped_column(LargeBinary)


class _ResultRow(_Base):
    __tablename__ = "results"
    job_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    outcome: Mapped[bytes] = mapped_column(LargeBinary)
    sum: Mapped[bytes] = mapped_column(LargeBinary)
    stored_at_ms: Mapped[int] = mapped_column(BigInteger, index=True)


class _SeenRow(_Base):
    """Ids of dry runs, which leave no job behind; a job's own row is its mark."""

    __tablename__ = "seen"
    job_id: Mapped[str] = mapped_column(String(36), primary_key=True)


class _DescriptorRow(_Base):
    __tablename__ = "descriptors"
    node: Mapped[str] = mapped_column(String(400), primary_key=True)
    envelope: Mapped[bytes] = mapped_column(LargeBinary)


@dataclass(frozen=True)
class StoredJob:
    """A job with what its requester sent: the signed envelope's bytes and the public key."""

    job: Job
    requester: str
    envelope: bytes
    public_key: bytes
    submitted_at_ms: int
    updated_at_ms: int


class Store:
    """The store over any SQLAlchemy URL. Open it once for each process."""

    def __init__(self, url: str) -> None:
        if url.startswith("sqlite:///"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        self._engine = create_engine(url)
        if url.startswith("sqlite"):
            _make_durable(self._engine)
        _Base.metadata.create_all(self._engine)

    def close(self) -> None:
        self._engine.dispose()

    def add(self, stored: StoredJob, bundle: bytes = b"") -> None:
        """Insert a new job, with the bundle of a training that has one. Raises `PeerError`
        (`replay`) where its id was used before."""
        job_id = stored.job.job_id
        values = {
            "job_id": job_id,
            "requester": stored.requester,
            "state": stored.job.state.value,
            "machine": _dump(stored.job),
            "envelope": stored.envelope,
            "public_key": stored.public_key,
            "submitted_at_ms": stored.submitted_at_ms,
            "updated_at_ms": stored.updated_at_ms,
        }
        try:
            with self._engine.begin() as connection:
                if connection.execute(_FIND_SEEN, {"id": job_id}).first() is not None:
                    raise _replayed(job_id)
                connection.execute(_ADD_JOB, values)
                if bundle:
                    connection.execute(_ADD_BUNDLE, {"job_id": job_id, "bundle": bundle})
        except IntegrityError:
            raise _replayed(job_id) from None

    def mark_seen(self, job_id: str) -> None:
        """Use up the id of a dry run. Raises `PeerError` (`replay`) where it was used before."""
        try:
            with Session(self._engine) as session, session.begin():
                if session.get(_JobRow, job_id) is not None:
                    raise _replayed(job_id)
                session.add(_SeenRow(job_id=job_id))
        except IntegrityError:
            raise _replayed(job_id) from None

    def was_seen(self, job_id: str) -> bool:
        with Session(self._engine) as session:
            used = session.get(_SeenRow, job_id) or session.get(_JobRow, job_id)
            return used is not None

    def save(
        self,
        job: Job,
        *,
        now_ms: int,
        decisions: Mapping[str, bytes] | None = None,
        proofs: Mapping[str, bytes] | None = None,
    ) -> None:
        """Store the job's new state with the signed decisions behind it and the proofs that they
        are logged, by node; a decision that is stored already stays as it is, with its proof."""
        with self._engine.begin() as connection:
            _update(connection, job, now_ms)
            if not decisions:
                return
            known = set(connection.scalars(_FIND_DECISIONS, {"id": job.job_id}))
            added = [
                {"job_id": job.job_id, "node": node, "envelope": envelope}
                for node, envelope in decisions.items()
                if node not in known
            ]
            if added:
                connection.execute(_ADD_DECISION, added)
            proved = [
                {"job_id": job.job_id, "node": node, "proof": proof}
                for node, proof in (proofs or {}).items()
                if node in decisions and node not in known
            ]
            if proved:
                connection.execute(_ADD_PROOF, proved)

    def decisions(self, job_id: str) -> dict[str, bytes]:
        with Session(self._engine) as session:
            rows = session.scalars(select(_DecisionRow).where(_DecisionRow.job_id == job_id))
            return {row.node: row.envelope for row in rows}

    def proofs(self, job_id: str) -> dict[str, bytes]:
        """The proofs of the stored decisions, by node."""
        with Session(self._engine) as session:
            rows = session.scalars(select(_ProofRow).where(_ProofRow.job_id == job_id))
            return {row.node: row.proof for row in rows}

    def save_run(self, job: Job, envelope: bytes, *, now_ms: int) -> None:
        """Store the job's new run with its signed input, in place of the run before."""
        with self._engine.begin() as connection:
            _update(connection, job, now_ms)
            connection.execute(_DROP_INPUT, {"id": job.job_id})
            connection.execute(_ADD_INPUT, {"job_id": job.job_id, "envelope": envelope})

    def run_input(self, job_id: str) -> bytes | None:
        """The signed input of the job's present run; `None` where it has none."""
        with Session(self._engine) as session:
            row = session.get(_InputRow, job_id)
            return None if row is None else row.envelope

    def bundle(self, job_id: str) -> bytes:
        """The code of a training; empty where it has none."""
        with Session(self._engine) as session:
            row = session.get(_BundleRow, job_id)
            return b"" if row is None else row.bundle

    def save_result(self, job: Job, outcome: bytes, total: bytes, *, now_ms: int) -> None:
        """Store the final state and the encrypted sum in one transaction: both or neither."""
        values = {
            "job_id": job.job_id,
            "outcome": outcome,
            "sum": total,
            "stored_at_ms": now_ms,
        }
        with self._engine.begin() as connection:
            _update(connection, job, now_ms)
            connection.execute(_DROP_INPUT, {"id": job.job_id})
            connection.execute(_DROP_BUNDLE, {"id": job.job_id})
            connection.execute(_ADD_RESULT, values)

    def result(self, job_id: str) -> tuple[bytes, bytes] | None:
        """The stored outcome and encrypted sum, if the job has one."""
        with Session(self._engine) as session:
            row = session.get(_ResultRow, job_id)
            return None if row is None else (row.outcome, row.sum)

    def drop_results_before(self, ms: int) -> None:
        with Session(self._engine) as session, session.begin():
            session.execute(delete(_ResultRow).where(_ResultRow.stored_at_ms < ms))

    def get(self, job_id: str) -> StoredJob | None:
        """The job without its public key."""
        query = select(_JobRow).options(defer(_JobRow.public_key))
        with Session(self._engine) as session:
            row = session.scalar(query.where(_JobRow.job_id == job_id))
            return None if row is None else _stored(row, public_key=b"")

    def open_jobs(self) -> Iterator[StoredJob]:
        """The jobs that have not ended, oldest first."""
        states = [state.value for state in State if not state.ended]
        with Session(self._engine) as session:
            query = select(_JobRow).where(_JobRow.state.in_(states)).order_by(_JobRow.job_id)
            yield from [_stored(row, public_key=row.public_key) for row in session.scalars(query)]

    def recent(self, *, requester: str | None, limit: int) -> list[StoredJob]:
        """The newest jobs first, without their public keys; of one requester, or of all where it
        is `None`."""
        query = select(_JobRow).options(defer(_JobRow.public_key))
        query = query.order_by(_JobRow.submitted_at_ms.desc(), _JobRow.job_id.desc())
        if requester is not None:
            query = query.where(_JobRow.requester == requester)
        with Session(self._engine) as session:
            rows = session.scalars(query.limit(limit))
            return [_stored(row, public_key=b"") for row in rows]

    def save_descriptor(self, node: str, envelope: bytes) -> None:
        with Session(self._engine) as session, session.begin():
            session.merge(_DescriptorRow(node=node, envelope=envelope))

    def descriptors(self) -> dict[str, bytes]:
        with Session(self._engine) as session:
            return {row.node: row.envelope for row in session.scalars(select(_DescriptorRow))}


# The statements of a job's way, compiled once; the ORM reads what is seldom read.
_ADD_JOB = insert(_JobRow)
_ADD_DECISION = insert(_DecisionRow)
_ADD_PROOF = insert(_ProofRow)
_ADD_RESULT = insert(_ResultRow)
_ADD_INPUT = insert(_InputRow)
_DROP_INPUT = delete(_InputRow).where(_InputRow.job_id == bindparam("id"))
_ADD_BUNDLE = insert(_BundleRow)
_DROP_BUNDLE = delete(_BundleRow).where(_BundleRow.job_id == bindparam("id"))
_FIND_SEEN = select(_SeenRow.job_id).where(_SeenRow.job_id == bindparam("id"))
_FIND_DECISIONS = select(_DecisionRow.node).where(_DecisionRow.job_id == bindparam("id"))
_UPDATE_JOB = update(_JobRow).where(_JobRow.job_id == bindparam("id"))


def _update(connection: Connection, job: Job, now_ms: int) -> None:
    """Raises `KeyError` for a job that was never added."""
    values = {"state": job.state.value, "machine": _dump(job), "updated_at_ms": now_ms}
    if connection.execute(_UPDATE_JOB.values(values), {"id": job.job_id}).rowcount != 1:
        raise KeyError(job.job_id)


def _make_durable(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _pragmas(connection: object, _record: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA busy_timeout=5000")
        cursor.close()


def _replayed(job_id: str) -> PeerError:
    return PeerError("replay", f"expected a new job id, got `{job_id}`, which was used before")


def _stored(row: _JobRow, *, public_key: bytes) -> StoredJob:
    return StoredJob(
        job=_load(row.machine),
        requester=row.requester,
        envelope=row.envelope,
        public_key=public_key,
        submitted_at_ms=row.submitted_at_ms,
        updated_at_ms=row.updated_at_ms,
    )


def _dump(job: Job) -> str:
    body = asdict(job)
    body["denials"] = [d.to_json() for d in job.denials]
    return json.dumps(body, ensure_ascii=False)


def _load(text: str) -> Job:
    body = json.loads(text)
    return Job(
        job_id=body["job_id"],
        min_nodes=body["min_nodes"],
        steps={node: Step(step) for node, step in body["steps"].items()},
        expires_at_ms=body["expires_at_ms"],
        state=State(body["state"]),
        round=Round(body["round"]) if body["round"] else None,
        participants=tuple(body["participants"]),
        deadline_ms=body["deadline_ms"],
        reason=body["reason"],
        denials=tuple(
            Denial(**{**d, "policy_digest": bytes.fromhex(d["policy_digest"])})
            for d in body["denials"]
        ),
        interactive=body["interactive"],
        runs=tuple(body["runs"]),
        supported=body["supported"],
        code=body["code"],
        training=body["training"],
        lost=tuple(body["lost"]),
        round_ms=body["round_ms"],
        restarted=body["restarted"],
    )
