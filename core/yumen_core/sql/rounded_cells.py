"""A node's part of a query with its counts rounded (`disclosure.rounding`). Pure."""

from __future__ import annotations

from dataclasses import replace

from yumen_core.disclosure.rounding import NO_ROUNDING, rescaled, rounded, within
from yumen_core.sql.expression import Expr, Kind
from yumen_core.sql.local import LocalCells
from yumen_core.sql.plan import Plan, SumKind, Value


def rounded_cells(plan: Plan, cells: LocalCells, step: int) -> LocalCells:
    """`cells` with every count a multiple of `step` and every other value as of the rounded rows
    behind it. Margins are rounded by themselves, not as the sum of their parts: no difference of
    rounded counts is exact. The supports stay as they are."""
    if step == NO_ROUNDING:
        return cells
    columns = plan.layout.values
    counts = [_is_count(plan, value) for value in columns]
    values = []
    for supports, row in zip(cells.supports.tolist(), cells.values, strict=True):
        values.append(
            [
                within(rounded(whole, step), value.bits, value.signed, step=step)
                if is_count
                else within(
                    rescaled(whole, supports[value.support], step), value.bits, value.signed
                )
                for value, is_count, whole in zip(columns, counts, row, strict=True)
            ]
        )
    return replace(cells, values=values)


def _is_count(plan: Plan, value: Value) -> bool:
    """Rows, rows that have a value, or a sum of values that are 0 or 1."""
    if value.kind in (SumKind.ROWS, SumKind.COUNT):
        return True
    if value.kind is not SumKind.SUM or value.argument is None:
        return False
    return is_indicator(plan.arguments[value.argument])


def is_indicator(argument: Expr) -> bool:
    """Whether an expression is 0 or 1 wherever it has a value."""
    bounds = argument.bounds
    if argument.kind is not Kind.INTEGER or bounds is None:
        return False
    return bounds.low >= 0 and bounds.high <= 1
