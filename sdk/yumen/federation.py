"""The federation as a data scientist uses it: ask in SQL, get a released aggregate."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from yumen_core.errors import CATALOGUE, CallError, Denied, PeerError
from yumen_core.identity.envelope import PayloadType
from yumen_core.identity.names import Role
from yumen_core.jobs.answer import decode_answer, payload_slots
from yumen_core.jobs.decision import Decision, denial_from_proto
from yumen_core.jobs.machine import State
from yumen_core.jobs.rounds import sum_binding
from yumen_core.jobs.spec import MIN_PARTICIPANTS, spec_digest
from yumen_core.rpc.v1 import job_pb2
from yumen_core.securesum.bfv import BfvKeyPair
from yumen_core.securesum.contribution import open_sum
from yumen_core.sql import finish

from yumen._arguments import check_address, check_job, check_question, check_timeout
from yumen.coordinator import CoordinatorClient
from yumen.datasets import Datasets
from yumen.jobs import Jobs, JobSummary, state_of
from yumen.progress import JobProgress
from yumen.question import DEFAULT_LIFETIME_S, Asked, PreparedJob, ask, prepare
from yumen.report import CheckReport, NodeDecision, party_name
from yumen.result import Exclusion, HeldBack, Result

IDENTITY_VARIABLE = "YUMEN_IDENTITY"
FETCH_PATIENCE_S = 30.0
_AWAY = frozenset({"unreachable", "cancelled"})
"""How calls to a coordinator end that stops, or whose connection breaks."""
_CODES = {
    State.INSUFFICIENT_NODES: "insufficient_nodes",
    State.NODE_LOST: "node_lost",
    State.CANCELLED: "cancelled",
    State.EXPIRED: "deadline",
    State.FAILED: "failed",
}


def connect(address: str, identity: str | os.PathLike[str] | None = None) -> Federation:
    """Connect to the coordinator at `address` (host:port).

    `identity` is the folder that `yumen user enrol` made; by default that of the environment
    variable YUMEN_IDENTITY. Raises `CallError` for another form of address, `StateError` where the
    folder is not a valid identity; that the coordinator cannot be reached shows at the first call.
    """
    folder = identity if identity is not None else os.environ.get(IDENTITY_VARIABLE)
    if folder is None:
        raise CallError(
            "argument",
            f"expected an identity folder or the variable {IDENTITY_VARIABLE}, got neither",
            remedy="enrol with `yumen user enrol DIR --token TOKEN`",
        )
    return Federation(CoordinatorClient(check_address(address), Path(folder).expanduser()))


class Federation:
    """A connection to one federation. Close it, or use it as a context manager.

    The decryption key is made here at the first query and never leaves this process.
    """

    def __init__(self, client: CoordinatorClient) -> None:
        self._connection = client
        self._closed = False
        self._keypair: BfvKeyPair | None = None

    def __enter__(self) -> Federation:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        me = self._connection.membership.identity
        return f"<Federation {me.federation} at {self._connection.address} as {me.short}>"

    def close(self) -> None:
        """End the connection; every later question raises `CallError`."""
        self._closed = True
        self._connection.close()

    @property
    def _client(self) -> CoordinatorClient:
        if self._closed:
            raise CallError(
                "argument",
                "expected an open connection, and the connection is closed",
                remedy="connect again, or ask within the `with` block",
            )
        return self._connection

    def datasets(self) -> Datasets:
        """The tables that the nodes publish, with what each column means."""
        return Datasets.from_descriptors(
            [(signed.descriptor, connected) for signed, connected in self._client.catalogue()]
        )

    def check(
        self,
        sql: str,
        *,
        purpose: str,
        nodes: Sequence[str] | None = None,
        min_nodes: int | None = None,
    ) -> CheckReport:
        """Ask every node whether it would take part. No row is touched.

        Takes what `query` takes. Raises `CallError` for a statement that is not supported.
        """
        asked = self._ask(sql, purpose, nodes, min_nodes)
        me = self._client.membership
        job = prepare(asked, me.identity, clock=me.clock, dry_run=True)
        payload = job.spec.to_bytes()
        own, decisions, excluded = self._client.check(
            me.sign(payload, PayloadType.JOB_SPEC), timeout_s=60.0
        )
        for decision in (own, *decisions):
            _check_decision(decision, job, payload)
        return CheckReport(
            decisions=tuple(
                NodeDecision(d.decider, d.accepted, d.denials) for d in (own, *decisions)
            ),
            excluded=_exclusions(excluded),
            sql=sql,
            purpose=purpose,
            nodes_needed=asked.min_nodes,
        )

    def query(
        self,
        sql: str,
        *,
        purpose: str,
        nodes: Sequence[str] | None = None,
        min_nodes: int | None = None,
        timeout_s: float = DEFAULT_LIFETIME_S,
    ) -> Result:
        """Ask the nodes for an aggregate; only the released totals come back.

        `purpose` is signed into the job and decided on by every node. `nodes` chooses nodes by
        name, `organisation/name`, or an organisation with one node (default: all that publish the
        table, connected or not). With `min_nodes=None` every chosen node must
        take part; with a number the job goes on with those that accept, and the result names who
        is out and why. Counts, sums of integers and of decimals are exact; floats agree with the
        pooled computation to 1e-9 relative.

        Raises `CallError` for a statement that is not supported, `Denied` with every denial where
        policy refuses, `PeerError` where nodes are missing or lost, the job's time is over, or the
        sum was tampered with.
        """
        started = time.monotonic()
        check_timeout(timeout_s)
        asked = self._ask(sql, purpose, nodes, min_nodes)
        keypair = self._keys()
        me = self._client.membership
        job = prepare(
            asked,
            me.identity,
            clock=me.clock,
            public_key_digest=keypair.public.digest,
            lifetime_s=timeout_s,
        )
        payload = job.spec.to_bytes()
        status, decision = self._client.submit(
            me.sign(payload, PayloadType.JOB_SPEC), keypair.public.to_bytes()
        )
        _check_decision(decision, job, payload)
        if not decision.accepted:
            raise Denied(_refused(job, [decision]), decision.denials)
        self._wait(job, status, timeout_s)
        outcome, total = self._fetch(job)
        if state_of(outcome.status) is not State.SUCCEEDED:
            raise self._failure(outcome, job, payload)
        try:
            return self._read(asked, job, payload, outcome, total, keypair, started)
        except PeerError as error:
            if error.code in {"headroom", "ciphertext"}:
                # Whoever changed a sum and sees how it is taken learns of the key: make another.
                self._keypair = None
            raise

    def jobs(self, limit: int = 50) -> Jobs:
        """Your jobs at this coordinator, newest first."""
        return Jobs(JobSummary.from_status(status) for status in self._client.jobs(limit))

    def cancel(self, job_id: str) -> JobSummary:
        """Cancel one of your jobs; an ended job stays as it is.

        Raises `CallError` for what is no job id, or no job of yours.
        """
        check_job(job_id)
        return JobSummary.from_status(self._client.cancel(job_id))

    # Steps of a query ---------------------------------------------------------------------------

    def _ask(
        self, sql: str, purpose: str, nodes: Sequence[str] | None, min_nodes: int | None
    ) -> Asked:
        check_question(sql, purpose, min_nodes)
        catalogue = [signed for signed, _ in self._client.catalogue()]
        return ask(sql, purpose, catalogue, nodes=nodes, min_nodes=min_nodes)

    def _keys(self) -> BfvKeyPair:
        if self._keypair is None:
            self._keypair = BfvKeyPair.generate()
        return self._keypair

    def _wait(self, job: PreparedJob, status: job_pb2.JobStatus, timeout_s: float) -> None:
        """Follow the job to its end, across a coordinator that goes away and comes back."""
        deadline = time.monotonic() + timeout_s + 5.0
        with JobProgress(f"job {job.spec.job_id}") as progress:
            while not state_of(status).ended:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise PeerError("deadline", "expected the job to end in time, got no end of it")
                try:
                    for status in self._client.watch(job.spec.job_id, timeout_s=left_s):
                        progress.update(status)
                except PeerError as error:
                    if error.code not in _AWAY:
                        raise
                if not state_of(status).ended:  # the stream ended before the job
                    time.sleep(0.2)

    def _fetch(self, job: PreparedJob) -> tuple[job_pb2.Outcome, bytes]:
        """The ended job's outcome, across a coordinator that goes away and comes back."""
        deadline = time.monotonic() + FETCH_PATIENCE_S
        while True:
            try:
                return self._client.fetch(job.spec.job_id)
            except PeerError as error:
                if error.code not in _AWAY or time.monotonic() >= deadline:
                    raise
                time.sleep(0.2)

    def _failure(
        self, outcome: job_pb2.Outcome, job: PreparedJob, payload: bytes
    ) -> PeerError | Denied:
        """Why an ended job has no result. Denials count only with their nodes' signatures."""
        status = outcome.status
        refused = [d for d in self._decisions(outcome, job, payload) if not d.accepted]
        state = state_of(status)
        if state is State.DENIED and refused:
            return Denied(_refused(job, refused), [x for d in refused for x in d.denials])
        if state is State.DENIED:
            denials = [denial_from_proto(d) for d in status.denials]
            return (
                Denied(status.reason, denials)
                if denials
                else PeerError("job_denied", status.reason)
            )
        code = _CODES.get(state, "failed")
        reason = status.reason or f"the job ended as {state.value}"
        remedy = _fewer_nodes(job) if state is State.INSUFFICIENT_NODES else None
        return PeerError(code if code in CATALOGUE else "failed", reason, remedy=remedy)

    def _decisions(
        self, outcome: job_pb2.Outcome, job: PreparedJob, payload: bytes
    ) -> list[Decision]:
        decisions = [self._client.decision(d, role=Role.NODE) for d in outcome.decisions]
        for decision in decisions:
            _check_decision(decision, job, payload)
        return decisions

    def _read(
        self,
        asked: Asked,
        job: PreparedJob,
        payload: bytes,
        outcome: job_pb2.Outcome,
        total: bytes,
        keypair: BfvKeyPair,
        started: float,
    ) -> Result:
        """Verify and decrypt.

        1. The participants are nodes the job names, at least its minimum.
        2. Each of them signed an acceptance of this very job.
        3. The sum is of exactly these participants' contributions (count and tag, `open_sum`).
        """
        participants = tuple(outcome.participants)
        spec = job.spec
        if sorted(set(participants) & set(spec.nodes)) != list(participants):
            raise PeerError("round", "expected participants that the job names, got others")
        if len(participants) < spec.min_nodes:
            raise PeerError(
                "round", f"expected {spec.min_nodes} participants, got {len(participants)}"
            )
        accepted = {d.decider for d in self._decisions(outcome, job, payload) if d.accepted}
        if not set(participants) <= accepted:
            raise PeerError("round", "expected a signed acceptance of every participant, got fewer")
        sums = open_sum(
            total,
            keypair=keypair,
            job_secret=job.secret,
            binding=sum_binding(spec.job_id, participants, outcome.support_digest),
            payload_slots=payload_slots(asked.plan),
            contributions=len(participants),
        )
        totals = decode_answer(asked.plan, sums, len(participants))
        released = finish(asked.plan, totals.nodes, totals.values)
        return Result(
            released.table,
            job_id=spec.job_id,
            sql=asked.sql,
            purpose=asked.purpose,
            participants=participants,
            excluded=_exclusions(outcome.excluded),
            held_back=tuple(
                HeldBack(column, rows) for column, rows in released.held_back.items() if rows
            ),
            empty_cells=released.empty_cells,
            notes=released.notes,
            ciphertext_bytes=outcome.ciphertext_bytes,
            ciphertexts=outcome.ciphertexts,
            elapsed_s=time.monotonic() - started,
            measure_nodes=released.nodes,
        )


def _check_decision(decision: Decision, job: PreparedJob, payload: bytes) -> None:
    """A decision is on this job, by a party that the job concerns. Raises `PeerError`."""
    if decision.job_id != job.spec.job_id or decision.spec_digest != spec_digest(payload):
        raise PeerError(
            "signature",
            "expected a decision on this job, got one on another",
            node=decision.decider,
        )


def _exclusions(messages: Sequence[job_pb2.Exclusion]) -> tuple[Exclusion, ...]:
    return tuple(Exclusion(message.node, message.reason) for message in messages)


def _fewer_nodes(job: PreparedJob) -> str | None:
    """What to do where nodes are missing and every chosen one had to take part."""
    if job.spec.min_nodes < len(job.spec.nodes):
        return None
    if job.spec.min_nodes <= MIN_PARTICIPANTS:
        return f"wait for the missing nodes: a sum takes {MIN_PARTICIPANTS} nodes at least"
    return "give min_nodes (--min-nodes) to go on with fewer, or wait for the missing nodes"


def _refused(job: PreparedJob, decisions: Sequence[Decision]) -> str:
    first = decisions[0].denials[0]
    who = ", ".join(party_name(d.decider) for d in decisions)
    return f"the job for purpose `{job.spec.purpose}` was refused by {who}: {first.message}"
