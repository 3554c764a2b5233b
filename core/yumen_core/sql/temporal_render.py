"""SQL of the operators of dates and timestamps, over DATE and TIMESTAMP as nodes hold them."""

from __future__ import annotations

from collections.abc import Callable

from yumen_core.sql.calendar import Unit
from yumen_core.sql.expression import Apply, Constant, Expr, Kind, Op
from yumen_core.sql.storage import temporal_literal
from yumen_core.sql.temporal import date_of, timestamp_of
from yumen_core.sql.temporal_evaluate import part_of, unit_of

_STEPS = {
    Unit.YEAR: "to_years",
    Unit.QUARTER: "to_quarters",
    Unit.MONTH: "to_months",
    Unit.WEEK: "to_weeks",
    Unit.DAY: "to_days",
    Unit.HOUR: "to_hours",
    Unit.MINUTE: "to_minutes",
    Unit.SECOND: "to_seconds",
}


def render_moment(constant: Constant) -> str:
    """A literal of a date or timestamp."""
    assert isinstance(constant.value, int)
    kind = date_of if constant.kind is Kind.DATE else timestamp_of
    return temporal_literal(kind(constant.value))


def render_temporal(expr: Apply, render: Callable[[Expr], str]) -> str:
    """SQL of an operator of `expression.TEMPORAL`."""
    first = render(expr.args[-1] if len(expr.args) == 1 else expr.args[1])
    match expr.op:
        case Op.EXTRACT:
            return f"date_part('{part_of(expr)}', {first})"
        case Op.DATE_DIFF:
            return f"date_diff('{unit_of(expr)}', {first}, {render(expr.args[2])})"
        case Op.DATE_TRUNC:
            return _typed(expr, f"date_trunc('{unit_of(expr)}', {first})")
        case Op.DATE_ADD:
            steps = expr.args[2]
            assert isinstance(steps, Constant)
            return _typed(expr, f"({first} + {_STEPS[unit_of(expr)]}({steps.value}))")
    return f"CAST({first} AS {expr.kind.upper()})"


def render_number(expr: Expr, text: str) -> str:
    """The whole number that a date or timestamp, in SQL `text`, counts as."""
    if expr.kind is Kind.DATE:
        return f"({text} - DATE '1970-01-01')"
    return f"epoch_us({text})"


def _typed(expr: Apply, text: str) -> str:
    """DuckDB makes timestamps of dates that it truncates or moves."""
    return f"CAST({text} AS DATE)" if expr.kind is Kind.DATE else text
