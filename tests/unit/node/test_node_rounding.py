"""Tables that tell counts rounded: what leaves, and what they refuse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from builders.federation import Federation
from builders.tables import SEX_AND_AGE, patients
from builders.wards import Wards
from yumen_core.canonical import Json
from yumen_core.identity.membership import Membership
from yumen_core.jobs.admission import Question, rounding_denials
from yumen_core.jobs.runs import runs_of_statistic, statistic_rounds
from yumen_core.privacy import Privacy
from yumen_core.sql import parse_rows
from yumen_core.statistics.statistic import Round, Statistic

TABLES = [patients(23, 31), patients(17, 48), patients(42, 12)]


@pytest.fixture
def wards(federation: Federation, li: Membership, tmp_path: Path) -> Iterator[Wards]:
    made = Wards(
        federation, li, tmp_path, TABLES, SEX_AND_AGE, world="rounded",
        disclosure={"round_to": 5},
    )  # fmt: skip
    yield made
    made.close()


def test_each_node_rounds_what_it_sends(wards: Wards) -> None:
    rows = wards.ask("SELECT sex, COUNT(*) AS n, AVG(age) AS age FROM heart GROUP BY sex")
    assert [(row["sex"], row["n"], row["age"]) for row in rows] == [
        ("f", 25 + 15 + 40, 50.0),
        ("m", 30 + 50 + 10, 40.0),
    ]
    (whole,) = wards.ask("SELECT COUNT(*) AS n, SUM(age) AS total FROM heart")
    assert whole["n"] == 55 + 65 + 55
    assert whole["total"] == round(2390 * 55 / 54) + 2770 * 1 + round(2580 * 55 / 54)
    assert whole["total"] != 23 * 50 + 31 * 40 + 17 * 50 + 48 * 40 + 42 * 50 + 12 * 40


def question(wards: Wards, kind: str, **arguments: Json) -> Question:
    sql = "SELECT age AS age FROM heart"
    plan = parse_rows(sql, {"heart": wards.schema})
    statistic = Statistic("asked", sql, (Round("first", kind, arguments),))
    rounds = statistic_rounds(statistic, plan)
    _, _, signed = wards.sites[0].published()
    table = signed.descriptor.tables["heart"]
    return Question(plan, {"a": table}, runs_of_statistic(rounds), rounds)


def test_what_needs_exact_counts_is_refused(wards: Wards) -> None:
    spec = wards.job("SELECT COUNT(*) FROM heart").spec
    asked = question(
        wards, "tree", variables=["age"], by="", groups=1, joint=False, depth=3, start=[[[3, 0]]]
    )
    (denial,) = rounding_denials(spec, asked, node="spiffe://x/org/a/node/a")
    assert denial.reason_code == "exact_counts"
    assert denial.message == (
        "expected a job whose counts can be told in multiples of 5, as the tables demand, "
        "got rounds of `tree`, which needs or tells exact numbers of rows"
    )
    assert denial.remedy.startswith("ask in SQL")
    private = replace(spec, privacy=Privacy(1000, "1e-6"))
    assert rounding_denials(private, asked, node="n") == ()
    moments = question(wards, "moments", variables=["age"], missing=[], products=0)
    assert rounding_denials(spec, moments, node="n")
    bins = question(wards, "bins", variable="age", by="", groups=1, edges=["0", "50", "120"])
    assert rounding_denials(spec, bins, node="n") == ()
    training = replace(moments, rounds=())
    (denial,) = rounding_denials(spec, training, node="n")
    assert "got a training, which needs or tells exact numbers of rows" in denial.message
