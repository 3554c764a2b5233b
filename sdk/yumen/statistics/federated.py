"""A statistic as one job of a federation: submitted once, driven run by run, ended."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import numpy as np
from yumen_core.disclosure.rounding import NO_ROUNDING
from yumen_core.errors import PeerError
from yumen_core.identity.envelope import PayloadType, SignedEnvelope
from yumen_core.jobs.answer import AnswerShape
from yumen_core.jobs.inputs import NO_INPUT, seal_input
from yumen_core.jobs.rounds import sum_binding
from yumen_core.jobs.runs import StatisticRound, runs_of_statistic, statistic_rounds
from yumen_core.privacy import Privacy
from yumen_core.rpc.v1 import job_pb2
from yumen_core.securesum.contribution import open_sum
from yumen_core.sql import RowsPlan, TableSchema
from yumen_core.statistics.kinds import Totals
from yumen_core.statistics.layout import Reals, from_integers
from yumen_core.statistics.statistic import Statistic

from yumen.progress import JobProgress
from yumen.question import choose
from yumen.report import CheckReport
from yumen.result import Exclusion, Result
from yumen.session import Session, Terms
from yumen.statistics.source import Provenance
from yumen.submission import AWAY, PATIENCE_S, Submission, exclusions


class FederationSource:
    """One federated table, asked on given terms. Raises as `Federation.table`."""

    def __init__(self, session: Session, table: str, terms: Terms) -> None:
        catalogue = [signed for signed, _ in session.client.catalogue()]
        _, schemas, _ = choose([table], catalogue, nodes=terms.nodes, min_nodes=terms.min_nodes)
        self.schema: TableSchema = schemas[table]
        self._session = session
        self._terms = terms

    @property
    def purpose(self) -> str:
        return self._terms.purpose

    @property
    def privacy(self) -> Privacy | None:
        return self._terms.privacy

    def query(self, sql: str) -> Result:
        return self._session.query(sql, self._terms)

    def check_query(self, sql: str) -> CheckReport:
        """Every party's decision on a query, nothing computed."""
        return self._session.check(self._session.ask(sql, self._terms))

    def check_statistic(self, statistic: Statistic) -> CheckReport:
        """Every party's decision on a statistic, nothing computed."""
        return self._session.check(self._session.ask(statistic.sql, self._terms, statistic))

    @contextmanager
    def compute(self, statistic: Statistic) -> Iterator[FederatedComputation]:
        """Submit `statistic`; at the end of the block the job is completed, or cancelled where the
        block raises."""
        asked = self._session.ask(statistic.sql, self._terms, statistic)
        assert isinstance(asked.plan, RowsPlan)
        rounds = statistic_rounds(statistic, asked.plan)
        job = self._session.prepared(asked, self._terms.timeout_s)
        job.submit()
        with JobProgress(f"{statistic.method}, job {job.job_id}") as progress:
            computation = FederatedComputation(
                self._session, job, rounds, self._terms, progress, asked.round_to
            )
            try:
                yield computation
            except BaseException:
                computation.abandon()
                raise
            computation.complete()


class FederatedComputation:
    """A submitted statistic. Its runs are driven by the method that asked for it."""

    def __init__(
        self,
        session: Session,
        job: Submission,
        rounds: tuple[StatisticRound, ...],
        terms: Terms,
        progress: JobProgress,
        round_to: int = NO_ROUNDING,
    ) -> None:
        self._round_to = round_to
        self._session = session
        self._job = job
        self._rounds = {entry.named.name: entry for entry in rounds}
        self._runs = runs_of_statistic(rounds, terms.privacy)
        self._purpose = terms.purpose
        self._started = time.monotonic()
        self._deadline = self._started + terms.timeout_s
        self._progress = progress
        self._names: list[str] = []
        self._participants: tuple[str, ...] = ()
        self._excluded: tuple[Exclusion, ...] = ()
        self._ended = False

    @property
    def provenance(self) -> Provenance:
        return Provenance(
            purpose=self._purpose,
            job_ids=(self._job.job_id,),
            participants=self._participants,
            excluded=self._excluded,
            rounds=len(self._names),
            elapsed_s=time.monotonic() - self._started,
            round_to=self._round_to,
        )

    def run(self, name: str, inputs: Mapping[str, Reals] | None = None) -> Totals:
        """One secure sum; see `Computation.run`.

        1. The participants are nodes of the job that accepted it, and the same in every run. 2. The
        sum is of exactly their contributions, to this run with this input (count and tag).
        """
        self._runs.next(self._names, name)
        run = len(self._names)
        self._progress.say(f"{name}, secure sum {run + 1}")
        envelope = self._signed_input(run, name, inputs)
        outcome, total = self._next_run(run, name, envelope)
        participants = self._job.participants(outcome)
        if self._participants and participants != self._participants:
            raise PeerError("round", "expected the participants of the first run, got others")
        self._participants = participants
        self._excluded = tuple(exclusions(outcome.excluded))
        self._names.append(name)
        return self._read(run, name, envelope, outcome, total)

    def complete(self) -> None:
        """Tell the coordinator that no further run is needed: the job has succeeded."""
        self._ended = True
        self._session.client.complete(self._job.job_id)

    def abandon(self) -> None:
        """The method raised: end the job, if it has not ended."""
        if self._ended:
            return
        self._ended = True
        with suppress(PeerError):  # it ends by its deadline otherwise
            self._session.client.cancel(self._job.job_id)

    def _signed_input(
        self, run: int, name: str, inputs: Mapping[str, Reals] | None
    ) -> SignedEnvelope | None:
        if run == 0:
            return None
        given = {key: np.asarray(value, dtype=np.float64) for key, value in (inputs or {}).items()}
        payload = seal_input(
            given,
            job_id=self._job.job_id,
            spec_digest=self._job.digest,
            run=run,
            round_name=name,
            secret=self._job.job.secret,
        )
        return self._session.client.membership.sign(payload, PayloadType.ROUND_INPUT)

    def _next_run(
        self, run: int, name: str, envelope: SignedEnvelope | None
    ) -> tuple[job_pb2.RunOutcome, bytes]:
        """The run's sum, across a coordinator that goes away and comes back."""
        gone_at = None
        while True:
            left_s = max(self._deadline - time.monotonic(), 1.0)
            try:
                return self._session.client.next_run(
                    self._job.job_id, run, name, envelope, timeout_s=left_s + 5.0
                )
            except PeerError as error:
                if error.code == "job_ended":
                    self._ended = True
                    outcome, _ = self._job.fetch()
                    raise self._job.failure(outcome) from None
                gone_at = gone_at or time.monotonic()
                if error.code not in AWAY or time.monotonic() - gone_at > PATIENCE_S:
                    raise
                time.sleep(0.2)

    def _read(
        self,
        run: int,
        name: str,
        envelope: SignedEnvelope | None,
        outcome: job_pb2.RunOutcome,
        total: bytes,
    ) -> Totals:
        shape = next(shape for shape in self._runs.shapes if shape.name == name)
        supported = shape.needs_support(self._names[:-1])
        if supported != bool(outcome.support_digest):
            raise PeerError("round", "expected a support step as the job says, got another run")
        assert self._job.keypair is not None
        assert isinstance(shape.answer, AnswerShape)
        inputs = NO_INPUT if envelope is None else hashlib.sha256(envelope.payload).digest()
        with self._session.keys.judging():
            sums = open_sum(
                total,
                keypair=self._job.keypair,
                job_secret=self._job.job.secret,
                binding=sum_binding(
                    self._job.job_id,
                    self._participants,
                    outcome.support_digest,
                    run=run,
                    inputs=inputs,
                ),
                payload_slots=shape.answer.payload_slots,
                contributions=len(self._participants),
            )
        totals = shape.answer.decode(sums, len(self._participants))
        layout = self._rounds[name].layout
        nodes = np.array(totals.nodes, dtype=np.int64).reshape(layout.cells, len(layout.supports))
        noises = () if shape.answer.noise is None else shape.answer.noise.noises
        deviations = tuple(
            noise.deviation(len(self._participants)) * 2.0**value.exponent
            for noise, value in zip(noises, layout.values, strict=bool(noises))
        )
        return Totals(nodes, from_integers(layout, totals.values), deviations)
