"""Statistics with privacy at nodes of true tables: what leaves hangs on no row; paid once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from builders.federation import Federation, Job, job_for
from builders.running import Running
from builders.tables import Rows
from builders.wards import Wards
from yumen_core.errors import StateError
from yumen_core.identity.membership import Membership
from yumen_core.jobs.decision import parse_decision
from yumen_core.log import Act
from yumen_core.privacy import Privacy
from yumen_core.sql import parse_rows
from yumen_core.statistics.statistic import Round, Statistic

COLUMNS = [
    {"name": "sex", "type": "text", "domain": ["f", "m"]},
    {"name": "age", "type": "integer", "bounds": {"lower": 0, "upper": 120}},
]
SQL = "SELECT sex, CASE WHEN age > 90 THEN age ELSE 0 END AS old FROM heart"
"""A subgroup of few rows, which a statistic without noise refuses."""
COUNTS = Round("counts", "counts_by", {"tables": [["sex", 2, "", 1]]})
MOMENTS = Round(
    "moments",
    "bounded_moments",
    {"by": "sex", "groups": 2, "variables": [["old", "0", "120"]]},
)
STATISTIC = Statistic("describe", SQL, (COUNTS, MOMENTS))
BUDGET = {"epsilon": 3, "project_epsilon": 3}
COST = Privacy(100_000)
BASE: Rows = [{"sex": "fm"[at % 2], "age": 40 + at % 30} for at in range(40)]
NEIGHBOURS: dict[str, Rows] = {
    "as it is": BASE,
    "a row less": BASE[:-1],
    "a row changed": [*BASE[:-1], {"sex": "f", "age": 99}],
    "a value out of bounds": [*BASE[:-1], {"sex": "m", "age": 10**9}],
    "a value missing": [*BASE[:-1], {"sex": "m", "age": ""}],
    "a value of no domain": [*BASE[:-1], {"sex": "x", "age": 50}],
    "a group of one": [*[{**row, "sex": "f"} for row in BASE], {"sex": "m", "age": 50}],
    "an empty group": [{**row, "sex": "f"} for row in BASE],
    "one row": BASE[:1],
}


@pytest.fixture
def make(federation: Federation, li: Membership, tmp_path: Path) -> Iterator[Any]:
    made: list[Wards] = []

    def wards(rows: Rows) -> Wards:
        one = Wards(
            federation,
            li,
            tmp_path,
            [rows, BASE, BASE],
            COLUMNS,
            world=f"world{len(made)}",
            privacy=BUDGET,
        )
        made.append(one)
        return one

    yield wards
    for one in made:
        one.close()


def job(wards: Wards, privacy: Privacy | None = COST, statistic: Statistic = STATISTIC) -> Job:
    return job_for(
        wards.li,
        [site.published() for site in wards.sites],
        sql=statistic.sql,
        statistic=statistic,
        plan_digest=parse_rows(statistic.sql, {"heart": wards.schema}).digest,
        schema_digest=wards.schema.digest,
        privacy=privacy,
    )


def told(wards: Wards) -> Sequence[object]:
    """All that leaves the first node of its rows, but the numbers: sizes, and what its log says; of
    a round of counts, and of one of moments."""
    found: list[object] = []
    site = wards.sites[0]
    for rounds in ((COUNTS, MOMENTS), (MOMENTS,)):
        statistic = Statistic("describe", SQL, rounds)
        running = Running(wards.sites, job(wards, Privacy(40_000), statistic))
        shares = running.shares()
        part = running.part(site, shares)
        entry = site.log.entries[-1]
        assert entry.act is Act.CONTRIBUTION
        found += [len(shares[0].payload), len(part), entry.detail]
    return found


def test_neighbouring_tables_lead_to_the_same_shapes(make: Any) -> None:
    assert len({str(told(make(rows))) for rows in NEIGHBOURS.values()}) == 1


def test_the_same_without_noise_is_refused(make: Any) -> None:
    wards = make(NEIGHBOURS["a row changed"])
    plain = Statistic("describe", SQL, (COUNTS,))
    running = Running(wards.sites, job(wards, None, plain))
    with pytest.raises(StateError, match="expected enough rows at every node behind each branch"):
        running.share(wards.sites[0])


def test_a_statistic_pays_once_for_all_its_runs_and_then_no_more(make: Any) -> None:
    wards = make(BASE)
    site = wards.sites[0]
    running = Running(wards.sites, job(wards))
    whole = Privacy.of_epsilon(3).micro_rho
    assert site.ledger.left(running.job.spec) == {"heart": whole - COST.micro_rho}
    shares = running.shares()
    part = running.part(site, shares)
    assert running.part(site, shares) == part  # what was told once is told again as it was
    for other in wards.sites:
        other.execution.forget(running.job.spec.job_id)
    assert site.ledger.left(running.job.spec) == {"heart": whole - COST.micro_rho}
    assert wards.sites[1].ledger.left(running.job.spec) == {"heart": whole}  # nothing had left
    ruling = site.decide(job(wards).proposal())
    assert ruling.job is None
    assert ruling.envelope is not None
    (denial,) = parse_decision(ruling.envelope.payload, signer=site.node.identity).denials
    assert denial.reason_code == "budget_exhausted"
