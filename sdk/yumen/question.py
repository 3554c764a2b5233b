"""From a statement to a signed job: which nodes, which plan, which keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from yumen_core.clock import Clock
from yumen_core.disclosure.rounding import NO_ROUNDING
from yumen_core.errors import CallError, PeerError
from yumen_core.identity.names import Identity
from yumen_core.identity.sealing import seal
from yumen_core.jobs.book import SignedDescriptor
from yumen_core.jobs.job_id import new_job_id
from yumen_core.jobs.runs import runs_of_query, runs_of_statistic, statistic_rounds
from yumen_core.jobs.spec import (
    MIN_PARTICIPANTS,
    JobSpec,
    JoinedTable,
    Participant,
    secret_info,
)
from yumen_core.privacy import Privacy
from yumen_core.secret import Secret
from yumen_core.securesum.suite import Suite, join_secret
from yumen_core.sql import Plan, RowsPlan, TableSchema, parse, parse_columns, parse_rows
from yumen_core.statistics.statistic import Statistic
from yumen_core.training.spec import TrainingSpec

from yumen._arguments import check_question, find_node, node_names

DEFAULT_LIFETIME_S = 600.0


@dataclass(frozen=True)
class Asked:
    """A statement read against the catalogue, with the nodes it is put to; of a statistic or a
    training, the statement of its rows. `schemas` holds every table that the statement reads, by
    name."""

    sql: str
    purpose: str
    plan: Plan | RowsPlan
    schemas: Mapping[str, TableSchema]
    nodes: tuple[SignedDescriptor, ...]
    min_nodes: int
    statistic: Statistic | None = None
    training: TrainingSpec | None = None
    suite: Suite = Suite.BFV
    privacy: Privacy | None = None
    project: str = ""

    @property
    def round_to(self) -> int:
        """The widest of the steps in which the tables' nodes tell counts; 1 where they are exact,
        and of answers with noise."""
        if self.privacy is not None:
            return NO_ROUNDING
        return max(
            signed.descriptor.tables[name].round_to
            for signed in self.nodes
            for name in self.schemas
        )


@dataclass(frozen=True)
class PreparedJob:
    """A job ready to be signed, and the secret its nodes share with the requester; in the suite
    `stream` also each node's pad key, by its SPIFFE id."""

    spec: JobSpec
    secret: Secret
    pad_keys: Mapping[str, Secret] = field(default_factory=dict)


def ask(
    sql: str,
    purpose: str,
    catalogue: Sequence[SignedDescriptor],
    *,
    nodes: Sequence[str] | None,
    min_nodes: int | None,
    statistic: Statistic | None = None,
    training: TrainingSpec | None = None,
    suite: Suite = Suite.BFV,
    privacy: Privacy | None = None,
    project: str = "",
) -> Asked:
    """Read `sql`, the statement of a query or of the rows of a statistic or a training, against the
    catalogue and choose the nodes.

    With `nodes=None` all nodes that publish every table of the statement are chosen; a name in
    `nodes` is a node's name, `organisation/name` or SPIFFE id, or an organisation that has one
    node. With `min_nodes=None` every chosen node must take part.
    Raises `CallError` for a statement, a purpose or a node that cannot be, with the reason.
    """
    check_question(sql, purpose, min_nodes)
    read: Callable[[str, Mapping[str, TableSchema]], Plan | RowsPlan]
    read = parse if statistic is None else parse_rows
    if training is not None:
        read = parse_columns
    plan = read(sql, _schemas(catalogue))
    tables = (plan.table, *plan.joined)
    chosen, schemas, needed = choose(tables, catalogue, nodes=nodes, min_nodes=min_nodes)
    plan = read(sql, schemas)
    if privacy is not None and statistic is not None:
        assert isinstance(plan, RowsPlan)
        runs_of_statistic(statistic_rounds(statistic, plan), privacy)
    if privacy is not None and isinstance(plan, Plan):
        runs_of_query(plan, privacy)
    return Asked(
        sql,
        purpose,
        plan,
        schemas,
        chosen,
        needed,
        statistic,
        training,
        suite,
        privacy,
        project,
    )


def choose(
    tables: Sequence[str],
    catalogue: Sequence[SignedDescriptor],
    *,
    nodes: Sequence[str] | None,
    min_nodes: int | None,
) -> tuple[tuple[SignedDescriptor, ...], Mapping[str, TableSchema], int]:
    """The nodes for questions on `tables`, the schemas they all publish, by table, and how many
    must take part.

    Raises `CallError` as `ask` does.
    """
    chosen = _choose(tables, catalogue, nodes)
    if not chosen:
        names = "` and `".join(tables)
        raise CallError("insufficient_nodes", f"expected nodes that publish `{names}`, got none")
    schemas = {table: _one_schema(table, chosen) for table in tables}
    needed = len(chosen) if min_nodes is None else min_nodes
    if len(chosen) < MIN_PARTICIPANTS:
        names = ", ".join(node_names([n.descriptor.node for n in chosen]).values()) or "none"
        raise CallError(
            "insufficient_nodes",
            f"expected {MIN_PARTICIPANTS} nodes at least, got {len(chosen)}: {names}",
            remedy="choose more nodes: a sum of fewer would show one node's share",
        )
    if not MIN_PARTICIPANTS <= needed <= len(chosen):
        raise CallError(
            "argument",
            f"expected min_nodes from {MIN_PARTICIPANTS} to {len(chosen)}, got `{needed}`",
        )
    return chosen, schemas, needed


def prepare(
    asked: Asked,
    requester: Identity,
    *,
    clock: Clock,
    public_key_digest: bytes = b"",
    dry_run: bool = False,
    lifetime_s: float = DEFAULT_LIFETIME_S,
) -> PreparedJob:
    """The job for `asked`, with a fresh id, and fresh secrets sealed to each node."""
    job_id = new_job_id(clock)
    secret = Secret.generate()
    uris = [node.descriptor.node.uri for node in asked.nodes]
    pad_keys = {uri: Secret.generate() for uri in uris} if asked.suite is Suite.STREAM else {}
    participants = tuple(
        Participant(
            node=node.descriptor.node,
            descriptor_digest=node.digest,
            sealed_secret=b""
            if dry_run
            else seal(
                join_secret(secret, pad_keys.get(node.descriptor.node.uri)),
                node.descriptor.sealing_key,
                secret_info(job_id, node.descriptor.node.uri),
            ),
        )
        for node in asked.nodes
    )
    now_ms = clock.now_ms()
    spec = JobSpec(
        job_id=job_id,
        requester=requester,
        purpose=asked.purpose,
        table=asked.plan.table,
        schema_digest=asked.plan.schema.digest,
        joined=tuple(
            JoinedTable(name, asked.schemas[name].digest) for name in sorted(asked.plan.joined)
        ),
        sql=asked.sql,
        plan_digest=asked.plan.digest,
        participants=participants,
        min_nodes=asked.min_nodes,
        public_key_digest=public_key_digest,
        issued_at_ms=now_ms,
        expires_at_ms=now_ms + int(lifetime_s * 1000),
        dry_run=dry_run,
        statistic=asked.statistic,
        training=asked.training,
        suite=asked.suite,
        privacy=asked.privacy,
        project=asked.project,
    )
    return PreparedJob(spec, secret, pad_keys)


def _schemas(catalogue: Sequence[SignedDescriptor]) -> Mapping[str, TableSchema]:
    """Any node's schema of each table: enough to read a statement's tables from."""
    schemas = {
        name: table.schema for node in catalogue for name, table in node.descriptor.tables.items()
    }
    if not schemas:
        raise PeerError(
            "insufficient_nodes",
            "expected a federation that publishes a table, got an empty catalogue",
        )
    return schemas


def _choose(
    tables: Sequence[str], catalogue: Sequence[SignedDescriptor], nodes: Sequence[str] | None
) -> tuple[SignedDescriptor, ...]:
    publishing = [
        node for node in catalogue if all(table in node.descriptor.tables for table in tables)
    ]
    if nodes is None:
        return tuple(publishing)
    if isinstance(nodes, str):
        raise CallError("argument", "expected a list of nodes, got one text")
    by_node = {node.descriptor.node: node for node in publishing}
    chosen: list[SignedDescriptor] = []
    for name in nodes:
        found = by_node[find_node(name, list(by_node), "` and `".join(tables))]
        if found in chosen:
            raise CallError("argument", f"expected distinct nodes, got `{name}` twice")
        chosen.append(found)
    return tuple(chosen)


def _one_schema(table: str, nodes: Sequence[SignedDescriptor]) -> TableSchema:
    """The schema that all chosen nodes publish. Raises `CallError` where they differ."""
    schemas = [node.descriptor.tables[table].schema for node in nodes]
    for node, schema in zip(nodes, schemas, strict=True):
        if schema.digest != schemas[0].digest:
            raise CallError(
                "argument",
                f"expected one schema of `{table}` at all chosen nodes, got another",
                node=node.descriptor.node.uri,
                remedy="choose nodes that publish the same schema: see `fed.datasets()`",
            )
    return schemas[0]
