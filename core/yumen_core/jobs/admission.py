"""What coordinator and node both check before any policy is asked.

Both run the same steps on the same bytes, so neither has to believe the other. Every step raises;
reaching the end is the only way to hold an `OpenedJob` or a `Question`.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypedDict

from yumen_core import canonical
from yumen_core.disclosure.rounding import NO_ROUNDING
from yumen_core.errors import PeerError, YumenError
from yumen_core.identity.envelope import SignedEnvelope, open_envelope
from yumen_core.identity.membership import Membership
from yumen_core.identity.names import Identity, Role
from yumen_core.jobs import spec as specs
from yumen_core.jobs.book import SignedDescriptor
from yumen_core.jobs.descriptor import NodeDescriptor, PublishedTable
from yumen_core.jobs.runs import (
    Runs,
    StatisticRound,
    runs_of_query,
    runs_of_statistic,
    runs_of_training,
    statistic_rounds,
)
from yumen_core.jobs.spec import JobSpec
from yumen_core.log.entry import Value
from yumen_core.policy.denial import Denial
from yumen_core.policy.facts import logged_facts
from yumen_core.policy.request import GRADES, PolicyRequest
from yumen_core.sql import Plan, RowsPlan, TableSchema, parse, parse_columns, parse_rows
from yumen_core.statistics.rounded_counts import can_round
from yumen_core.training.spec import BundleCode

MAX_DETAIL_BYTES = 48_000  # of a log entry's 65,535; names and digests need the rest
MAX_LOGGED_DENIALS = 64


@dataclass(frozen=True)
class OpenedJob:
    """A job whose signature, signer, form and times hold. `digest` is of the signed payload."""

    spec: JobSpec
    digest: bytes


@dataclass(frozen=True)
class Question:
    """A job's statement as a plan over tables that all its participants publish, and its rounds: of
    a query one, of a statistic those in `rounds`.

    `tables` holds each participant's table of the plan, `joined` by name the others it reads.
    """

    plan: Plan | RowsPlan
    tables: Mapping[str, PublishedTable]
    runs: Runs
    rounds: tuple[StatisticRound, ...] = ()
    joined: Mapping[str, Mapping[str, PublishedTable]] = field(default_factory=dict)

    @property
    def aggregates(self) -> frozenset[str]:
        """What is released: aggregate functions of a query, kinds of rounds of a statistic, actions
        of a training."""
        if isinstance(self.plan, Plan):
            return self.plan.aggregates
        if self.runs.free:
            return frozenset(shape.name for shape in self.runs.shapes)
        return frozenset(entry.kind.name for entry in self.rounds)

    @property
    def min_nodes(self) -> int:
        """The highest of the tables' minimum numbers of nodes behind a cell."""
        return max(table.min_nodes for node in self.tables for table in self.at(node))

    @property
    def round_to(self) -> int:
        """The widest of the steps in which the tables tell counts."""
        return max(table.round_to for node in self.tables for table in self.at(node))

    def at(self, node: str) -> tuple[PublishedTable, ...]:
        """All that a participant's rows are read from."""
        return (self.tables[node], *(published[node] for published in self.joined.values()))

    def threshold(self, node: str) -> int:
        """The rows that must stand behind a cell at a participant: what the strictest of its
        tables demands."""
        return max(table.threshold for table in self.at(node))


def open_job(envelope: SignedEnvelope, membership: Membership) -> OpenedJob:
    """Verify a signed job and read it.

    1. The envelope: size, type, certificate, role `user`, revocation, signature (`open_envelope`).
    2. The job: requester, texts, digests, times, participants (`parse_spec`).

    Raises `PeerError`. Whether the id was used before is the caller's to check: it needs a store.
    """
    now_ms = membership.clock.now_ms()
    opened = open_envelope(
        envelope,
        expected_type=specs.PAYLOAD_TYPE,
        anchor=membership.anchor,
        revocations=membership.revocations,
        now_ms=now_ms,
        max_bytes=specs.MAX_BYTES,
        role=Role.USER,
    )
    spec = specs.parse_spec(opened.payload, signer=opened.identity, now_ms=now_ms)
    return OpenedJob(spec=spec, digest=specs.spec_digest(opened.payload))


def pinned_descriptors(
    spec: JobSpec, offered: Sequence[SignedDescriptor]
) -> dict[str, NodeDescriptor]:
    """The descriptor of every participant, each the one whose digest the requester signed.

    A coordinator that offers another descriptor, and so another key, is caught here. Raises
    `PeerError` (`descriptor`) where one is missing or differs.
    """
    by_node = {item.descriptor.node: item for item in offered}
    pinned: dict[str, NodeDescriptor] = {}
    for participant in spec.participants:
        found = by_node.get(participant.node)
        if found is None:
            raise PeerError(
                "descriptor",
                f"expected the descriptor of `{participant.node.uri}`, got none",
            )
        if not hmac.compare_digest(found.digest, participant.descriptor_digest):
            raise PeerError(
                "descriptor",
                f"expected the descriptor of `{participant.node.uri}` that the job names, "
                "got another, with other keys or tables",
            )
        pinned[participant.node.uri] = found.descriptor
    return pinned


def question(spec: JobSpec, participants: Mapping[str, NodeDescriptor]) -> Question:
    """Read the job's statement against the schemas that its participants publish.

    1. Every participant publishes every table, with the schema whose digest the job names.
    2. The statement parses to the plan whose digest the job names.
    3. It reads the tables that the job names, and each of them: policies are asked about these.
    4. A statistic's rounds are of known kinds, with arguments that these take; a training reads
       plain columns.

    Raises `PeerError` (`job_spec`) for 1, 3 and a digest that differs, `CallError` (`sql_…`,
    `statistic`) for 4, a statement that is not supported, or one that reads a table that the job
    does not name.
    """
    published = {
        name: {
            node: _published(name, digest, node, described)
            for node, described in participants.items()
        }
        for name, digest in spec.tables.items()
    }
    catalogue = {name: next(iter(tables.values())).schema for name, tables in published.items()}
    plan = _plan(spec, catalogue)
    named = {entry.table for entry in spec.joined}
    if plan.table != spec.table or plan.joined.keys() != named:
        raise PeerError(
            "job_spec", "expected a job that names the tables of its statement, got others"
        )
    if not hmac.compare_digest(plan.digest, spec.plan_digest):
        raise PeerError(
            "job_spec",
            "expected the plan that the job names, got another from the same statement",
            remedy="bring SDK, coordinator and nodes to one version",
        )
    tables = published.pop(spec.table)
    if isinstance(plan, Plan):
        return Question(plan, tables, runs_of_query(plan, spec.privacy), joined=published)
    if spec.training is not None:
        return Question(plan, tables, runs_of_training(spec))
    assert spec.statistic is not None
    rounds = statistic_rounds(spec.statistic, plan)
    return Question(plan, tables, runs_of_statistic(rounds, spec.privacy), rounds)


def _plan(spec: JobSpec, catalogue: Mapping[str, TableSchema]) -> Plan | RowsPlan:
    if spec.training is not None:
        return parse_columns(spec.sql, catalogue)
    return parse(spec.sql, catalogue) if spec.statistic is None else parse_rows(spec.sql, catalogue)


def _published(name: str, digest: bytes, node: str, described: NodeDescriptor) -> PublishedTable:
    table = described.tables.get(name)
    if table is None:
        raise PeerError("job_spec", f"expected a table `{name}`, got none", node=node)
    if not hmac.compare_digest(table.schema.digest, digest):
        raise PeerError(
            "job_spec",
            f"expected the schema of `{name}` that the job names, got another",
            node=node,
            remedy="ask for the catalogue again; all chosen nodes must publish one schema",
        )
    return table


def gate_denial(error: YumenError, *, node: str, subject: str = "job") -> Denial:
    """A refusal by the gate itself, before or beside any policy, as a denial."""
    expected, _, got = error.message.partition(", got ")
    return Denial(
        node=node,
        reason_code=error.code,
        message=error.message,
        subject=subject,
        observed=got,
        allowed=expected.removeprefix("expected "),
        remedy=error.remedy,
    )


def policy_requests(
    spec: JobSpec,
    asked: Question,
    *,
    decider: Identity,
    nodes: Iterable[str],
    now_ms: int,
    reviewers: int = 0,
    budget_left: Mapping[str, int] | None = None,
) -> tuple[PolicyRequest, ...]:
    """The facts of a job as `decider` puts them to its policy: once for each table that is read,
    each of which must allow it.

    `nodes` are those whose tables the decision is about: a node itself, or all participants at
    the coordinator. Where they differ the strictest counts: the highest grade, the lowest
    threshold. `reviewers` is how many have approved the code of a training at the decider,
    `budget_left` what it has left of each table's privacy budget for this job, in micro-rho.
    """
    about = tuple(nodes)
    threshold = min(asked.threshold(node) for node in about)
    return tuple(
        _policy_request(
            spec,
            asked,
            [tables[node] for node in about],
            decider=decider,
            threshold=threshold,
            now_ms=now_ms,
            reviewers=reviewers,
            budget_left=budget_left or {},
        )
        for tables in (asked.tables, *asked.joined.values())
    )


def table_denials(
    spec: JobSpec, request: PolicyRequest, denials: tuple[Denial, ...]
) -> tuple[Denial, ...]:
    """What a policy said of one table, with its name where the job reads several."""
    if not spec.joined:
        return denials
    of_table = f"of table `{request.table}`: "
    return tuple(replace(denial, message=of_table + denial.message) for denial in denials)


def _policy_request(
    spec: JobSpec,
    asked: Question,
    tables: Sequence[PublishedTable],
    *,
    decider: Identity,
    threshold: int,
    now_ms: int,
    reviewers: int,
    budget_left: Mapping[str, int],
) -> PolicyRequest:
    """The facts about one table, as its nodes publish it."""
    name = tables[0].schema.name
    touched = asked.plan.touched(name)
    columns: dict[str, str] = {}
    table_grades: set[str] = set()
    for table in tables:
        table_grades.add(table.grade)
        for column in table.schema.columns:
            if column.name in touched.columns:
                grades = {columns.get(column.name, GRADES[0]), str(column.grade)}
                columns[column.name] = max(grades, key=GRADES.index)
    return PolicyRequest(
        requester=spec.requester,
        decider=decider,
        operation=spec.operation,
        rounds=asked.runs.most,
        table=name,
        table_grade=max(table_grades, key=GRADES.index),
        purpose=spec.purpose,
        columns=columns,
        filters=touched.filters,
        group_by=touched.group_by,
        group_bands=touched.group_bands,
        joined=frozenset(spec.tables) - {name},
        aggregates=asked.aggregates,
        participants=len(spec.participants),
        min_nodes=spec.min_nodes,
        threshold=threshold,
        suite=spec.suite.value,
        **_training_facts(spec, reviewers),
        now_ms=now_ms,
        expires_at_ms=spec.expires_at_ms,
        dry_run=spec.dry_run,
        project=spec.charged_project,
        micro_rho=0 if spec.privacy is None else spec.privacy.micro_rho,
        micro_rho_left=budget_left.get(name),
    )


class _TrainingFacts(TypedDict, total=False):
    program: str
    program_name: str
    code_reviewers: int
    parameters: int


def _training_facts(spec: JobSpec, reviewers: int) -> _TrainingFacts:
    """What a policy may know of a training beside its columns."""
    training = spec.training
    if training is None:
        return {}
    code = isinstance(training.program, BundleCode)
    return {
        "program": "code" if code else "model",
        "program_name": training.name,
        "code_reviewers": reviewers if code else 0,
        "parameters": training.values,
    }


def minimum_denials(spec: JobSpec, asked: Question, *, node: str) -> tuple[Denial, ...]:
    """A denial where the job would go on with fewer nodes than a table demands behind a cell."""
    if spec.min_nodes >= asked.min_nodes:
        return ()
    return (
        Denial(
            node=node,
            reason_code="min_nodes",
            message=(
                f"expected a job that needs {asked.min_nodes} nodes at least, "
                f"got one that goes on with {spec.min_nodes}"
            ),
            subject="min_nodes",
            observed=str(spec.min_nodes),
            allowed=f"{asked.min_nodes} or more",
            remedy=f"ask with min_nodes={asked.min_nodes}",
        ),
    )


def rounding_denials(spec: JobSpec, asked: Question, *, node: str) -> tuple[Denial, ...]:
    """A denial where a table tells its counts rounded, and the job is of a kind that would tell
    exact ones. Noise stands in for rounding."""
    step = asked.round_to
    if step == NO_ROUNDING or spec.privacy is not None or isinstance(asked.plan, Plan):
        return ()
    exact = [entry.kind.name for entry in asked.rounds if not can_round(entry.kind)]
    if asked.rounds and not exact:
        return ()
    what = f"rounds of `{exact[0]}`" if exact else "a training"
    return (
        Denial(
            node=node,
            reason_code="exact_counts",
            message=(
                f"expected a job whose counts can be told in multiples of {step}, as the tables "
                f"demand, got {what}, which needs or tells exact numbers of rows"
            ),
            subject=spec.table,
            observed=what.removeprefix("a "),
            allowed="SQL, tables of counts; or any job with privacy",
            remedy="ask in SQL, by `crosstab` or `histogram`, or with `privacy=`",
        ),
    )


def decision_subject(spec: JobSpec) -> dict[str, str]:
    """Whom and what a decision's log entry is about."""
    subject = {
        "job": spec.job_id,
        "requester": spec.requester.uri,
        "table": spec.table,
        "purpose": spec.purpose,
    }
    for number, entry in enumerate(spec.joined, start=1):
        subject[f"joined_{number}"] = entry.table
    return subject


def decision_detail(
    sql: str,
    denials: tuple[Denial, ...],
    *,
    dry_run: bool,
    requests: Sequence[PolicyRequest] = (),
) -> dict[str, Value]:
    """What a decision's log entry says: the statement, each denial as canonical JSON, and the facts
    that were put to the policies (`logged_facts`), enough to decide again.

    Texts too long for an entry are cut, the facts never; the job's digest stands beside them.
    """
    facts = logged_facts(requests)
    longest = specs.MAX_SQL_BYTES
    while True:
        detail: dict[str, Value] = {
            "sql": sql[:longest],
            "accepted": not denials,
            "dry_run": dry_run,
            "denials": [_denial_text(denial, longest) for denial in denials[:MAX_LOGGED_DENIALS]],
            **facts,
        }
        if len(canonical.encode(detail)) <= MAX_DETAIL_BYTES:
            return detail
        longest //= 2


def _denial_text(denial: Denial, longest: int) -> str:
    """A denial as canonical JSON, its texts cut to `longest` characters."""
    parts = denial.to_json()
    cut = {name: text[:longest] if isinstance(text, str) else text for name, text in parts.items()}
    return canonical.encode(cut).decode()
