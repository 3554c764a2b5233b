"""The plan of the noise, and the noise itself."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from yumen_core.errors import CallError
from yumen_core.jobs.runs import runs_of_query
from yumen_core.privacy import Privacy
from yumen_core.privacy.noise import HONEST, MAX_NOISES, Noise, Summed, plan_noise
from yumen_core.privacy.sensitivity import of_plan
from yumen_core.sql import parse
from yumen_core.sql.schema import Column, ColumnType, TableSchema
from yumen_node.noise import draw, with_noise

SCHEMA = TableSchema(
    "t",
    (
        Column("g", ColumnType.TEXT, domain=("a", "b")),
        Column("n", ColumnType.INTEGER, lower=Decimal(-3), upper=Decimal(7)),
        Column("x", ColumnType.FLOAT, lower=Decimal(-1), upper=Decimal(4)),
    ),
)


@pytest.mark.parametrize("sensitivity", [1, 7, 700, 1 << 60, 1 << 119])
@pytest.mark.parametrize("micro_rho", [1, 17_468, 5_000_000])
def test_two_participants_pay_for_the_whole_cost(sensitivity: int, micro_rho: int) -> None:
    summed = [Summed(160, True, sensitivity, 3), Summed(40, False, 1, 3)]
    plan = plan_noise(summed, cells=4, privacy=Privacy(micro_rho))
    cost = Fraction(0)
    for value, noise in zip(summed, plan.noises, strict=True):
        units = -(-value.sensitivity // 2**noise.shift)
        cost += Fraction(value.cells * units**2, 2 * HONEST * noise.variance)
        assert noise.scale**2 >= noise.variance
        assert noise.scale < 1 << 40
        assert noise.limit > ((1 << value.bits) >> noise.shift) + 15 * noise.scale
    assert cost <= Fraction(micro_rho, 10**6)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT COUNT(*) FROM t", [(1, 1)]),
        ("SELECT SUM(n) FROM t", [(7, 1)]),
        ("SELECT g, SUM(n) FROM t GROUP BY ROLLUP (g)", [(7, 2)]),
        ("SELECT VAR_POP(n) FROM t", [(1, 1), (7, 1), (49, 1)]),
        ("SELECT SUM(n - 10) FROM t", [(13, 1)]),
    ],
)
def test_the_sensitivity_of_exact_sums(sql: str, expected: list[tuple[int, int]]) -> None:
    found = of_plan(parse(sql, {"t": SCHEMA}))
    for pair in expected:
        assert pair in [(value.sensitivity, value.cells) for value in found]


def test_the_sensitivity_of_a_float_covers_its_rounding() -> None:
    plan = parse("SELECT SUM(x) FROM t", {"t": SCHEMA})
    value = next(v for v in plan.layout.values if v.exponent)
    found = of_plan(plan)[plan.layout.values.index(value)].sensitivity
    largest = Fraction(4) / Fraction(2) ** value.exponent
    assert largest * (1 + Fraction(1, 1 << 11)) < found < largest * (1 + Fraction(1, 1 << 9))


def test_a_private_answer_comes_back_in_its_own_steps() -> None:
    plan = parse("SELECT g, SUM(x) AS s FROM t GROUP BY g", {"t": SCHEMA})
    shape = runs_of_query(plan, Privacy.of_epsilon(1.0)).first.answer
    noise = shape.noise
    assert noise is not None
    exact = [[1 << 100] * len(noise.noises) for _ in range(shape.cells)]
    exact = [[1 if not n.shift else v for v, n in zip(r, noise.noises, strict=True)] for r in exact]
    kept = np.ones((shape.cells, shape.supports), dtype=np.bool_)
    totals = shape.decode(shape.encode(kept, with_noise(noise, exact)), 1)
    assert totals.nodes == [[1] * shape.supports] * shape.cells
    for row, true in zip(totals.values, exact, strict=True):
        for value, whole, one in zip(row, true, noise.noises, strict=True):
            assert abs(value - whole) <= 12 * one.deviation(1)


def test_the_noise_of_several_participants_has_their_variance() -> None:
    """2 * 4000 draws: the variance is off by 9 of its deviations with a chance below 1e-18."""
    noise = Noise(variance=400, shift=0, bits=60)
    total = np.array(draw(noise, 4000)) + np.array(draw(noise, 4000))
    assert abs(total.var() / 800 - 1) < 9 * math.sqrt(2 / 4000)
    assert abs(total.mean()) < 9 * math.sqrt(800 / 4000)
    assert len(set(total.tolist())) > 50


def test_too_many_values_are_refused() -> None:
    with pytest.raises(CallError, match="expected at most 80000 values in a private answer"):
        plan_noise([Summed(40, False, 1)], cells=MAX_NOISES + 1, privacy=Privacy(1))


def test_rounding_to_units_keeps_a_distance() -> None:
    noise = Noise(variance=16, shift=3, bits=30)
    for a in range(-40, 40):
        for d in range(20):
            assert abs(noise.to_units(a + d) - noise.to_units(a)) <= -(-d // 8)
