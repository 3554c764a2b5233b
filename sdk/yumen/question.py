"""From a statement to a signed job: which nodes, which plan, which keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from yumen_core.clock import Clock
from yumen_core.errors import CallError, PeerError
from yumen_core.identity.names import Identity
from yumen_core.identity.sealing import seal
from yumen_core.jobs.book import SignedDescriptor
from yumen_core.jobs.job_id import new_job_id
from yumen_core.jobs.spec import (
    MIN_PARTICIPANTS,
    JobSpec,
    Participant,
    secret_info,
)
from yumen_core.secret import Secret
from yumen_core.sql import Plan, RowsPlan, TableSchema, parse, parse_rows
from yumen_core.statistics.statistic import Statistic

from yumen._arguments import check_question, find_node, node_names

DEFAULT_LIFETIME_S = 600.0


@dataclass(frozen=True)
class Asked:
    """A statement read against the catalogue, with the nodes it is put to; of a statistic, the
    statement of its rows."""

    sql: str
    purpose: str
    plan: Plan | RowsPlan
    schema: TableSchema
    nodes: tuple[SignedDescriptor, ...]
    min_nodes: int
    statistic: Statistic | None = None


@dataclass(frozen=True)
class PreparedJob:
    """A job ready to be signed, and the secret its nodes share with the requester."""

    spec: JobSpec
    secret: Secret


def ask(
    sql: str,
    purpose: str,
    catalogue: Sequence[SignedDescriptor],
    *,
    nodes: Sequence[str] | None,
    min_nodes: int | None,
    statistic: Statistic | None = None,
) -> Asked:
    """Read `sql`, the statement of a query or of a statistic's rows, against the catalogue and
    choose the nodes.

    With `nodes=None` all nodes that publish the table are chosen; a name in `nodes` is a node's
    name, `organisation/name` or SPIFFE id, or an organisation that has one node. With
    `min_nodes=None` every chosen node must take part.
    Raises `CallError` for a statement, a purpose or a node that cannot be, with the reason.
    """
    check_question(sql, purpose, min_nodes)
    read: Callable[[str, Mapping[str, TableSchema]], Plan | RowsPlan]
    read = parse if statistic is None else parse_rows
    plan = read(sql, _schemas(catalogue))
    table = plan.table
    chosen, schema, needed = choose(table, catalogue, nodes=nodes, min_nodes=min_nodes)
    if schema.digest != plan.schema.digest:
        plan = read(sql, {table: schema})
    return Asked(sql, purpose, plan, schema, chosen, needed, statistic)


def choose(
    table: str,
    catalogue: Sequence[SignedDescriptor],
    *,
    nodes: Sequence[str] | None,
    min_nodes: int | None,
) -> tuple[tuple[SignedDescriptor, ...], TableSchema, int]:
    """The nodes for questions on `table`, the schema they all publish, and how many must take part.

    Raises `CallError` as `ask` does.
    """
    chosen = _choose(table, catalogue, nodes)
    schema = _one_schema(table, chosen)
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
    return chosen, schema, needed


def prepare(
    asked: Asked,
    requester: Identity,
    *,
    clock: Clock,
    public_key_digest: bytes = b"",
    dry_run: bool = False,
    lifetime_s: float = DEFAULT_LIFETIME_S,
) -> PreparedJob:
    """The job for `asked`, with a fresh id, and a fresh secret sealed to each node."""
    job_id = new_job_id(clock)
    secret = Secret.generate()
    participants = tuple(
        Participant(
            node=node.descriptor.node,
            descriptor_digest=node.digest,
            sealed_secret=b""
            if dry_run
            else seal(
                secret.reveal(),
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
        schema_digest=asked.schema.digest,
        sql=asked.sql,
        plan_digest=asked.plan.digest,
        participants=participants,
        min_nodes=asked.min_nodes,
        public_key_digest=public_key_digest,
        issued_at_ms=now_ms,
        expires_at_ms=now_ms + int(lifetime_s * 1000),
        dry_run=dry_run,
        statistic=asked.statistic,
    )
    return PreparedJob(spec, secret)


def _schemas(catalogue: Sequence[SignedDescriptor]) -> Mapping[str, TableSchema]:
    """Any node's schema of each table: enough to read a statement's table from."""
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
    table: str, catalogue: Sequence[SignedDescriptor], nodes: Sequence[str] | None
) -> tuple[SignedDescriptor, ...]:
    publishing = [node for node in catalogue if table in node.descriptor.tables]
    if nodes is None:
        return tuple(publishing)
    if isinstance(nodes, str):
        raise CallError("argument", "expected a list of nodes, got one text")
    by_node = {node.descriptor.node: node for node in publishing}
    chosen: list[SignedDescriptor] = []
    for name in nodes:
        found = by_node[find_node(name, list(by_node), table)]
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
    if not schemas:
        raise CallError("insufficient_nodes", f"expected nodes that publish `{table}`, got none")
    return schemas[0]
