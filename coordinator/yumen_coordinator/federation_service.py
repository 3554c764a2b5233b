"""The data scientists' side of the coordinator."""

from __future__ import annotations

import functools
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from yumen_core.errors import CallError, PeerError, YumenError
from yumen_core.identity.envelope import SignedEnvelope
from yumen_core.identity.membership import Membership
from yumen_core.identity.names import Identity, Role
from yumen_core.jobs.code import check_code
from yumen_core.jobs.inputs import open_signed_input
from yumen_core.jobs.job_id import check_job_id
from yumen_core.jobs.machine import Admitted, Refused, Round
from yumen_core.jobs.runs import Runs
from yumen_core.jobs.spec import JobSpec, read_stored_spec
from yumen_core.rpc import chunks, faults
from yumen_core.rpc.channels import Context, peer_identity
from yumen_core.rpc.v1 import envelope_pb2, federation_pb2, federation_pb2_grpc, job_pb2
from yumen_core.securesum import BfvPublicKey
from yumen_core.securesum.suite import Suite, sum_bytes

from yumen_coordinator.checks import Checks
from yumen_coordinator.config import CoordinatorConfig
from yumen_coordinator.gate import Gate
from yumen_coordinator.outcome import run_outcome_of, status_of
from yumen_coordinator.publication import CoordinatorPublication
from yumen_coordinator.registry import Registry
from yumen_coordinator.rounds import ActiveJob, Payload
from yumen_coordinator.scheduler import Scheduler
from yumen_coordinator.store import Store, StoredJob

MAX_JOBS_LISTED = 500
_Self = TypeVar("_Self")
_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


def _answering(
    method: Callable[[_Self, _Request, Context], Awaitable[_Response]],
) -> Callable[[_Self, _Request, Context], Awaitable[_Response]]:
    """Turn our errors into gRPC's, in one place."""

    @functools.wraps(method)
    async def answer(self: _Self, request: _Request, context: Context) -> _Response:
        try:
            return await method(self, request, context)
        except YumenError as error:
            await faults.abort(context, error)
            raise AssertionError("abort does not return") from error

    return answer


class FederationService(federation_pb2_grpc.FederationServicer):
    """Serves `Federation`. Whose job it is comes from the certificate of each call."""

    def __init__(
        self,
        *,
        config: CoordinatorConfig,
        membership: Membership,
        registry: Registry,
        scheduler: Scheduler,
        checks: Checks,
        gate: Gate,
        store: Store,
        publication: CoordinatorPublication,
    ) -> None:
        self._config = config
        self._membership = membership
        self._registry = registry
        self._scheduler = scheduler
        self._checks = checks
        self._gate = gate
        self._store = store
        self._publication = publication

    @_answering
    async def Catalogue(
        self, request: federation_pb2.CatalogueRequest, context: Context
    ) -> federation_pb2.CatalogueResponse:
        self._caller(context, Role.USER, Role.AUDITOR)
        now_ms = self._membership.clock.now_ms()
        return federation_pb2.CatalogueResponse(
            nodes=[
                federation_pb2.CatalogueNode(
                    descriptor=known.envelope.to_proto(), connected=connected
                )
                for _, known, connected in self._registry.catalogue(now_ms=now_ms)
            ],
            revocations=self._membership.revocations.der,
            coordinator=self._membership.identity.uri,
            now_ms=now_ms,
            descriptor=self._publication.current().to_proto(),
        )

    @_answering
    async def Check(
        self, request: federation_pb2.CheckRequest, context: Context
    ) -> federation_pb2.CheckResponse:
        caller = self._caller(context, Role.USER)
        envelope = SignedEnvelope.from_proto(request.job)
        opened = self._gate.open(envelope, caller)
        spec = opened.spec
        try:
            if not spec.dry_run:
                raise PeerError("job_spec", "expected a dry run, got a job to carry out")
            if self._checks.full():
                raise PeerError("payload_too_large", "expected fewer dry runs at once")
            self._store.mark_seen(spec.job_id)
        except PeerError as error:
            self._gate.refuse(error, caller, spec.job_id)
            raise
        ruling = self._gate.rule(opened, envelope)
        if not ruling.accepted:
            return federation_pb2.CheckResponse(coordinator=ruling.envelope.to_proto())
        return await self._checks.run(opened, envelope, ruling.envelope)

    @_answering
    async def Submit(
        self, request: federation_pb2.SubmitRequest, context: Context
    ) -> federation_pb2.SubmitResponse:
        """1. verify, 2. key and code are as signed, 3. a new id, 4. room, 5. decide, 6. go."""
        caller = self._caller(context, Role.USER)
        envelope = SignedEnvelope.from_proto(request.job)
        opened = self._gate.open(envelope, caller)
        spec = opened.spec
        try:
            if spec.dry_run:
                raise PeerError("job_spec", "expected a job to carry out, got a dry run")
            _check_key(spec, request.public_key)
            check_code(spec, request.bundle)
            if self._store.was_seen(spec.job_id):
                raise PeerError(
                    "replay",
                    f"expected a new job id, got `{spec.job_id}`, which was used before",
                )
            self._check_room(caller)
        except PeerError as error:
            self._gate.refuse(error, caller, spec.job_id)
            raise
        ruling = self._gate.rule(opened, envelope)
        assert ruling.proof is not None
        if ruling.question is None:  # nothing that could be listed as a job
            self._store.mark_seen(spec.job_id)
            return federation_pb2.SubmitResponse(
                status=job_pb2.JobStatus(
                    job_id=spec.job_id, state=job_pb2.JOB_STATE_DENIED, table=spec.table
                ),
                decision=ruling.envelope.to_proto(),
                proof=ruling.proof.to_proto(),
            )
        try:
            self._check_size(spec, ruling.question.runs)
        except PeerError as error:
            self._gate.refuse(error, caller, spec.job_id)
            raise
        self._scheduler.submit(
            opened,
            envelope,
            request.public_key,
            ruling.question.runs,
            Admitted() if ruling.accepted else Refused(ruling.denials),
            request.bundle,
        )
        return federation_pb2.SubmitResponse(
            status=self._status(spec.job_id, caller),
            decision=ruling.envelope.to_proto(),
            proof=ruling.proof.to_proto(),
        )

    async def Watch(
        self, request: federation_pb2.WatchRequest, context: Context
    ) -> AsyncIterator[job_pb2.JobStatus]:
        try:
            caller = self._caller(context, Role.USER, Role.AUDITOR)
            while True:
                active = self._scheduler.active(request.job_id)
                changed = active.changed if active is not None else None
                yield self._status(request.job_id, caller)
                if changed is None:
                    return
                await changed.wait()
        except YumenError as error:
            await faults.abort(context, error)

    async def Fetch(
        self, request: federation_pb2.FetchRequest, context: Context
    ) -> AsyncIterator[federation_pb2.FetchResponse]:
        try:
            caller = self._caller(context, Role.USER)
            stored = self._job_of(request.job_id, caller, owner_only=True)
            found = self._store.result(stored.job.job_id)
            if found is None:
                raise PeerError(
                    "job_unknown",
                    f"expected a job that has ended, got `{request.job_id}`, which has no result",
                    remedy="wait for it, or submit the job again where its result was dropped",
                )
        except YumenError as error:
            await faults.abort(context, error)
            return
        outcome, total = found
        yield federation_pb2.FetchResponse(outcome=job_pb2.Outcome.FromString(outcome))
        if total:
            for chunk in chunks.split(total):
                yield federation_pb2.FetchResponse(sum=chunk)

    async def NextRun(
        self, request: federation_pb2.NextRunRequest, context: Context
    ) -> AsyncIterator[federation_pb2.NextRunResponse]:
        """Asked again for the present run, the same sum is given again: an answer may be lost."""
        try:
            caller = self._caller(context, Role.USER)
            active = self._open_interactive(request.job_id, caller)
            if request.run == len(active.job.runs):
                self._scheduler.passed(request.job_id)
                await self._summed(active, caller)  # after a restart the run before is done again
                self._start_run(active, request, caller)
            self._check_present(active, request)
            await self._summed(active, caller)
            outcome = run_outcome_of(active)
            total = b"" if active.job.lost else active.total()
        except YumenError as error:
            await faults.abort(context, error)
            return
        yield federation_pb2.NextRunResponse(outcome=outcome)
        if outcome.lost:
            return
        for chunk in chunks.split(total):
            yield federation_pb2.NextRunResponse(sum=chunk)

    @_answering
    async def Upload(
        self, request: AsyncIterator[federation_pb2.UploadRequest], context: Context
    ) -> federation_pb2.UploadResponse:
        """The sealed input of a training's run. Held in memory until a run's input names it."""
        caller = self._caller(context, Role.USER)
        joiner = chunks.Joiner(limit_bytes=self._config.max_input_bytes, sender=caller.uri)
        job_id = ""
        async for piece in request:
            if not job_id:
                job_id = piece.job_id
                active = self._open_interactive(job_id, caller)
                if not active.job.training:
                    raise CallError("argument", "expected a training, got another job")
            whole = joiner.add(piece.chunk)
            if whole is not None:
                self._open_interactive(job_id, caller)
                self._scheduler.uploaded(job_id, Payload.of(whole))
                return federation_pb2.UploadResponse()
        raise PeerError("input_missing", "expected a whole input, got a part of one")

    @_answering
    async def Complete(
        self, request: federation_pb2.CompleteRequest, context: Context
    ) -> job_pb2.JobStatus:
        caller = self._caller(context, Role.USER)
        self._open_interactive(request.job_id, caller)
        self._scheduler.complete(request.job_id)
        return self._status(request.job_id, caller)

    def _open_interactive(self, job_id: str, caller: Identity) -> ActiveJob:
        """The caller's statistic or training that has not ended. Raises `PeerError`
        (`job_ended`)."""
        active = self._scheduler.active(job_id)
        if active is None or active.opened.spec.requester != caller:
            self._job_of(job_id, caller, owner_only=True)
        if active is None or active.job.state.ended:
            raise PeerError("job_ended", "expected a job that runs, got one that has ended")
        if not active.job.interactive:
            raise CallError(
                "argument", "expected a statistic or a training, got a query: it has one run"
            )
        return active

    async def _summed(self, active: ActiveJob, caller: Identity) -> None:
        """Wait until the present run has its sum. Raises `PeerError` where the job ends first."""
        while active.job.round is not Round.INPUT:
            await active.changed.wait()
            self._open_interactive(active.job.job_id, caller)

    def _start_run(
        self, active: ActiveJob, request: federation_pb2.NextRunRequest, caller: Identity
    ) -> None:
        """1. the input is signed by the requester for this job, 2. the job names this run now."""
        envelope = SignedEnvelope.from_proto(request.input)
        try:
            inputs = open_signed_input(
                envelope,
                job_id=active.job.job_id,
                spec_digest=active.opened.digest,
                requester=active.opened.spec.requester,
                membership=self._membership,
            )
            self._scheduler.next_run(active.job.job_id, request.round, inputs, envelope)
        except PeerError as error:
            self._gate.refuse(error, caller, active.job.job_id)
            raise

    @staticmethod
    def _check_present(active: ActiveJob, request: federation_pb2.NextRunRequest) -> None:
        """The request is for the present run with its very input, and what that names is here."""
        job, held = active.job, active.inputs_envelope
        same = held is None or hmac.compare_digest(held.payload, request.input.payload)
        present = bool(job.runs) and request.round == job.runs[-1] and request.run == job.run
        if not present or not same:
            raise PeerError("round", f"expected the present run {job.run} or the next, got another")
        if active.waits_for_payload and not job.lost:
            raise PeerError(
                "input_missing",
                f"expected the sealed bytes that the input of run {job.run} names, got none",
            )

    @_answering
    async def Cancel(
        self, request: federation_pb2.CancelRequest, context: Context
    ) -> job_pb2.JobStatus:
        caller = self._caller(context, Role.USER)
        stored = self._job_of(request.job_id, caller, owner_only=True)
        self._scheduler.cancel(stored.job.job_id, caller.uri)
        return self._status(request.job_id, caller)

    @_answering
    async def Jobs(
        self, request: federation_pb2.JobsRequest, context: Context
    ) -> federation_pb2.JobsResponse:
        """A user's own jobs, or every job for an auditor, newest first."""
        caller = self._caller(context, Role.USER, Role.AUDITOR)
        jobs = self._store.recent(
            requester=None if caller.role is Role.AUDITOR else caller.uri,
            limit=min(request.limit or 50, MAX_JOBS_LISTED),
        )
        return federation_pb2.JobsResponse(jobs=[self._stored_status(job) for job in jobs])

    def _caller(self, context: Context, *roles: Role) -> Identity:
        identity = peer_identity(context, self._membership)
        if identity.role not in roles:
            error = PeerError(
                "role", f"expected a caller with role {' or '.join(roles)}, got `{identity.uri}`"
            )
            self._gate.refuse(error, identity)
            raise error
        return identity

    def _check_room(self, caller: Identity) -> None:
        if self._scheduler.open_count(caller.uri) >= self._config.max_open_jobs_per_requester:
            raise PeerError(
                "payload_too_large",
                f"expected at most {self._config.max_open_jobs_per_requester} open jobs a "
                "requester, got one more",
                remedy="wait for a job to end, or cancel one",
            )
        if self._scheduler.open_count() >= self._config.max_open_jobs:
            raise PeerError(
                "payload_too_large",
                f"expected at most {self._config.max_open_jobs} open jobs, got one more",
                remedy="try again later",
            )

    def _check_size(self, spec: JobSpec, runs: Runs) -> None:
        """No sum of the job is larger than this coordinator takes: said before anybody works."""
        most = max(sum_bytes(spec.suite, shape.answer.slots) for shape in runs.shapes)
        if most > self._config.max_sum_bytes:
            raise PeerError(
                "payload_too_large",
                f"expected sums of at most {self._config.max_sum_bytes} bytes, got {most}",
                remedy="train a smaller model, in suite `stream` for a third of the bytes",
            )

    def _job_of(self, job_id: str, caller: Identity, *, owner_only: bool = False) -> StoredJob:
        """The job, if the caller may see it; someone else's is as unknown as none."""
        stored = self._store.get(check_job_id(job_id))
        auditor = caller.role is Role.AUDITOR and not owner_only
        if stored is None or not (auditor or stored.requester == caller.uri):
            raise CallError("job_unknown", f"expected a job of yours, got `{job_id}`")
        return stored

    def _status(self, job_id: str, caller: Identity) -> job_pb2.JobStatus:
        active = self._scheduler.active(job_id)
        owner = active is not None and active.opened.spec.requester == caller
        if active is None or not (owner or caller.role is Role.AUDITOR):
            return self._stored_status(self._job_of(job_id, caller))
        return status_of(
            active.job,
            active.opened.spec,
            submitted_at_ms=active.submitted_at_ms,
            updated_at_ms=self._membership.clock.now_ms(),
        )

    def _stored_status(self, stored: StoredJob) -> job_pb2.JobStatus:
        envelope = envelope_pb2.Envelope.FromString(stored.envelope)
        requester = Identity.parse(stored.requester)
        spec = read_stored_spec(envelope.payload, signer=requester)
        return status_of(
            stored.job,
            spec,
            submitted_at_ms=stored.submitted_at_ms,
            updated_at_ms=stored.updated_at_ms,
        )


def _check_key(spec: JobSpec, raw: bytes) -> None:
    """The key is the one that the job names; the stream suite has none."""
    if spec.suite is Suite.STREAM:
        if raw:
            raise PeerError("ciphertext", "expected no public key in suite stream, got one")
        return
    public_key = BfvPublicKey.from_bytes(raw)
    if not hmac.compare_digest(public_key.digest, spec.public_key_digest):
        raise PeerError("ciphertext", "expected the public key that the job names, got another")
