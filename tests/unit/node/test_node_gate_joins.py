"""The gate on jobs that read several tables: each table is named, published and allowed."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders.federation import HEART, TABLE, Federation, Job, heart_plan, job_for, policies
from builders.rulings import refusal, refused_by_gate, refused_unopened
from builders.site import Site
from yumen_core.identity import Role
from yumen_core.jobs.admission import policy_requests, question
from yumen_core.jobs.descriptor import PublishedTable
from yumen_core.jobs.spec import JoinedTable
from yumen_core.rpc.v1 import job_pb2
from yumen_core.sql import Column, ColumnType, Grade, TableSchema, parse

NORMS = TableSchema(
    "norms",
    (
        Column("sex", ColumnType.TEXT, domain=("female", "male"), nullable=False),
        Column("strict", ColumnType.BOOLEAN, grade=Grade.IMPORTANT),
    ),
    key=("sex",),
)
PUBLISHED = PublishedTable(NORMS, "norms by sex", "important", threshold=25, min_nodes=4)
JOIN = "SELECT COUNT(*) AS n, SUM(age) AS s FROM heart JOIN norms USING (sex) WHERE norms.strict"
INNER = "SELECT COUNT(*) AS n FROM heart WHERE age IN (1, 2)"
NAMED = (JoinedTable("norms", NORMS.digest),)
Ask = Callable[..., Job]


@pytest.fixture
def sites(federation: Federation, tmp_path: Path) -> Iterator[list[Site]]:
    """Four hospitals with two tables each; the last lets nobody read `norms`."""
    nodes = [replace(node, others=(PUBLISHED,)) for node in federation.nodes(4)]
    bundles = [policies()] * 3 + [policies('resource == Yumen::Table::"heart"')]
    made = [
        Site(node, tmp_path / f"site{at}", bundle=bundle)
        for at, (node, bundle) in enumerate(zip(nodes, bundles, strict=True))
    ]
    yield made
    for site in made:
        site.close()


@pytest.fixture
def join(federation: Federation, sites: list[Site]) -> Ask:
    li = federation.member(Role.USER, "zhao")

    def made(**changes: Any) -> Job:
        plan = parse(JOIN, {"heart": HEART, "norms": NORMS})
        fields = {"sql": JOIN, "plan_digest": plan.digest, "joined": NAMED, **changes}
        return job_for(li, [site.published() for site in sites], **fields)

    return made


def test_a_join_that_both_tables_allow(sites: list[Site], join: Ask) -> None:
    ruling = sites[0].decide(join().proposal())
    assert ruling.job is not None
    asked = ruling.job.asked
    assert (asked.threshold(sites[0].uri), asked.min_nodes) == (25, 4)
    assert asked.plan.joined == {"norms": NORMS}
    assert sites[0].log.entries[-1].subject["joined_1"] == "norms"


def test_no_join_reads_a_table_that_its_policy_keeps(sites: list[Site], join: Ask) -> None:
    """A permit for `heart` alone says nothing of `norms`."""
    assert refusal(sites[3], sites[3].decide(join().proposal())) == (
        "no_permit",
        "of table `norms`: no policy permits this job",
    )


def test_a_policy_may_forbid_that_two_tables_meet(
    federation: Federation, sites: list[Site], join: Ask
) -> None:
    apart = 'context.joinedTables.isEmpty() || !context.joinedTables.contains("heart")'
    site = Site(sites[1].node, sites[1].folder.with_name("apart"), bundle=policies(apart))
    job = job_for(
        federation.member(Role.USER, "qian"),
        [site.published(), *(other.published() for other in (sites[0], *sites[2:]))],
        sql=JOIN,
        plan_digest=parse(JOIN, {"heart": HEART, "norms": NORMS}).digest,
        joined=NAMED,
    )
    assert refusal(site, site.decide(job.proposal())) == (
        "no_permit",
        "of table `norms`: no policy permits this job",
    )
    site.close()


def test_the_minimum_of_every_table_counts(sites: list[Site], join: Ask) -> None:
    assert refused_by_gate(sites[0], join(min_nodes=3)) == (
        "min_nodes",
        "expected a job that needs 4 nodes at least, got one that goes on with 3",
    )


def test_a_policy_is_asked_about_each_table_with_its_columns(sites: list[Site], join: Ask) -> None:
    job, node = join(), sites[0].node
    asked = question(job.spec, {site.uri: site.node.descriptor() for site in sites})
    heart, norms = policy_requests(
        job.spec, asked, decider=node.identity, nodes=[node.uri], now_ms=job.spec.issued_at_ms
    )
    assert (heart.table, heart.table_grade, dict(heart.columns)) == (
        "heart",
        "general",
        {"sex": "general", "age": "general"},
    )
    assert (norms.table, norms.table_grade, dict(norms.columns)) == (
        "norms",
        "important",
        {"sex": "general", "strict": "important"},
    )
    assert (heart.filters, norms.filters) == ({"sex"}, {"sex", "strict"})
    assert (heart.joined, norms.joined) == ({"norms"}, {"heart"})
    assert (heart.threshold, norms.threshold) == (25, 25)
    assert heart.aggregates == norms.aggregates == {"count", "sum"}


def test_a_joined_table_that_the_job_does_not_name(sites: list[Site], join: Ask) -> None:
    assert refused_by_gate(sites[0], join(joined=())) == (
        "sql_unknown_table",
        "`norms` at line 1, column 53 is no table of this federation",
    )


def test_a_named_table_that_the_statement_does_not_read(sites: list[Site], join: Ask) -> None:
    """Otherwise a log would tell of reads that never were."""
    changes = {"sql": INNER, "plan_digest": heart_plan(INNER).digest}
    assert refused_by_gate(sites[0], join(**changes)) == (
        "job_spec",
        "expected a job that names the tables of its statement, got others",
    )


def test_tables_named_the_wrong_way_round(sites: list[Site], join: Ask) -> None:
    swapped = {
        "table": "norms",
        "schema_digest": NORMS.digest,
        "joined": (JoinedTable("heart", HEART.digest),),
    }
    assert refused_by_gate(sites[0], join(**swapped)) == (
        "job_spec",
        "expected a job that names the tables of its statement, got others",
    )


@pytest.mark.parametrize(
    ("joined", "message"),
    [
        (
            JoinedTable("norms", b"n" * 32),
            "expected the schema of `norms` that the job names, got another",
        ),
        (JoinedTable("salaries", NORMS.digest), "expected a table `salaries`, got none"),
    ],
)
def test_a_joined_table_that_is_not_published_so(
    sites: list[Site], join: Ask, joined: JoinedTable, message: str
) -> None:
    assert refused_by_gate(sites[0], join(joined=(joined,))) == ("job_spec", message)


def test_a_node_that_lacks_the_joined_table(sites: list[Site], join: Ask) -> None:
    job = join()
    descriptors = {site.uri: site.node.descriptor() for site in sites}
    lacking = sites[2].node.descriptor(tables={"heart": TABLE})
    with pytest.raises(Exception, match="expected a table `norms`, got none") as caught:
        question(job.spec, {**descriptors, sites[2].uri: lacking})
    assert getattr(caught.value, "node", None) == sites[2].uri


def _add(table: str, digest: bytes = b"x" * 32) -> Callable[[job_pb2.JobSpec], object]:
    return lambda message: message.query.joined.add(table=table, schema_digest=digest)


def _many(message: job_pb2.JobSpec) -> None:
    for at in range(8):
        _add(f"t{at}")(message)


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (_add("norms"), "expected distinct tables, got one twice"),
        (_add("heart"), "expected distinct tables, got one twice"),
        (_add(" "), "expected a table name of 1 to 200 characters, got one of 1"),
        (_add("a" * 201), "expected a table name of 1 to 200 characters, got one of 201"),
        (
            _add("a\nb"),
            "expected a purpose, a project and a table without control characters, got one",
        ),
        (_add("other", b"short"), "expected digests of 32 bytes, got another length"),
        (_many, "expected at most 8 joined tables, got 9"),
    ],
)
def test_a_malformed_list_of_tables(
    sites: list[Site], join: Ask, edit: Callable[[job_pb2.JobSpec], object], text: str
) -> None:
    assert refused_unopened(sites[0], join(edit=edit)) == ("job_spec", text)
