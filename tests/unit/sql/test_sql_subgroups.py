"""One sum must not carry one row's value, or one node's, beside everybody else's."""

import random
from decimal import Decimal

import duckdb
import numpy as np
import pytest
from yumen_core.disclosure import DisclosureRules, local_flags, released, withhold
from yumen_core.errors import CallError
from yumen_core.sql import (
    Column,
    ColumnType,
    TableSchema,
    finish,
    local_cells,
    local_sql,
    parse,
    storage_type,
)


def integer(name: str, low: int, high: int) -> Column:
    return Column(name, ColumnType.INTEGER, lower=Decimal(low), upper=Decimal(high), nullable=False)


SCHEMA = TableSchema(
    "t",
    (
        integer("age", 0, 120),
        integer("chol", 0, 700),
        integer("num", 0, 4),
        Column("site", ColumnType.TEXT, domain=("lz", "bj", "xa"), nullable=False),
    ),
)
TARGET_CHOL = 263


def rows_of(node: int) -> list[tuple[int, int, int, int]]:
    """100 rows a node, each node a site of its own; the second has the one patient of 37 years,
    who is also the one with num = 4."""
    drawn = random.Random(node)
    rows = [
        (drawn.randint(40, 80), drawn.randint(150, 400), drawn.randint(0, 3), node)
        for _ in range(100)
    ]
    return [*rows, (37, TARGET_CHOL, 4, node)] if node == 1 else rows


NODES = [rows_of(node) for node in range(3)]


def answer(expression: str) -> object:
    """`SELECT expression` over the three nodes under the default rules."""
    plan = parse(f"SELECT {expression} AS s FROM t", {"t": SCHEMA})
    parts = []
    for rows in NODES:
        with duckdb.connect() as database:
            columns = ", ".join(f"{c.name} {storage_type(c)}" for c in SCHEMA.columns)
            database.execute(f"CREATE TABLE held ({columns})")
            database.executemany("INSERT INTO held VALUES (?, ?, ?, ?)", rows)
            parts.append(local_cells(plan, database.execute(local_sql(plan, "held")).fetchall()))
    flags = [local_flags(part.supports, DisclosureRules(10, 3)) for part in parts]
    total = np.stack(flags).sum(axis=0, dtype=np.uint8)
    nodes = np.zeros(total.shape, dtype=int)
    values = [[0] * len(plan.layout.values) for _ in range(plan.layout.cells)]
    for part, own in zip(parts, flags, strict=True):
        kept = released(total, own, 3)
        nodes += kept
        given = withhold(part.values, [v.support for v in plan.layout.values], kept)
        values = [[a + b for a, b in zip(x, y, strict=True)]
                  for x, y in zip(values, given, strict=True)]  # fmt: skip
    return finish(plan, nodes.tolist(), values).table.to_pylist()[0]["s"]


# 37 years or under 60, and 37 years or from 60 on: each is many rows, both together are one.
A_OR_YOUNG = "CASE WHEN age = 37 OR age < 60 THEN 1000000 * chol ELSE 1 END"
A_OR_OLD = "CASE WHEN age = 37 OR age >= 60 THEN 1000000 ELSE 1 END"
INDICATOR = "(ABS(age - 38) + ABS(age - 36) - 2 * ABS(age - 37))"


@pytest.mark.parametrize(
    "expression",
    [
        "SUM(CASE WHEN age = 37 THEN 1000000 * chol ELSE 1 END)",
        "SUM(CASE WHEN age <> 37 THEN 1 ELSE 1000000 * chol END)",
        "SUM(CASE WHEN age = 37 THEN 1000000 * chol WHEN age < 60 THEN 1 ELSE 2 END)",
        "SUM(CASE WHEN age < 60 THEN CASE WHEN age = 37 THEN 1000000 * chol ELSE 1 END ELSE 2 END)",
        "SUM(1 + CASE WHEN age = 37 THEN 1000000 * chol ELSE 0 END)",
        "SUM(age * (1 + CASE WHEN age = 37 THEN 1000000 * chol ELSE 0 END))",
        "SUM(-(CASE WHEN age = 37 THEN 1000000 * chol ELSE 1 END))",
        "AVG(CASE WHEN age = 37 THEN 1000000 * chol ELSE 1 END)",
        "VAR_SAMP(CASE WHEN age = 37 THEN chol ELSE 1 END)",
        f"SUM(1 + 1000000 * chol * {INDICATOR})",
        f"SUM(1 + chol * {INDICATOR} + 1)",
        f"SUM(age * (1 + 1000000 * chol * {INDICATOR}))",
        "SUM(1 + (ABS(age - 38) + 1 + ABS(age - 36) - 2 * ABS(age - 37)) - 1)",
        "SUM(1 + 1000000 * chol * num * (num - 1) * (num - 2) * (num - 3))",
        # Two groups that share the one row, multiplied.
        f"SUM({A_OR_YOUNG} * {A_OR_OLD})",
        f"SUM((2 + {A_OR_YOUNG}) * (3 + {A_OR_OLD}))",
        f"SUM(ABS({A_OR_YOUNG} + {A_OR_OLD} - 500000))",
        f"VAR_SAMP({A_OR_YOUNG} + {A_OR_OLD})",
        # A factor or a term that is NULL or 0 but for the one row of a large group.
        f"SUM({A_OR_YOUNG} * CASE WHEN age = 37 OR age >= 60 THEN 1 END)",
        f"SUM({A_OR_YOUNG} * CASE WHEN age = 37 OR age >= 60 THEN 1 ELSE 0 END)",
        f"SUM({A_OR_YOUNG} + CASE WHEN age = 37 OR age >= 60 THEN 1 END)",
        # The same by way of a pair.
        "COVAR_POP(chol, CASE WHEN age = 37 THEN 1 ELSE 0 END)",
        "COVAR_POP(chol, CASE WHEN age = 37 THEN 1000000 ELSE 1 END)",
        f"CORR({A_OR_YOUNG}, {A_OR_OLD})",
        f"REGR_SLOPE({A_OR_YOUNG}, CASE WHEN age = 37 OR age >= 60 THEN chol END)",
        f"REGR_SLOPE(CASE WHEN age = 37 OR age >= 60 THEN chol END, {A_OR_YOUNG})",
        "CORR(chol, CASE WHEN site = 'bj' THEN 1000000 ELSE 1 END)",
        # One node's rows, each site being one node's.
        "SUM(CASE WHEN site = 'bj' THEN 1000000 ELSE 1 END)",
        "SUM(CASE WHEN site = 'bj' THEN 1000000 * chol WHEN site = 'lz' THEN 1 ELSE 2 END)",
    ],
)
def test_a_packed_subgroup_is_held_back(expression: str) -> None:
    assert answer(expression) is None


@pytest.mark.parametrize(
    "expression",
    [
        "SUM(CASE WHEN age < 60 THEN 1 ELSE 0 END)",
        "AVG(CASE WHEN age < 60 THEN 1 ELSE 0 END)",
        "SUM(CASE WHEN age < 50 THEN 1 WHEN age < 65 THEN 2 ELSE 3 END)",
        "SUM(CASE WHEN age < 60 THEN chol ELSE age END)",
        "SUM(CASE WHEN age < 60 THEN CASE WHEN chol > 250 THEN 2 ELSE 1 END ELSE 3 END)",
        "AVG(chol * 0.0259 + 1)",
        "SUM(2 * chol - age)",
        "SUM(ABS(age - 60) + 1)",
        "SUM(chol * (age + 1))",
        "AVG(chol / 2.5)",
        "SUM(CASE WHEN age < 60 THEN 2 ELSE 1 END * CASE WHEN chol > 250 THEN 2 ELSE 1 END)",
        "VAR_POP(CASE WHEN age < 60 THEN 2 ELSE 1 END)",
        "SUM((chol + 1) * (age - chol))",
        "CORR(age, chol)",
        "COVAR_POP(chol, CASE WHEN age < 60 THEN 1 ELSE 0 END)",
        "REGR_SLOPE(chol, CASE WHEN age < 50 THEN 1 WHEN age < 65 THEN 2 ELSE 3 END)",
        "REGR_R2(CASE WHEN age < 60 THEN 2 ELSE 1 END, CASE WHEN chol > 250 THEN 2 ELSE 1 END)",
        "CORR(CASE WHEN age < 60 THEN 2 ELSE 1 END, CASE WHEN age < 60 THEN 2 ELSE 1 END)",
    ],
)
def test_what_has_rows_enough_is_released(expression: str) -> None:
    pooled = [row for rows in NODES for row in rows]
    with duckdb.connect() as database:
        database.execute("CREATE TABLE t (age INTEGER, chol INTEGER, num INTEGER, site INTEGER)")
        database.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", pooled)
        (expected,) = database.execute(f"SELECT {expression} FROM t").fetchone() or (None,)
    assert float(answer(expression)) == pytest.approx(float(expected), rel=1e-9)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        (
            "SUM(chol / (1 + 1000000 * ABS(age - 37)))",
            "inside an aggregate a divisor is a number or a column",
        ),
        (
            "SUM(CASE " + " ".join(f"WHEN age = {n} THEN {n + 2}" for n in range(40)) + " END)",
            "expected at most 32 branches and terms inside an aggregate",
        ),
    ],
)
def test_what_cannot_be_told_apart_is_refused(expression: str, reason: str) -> None:
    with pytest.raises(CallError, match=reason):
        answer(expression)
