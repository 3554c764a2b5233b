"""The training runs of a federation: sealed out to the nodes, summed by the coordinator, read here.

The job is submitted with the first run, since what leaves the nodes has the shape of what the
strategy sends them, and is signed. Content of another shape later on is a job of its own.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from yumen_core.errors import CallError, PeerError
from yumen_core.identity.envelope import PayloadType, SignedEnvelope
from yumen_core.jobs.inputs import seal_apart
from yumen_core.jobs.machine import State
from yumen_core.jobs.rounds import sum_binding
from yumen_core.jobs.runs import Runs, runs_of_training
from yumen_core.rpc.v1 import job_pb2, training_pb2
from yumen_core.securesum.contribution import open_sum
from yumen_core.securesum.suite import Suite
from yumen_core.training.bundle import Bundle
from yumen_core.training.models import ReadyModel
from yumen_core.training.privacy import noise_plan
from yumen_core.training.records import Action, Arrays, Records, Values, to_proto
from yumen_core.training.shape import UpdateShape, UpdateTotals
from yumen_core.training.spec import (
    MAX_METRICS,
    BundleCode,
    Program,
    Setting,
    TensorShape,
    TrainingSpec,
)
from yumen_core.training.update import base_of

from yumen.jobs import state_of
from yumen.question import Asked
from yumen.report import CheckReport
from yumen.result import Exclusion
from yumen.session import Session, Terms
from yumen.submission import AWAY, PATIENCE_S, Submission, exclusions
from yumen.training.aggregate import DEFAULT_WEIGHT, Aggregate
from yumen.training.fitting import check_model

LEGACY_WEIGHT, LEGACY_LOSS = "num_examples", "loss"
"""What Flower itself calls these in answers of clients from before Message apps."""
MAX_UPLOADS = 10
"""Of one run's input: a coordinator that restarts more often in one run is not there to work."""
SPARE_RUNS = 8
"""Runs beyond those asked for: one that loses a node has no sum, and is done again."""


@dataclass(frozen=True)
class TrainingTerms:
    """What is trained, and on what terms: everything that is signed but the shape of the model.

    `sql` is the statement of the rows, `runs` the most runs of each action, `evaluations` the most
    of `evaluate` where they are others, `metrics` the names of what nodes may tell beside the
    model. `bundle` is the code, where the program is code.
    """

    terms: Terms
    sql: str
    program: Program
    metrics: tuple[str, ...]
    runs: int
    suite: Suite
    weight: str | None = None
    clip_norm: float | None = None
    round_timeout_s: int = 600
    run_config: Mapping[str, Setting] | None = None
    bundle: Bundle | None = None
    evaluations: int | None = None


class FederatedRounds:
    """The runs of one training; see `aggregate.Rounds`."""

    def __init__(
        self,
        session: Session,
        terms: TrainingTerms,
        *,
        on_job: Callable[[str], None] = lambda job_id: None,
    ) -> None:
        """`on_job` hears of each job that was accepted. Raises as `Session.ask` does, and as
        `check_model` for a ready model."""
        self._session = session
        self._terms = terms
        self._on_job = on_job
        self._tell: Callable[[job_pb2.JobStatus], None] = lambda status: None
        self._job: _Job | None = None
        self.job_ids: list[str] = []
        self.excluded: tuple[Exclusion, ...] = ()
        self._chosen: tuple[str, ...] = ()
        self.min_nodes = 0
        # Without a shape no job can be signed; which nodes it will be put to is known.
        asked = session.ask(terms.sql, terms.terms, training=self._spec((_NOTHING,), ""))
        if isinstance(terms.program, ReadyModel):
            check_model(terms.program, asked.schemas[asked.plan.table])
        self._chosen = tuple(sorted(node.descriptor.node.uri for node in asked.nodes))
        self.min_nodes = asked.min_nodes
        if terms.terms.privacy is not None:
            noise_plan(self._spec((_NOTHING,), ""), terms.terms.privacy)

    @property
    def participants(self) -> tuple[str, ...]:
        """Of the job once it runs; before that the nodes it will be put to."""
        return self._chosen if self._job is None else self._job.participants

    def hear(self, tell: Callable[[job_pb2.JobStatus], None]) -> None:
        self._tell = tell

    def check(self, tensors: Mapping[str, Values]) -> CheckReport:
        """Every party's decision on a training of a model of this shape, nothing computed."""
        training = self._spec(_layout({"arrays": Arrays(tensors)}), DEFAULT_WEIGHT)
        return self._session.check(self._ask(training))

    def run(self, action: Action, records: Records) -> Aggregate:
        """One secure sum. A run that lost a node is done again with the others.

        Raises `Denied` where policy refuses, `PeerError` where the job ends before it has a sum.
        """
        job = self._job_for(action, records)
        content = training_pb2.TrainingInput(records=to_proto(records))
        plain = content.SerializeToString(deterministic=True)
        lost: list[Exclusion] = []
        while (totals := job.sum(action, plain, lost)) is None:
            pass
        self.excluded = job.excluded
        if not totals.examples:
            raise PeerError("training", "expected examples behind a run, got none at any node")
        return Aggregate(
            tensors=_means(job.training, records, totals),
            metrics=totals.metrics,
            examples=totals.examples,
            nodes=totals.nodes,
            clipped=totals.clipped,
            participants=job.participants,
            lost=tuple(lost),
        )

    def complete(self) -> None:
        """The training is done: the job has succeeded."""
        job, self._job = self._job, None
        if job is not None:
            self._session.client.complete(job.job_id)

    def abandon(self) -> None:
        """End the job, if it has not ended."""
        job, self._job = self._job, None
        if job is not None:
            with suppress(PeerError):  # it ends by its deadline otherwise
                self._session.client.cancel(job.job_id)

    def _job_for(self, action: Action, records: Records) -> _Job:
        layout, weight = _layout(records), self._terms.weight or _weight(records)
        job = self._job
        if job is not None and job.covers(action, layout, weight):
            return job
        if job is not None and self._terms.terms.privacy is not None:
            raise CallError(
                "training",
                "expected one shape of content all through a private training, got another: it "
                "would be a second job, paid for again",
            )
        self.complete()
        training = self._spec(layout, weight)
        asked = self._ask(training)
        for named in training.runs:
            UpdateShape.of(training, named, self._terms.suite, len(self._chosen))
        timeout_s = self._terms.terms.timeout_s
        bundle = b"" if self._terms.bundle is None else self._terms.bundle.to_bytes()
        submission = self._session.prepared(asked, timeout_s, bundle)
        self.job_ids.append(submission.job_id)
        status = submission.submit()
        self._job = _Job(self._session, submission, training, self._chosen, timeout_s)
        submission.follow(status, timeout_s, self._tell, until=_decided)
        self._on_job(submission.job_id)
        return self._job

    def _losses(self) -> int:
        """How many nodes a private training can lose, each for a run that is named, and paid for,
        beside the rounds. None is paid for where every node is needed."""
        return max(0, len(self._chosen) - self.min_nodes)

    def _ask(self, training: TrainingSpec) -> Asked:
        terms = self._terms
        return self._session.ask(terms.sql, terms.terms, training=training, suite=terms.suite)

    def _spec(self, layout: tuple[TensorShape, ...], weight: str) -> TrainingSpec:
        terms = self._terms
        spare = SPARE_RUNS if terms.terms.privacy is None else self._losses()
        asked = {Action.TRAIN: terms.runs} if layout else {}
        asked[Action.EVALUATE] = terms.runs if terms.evaluations is None else terms.evaluations
        if terms.bundle is not None:  # no ready model answers a query
            asked[Action.QUERY] = terms.runs
        weight = weight or DEFAULT_WEIGHT
        names = {LEGACY_LOSS, *terms.metrics} if weight == LEGACY_WEIGHT else {*terms.metrics}
        return TrainingSpec(
            program=terms.program,
            sql=terms.sql,
            arrays=layout,
            metrics=tuple(sorted(names - {weight})[:MAX_METRICS]),
            runs={action: count + spare for action, count in asked.items() if count},
            weight=weight,
            clip_norm=terms.clip_norm,
            round_timeout_s=terms.round_timeout_s,
            run_config=terms.run_config,
        )


class _Job:
    """One submitted training."""

    def __init__(
        self,
        session: Session,
        submission: Submission,
        training: TrainingSpec,
        chosen: tuple[str, ...],
        timeout_s: float,
    ) -> None:
        self._session = session
        self._submission = submission
        self.training = training
        self.participants = chosen
        self.excluded: tuple[Exclusion, ...] = ()
        self._runs: Runs = runs_of_training(submission.job.spec)
        self._names: list[str] = []
        self._deadline = time.monotonic() + timeout_s

    @property
    def job_id(self) -> str:
        return self._submission.job_id

    def covers(self, action: Action, layout: tuple[TensorShape, ...], weight: str) -> bool:
        """Whether the job was signed for such a run."""
        if action not in self.training.runs or weight != self.training.weight:
            return False
        return layout == self.training.arrays or (action is not Action.TRAIN and not layout)

    def sum(self, action: Action, plain: bytes, lost: list[Exclusion]) -> UpdateTotals | None:
        """One run; `None`, and the nodes added to `lost`, where it has no sum.

        1. The participants are nodes of the job that accepted it, and those of the run before,
        unless these were lost. 2. The sum is of exactly their contributions, to this run with this
        input (count and tag).
        """
        shape = self._runs.next(self._names, action)
        run = len(self._names)
        payload, sealed = seal_apart(
            plain,
            job_id=self.job_id,
            spec_digest=self._submission.digest,
            run=run,
            round_name=action.value,
            secret=self._submission.job.secret,
        )
        envelope = self._session.client.membership.sign(payload, PayloadType.ROUND_INPUT)
        outcome, total = self._next_run(run, action, envelope, sealed)
        participants = self._submission.participants(outcome)
        gone = tuple(exclusions(outcome.lost))
        if not set(participants) <= set(self.participants) or (self._names and not gone):
            self._check_same(participants)
        self.participants = participants
        self.excluded = tuple(exclusions(outcome.excluded))
        self._names.append(action.value)
        if gone:
            lost.extend(gone)
            return None
        assert isinstance(shape.answer, UpdateShape)
        sums = self._opened(total, participants, outcome.support_digest, run, payload, shape.answer)
        return shape.answer.decode(sums, len(participants))

    def _check_same(self, participants: Sequence[str]) -> None:
        if tuple(participants) != self.participants:
            raise PeerError("round", "expected the participants of the run before, got others")

    def _opened(
        self,
        total: bytes,
        participants: tuple[str, ...],
        supports: bytes,
        run: int,
        payload: bytes,
        answer: UpdateShape,
    ) -> Values:
        job = self._submission
        if not supports:
            raise PeerError("round", "expected a support step as the job says, got another run")
        with self._session.keys.judging():
            return open_sum(
                total,
                suite=job.job.spec.suite,
                keypair=job.keypair,
                pad_keys={node: job.job.pad_keys[node] for node in participants}
                if job.job.pad_keys
                else None,
                job_secret=job.job.secret,
                binding=sum_binding(
                    self.job_id,
                    participants,
                    supports,
                    run=run,
                    inputs=hashlib.sha256(payload).digest(),
                ),
                payload_slots=answer.payload_slots,
                contributions=len(participants),
            )

    def _next_run(
        self, run: int, action: Action, envelope: SignedEnvelope, sealed: bytes
    ) -> tuple[job_pb2.RunOutcome, bytes]:
        """The run's outcome, across a coordinator that goes away and comes back."""
        client = self._session.client
        brought, gone_at, uploads = False, None, 0
        while True:
            left_s = max(self._deadline - time.monotonic(), 1.0) + 5.0
            try:
                if not brought:
                    client.upload(self.job_id, sealed, timeout_s=left_s)
                    brought, gone_at, uploads = True, None, uploads + 1
                return client.next_run(self.job_id, run, action.value, envelope, timeout_s=left_s)
            except PeerError as error:
                if error.code == "job_ended":
                    outcome, _ = self._submission.fetch()
                    raise self._submission.failure(outcome) from None
                if error.code == "input_missing" and brought and uploads < MAX_UPLOADS:
                    brought = False  # it was in the memory of a coordinator that has stopped
                    continue
                gone_at = gone_at or time.monotonic()
                if error.code not in AWAY or time.monotonic() - gone_at > PATIENCE_S:
                    raise
                time.sleep(0.2)


_NOTHING = TensorShape("nothing", "float32", ())


def _layout(records: Records) -> tuple[TensorShape, ...]:
    """The shape of the arrays that are sent, which is that of what `train` answers."""
    sent = [record for record in records.values() if isinstance(record, Arrays)]
    if len(sent) > 1:
        raise CallError(
            "strategy",
            f"expected one record of arrays in a message, got {len(sent)}",
            remedy="send the model in one ArrayRecord",
        )
    if not sent:
        return ()
    return tuple(
        TensorShape(name, values.dtype.name, tuple(values.shape))
        for name, values in sent[0].tensors.items()
    )


def _weight(records: Records) -> str:
    """The metric by which nodes count: Flower's name for it, now or before Message apps."""
    legacy = any(key.startswith(("fitins.", "evaluateins.")) for key in records)
    return LEGACY_WEIGHT if legacy else DEFAULT_WEIGHT


def _means(training: TrainingSpec, records: Records, totals: UpdateTotals) -> dict[str, Values]:
    """The mean of what the nodes answered, in the types of the model."""
    if not totals.changes:
        return {}
    base = base_of(training, records)
    means: dict[str, Values] = {}
    for tensor in training.arrays:
        mean = base[tensor.name] + totals.changes[tensor.name]
        if np.issubdtype(np.dtype(tensor.dtype), np.integer) or tensor.dtype == "bool":
            mean = np.rint(mean)
        means[tensor.name] = mean.astype(tensor.dtype)
    return means


def _decided(status: job_pb2.JobStatus) -> bool:
    state = state_of(status)
    return state.ended or state is State.RUNNING


def program_of(bundle: Bundle) -> BundleCode:
    """A bundle as it is signed."""
    return BundleCode(bundle.digest, bundle.app.name)
