"""A node's part of a query with its counts rounded (`disclosure.rounding`). Pure.

A sum of whole numbers over n rows, scaled to n' rows and told to many digits, would tell n: only
few fractions of small numbers come near. A factor in the expression gives as many digits as one
likes. So a scaled sum is told in steps that grow with the bounds of what is summed: of a column by
itself the column's own unit, or a 1024th of its greatest value where that is more.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from yumen_core.disclosure.rounding import (
    NO_ROUNDING,
    rescaled,
    rounded,
    rounded_all,
    to_grain,
    within,
)
from yumen_core.sql.expression import ColumnRef, Expr, Kind, walk
from yumen_core.sql.local import LocalCells
from yumen_core.sql.plan import Plan, SumKind, Value
from yumen_core.sql.row_parts import is_chosen

_MOST_STEPS = 1024
"""Between 0 and the greatest value of what is summed."""


def rounded_cells(plan: Plan, cells: LocalCells, step: int) -> LocalCells:
    """`cells` with every count a multiple of `step` and every other value as of the rounded rows
    behind it, in steps of its own. Margins are rounded by themselves, not as the sum of their
    parts: no difference of rounded counts is exact. What rounds to no row counts as one row at
    most behind it: it must not stand for a node in what others tell."""
    if step == NO_ROUNDING:
        return cells
    columns = plan.layout.values
    counts = [_is_count(plan, value) for value in columns]
    grains = [
        1 if is_count else grain(plan, v) for v, is_count in zip(columns, counts, strict=True)
    ]
    values = []
    for supports, row in zip(cells.supports.tolist(), cells.values, strict=True):
        values.append(
            [
                within(rounded(whole, step), value.bits, value.signed, step=step)
                if is_count
                else within(
                    to_grain(rescaled(whole, supports[value.support], step), size),
                    value.bits,
                    value.signed,
                    step=size,
                )
                for value, is_count, size, whole in zip(columns, counts, grains, row, strict=True)
            ]
        )
    behind = np.where(
        rounded_all(cells.supports, step) > 0, cells.supports, np.minimum(cells.supports, 1)
    )
    return replace(cells, supports=behind, values=values)


def grain(plan: Plan, value: Value) -> int:
    """The step of a sum, in the value's integers."""
    size, steps = Fraction(10**value.scale) / Fraction(2) ** value.exponent, 1
    power = 2 if value.kind is SumKind.SQUARES else 1
    for argument in _factors(plan, value):
        assert argument.bounds is not None, "what has no bounds is not summed"
        greatest = max(abs(Fraction(argument.bounds.low)), abs(Fraction(argument.bounds.high)))
        size *= greatest**power
        steps *= _steps(argument) ** power
    return max(1, -(-size // steps))


def _factors(plan: Plan, value: Value) -> list[Expr]:
    return [plan.arguments[at] for at in (value.argument, value.other) if at is not None]


def _steps(argument: Expr) -> int:
    """In how many steps, from 0 to its greatest value, an expression is told: as many as the
    coarsest column in it has; one where rows are chosen inside it."""
    if is_chosen(argument):
        return 1
    return min((_units(node) for node in walk(argument) if isinstance(node, ColumnRef)), default=1)


def _units(column: ColumnRef) -> int:
    if column.kind is Kind.FLOAT or column.bounds is None:
        return _MOST_STEPS
    greatest = max(abs(Fraction(column.bounds.low)), abs(Fraction(column.bounds.high)))
    return max(1, min(_MOST_STEPS, int(greatest * 10**column.scale)))


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
