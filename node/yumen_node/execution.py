"""Carrying out an accepted job: the support round, then the encrypted sum.

The order within each round is fixed: check the request, compute, log, store, return. What was
returned once is returned again as it was.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from yumen_core.disclosure import DisclosureRules, local_flags, released, withhold
from yumen_core.errors import PeerError, StateError
from yumen_core.identity.envelope import PayloadType, SignedEnvelope
from yumen_core.identity.membership import Membership
from yumen_core.jobs.answer import encode_answer
from yumen_core.jobs.machine import Round
from yumen_core.jobs.rounds import (
    participants_binding,
    sum_binding,
    support_binding,
)
from yumen_core.log import Act, TileLog
from yumen_core.rpc.v1 import envelope_pb2, job_pb2, link_pb2
from yumen_core.securesum.contribution import contribute
from yumen_core.securesum.support import Flags, seal_flags
from yumen_core.sql import LocalCells

from yumen_node.datasets import Dataset
from yumen_node.gate import AcceptedJob
from yumen_node.keys import NodeKeys
from yumen_node.shares import open_supports
from yumen_node.state import NodeState


@dataclass(frozen=True)
class _Counted:
    """This node's cells and which of them it may release by itself."""

    cells: LocalCells
    flags: Flags


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
    ) -> None:
        self._membership = membership
        self._me = membership.identity.uri
        self._keys = keys
        self._state = state
        self._log = log
        self._datasets = datasets
        self._timeout_s = query_timeout_s
        self._counted: dict[str, _Counted] = {}

    def forget(self, job_id: str) -> None:
        """The job is over."""
        self._counted.pop(job_id, None)
        self._state.end_job(job_id)

    async def support(self, job: AcceptedJob, request: link_pb2.RoundRequest) -> SignedEnvelope:
        """This node's signed share of the support round.

        Raises `PeerError` (`round`) for a request the job does not allow.
        """
        participants = self._participants(job, request)
        before = self._state.part(job.job_id, Round.SUPPORT)
        if before is not None:
            return SignedEnvelope.from_proto(envelope_pb2.Envelope.FromString(before))
        counted = await self._count(job)
        bound = support_binding(job.job_id, participants)
        flags = seal_flags(
            counted.flags.reshape(-1),
            mask_key=self._keys.mask,
            own_name=self._me,
            peers=job.mask_keys(participants, but=self._me),
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
            detail={"participants": list(participants)},
        )
        self._add_part(job, Round.SUPPORT, participants, envelope.to_proto().SerializeToString())
        return envelope

    async def contribution(self, job: AcceptedJob, request: link_pb2.RoundRequest) -> bytes:
        """This node's encrypted contribution.

        A cell goes in only where this node's own rules allow it and enough nodes stand behind it,
        as counted from the signed shares of all participants. Raises `PeerError` (`round`,
        `sealed`, `signature`) for a request or a share that is not acceptable.
        """
        participants = self._participants(job, request)
        before = self._state.part(job.job_id, Round.SUM)
        if before is not None:
            return before
        counted = await self._count(job)
        supports = open_supports(
            request.supports,
            job=job,
            participants=participants,
            membership=self._membership,
            mask_key=self._keys.mask,
            sent=self._state.part(job.job_id, Round.SUPPORT),
        )
        if not np.array_equal(supports.own, counted.flags):
            # The others count on this node's word: a cell it withheld now would go out with fewer
            # nodes behind it than the minimum.
            raise StateError(
                "data_source",
                "expected the rows of the support round, got others after a restart",
                remedy="submit a new job",
            )
        kept = released(supports.totals, supports.own, job.asked.min_nodes)
        layout = job.asked.plan.layout
        values = withhold(counted.cells.values, [v.support for v in layout.values], kept)
        payload = contribute(
            encode_answer(job.asked.plan, kept, values),
            public=job.public_key,
            mask_key=self._keys.mask,
            own_name=self._me,
            peers=job.mask_keys(participants, but=self._me),
            job_secret=job.secret,
            binding=sum_binding(job.job_id, participants, supports.digest),
        )
        self._log.record(
            Act.CONTRIBUTION,
            subject={"job": job.job_id},
            digests={"contribution": hashlib.sha256(payload).digest()},
            detail={
                "bytes": len(payload),
                "cells": layout.cells,
                "cells_released": int(np.count_nonzero(kept[:, 0])),
            },
        )
        self._add_part(job, Round.SUM, participants, payload)
        return payload

    def _participants(self, job: AcceptedJob, request: link_pb2.RoundRequest) -> tuple[str, ...]:
        """The participant set of the request, checked; the first part binds the job to it.

        1. It is a set, sorted, of nodes that the requester signed for, this one among them.
        2. It is as large as the requester and every table demand.
        3. It is the one set of this job; the job has not ended.
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
        bound = participants_binding(job.job_id, participants)
        self._state.check_participants(job.job_id, bound)
        return participants

    def _add_part(
        self, job: AcceptedJob, round_: Round, participants: Sequence[str], payload: bytes
    ) -> None:
        bound = participants_binding(job.job_id, participants)
        self._state.add_part(job.job_id, round_, payload, participants=bound)

    async def _count(self, job: AcceptedJob) -> _Counted:
        """Run the plan on this node's rows, once a job."""
        held = self._counted.get(job.job_id)
        if held is not None:
            return held
        spec = job.opened.spec
        dataset = self._datasets.get(spec.table)
        if dataset is None:
            raise StateError("data_source", f"expected table `{spec.table}`, got none")
        cells = await asyncio.to_thread(dataset.cells, job.asked.plan, timeout_s=self._timeout_s)
        asked = job.asked
        rules = DisclosureRules(threshold=asked.threshold(self._me), min_nodes=asked.min_nodes)
        counted = _Counted(cells, local_flags(cells.supports, rules))
        self._counted[job.job_id] = counted
        return counted
