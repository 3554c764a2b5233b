"""A coordinator's scheduler, store and registry, joined to nodes without a network."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from yumen_coordinator.answers import Answers
from yumen_coordinator.registry import Connection, KnownNode, Registry
from yumen_coordinator.rounds import ActiveJob, Payload
from yumen_coordinator.scheduler import Scheduler
from yumen_coordinator.store import Store, StoredJob
from yumen_core.clock import Clock
from yumen_core.identity import Identity, SignedEnvelope
from yumen_core.jobs import machine
from yumen_core.jobs.admission import OpenedJob, SignedDescriptor
from yumen_core.jobs.decision import Decision, parse_decision
from yumen_core.jobs.inputs import SignedInput, read_stored_input
from yumen_core.jobs.machine import Limits, State, Step
from yumen_core.jobs.runs import Runs, runs_of_query, runs_of_training
from yumen_core.jobs.spec import JobSpec, spec_digest
from yumen_core.log.proof import LogProof
from yumen_core.policy.denial import Denial
from yumen_core.rpc.chunks import split
from yumen_core.rpc.v1 import envelope_pb2, job_pb2, link_pb2
from yumen_core.securesum.bfv import encrypt
from yumen_core.securesum.suite import Suite
from yumen_core.securesum.words import framed
from yumen_node.gate import AcceptedJob

from builders.federation import Job, Node, RecordingLog, heart_plan, key_pair
from builders.site import Site

LIMITS = Limits(decision_ms=15_000, round_ms=120_000)
TRAINING_ROUND_MS = 300_000
PLAN = heart_plan()
RUNS = runs_of_query(PLAN)
SLOTS = RUNS.first.answer.slots
PROOF = LogProof(b"entry", 0, b"checkpoint", ())  # the link verifies it, not the scheduler


class RecordingStore(Store):
    """A store that notes, in one list with the log and the frames, what it was given."""

    def __init__(self, url: str, happened: list[object]) -> None:
        super().__init__(url)
        self._happened = happened
        self.broken = False

    def add(self, stored: StoredJob, bundle: bytes = b"") -> None:
        super().add(stored, bundle)
        self._happened.append(("store", stored.job.state))

    def save(self, job: machine.Job, **more: Any) -> None:
        if self.broken:
            raise OSError("no space left")
        super().save(job, **more)
        self._happened.append(("store", job.state))

    def save_run(self, job: machine.Job, envelope: bytes, *, now_ms: int) -> None:
        if self.broken:
            raise OSError("no space left")
        super().save_run(job, envelope, now_ms=now_ms)
        self._happened.append(("run", job.state))

    def save_result(self, job: machine.Job, outcome: bytes, total: bytes, *, now_ms: int) -> None:
        if self.broken:
            raise OSError("no space left")
        super().save_result(job, outcome, total, now_ms=now_ms)
        self._happened.append(("result", job.state))


class Wire(Connection):
    """A stream that notes what is sent on it."""

    happened: list[object]

    def send(self, frame: link_pb2.CoordinatorFrame) -> None:
        self.happened.append(("send", frame.WhichOneof("frame")))
        super().send(frame)

    def frames(self) -> list[link_pb2.CoordinatorFrame]:
        found = [self.outgoing.get_nowait() for _ in range(self.outgoing.qsize())]
        return [frame for frame in found if frame is not None]


class Hub:
    """Use it inside a running event loop."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        nodes: Sequence[tuple[Node, SignedEnvelope, SignedDescriptor]],
        *,
        grace_s: float = 60.0,
        limits: Limits = LIMITS,
    ) -> None:
        self.clock = clock
        self.nodes = {node.uri: KnownNode(envelope, signed) for node, envelope, signed in nodes}
        self.happened: list[object] = []
        self.log = RecordingLog(self.happened)
        self.url = f"sqlite:///{folder}/hub.sqlite"
        self.grace_s = grace_s
        self.limits = limits
        self.start()

    def start(self) -> None:
        self.wires: dict[str, Wire] = {}
        self.store = RecordingStore(self.url, self.happened)
        self.registry = Registry(grace_s=self.grace_s, on_absent=self._absent)
        self.scheduler = Scheduler(
            store=self.store,
            log=self.log,  # type: ignore[arg-type]
            registry=self.registry,
            clock=self.clock,
            limits=self.limits,
            max_sum_bytes=1 << 20,
            training_round_ms=TRAINING_ROUND_MS,
        )
        self.answers = Answers(self.scheduler, self.clock)

    def close(self) -> None:
        self.scheduler.close()
        self.registry.close()
        self.store.close()

    def restart(self) -> None:
        """As after a kill: nothing of memory is left, and every open job is taken up again."""
        self.close()
        self.happened.clear()
        self.start()
        for name, known in self.nodes.items():
            self.registry.remember(name, known)
        for stored in self.store.open_jobs():
            message = envelope_pb2.Envelope.FromString(stored.envelope)
            envelope = SignedEnvelope.from_proto(message)
            decisions = {
                node: SignedEnvelope.from_proto(envelope_pb2.Envelope.FromString(raw))
                for node, raw in self.store.decisions(stored.job.job_id).items()
            }
            spec = self.specs[stored.job.job_id]
            opened = OpenedJob(spec, spec_digest(envelope.payload))
            self.scheduler.restore(
                stored,
                opened,
                envelope,
                runs_of(spec),
                decisions,
                {
                    node: LogProof.from_proto(job_pb2.LogProof.FromString(raw))
                    for node, raw in self.store.proofs(stored.job.job_id).items()
                },
                self._stored_input(spec.job_id),
                self.store.bundle(spec.job_id),
            )

    def _stored_input(self, job_id: str) -> tuple[SignedInput, SignedEnvelope] | None:
        raw = self.store.run_input(job_id)
        if raw is None:
            return None
        envelope = SignedEnvelope.from_proto(envelope_pb2.Envelope.FromString(raw))
        return read_stored_input(envelope.payload), envelope

    specs: dict[str, Any]

    def connect(self, *names: str) -> None:
        for name in names or self.nodes:
            wire = Wire(name, b"pem")
            wire.happened = self.happened
            self.wires[name] = wire
            self.registry.connect(wire, self.nodes[name])
            self.scheduler.node_connected(name)

    def disconnect(self, name: str) -> None:
        self.registry.disconnect(self.wires.pop(name))

    def submit(self, job: Job, ruling: Any = None, bundle: bytes = b"") -> ActiveJob | None:
        self.specs = {**getattr(self, "specs", {}), job.spec.job_id: job.spec}
        self.scheduler.submit(
            OpenedJob(job.spec, spec_digest(job.envelope.payload)),
            job.envelope,
            key_pair().public.to_bytes() if job.spec.suite is Suite.BFV else b"",
            runs_of(job.spec),
            machine.Admitted() if ruling is None else ruling,
            bundle,
        )
        return self.scheduler.active(job.spec.job_id)

    def state(self, job: Job) -> tuple[State, str]:
        stored = self.store.get(job.spec.job_id)
        assert stored is not None
        active = self.scheduler.active(job.spec.job_id)
        found = stored.job if active is None else active.job
        return found.state, found.reason

    def outcome(self, job: Job) -> tuple[job_pb2.Outcome, bytes]:
        found = self.store.result(job.spec.job_id)
        assert found is not None
        return job_pb2.Outcome.FromString(found[0]), found[1]

    def sent(self, name: str) -> list[str]:
        """The frames that wait for a node, in words; they are taken away."""
        words = []
        for frame in self.wires[name].frames():
            kind = str(frame.WhichOneof("frame"))
            if kind == "round":
                kind = job_pb2.Round.Name(frame.round.round).removeprefix("ROUND_").lower()
            words.append(kind)
        return words

    # What nodes say, without their having to exist ----------------------------------------------

    def accept(self, job: Job, *names: str) -> None:
        for name in names:
            self._decide(job, name, ())

    def deny(self, job: Job, name: str, message: str = "expected research, got pricing") -> None:
        denial = Denial(name, "purpose", message, "purpose", "pricing", "research", "ask otherwise")
        self._decide(job, name, (denial,))

    def support(self, job: Job, *names: str, run: int = 0) -> None:
        for name in names:
            share = SignedEnvelope(name.encode(), "share", b"", b"")
            self.answers.supported(name, job.spec.job_id, run, share)

    def contribute(self, job: Job, *names: str, run: int = 0) -> None:
        active = self.scheduler.active(job.spec.job_id)
        if active is not None and job.spec.suite is Suite.STREAM:
            payload = framed(np.zeros(active.slots, dtype=np.uint64))
        else:
            payload = zeros()
        for name in names:
            for chunk in split(payload):
                self.answers.contributed(name, job.spec.job_id, run, chunk)

    def await_review(self, job: Job, *names: str) -> None:
        for name in names:
            self.answers.awaits(name, job.spec.job_id)

    def next_run(
        self, job: Job, run: int, content: bytes = b"", *, name: str = "train", upload: bool = True
    ) -> SignedInput:
        """What a requester of a training does, his signature aside."""
        sealed = content or f"the sealed model of run {run}".encode() * 8
        inputs = SignedInput(
            run,
            name,
            b"",
            hashlib.sha256(b"signed" + sealed).digest(),
            hashlib.sha256(sealed).digest(),
            len(sealed),
        )
        payload = job_pb2.RoundInput(
            job_id=job.spec.job_id,
            run=run,
            round=name,
            sealed_digest=inputs.apart,
            sealed_bytes=inputs.size,
        ).SerializeToString()
        if upload:
            self.scheduler.uploaded(job.spec.job_id, Payload.of(sealed))
        envelope = SignedEnvelope(payload, "input", b"", b"")
        self.scheduler.next_run(job.spec.job_id, name, inputs, envelope)
        return inputs

    def _decide(self, job: Job, name: str, denials: tuple[Denial, ...]) -> None:
        decision = Decision(
            job_id=job.spec.job_id,
            spec_digest=b"s" * 32,
            decider=name,
            accepted=not denials,
            denials=denials,
            policy_digest=b"p" * 32,
            log_index=0,
            decided_at_ms=0,
        )
        envelope = SignedEnvelope(decision.to_bytes(), "decision", b"", b"")
        self.answers.decided(name, decision, envelope, PROOF if not denials else None)

    def _absent(self, name: str) -> None:
        self.scheduler.node_absent(name)


def runs_of(spec: JobSpec) -> Runs:
    return RUNS if spec.training is None else runs_of_training(spec)


def zeros() -> bytes:
    """An encrypted contribution of nothing."""
    return encrypt(np.zeros(SLOTS, dtype=np.uint64), key_pair().public)


def steps(active: ActiveJob | None) -> dict[str, Step]:
    assert active is not None
    return dict(active.job.steps)


class Hospital:
    """A true node that answers whatever frames wait for it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.jobs: dict[str, AcceptedJob] = {}
        self.said: list[bytes] = []

    async def answer(self, hub: Hub) -> bool:
        """Whether there was anything to answer."""
        wire = hub.wires.get(self.site.uri)
        frames = wire.frames() if wire is not None else []
        for frame in frames:
            await self._answer(hub, frame)
        return bool(frames)

    async def _answer(self, hub: Hub, frame: link_pb2.CoordinatorFrame) -> None:
        name, execution = self.site.uri, self.site.execution
        match frame.WhichOneof("frame"):
            case "proposal":
                ruling = self.site.decide(frame.proposal)
                if ruling.job is not None:
                    self.jobs[ruling.job_id] = ruling.job
                assert ruling.envelope is not None
                decision = parse_decision(ruling.envelope.payload, signer=Identity.parse(name))
                hub.answers.decided(name, decision, ruling.envelope, PROOF)
            case "round" if frame.round.round == job_pb2.ROUND_SUPPORT:
                share = await execution.support(self.jobs[frame.round.job_id], frame.round)
                self.said.append(share.payload)
                hub.answers.supported(name, frame.round.job_id, 0, share)
            case "round":
                job = self.jobs[frame.round.job_id]
                payload = await execution.contribution(job, frame.round)
                self.said.append(payload)
                for chunk in split(payload):
                    hub.answers.contributed(name, frame.round.job_id, 0, chunk)
            case "ended":
                execution.forget(frame.ended.job_id)
                self.jobs.pop(frame.ended.job_id, None)


async def settle(hub: Hub, hospitals: Sequence[Hospital], *, turns: int = 100) -> None:
    """Let the hospitals answer, one after the other, until nothing waits or the turns are over."""
    for _ in range(turns):
        busy = False
        for hospital in hospitals:
            busy |= await hospital.answer(hub)
        if not busy:
            return
