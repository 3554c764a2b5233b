"""A node's gate and execution over memory and one folder, without a network or a database."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pyroaring import BitMap
from yumen_core.disclosure.row_set import RowSet
from yumen_core.identity import SignedEnvelope
from yumen_core.jobs.answer import AnswerShape, SumTotals
from yumen_core.jobs.book import SignedDescriptor
from yumen_core.jobs.rounds import sum_binding, support_digest
from yumen_core.policy import PolicyBundle
from yumen_core.rpc.v1 import job_pb2, link_pb2
from yumen_core.securesum import Adder
from yumen_core.securesum.contribution import open_sum
from yumen_core.securesum.parallel import EncryptionPool
from yumen_core.sql import LocalCells, Plan
from yumen_core.sql.row_parts import JUST_ROWS, RowPart
from yumen_core.training.records import Action, Record, Records
from yumen_node.approvals import Approvals
from yumen_node.datasets.cell_sets import CellSets, PlanSets
from yumen_node.execution import Execution
from yumen_node.gate import AcceptedJob, Gate, Ruling
from yumen_node.keys import NodeKeys
from yumen_node.ledger import Ledger
from yumen_node.local_work import LocalWork
from yumen_node.publication import Publication
from yumen_node.refusals import Refusals
from yumen_node.released import ReleasedSets
from yumen_node.state import KnownRun, NodeState

from builders.federation import Job, Node, RecordingLog, key_pair, policies

MANY = (30, 40)  # rows of women and of men, both over the threshold
AGE = 50


class Rows:
    """A table of patients of one age, as `heart_plan()` counts them."""

    def __init__(self, women: int, men: int) -> None:
        self.counts = (women, men)
        self.asked = 0

    def parquet(self, plan: object, path: Path, *, timeout_s: float) -> int:
        self.asked += 1
        path.write_bytes(repr(self.counts).encode())
        return sum(self.counts)

    def row_sets(self, plan: object, *, timeout_s: float) -> PlanSets:
        women, men = self.counts
        sets = {0: range(women), 1: range(100_000, 100_000 + men)}
        held = CellSets({cell: RowSet(BitMap(rows)) for cell, rows in sets.items()})
        return PlanSets((RowPart(0, 0, None, JUST_ROWS),), ("heart",), (held,))

    def cells(self, plan: Plan, *, timeout_s: float, private: bool = False) -> LocalCells:
        self.asked += 1
        supports = np.array(self.counts, dtype=np.int64).reshape(-1, 1)
        return LocalCells(supports, [[count, count * AGE] for count in self.counts])


class Work:
    """In place of a sandbox: `answer` is what a training's code gives for what it was asked."""

    def __init__(
        self, answer: Callable[[Action, Records], dict[str, Record]] | None = None
    ) -> None:
        self.answer = answer
        self.asked: list[Action] = []

    async def step(
        self, job_id: str, program: object, data: Path, action: Action, records: Records, **_: Any
    ) -> dict[str, Record]:
        assert self.answer is not None
        self.asked.append(action)
        return self.answer(action, records)

    def forget(self, job_id: str) -> None: ...

    def close(self) -> None: ...


class RecordingState(NodeState):
    """A node's state that notes, in one list with the log, when it was written."""

    def __init__(self, directory: Path, happened: list[object]) -> None:
        super().__init__(directory)
        self._happened = happened

    def add_job(self, job_id: str, spec_digest: bytes, *, accepted: bool, decision: bytes) -> None:
        super().add_job(job_id, spec_digest, accepted=accepted, decision=decision)
        self._happened.append(("job", accepted))

    def add_part(
        self,
        job_id: str,
        run: int,
        step: str,
        payload: bytes,
        *,
        known: KnownRun,
        may_shrink: bool = False,
    ) -> None:
        super().add_part(job_id, run, step, payload, known=known, may_shrink=may_shrink)
        self._happened.append(("part", str(step)))


class Site:
    """One node as it stands at its institution."""

    def __init__(
        self,
        node: Node,
        folder: Path,
        *,
        counts: tuple[int, int] = MANY,
        bundle: PolicyBundle | None = None,
    ) -> None:
        self.node = node
        self.folder = folder
        self.rows = Rows(*counts)
        self.bundle = bundle or policies()
        self.happened: list[object] = []
        self.log = RecordingLog(self.happened)
        self.work = Work()
        self.refusals_a_day = 0
        """No limit: a test of one sets it and starts the node again."""
        self.start()

    @property
    def uri(self) -> str:
        return self.node.uri

    def start(self) -> None:
        """Begin, or begin again, with what is in the folder."""
        node = self.node
        keys = NodeKeys(node.sealing, node.mask)
        self.state = RecordingState(self.folder, self.happened)
        self.approvals = Approvals(self.folder, node.membership)
        self.publication = Publication(
            node.membership,
            keys,
            node.tables,
            "log+key",
            self.folder / "descriptor.bin",
        )
        self.ledger = Ledger(self.folder, node.tables, self.log, self.uri)  # type: ignore[arg-type]
        self.ledger.begin()
        self.released = ReleasedSets(self.folder, self.uri)
        self.refusals = Refusals(
            self.folder, self.uri, node.membership.clock, most=self.refusals_a_day
        )
        self.gate = Gate(
            membership=node.membership,
            keys=keys,
            publication=self.publication,
            policies=self.bundle,
            state=self.state,
            log=self.log,  # type: ignore[arg-type]
            approvals=self.approvals,
            code_refusal=None,
            limits={},
            ledger=self.ledger,
            released=self.released,
            refusals=self.refusals,
        )
        datasets: Any = {"heart": self.rows}
        self.execution = Execution(
            membership=node.membership,
            keys=keys,
            state=self.state,
            log=self.log,  # type: ignore[arg-type]
            datasets=datasets,
            query_timeout_s=5.0,
            local_work=LocalWork(
                self.uri,
                self.folder / "training",
                self.work,  # type: ignore[arg-type]
                datasets,
                max_norm=100.0,
                timeout_s=5.0,
                check_rows=self.state.check_rows,
            ),
            pool=EncryptionPool(1),
            ledger=self.ledger,
            released=self.released,
            refusals=self.refusals,
        )

    def close(self) -> None:
        self.state.close()
        self.approvals.close()

    def restart(self) -> None:
        self.close()
        self.start()

    def published(self) -> tuple[Node, SignedEnvelope, SignedDescriptor]:
        """As `job_for` takes it."""
        return self.node, *self.publication.current()

    def decide(self, proposal: link_pb2.Proposal) -> Ruling:
        return self.gate.decide(proposal)

    def accept(self, job: Job) -> AcceptedJob:
        ruling = self.gate.decide(job.proposal())
        assert ruling.job is not None
        return ruling.job

    def support(self, job: AcceptedJob, participants: Sequence[str]) -> SignedEnvelope:
        request = link_pb2.RoundRequest(
            job_id=job.job_id, round=job_pb2.ROUND_SUPPORT, participants=participants
        )
        return asyncio.run(self.execution.support(job, request))

    def contribute(
        self, job: AcceptedJob, participants: Sequence[str], shares: Sequence[SignedEnvelope]
    ) -> bytes:
        request = link_pb2.RoundRequest(
            job_id=job.job_id,
            round=job_pb2.ROUND_SUM,
            participants=participants,
            supports=[share.to_proto() for share in shares],
        )
        return asyncio.run(self.execution.contribution(job, request))


def added(plan: Plan, contributions: Sequence[bytes]) -> bytes:
    """What a coordinator makes of them."""
    adder = Adder(key_pair().public, AnswerShape.of_plan(plan).slots)
    for raw in contributions:
        adder.add(raw)
    return adder.result()


def opened(
    job: Job, plan: Plan, raw: bytes, participants: Sequence[str], shares: dict[str, bytes]
) -> SumTotals:
    """What the requester reads of a sum bound to the payloads of these support shares."""
    answer = AnswerShape.of_plan(plan)
    sums = open_sum(
        raw,
        keypair=key_pair(),
        job_secret=job.secret,
        binding=sum_binding(job.spec.job_id, participants, support_digest(shares)),
        payload_slots=answer.payload_slots,
        contributions=len(participants),
    )
    return answer.decode(sums, len(participants))
