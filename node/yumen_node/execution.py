"""Carrying out an accepted job: run after run, in each the support step, then the encrypted sum.

The order within each step is fixed: check the request, compute, log, store, return. What was
returned once is returned again as it was.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
from yumen_core.errors import BY_ROWS, PeerError, StateError
from yumen_core.identity.envelope import PayloadType, SignedEnvelope
from yumen_core.identity.membership import Membership
from yumen_core.jobs.inputs import NO_INPUT, SignedInput, open_input, open_signed_input
from yumen_core.jobs.machine import Round
from yumen_core.jobs.rounds import sum_binding, support_binding
from yumen_core.jobs.runs import RunShape
from yumen_core.log import Act, TileLog
from yumen_core.log.entry import Value
from yumen_core.rpc.v1 import envelope_pb2, job_pb2, link_pb2
from yumen_core.securesum.contribution import contribute
from yumen_core.securesum.modulus import SLOTS, Slots
from yumen_core.securesum.parallel import EncryptionPool
from yumen_core.securesum.support import seal_flags
from yumen_core.statistics.kinds import Inputs

from yumen_node.computing import Computed, ComputedQuery, ComputedRound, Computing
from yumen_node.datasets import Dataset
from yumen_node.datasets.cell_sets import PlanSets
from yumen_node.gate import AcceptedJob
from yumen_node.guard import bases, is_near, what_leaves
from yumen_node.keys import NodeKeys
from yumen_node.ledger import Ledger
from yumen_node.local_work import ComputedUpdate, HeldBack, LocalWork
from yumen_node.refusals import Refusals, told
from yumen_node.released import Leaving, ReleasedSets
from yumen_node.released_log import Recorded
from yumen_node.shares import Supports, open_supports
from yumen_node.state import KnownRun, NodeState


@dataclass(frozen=True)
class _Run:
    """A run that the job allows now, for a checked participant set."""

    number: int
    shape: RunShape
    participants: tuple[str, ...]
    supported: bool
    again: bool
    inputs: SignedInput | None

    @property
    def digest(self) -> bytes:
        return NO_INPUT if self.inputs is None else self.inputs.digest

    @property
    def known(self) -> KnownRun:
        return KnownRun(self.shape.name, self.digest, self.participants)


class Execution:
    """Carries out jobs for one node. Methods are called one at a time for each job."""

    def __init__(
        self,
        *,
        membership: Membership,
        keys: NodeKeys,
        state: NodeState,
        log: TileLog,
        datasets: Mapping[str, Dataset],
        query_timeout_s: float,
        local_work: LocalWork,
        pool: EncryptionPool,
        ledger: Ledger,
        released: ReleasedSets,
        refusals: Refusals,
    ) -> None:
        self._membership = membership
        self._ledger = ledger
        self._released = released
        self._refusals = refusals
        self._me = membership.identity.uri
        self._keys = keys
        self._state = state
        self._log = log
        self._computing = Computing(
            self._me,
            datasets,
            timeout_s=query_timeout_s,
            check_rows=state.check_rows,
            released=released,
            on_refusal=refusals.add,
        )
        self._local_work = local_work
        self._pool = pool
        self._pool_free = asyncio.Lock()
        self._computed: dict[str, tuple[int, bytes, Computed]] = {}

    def forget(self, job_id: str) -> None:
        """The job is over."""
        self._computed.pop(job_id, None)
        self._computing.forget(job_id)
        self._local_work.forget(job_id)
        self._ledger.end(job_id)
        self._state.end_job(job_id)

    def stop(self, job_id: str) -> None:
        """The job has ended elsewhere: no step of it goes on."""
        self._local_work.stop(job_id)

    def receive(self, job: AcceptedJob, chunk: envelope_pb2.Chunk) -> None:
        """A piece of the input of a training's next run; see `LocalWork.receive`."""
        self._local_work.receive(job, chunk)

    async def support(self, job: AcceptedJob, request: link_pb2.RoundRequest) -> SignedEnvelope:
        """This node's signed share of a run's support step.

        Raises `PeerError` (`round`) for a request the job does not allow, `StateError` where this
        node's rows do not allow the run (`refusals`), which is counted.
        """
        with self._counted(job):
            return await self._support(job, request)

    @contextmanager
    def _counted(self, job: AcceptedJob) -> Iterator[None]:
        """Count a refusal by rows before anybody hears of it."""
        try:
            yield
        except StateError as error:
            if error.code in BY_ROWS:
                self._refusals.add(job.opened.spec, job.asked)
            raise

    async def _support(self, job: AcceptedJob, request: link_pb2.RoundRequest) -> SignedEnvelope:
        run = self._run(job, request)
        if not run.supported:
            raise PeerError("round", "expected a run that is settled to go on with its sum")
        before = self._state.part(job.job_id, run.number, Round.SUPPORT)
        if before is not None:
            return SignedEnvelope.from_proto(envelope_pb2.Envelope.FromString(before))
        if job.opened.spec.privacy is None:
            guarded = self._released.guarded(job.opened.spec, job.asked)
            self._released.check_participants(guarded, run.participants)
        computed = await self._compute(job, run)
        if job.asked.runs.free:  # what its share says follows from noisy numbers
            self._ledger.commit(job.job_id)
        bound = self._support_binding(job, run)
        flags = seal_flags(
            computed.flags.reshape(-1),
            mask_key=self._keys.mask,
            own_name=self._me,
            peers=job.mask_keys(run.participants, but=self._me),
            binding=bound,
        )
        share = job_pb2.SupportShare(
            job_id=job.job_id,
            spec_digest=job.opened.digest,
            node=self._me,
            participants_digest=bound,
            commitment=flags.commitment,
            sealed=flags.sealed,
        )
        envelope = self._membership.sign(share.SerializeToString(), PayloadType.SUPPORT)
        self._log.record(
            Act.SUPPORT,
            subject={"job": job.job_id},
            digests={"participants": bound, "share": hashlib.sha256(envelope.payload).digest()},
            detail={"participants": list(run.participants), **_told(job, run)},
        )
        self._add_part(job, run, Round.SUPPORT, envelope.to_proto().SerializeToString())
        return envelope

    async def contribution(self, job: AcceptedJob, request: link_pb2.RoundRequest) -> bytes:
        """This node's encrypted contribution to a run.

        A value goes in only where the run's rule allows it, by this node's own rows and by the
        signed shares of all participants. Raises `PeerError` (`round`, `sealed`, `signature`) for a
        request or a share that is not acceptable, `StateError` (`too_few_rows` and others) where
        the rule or this node's rows refuse the run.
        """
        with self._counted(job):
            return await self._contribution(job, request)

    async def _contribution(self, job: AcceptedJob, request: link_pb2.RoundRequest) -> bytes:
        run = self._run(job, request)
        before = self._state.part(job.job_id, run.number, Round.SUM)
        if before is not None:
            return before
        computed = await self._compute(job, run)
        self._ledger.commit(job.job_id)
        supports = self._supports(job, run, request, computed) if run.supported else None
        answer = partial(
            computed.answer,
            run.shape,
            None if supports is None else supports.totals,
            participants=len(run.participants),
            min_nodes=job.asked.min_nodes,
        )
        if job.opened.spec.privacy is None:
            slots, released = answer()
        else:  # drawing noise takes up to seconds
            slots, released = await asyncio.to_thread(answer)
        binding = sum_binding(
            job.job_id,
            run.participants,
            b"" if supports is None else supports.digest,
            run=run.number,
            inputs=run.digest,
        )
        self._remember(job, run, computed, supports)
        payload = await self._hidden(job, run, slots, binding)
        # As it stands when the entry is written: the numbers of entries in order never fall.
        recorded = Recorded() if job.opened.spec.privacy is not None else self._released.recorded
        self._log.record(
            Act.CONTRIBUTION,
            subject={"job": job.job_id},
            digests={
                "contribution": hashlib.sha256(payload).digest(),
                **recorded.digests,
            },
            detail={
                "bytes": len(payload),
                "cells": run.shape.answer.cells,
                "cells_released": released,
                **recorded.detail,
                **_told(job, run),
            },
        )
        self._add_part(job, run, Round.SUM, payload)
        self._computed.pop(job.job_id, None)
        return payload

    def _remember(
        self, job: AcceptedJob, run: _Run, computed: Computed, supports: Supports | None
    ) -> None:
        """Keep the rows behind what is about to leave; a crash from here on counts as released."""
        if job.opened.spec.privacy is not None:
            return
        sets: list[Leaving] = []
        if isinstance(computed, ComputedQuery) and supports is not None:
            keep = computed.keep(
                supports.totals,
                participants=len(run.participants),
                min_nodes=job.asked.min_nodes,
            )
            sets = what_leaves(computed.sets, computed.plan.layout, keep, supports.by_node)
        elif isinstance(computed, ComputedRound | ComputedUpdate):
            sets = bases(computed.base, run.participants)
        guarded = self._released.guarded(job.opened.spec, job.asked)
        self._released.record(guarded, sets, run.participants)

    async def _hidden(self, job: AcceptedJob, run: _Run, slots: Slots, binding: bytes) -> bytes:
        """The contribution of `slots`; large ones are made off the event loop."""
        make = partial(
            contribute,
            slots,
            suite=job.opened.spec.suite,
            public=job.public_key,
            pad_key=job.pad_key,
            mask_key=self._keys.mask,
            own_name=self._me,
            peers=job.mask_keys(run.participants, but=self._me),
            job_secret=job.secret,
            binding=binding,
            pool=self._pool,
        )
        if slots.size <= SLOTS:
            return make()
        async with self._pool_free:
            return await asyncio.to_thread(make)

    def _supports(
        self, job: AcceptedJob, run: _Run, request: link_pb2.RoundRequest, computed: Computed
    ) -> Supports:
        """The shares of all participants, opened; this node's own word is what it says now."""
        supports = open_supports(
            request.supports,
            job=job,
            participants=run.participants,
            binding=self._support_binding(job, run),
            shape=(run.shape.answer.cells, run.shape.flags),
            membership=self._membership,
            mask_key=self._keys.mask,
            sent=self._state.part(job.job_id, run.number, Round.SUPPORT),
        )
        if not np.array_equal(supports.own, computed.flags):
            # The others count on this node's word: a cell it withheld now would go out with fewer
            # nodes behind it than the minimum.
            raise StateError(
                "data_source",
                "expected the rows of the support round, got others after a restart",
                remedy="submit a new job",
            )
        return supports

    def _run(self, job: AcceptedJob, request: link_pb2.RoundRequest) -> _Run:
        """The run that is asked for, checked.

        1. The participants are those of this job (`_participants`).
        2. The input is signed by the requester, for this job, run and round; the first has none.
        3. It is the present run, with the round and input it began with; or the next one, which
           the job names, and this node has contributed to the one before. Of a training a run may
           have ended without a sum, and without this node.
        """
        participants = self._participants(job, request)
        inputs = self._signed_input(job, request)
        before = self._state.runs(job.job_id)
        number = request.run
        name = request.name or job.asked.runs.first.name
        present = max(before, default=-1)
        earlier = [entry.round for at, entry in before.items() if at < number]
        if number < present or (number > present + 1 and not job.asked.runs.free):
            raise PeerError("round", f"expected run {present + 1}, got run {number}")
        follows = number > present >= 0 and not job.asked.runs.free
        if follows and self._state.part(job.job_id, present, Round.SUM) is None:
            raise PeerError("round", "expected a run after the sum of the run before")
        shape = job.asked.runs.next(earlier, name)
        run = _Run(
            number,
            shape,
            participants,
            supported=shape.needs_support(earlier),
            again=name in earlier,
            inputs=inputs,
        )
        if number == present and before[present] != run.known:
            raise PeerError("round", "expected the run's first input, got another")
        return run

    def _signed_input(self, job: AcceptedJob, request: link_pb2.RoundRequest) -> SignedInput | None:
        if request.run == 0 and not job.asked.runs.free:
            return None
        signed = open_signed_input(
            SignedEnvelope.from_proto(request.input),
            job_id=job.job_id,
            spec_digest=job.opened.digest,
            requester=job.opened.spec.requester,
            membership=self._membership,
        )
        if (signed.run, signed.round) != (request.run, request.name):
            raise PeerError("round", "expected an input of this run and round, got another's")
        return signed

    def _support_binding(self, job: AcceptedJob, run: _Run) -> bytes:
        return support_binding(job.job_id, run.participants, run=run.number, inputs=run.digest)

    def _participants(self, job: AcceptedJob, request: link_pb2.RoundRequest) -> tuple[str, ...]:
        """The participant set of the request, checked; a part binds the job to it.

        1. It is a set, sorted, of nodes that the requester signed for, this one among them.
        2. It is as large as the requester and every table demand.
        3. It is the one set of this job, or of a training a smaller one where that is safe
           (`NodeState.check_participants`); the job has not ended.
        """
        participants = tuple(request.participants)
        spec = job.opened.spec
        if list(participants) != sorted(set(participants)) or not set(participants) <= set(
            spec.nodes
        ):
            raise PeerError("round", "expected participants that the job names, got others")
        if self._me not in participants:
            raise PeerError(
                "round", f"expected `{self._me}` among the participants, got a set without"
            )
        needed = max(spec.min_nodes, job.asked.min_nodes)
        if len(participants) < needed:
            raise PeerError(
                "round", f"expected {needed} participants at least, got {len(participants)}"
            )
        known = self._state.job(job.job_id)
        if known is None or known.ended or not known.accepted:
            raise PeerError("round", "expected a round of an open job, got one of another")
        self._state.check_participants(
            job.job_id, request.run, participants, may_shrink=job.asked.runs.free
        )
        return participants

    def _add_part(self, job: AcceptedJob, run: _Run, step: Round, payload: bytes) -> None:
        self._state.add_part(
            job.job_id,
            run.number,
            step,
            payload,
            known=run.known,
            may_shrink=job.asked.runs.free,
        )

    async def _compute(self, job: AcceptedJob, run: _Run) -> Computed:
        """Compute a run over this node's rows, once."""
        held = self._computed.get(job.job_id)
        if held is not None and held[:2] == (run.number, run.digest):
            return held[2]
        computed: Computed
        if job.asked.runs.free:
            computed = await self._local_work.run(
                job, run.shape, run.inputs, held_back=self._held_back(job, run)
            )
        else:
            inputs = self._inputs(job, run)
            try:
                computed = await self._computing.run(
                    job, run.shape.name, inputs, nodes=run.participants, again=run.again
                )
            except StateError as error:
                raise told(error) from error
        self._computed[job.job_id] = (run.number, run.digest, computed)
        return computed

    def _held_back(self, job: AcceptedJob, run: _Run) -> HeldBack | None:
        """Whether a training's rows are too near to those of an earlier release."""
        if job.opened.spec.privacy is not None:
            return None
        guarded = self._released.guarded(job.opened.spec, job.asked)

        def near(sets: PlanSets) -> bool:
            found = is_near(self._released, guarded, sets, run.participants)
            if found:
                self._refusals.add(job.opened.spec, job.asked)
            return found

        return near

    @staticmethod
    def _inputs(job: AcceptedJob, run: _Run) -> Inputs:
        """The arrays of the run's input, opened."""
        if run.inputs is None:
            return {}
        entry = next(e for e in job.asked.rounds if e.named.name == run.shape.name)
        return open_input(
            run.inputs,
            job_id=job.job_id,
            spec_digest=job.opened.digest,
            secret=job.secret,
            shapes=entry.layout.inputs,
        )


def _told(job: AcceptedJob, run: _Run) -> dict[str, Value]:
    """Which run of a statistic or a training an entry of the log is about."""
    if not job.opened.spec.interactive:
        return {}
    return {"run": run.number, "round": run.shape.name}
