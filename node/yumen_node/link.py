"""The node's one stream to its coordinator: dialled out, kept up, made again when it breaks.

Proposals and rounds of one job are handled one after the other; different jobs run side by side.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable

import grpc.aio
from google.protobuf.message import DecodeError
from yumen_core.errors import PeerError, StateError, YumenError
from yumen_core.identity.envelope import SignedEnvelope
from yumen_core.identity.membership import Membership
from yumen_core.identity.names import Identity, Role
from yumen_core.jobs.coordinator_descriptor import open_coordinator_descriptor
from yumen_core.jobs.decision import parse_decision
from yumen_core.log import Act, TileLog
from yumen_core.log.cosigning import MAX_WITNESSES, Cosigning
from yumen_core.log.proof import prove
from yumen_core.rpc import chunks, faults
from yumen_core.rpc.channels import aio_channel
from yumen_core.rpc.v1 import job_pb2, link_pb2, link_pb2_grpc

from yumen_node.execution import Execution
from yumen_node.gate import AcceptedJob, Gate, Ruling
from yumen_node.publication import Publication
from yumen_node.witness import Witness

_LOG = logging.getLogger(__name__)
FIRST_RETRY_S = 0.1
WELCOME_TIMEOUT_S = 15.0
MAX_OPEN_JOBS = 64
MAX_WAITING_FRAMES = 1024
REVIEWS_S = 0.5
"""How soon a review takes effect on the jobs that wait for it, and an act is in the log."""

Call = grpc.aio.StreamStreamCall[link_pb2.NodeFrame, link_pb2.CoordinatorFrame]


class Link:
    """Keeps one node connected to one coordinator."""

    def __init__(
        self,
        *,
        address: str,
        membership: Membership,
        publication: Publication,
        gate: Gate,
        execution: Execution,
        log: TileLog,
        retry_max_s: float,
        witness: Witness,
        cosigning: Cosigning,
        cosign_interval_s: float,
        note_reviews: Callable[[], None],
        tell_acts: Callable[[], None],
        on_connected: Callable[[str], None] | None = None,
    ) -> None:
        """`note_reviews` is called when reviews of code may have been written, `tell_acts` to look
        whether commands left acts for the log."""
        self._address = address
        self._membership = membership
        self._publication = publication
        self._gate = gate
        self._execution = execution
        self._log = log
        self._retry_max_s = retry_max_s
        self._note_reviews = note_reviews
        self._tell_acts = tell_acts
        self._on_connected = on_connected
        self._witness = witness
        self._cosigning = cosigning
        self._cosign_interval_s = cosign_interval_s
        self._witness_keys: dict[str, str] = {}  # of nodes met in jobs, the newest last
        self._jobs: dict[str, AcceptedJob] = {}
        self._newest: dict[str, int] = {}
        self._waiting: dict[str, link_pb2.Proposal] = {}
        self._locks: dict[str, asyncio.Lock] = {}  # of jobs with steps under way
        self._under_way: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._outgoing: asyncio.Queue[link_pb2.NodeFrame] = asyncio.Queue(MAX_WAITING_FRAMES)

    async def run(self) -> None:
        """Connect, serve, and connect again, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_reviews())
            group.create_task(self._keep_cosigned())
            await self._keep_connected()

    async def _keep_connected(self) -> None:
        wait_s = FIRST_RETRY_S
        while True:
            try:
                connected = await self._session()
                wait_s = FIRST_RETRY_S if connected else wait_s
            except grpc.aio.AioRpcError as error:
                found = faults.from_rpc_error(error, what=f"the coordinator at {self._address}")
                _LOG.warning("%s", found)
            except YumenError as error:
                _LOG.warning("%s", error)
            # Spread, so that many nodes do not come back in the same instant.
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))
            wait_s = min(wait_s * 2, self._retry_max_s)

    async def _session(self) -> bool:
        """One connection from hello to its end; whether the coordinator welcomed this node."""
        envelope, _ = self._publication.current()
        self._outgoing = asyncio.Queue(MAX_WAITING_FRAMES)
        async with aio_channel(self._address, self._membership.tls()) as channel:
            call: Call = link_pb2_grpc.NodeLinkStub(channel).Connect()
            frames = aiter(call)
            await call.write(
                link_pb2.NodeFrame(hello=link_pb2.Hello(descriptor=envelope.to_proto()))
            )
            try:
                async with asyncio.timeout(WELCOME_TIMEOUT_S):
                    self._welcomed(await anext(frames))
            except (TimeoutError, StopAsyncIteration):
                raise PeerError("deadline", "expected a welcome in time, got none") from None
            writer = asyncio.create_task(self._write(call))
            try:
                # A new descriptor is due when half of this one's life is over: say hello again.
                async with asyncio.timeout(self._publication.renewal_in_s()):
                    async for frame in frames:
                        self._handle(frame)
            except TimeoutError:
                _LOG.info("reconnecting with a new descriptor")
            finally:
                writer.cancel()
                call.cancel()
        return True

    def _welcomed(self, frame: link_pb2.CoordinatorFrame) -> None:
        if frame.WhichOneof("frame") != "welcome":
            raise PeerError("unreachable", "expected a welcome first, got another frame")
        coordinator = Identity.parse(frame.welcome.coordinator)
        if (
            coordinator.role is not Role.COORDINATOR
            or coordinator.federation != self._membership.identity.federation
        ):
            raise PeerError("role", f"expected a coordinator, got `{coordinator.uri}`")
        self._learn(frame.welcome.revocations)
        self._check_descriptor(frame.welcome, coordinator)
        skew_ms = frame.welcome.now_ms - self._membership.clock.now_ms()
        if abs(skew_ms) > 60_000:
            _LOG.warning("this clock and the coordinator's differ by %d s", skew_ms // 1000)
        _LOG.info("connected to %s at %s", coordinator.uri, self._address)
        if self._on_connected is not None:
            self._on_connected(coordinator.uri)

    def _check_descriptor(self, welcome: link_pb2.Welcome, coordinator: Identity) -> None:
        """The coordinator says, signed, which key its log has. Raises `PeerError`."""
        if not welcome.HasField("descriptor"):
            raise PeerError("descriptor", "expected a welcome with a descriptor, got none")
        envelope = SignedEnvelope.from_proto(welcome.descriptor)
        described = open_coordinator_descriptor(envelope, self._membership).coordinator
        if described != coordinator:
            raise PeerError(
                "identity",
                f"expected the descriptor of `{coordinator.uri}`, got one of `{described.uri}`",
            )

    async def _write(self, call: Call) -> None:
        while True:
            await call.write(await self._outgoing.get())

    def _handle(self, frame: link_pb2.CoordinatorFrame) -> None:
        match frame.WhichOneof("frame"):
            case "proposal":
                job_id = _claimed_id(frame.proposal)
                self._spawn(job_id, self._decide, frame.proposal)
            case "input":
                self._take_input(frame.input)
            case "round":
                known = self._newest.get(frame.round.job_id, 0)
                self._newest[frame.round.job_id] = max(known, frame.round.run)
                self._spawn(frame.round.job_id, self._take_part, frame.round)
            case "ended":
                self._execution.stop(frame.ended.job_id)
                self._spawn(frame.ended.job_id, self._end, frame.ended)
            case "revocations":
                self._learn(frame.revocations.revocations)
            case "cosign":
                answer = self._witness.answer(frame.cosign)
                self._send(link_pb2.NodeFrame(cosigned=answer))
            case "cosigned":
                key = self._witness_keys.get(frame.cosigned.witness, "")
                again = self._cosigning.answered(frame.cosigned, key) if key else None
                if again is not None:
                    self._send(link_pb2.NodeFrame(cosign=again))
            case other:
                _LOG.warning("the coordinator sent a frame that is not known: %s", other)

    def _spawn(self, job_id: str, step: Callable[..., object], message: object) -> None:
        """Run `step` after the earlier steps of the same job."""
        lock = self._locks.setdefault(job_id, asyncio.Lock())
        self._under_way[job_id] += 1

        async def run() -> None:
            async with lock:
                await step(message)  # type: ignore[misc]

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._finished(done, job_id))

    def _finished(self, task: asyncio.Task[None], job_id: str) -> None:
        """Report a step that failed; detail goes to this node's log, a sentence to the others."""
        self._tasks.discard(task)
        self._under_way[job_id] -= 1
        if not self._under_way[job_id]:
            del self._under_way[job_id], self._locks[job_id]
        if task.cancelled():
            return
        error = task.exception()
        if error is None or (isinstance(error, YumenError) and error.code == "cancelled"):
            return  # work of a job that ended was stopped
        self._report(job_id, error)

    def _report(self, job_id: str, error: BaseException) -> None:
        if isinstance(error, YumenError):
            known = error
            _LOG.warning("job %s: %s", job_id, error)
        else:
            known = PeerError("failed", "the node could not carry out the job")
            _LOG.error("job %s failed", job_id, exc_info=error)
        self._log.record(
            Act.REFUSAL,
            subject={"job": job_id[:64]},
            detail={"code": known.code, "message": known.message},
        )
        self._send(
            link_pb2.NodeFrame(
                problem=link_pb2.Problem(job_id=job_id, code=known.code, message=known.message)
            )
        )

    async def _decide(self, proposal: link_pb2.Proposal) -> None:
        self._drop_expired()
        self._waiting.pop(_claimed_id(proposal), None)
        if len(self._jobs) >= MAX_OPEN_JOBS:
            self._gate.keep_key(proposal)
            raise PeerError("payload_too_large", f"expected at most {MAX_OPEN_JOBS} open jobs")
        ruling = self._gate.decide(proposal, self._jobs.get(_claimed_id(proposal)))
        if ruling.job is not None:
            self._jobs[ruling.job_id] = ruling.job
            self._meet(ruling.job)
        if ruling.envelope is None:
            self._wait_for_review(ruling.job_id, proposal)
            return
        self._send(link_pb2.NodeFrame(decision=self._word(ruling)))

    def _word(self, ruling: Ruling) -> link_pb2.DecisionFrame:
        """The decision; of a job to carry out with the proof that it is logged."""
        assert ruling.envelope is not None
        frame = link_pb2.DecisionFrame(decision=ruling.envelope.to_proto())
        if ruling.job is not None:
            me = self._membership.identity
            index = parse_decision(ruling.envelope.payload, signer=me).log_index
            frame.proof.CopyFrom(prove(self._log, index).to_proto())
        return frame

    def _meet(self, job: AcceptedJob) -> None:
        """The other participants, by their verified descriptors, can witness this node's log."""
        for node, descriptor in job.descriptors.items():
            if node != self._membership.identity.uri and descriptor.witness_key:
                self._witness_keys.pop(node, None)
                self._witness_keys[node] = descriptor.witness_key
        for node in list(self._witness_keys)[:-MAX_WITNESSES]:
            del self._witness_keys[node]

    async def _keep_cosigned(self) -> None:
        """Show this node's log to its witnesses, again and again, where it has grown."""
        while True:
            await asyncio.sleep(self._cosign_interval_s)
            try:
                envelope, _ = self._publication.current()
                for request in self._cosigning.begin(self._witness_keys, envelope.to_proto()):
                    self._send(link_pb2.NodeFrame(cosign=request))
            except StateError as error:  # one file or another; a closed log rings its own alarm
                _LOG.error("this log cannot be shown to its witnesses: %s", error)

    def _wait_for_review(self, job_id: str, proposal: link_pb2.Proposal) -> None:
        """Say that people here decide, and look at the proposal again once they have."""
        if len(self._waiting) >= MAX_OPEN_JOBS:
            raise PeerError(
                "payload_too_large", f"expected at most {MAX_OPEN_JOBS} jobs that wait for a review"
            )
        self._waiting[job_id] = proposal
        self._send(link_pb2.NodeFrame(awaiting=link_pb2.Awaiting(job_id=job_id)))

    async def _watch_reviews(self) -> None:
        """Decide on waiting jobs again when a review was written, and log what operators did:
        both by the command line, in another process, so that only looking tells."""
        while True:
            await asyncio.sleep(REVIEWS_S)
            self._drop_expired()
            self._tell_acts()
            if self._gate.reviews_changed():
                self._note_reviews()
                for job_id, proposal in list(self._waiting.items()):
                    self._spawn(job_id, self._decide, proposal)

    def _take_input(self, frame: link_pb2.InputFrame) -> None:
        """Taken in at once, not after the job's earlier steps: waiting pieces would fill memory."""
        job = self._jobs.get(frame.job_id)
        try:
            if job is None:
                raise PeerError("round", "expected an input of a job that this node accepted")
            self._execution.receive(job, frame.chunk)
        except YumenError as error:
            self._report(frame.job_id, error)

    def _drop_expired(self) -> None:
        """Forget jobs that nobody may carry on and whose end this node was not there to hear."""
        now_ms = self._membership.clock.now_ms()
        expired = [i for i, j in self._jobs.items() if j.opened.spec.expires_at_ms <= now_ms]
        for job_id in expired:
            del self._jobs[job_id]
            self._newest.pop(job_id, None)
            self._execution.forget(job_id)

    async def _take_part(self, request: link_pb2.RoundRequest) -> None:
        job = self._jobs.get(request.job_id)
        if job is None:
            raise PeerError("round", "expected a round of a job that this node accepted")
        if job.asked.runs.free and request.run < self._newest.get(request.job_id, 0):
            return  # it ended without a sum while this node was at work
        self._gate.check_code(job)
        if job.opened.spec.expires_at_ms <= self._membership.clock.now_ms():
            raise PeerError("job_expired", "expected a job that is still valid, got an expired one")
        match request.round:
            case job_pb2.ROUND_SUPPORT:
                share = await self._execution.support(job, request)
                self._send(
                    link_pb2.NodeFrame(
                        support=link_pb2.SupportFrame(
                            job_id=job.job_id, support=share.to_proto(), run=request.run
                        )
                    )
                )
            case job_pb2.ROUND_SUM:
                payload = await self._execution.contribution(job, request)
                for chunk in chunks.split(payload):
                    await self._outgoing.put(
                        link_pb2.NodeFrame(
                            contribution=link_pb2.ContributionFrame(
                                job_id=job.job_id, chunk=chunk, run=request.run
                            )
                        )
                    )
            case other:
                raise PeerError("round", f"expected a round that the job names, got {other}")

    async def _end(self, ended: link_pb2.JobEnded) -> None:
        if self._waiting.pop(ended.job_id, None) is not None:
            self._gate.settle(ended.job_id)
        self._newest.pop(ended.job_id, None)
        job = self._jobs.pop(ended.job_id, None)
        if job is None:
            return
        self._execution.forget(ended.job_id)
        self._log.record(
            Act.JOB_ENDED,
            subject={"job": ended.job_id},
            detail={"state": job_pb2.JobState.Name(ended.state).removeprefix("JOB_STATE_").lower()},
        )

    def _learn(self, revocations: bytes) -> None:
        try:
            if self._membership.learn(revocations):
                number = self._membership.revocations.number
                self._log.record(Act.REVOCATIONS, detail={"number": number})
        except PeerError as error:
            _LOG.warning("the coordinator sent a revocation list that is not good: %s", error)

    def _send(self, frame: link_pb2.NodeFrame) -> None:
        """Queue a frame; where the link is down or slow the coordinator asks again."""
        try:
            self._outgoing.put_nowait(frame)
        except asyncio.QueueFull:
            _LOG.warning("the link is too slow: a frame was dropped")


def _claimed_id(proposal: link_pb2.Proposal) -> str:
    """The id a proposal claims, for ordering only; the gate reads the verified one."""
    try:
        return job_pb2.JobSpec.FromString(proposal.job.payload).job_id[:64]
    except DecodeError:
        return ""
