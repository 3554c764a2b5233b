"""A node's answer as slots: sums of encodings decode to totals, whatever was withheld."""

from decimal import Decimal

import numpy as np
import pytest
from builders.federation import heart_plan
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen_core.errors import CallError, PeerError
from yumen_core.jobs.answer import AnswerShape, SumTotals
from yumen_core.securesum import T
from yumen_core.securesum.suite import total_slots
from yumen_core.sql import Column, ColumnType, Plan, TableSchema, parse

WIDE = TableSchema(
    "t",
    (
        Column("sex", ColumnType.TEXT, domain=("f", "m")),
        Column("x", ColumnType.FLOAT, lower=Decimal(-5), upper=Decimal(7)),
        Column("y", ColumnType.INTEGER, lower=Decimal(-(10**12)), upper=Decimal(10**12)),
    ),
)
PLANS = [
    heart_plan(),
    heart_plan("SELECT COUNT(*) FROM heart"),
    parse("SELECT sex, COUNT(x), AVG(x), VAR_SAMP(y) FROM t GROUP BY sex", {"t": WIDE}),
    parse("SELECT CORR(x, y), COVAR_POP(y, x) FROM t", {"t": WIDE}),
    parse("SELECT COUNT(DISTINCT sex) FROM t", {"t": WIDE}),
]


@st.composite
def answers(draw: st.DrawFn) -> tuple[Plan, list[np.ndarray], list[list[list[int]]]]:
    """A plan, and of 3 to 5 nodes what each keeps and its values, zero where it keeps none."""
    plan = draw(st.sampled_from(PLANS))
    layout = plan.layout
    count = draw(st.integers(3, 5))
    kept, values = [], []
    for _ in range(count):
        flags = draw(
            st.lists(st.booleans(), min_size=layout.cells * layout.supports,
                     max_size=layout.cells * layout.supports)
        )  # fmt: skip
        keep = np.array(flags, dtype=bool).reshape(layout.cells, layout.supports)
        kept.append(keep)
        values.append(
            [
                [
                    draw(
                        st.integers(-(1 << value.bits - 1), (1 << value.bits - 1) - 1)
                        if value.signed
                        else st.integers(0, (1 << value.bits) - 1)
                    )
                    if keep[cell, value.support]
                    else 0
                    for value in layout.values
                ]
                for cell in range(layout.cells)
            ]
        )
    return plan, kept, values


@given(answers())
@settings(max_examples=60, deadline=None)
def test_sums_of_answers_decode_to_the_totals(
    drawn: tuple[Plan, list[np.ndarray], list[list[list[int]]]],
) -> None:
    plan, kept, values = drawn
    layout = plan.layout
    total = np.zeros(AnswerShape.of_plan(plan).payload_slots, dtype=np.uint64)
    for keep, rows in zip(kept, values, strict=True):
        slots = AnswerShape.of_plan(plan).encode(keep, rows)
        assert slots.shape == total.shape  # no length depends on a row
        total = (total + slots) % np.uint64(T)
    assert AnswerShape.of_plan(plan).decode(total, len(kept)) == SumTotals(
        nodes=np.sum(kept, axis=0, dtype=int).tolist(),
        values=[
            [sum(rows[cell][i] for rows in values) for i in range(len(layout.values))]
            for cell in range(layout.cells)
        ],
    )


@pytest.mark.parametrize("plan", PLANS)
def test_a_contribution_is_the_payload_and_its_overhead(plan: Plan) -> None:
    assert AnswerShape.of_plan(plan).slots == total_slots(AnswerShape.of_plan(plan).payload_slots)


def test_a_value_beyond_its_width_is_refused() -> None:
    plan = heart_plan("SELECT COUNT(*) FROM heart")
    with pytest.raises(CallError, match=r"expected value 1 from 0 to 1099511627775, got one"):
        AnswerShape.of_plan(plan).encode(np.array([[True]]), [[1 << 40]])


def test_more_supports_than_nodes_are_refused() -> None:
    plan = heart_plan("SELECT COUNT(*) FROM heart")
    with pytest.raises(PeerError, match="expected slots within 3 contributions, got one beyond"):
        AnswerShape.of_plan(plan).decode(np.array([4, 30], dtype=np.uint64), 3)
