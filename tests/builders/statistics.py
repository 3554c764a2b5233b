"""Statistics of few lines: kinds of rounds that say little, and jobs that name them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from yumen_core.canonical import Json
from yumen_core.disclosure import DisclosureRules
from yumen_core.identity import SignedEnvelope
from yumen_core.identity.membership import Membership
from yumen_core.jobs.book import SignedDescriptor
from yumen_core.sql import parse_rows
from yumen_core.statistics import registry
from yumen_core.statistics.kinds import Arguments, Inputs, Local, Rule, Variables
from yumen_core.statistics.layout import Layout, count, real
from yumen_core.statistics.rows import Rows
from yumen_core.statistics.statistic import Round, Statistic

from builders.federation import HEART, Job, Node, job_for

ROWS_SQL = "SELECT sex, age FROM heart"
LOGIT: dict[str, Json] = {
    "design": [["Intercept", []], ["x", [["x", "identity", None]]]],
    "exposure": "",
    "family": "binomial",
    "intercepts": "shared",
    "levels": {},
    "link": "logit",
    "offset": "",
    "response": ["y", "identity", None],
    "weights": "",
}
"""What a round of a logistic regression of y on x names."""


class Weighed:
    """Rows, and the sum of ages times the input `weight` (1 in a first run)."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.name = f"weighed_{rule}"

    def layout(self, arguments: Arguments, variables: Variables) -> Layout:
        return Layout(1, ("rows",), (count(), real()), inputs={"weight": (1,)})

    def compute(
        self, rows: Rows, arguments: Arguments, inputs: Inputs, rules: DisclosureRules
    ) -> Local:
        weight = float(inputs["weight"][0]) if inputs else 1.0
        total = float(rows.number("age").sum()) * weight
        return Local(np.array([[rows.count]]), np.array([[rows.count, total]]))


@pytest.fixture
def weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    for rule in Rule:
        kind = Weighed(rule)
        monkeypatch.setitem(registry.KINDS, kind.name, kind)  # type: ignore[arg-type]


def weighed_statistic(*rules: Rule, at_most: int = 3) -> Statistic:
    """A statistic of one round for each rule, named as its rule."""
    rounds = tuple(Round(str(rule), f"weighed_{rule}", {}, at_most) for rule in rules)
    return Statistic("weighed", ROWS_SQL, rounds)


def statistic_job(
    requester: Membership,
    nodes: Sequence[tuple[Node, SignedEnvelope, SignedDescriptor]],
    statistic: Statistic,
    **changes: Any,
) -> Job:
    """A signed job for `statistic` over these nodes."""
    plan = parse_rows(statistic.sql, {"heart": HEART})
    return job_for(
        requester,
        nodes,
        statistic=statistic,
        sql=statistic.sql,
        plan_digest=plan.digest,
        **changes,
    )
