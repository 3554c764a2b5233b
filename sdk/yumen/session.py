"""A requester's connection to one federation, and the way of one question through it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from yumen_core.errors import CallError
from yumen_core.jobs.answer import AnswerShape
from yumen_core.jobs.machine import State
from yumen_core.jobs.rounds import sum_binding
from yumen_core.jobs.runs import runs_of_query
from yumen_core.privacy import Privacy
from yumen_core.rpc.v1 import job_pb2
from yumen_core.securesum.contribution import open_sum
from yumen_core.securesum.suite import Suite
from yumen_core.sql import Plan, finish
from yumen_core.statistics.statistic import Statistic
from yumen_core.training.spec import TrainingSpec

from yumen._arguments import check_question
from yumen.coordinator import CoordinatorClient
from yumen.display import rounding_notes
from yumen.jobs import state_of
from yumen.keys import RequesterKeys
from yumen.preview import preview
from yumen.question import DEFAULT_LIFETIME_S, Asked, ask, prepare
from yumen.report import CheckReport, NodeDecision
from yumen.result import HeldBack, Result
from yumen.submission import Submission, exclusions


@dataclass(frozen=True)
class Terms:
    """On what terms something is asked; see `Federation.query`."""

    purpose: str
    nodes: Sequence[str] | None = None
    min_nodes: int | None = None
    timeout_s: float = DEFAULT_LIFETIME_S
    privacy: Privacy | None = None
    project: str = ""

    def __post_init__(self) -> None:
        if self.privacy is not None and not isinstance(self.privacy, Privacy):
            raise CallError(
                "argument",
                f"expected a privacy cost, got `{str(self.privacy)[:40]}`",
                remedy="give privacy=yumen.DP(epsilon=1.0)",
            )


class Session:
    """The connection and the decryption key; the key never leaves this process."""

    def __init__(self, client: CoordinatorClient) -> None:
        self._connection = client
        self._closed = False
        self.keys = RequesterKeys()

    def close(self) -> None:
        self._closed = True
        self._connection.close()

    @property
    def client(self) -> CoordinatorClient:
        """The connection. Raises `CallError` (`argument`) where it is closed."""
        if self._closed:
            raise CallError(
                "argument",
                "expected an open connection, and the connection is closed",
                remedy="connect again, or ask within the `with` block",
            )
        return self._connection

    def ask(
        self,
        sql: str,
        terms: Terms,
        statistic: Statistic | None = None,
        training: TrainingSpec | None = None,
        suite: Suite = Suite.BFV,
    ) -> Asked:
        """Read a statement, of a query or of the rows of a statistic or a training, against the
        present catalogue."""
        check_question(sql, terms.purpose, terms.min_nodes)
        catalogue = [signed for signed, _ in self.client.catalogue()]
        return ask(
            sql,
            terms.purpose,
            catalogue,
            nodes=terms.nodes,
            min_nodes=terms.min_nodes,
            statistic=statistic,
            training=training,
            suite=suite,
            privacy=terms.privacy,
            project=terms.project,
        )

    def check(self, asked: Asked) -> CheckReport:
        """Put `asked` to every party as a dry run."""
        foreseen = preview(asked)
        me = self.client.membership
        prepared = prepare(asked, me.identity, clock=me.clock, dry_run=True)
        job = Submission(self.client, prepared, None)
        decisions, excluded = job.check()
        return CheckReport(
            decisions=tuple(
                NodeDecision(d.decider, d.accepted, d.denials, d.budgets) for d in decisions
            ),
            excluded=tuple(excluded),
            sql=asked.sql,
            purpose=asked.purpose,
            nodes_needed=asked.min_nodes,
            preview=foreseen,
            privacy=prepared.spec.privacy,
        )

    def prepared(self, asked: Asked, timeout_s: float, bundle: bytes = b"") -> Submission:
        """A job for `asked`, ready to be submitted, with the code of a training that has some."""
        me = self.client.membership
        keypair = self.keys.current() if asked.suite is Suite.BFV else None
        prepared = prepare(
            asked,
            me.identity,
            clock=me.clock,
            public_key_digest=b"" if keypair is None else keypair.public.digest,
            lifetime_s=timeout_s,
        )
        return Submission(self.client, prepared, keypair, bundle)

    def query(self, sql: str, terms: Terms) -> Result:
        """One aggregate; see `Federation.query`."""
        started = time.monotonic()
        asked = self.ask(sql, terms)
        job = self.prepared(asked, terms.timeout_s)
        job.wait(job.submit(), terms.timeout_s)
        outcome, total = job.fetch()
        if state_of(outcome.status) is not State.SUCCEEDED:
            raise job.failure(outcome)
        return self._read(asked, job, outcome, total, started)

    def _read(
        self, asked: Asked, job: Submission, outcome: job_pb2.Outcome, total: bytes, started: float
    ) -> Result:
        """Verify and decrypt.

        1. The participants are nodes of the job that accepted it (`Submission.participants`).
        2. The sum is of exactly these participants' contributions (count and tag, `open_sum`).
        """
        assert isinstance(asked.plan, Plan)
        assert job.keypair is not None
        participants = job.participants(outcome)
        answer = runs_of_query(asked.plan, asked.privacy).first.answer
        assert isinstance(answer, AnswerShape)
        with self.keys.judging():
            sums = open_sum(
                total,
                keypair=job.keypair,
                job_secret=job.job.secret,
                binding=sum_binding(job.job_id, participants, outcome.support_digest),
                payload_slots=answer.payload_slots,
                contributions=len(participants),
            )
        totals = answer.decode(sums, len(participants))
        noises = () if answer.noise is None else answer.noise.noises
        released = finish(
            asked.plan,
            totals.nodes,
            totals.values,
            [noise.deviation(len(participants)) for noise in noises],
        )
        return Result(
            released.table,
            job_id=job.job_id,
            sql=asked.sql,
            purpose=asked.purpose,
            participants=participants,
            excluded=tuple(exclusions(outcome.excluded)),
            held_back=tuple(
                HeldBack(column, rows) for column, rows in released.held_back.items() if rows
            ),
            empty_cells=released.empty_cells,
            notes=(*rounding_notes(asked.round_to), *released.notes),
            ciphertext_bytes=outcome.ciphertext_bytes,
            ciphertexts=outcome.ciphertexts,
            elapsed_s=time.monotonic() - started,
            measure_nodes=released.nodes,
            errors=released.errors,
            privacy=asked.privacy,
        )
