"""By how much one row can move each summed value, from the signed job and the declared bounds.

Nodes hold no value outside its column's bounds or domain (it is missing, or its row is dropped),
so what one row adds is bounded by the bounds of the expression over them. What has no such bound
is refused, and the message says what would pass.
"""

from __future__ import annotations

from fractions import Fraction

from yumen_core.errors import CallError
from yumen_core.privacy.noise import Summed
from yumen_core.sql.expression import Expr, Kind
from yumen_core.sql.plan import Function, Plan, SumKind, Value

_FLOAT_SLACK = 1 << 10
"""A float's sum over n rows is compensated (Kahan): with n below 2**40 the rounding of two sums
that differ in a row differs by less than 2**-11 of the largest value."""


def of_plan(plan: Plan) -> tuple[Summed, ...]:
    """One entry for each value of the layout.

    Raises `CallError` (`privacy`) for a join, COUNT(DISTINCT), and squares or products of floats.
    """
    if plan.joins:
        raise CallError(
            "privacy",
            "expected a query of one table with privacy, got a join: a row of a joined table may "
            "meet many others",
            remedy="ask of one table, such as one that holds the joined columns already",
        )
    if any(measure.function is Function.COUNT_DISTINCT for measure in plan.measures):
        raise CallError(
            "privacy",
            "expected no COUNT(DISTINCT) with privacy, got one: it is told by which groups occur",
            remedy="group by the column and COUNT(*)",
        )
    cells = 1 + len(plan.layout.folds)
    return tuple(
        Summed(value.bits, value.signed, _sensitivity(plan, value), cells)
        for value in plan.layout.values
    )


def refuse_statistic(name: str) -> CallError:
    """Of a method or a kind of round without privacy: nodes refuse it by their rows, or leave out
    columns by them, or what follows from it does not know of noise."""
    return CallError(
        "privacy",
        f"expected counts or moments within bounds with privacy, got `{name}`",
        remedy="ask describe without quantiles, crosstab, histogram, proportion(s) or a t_test of "
        "two groups, or counts, sums and averages as a query; or train a model",
    )


def _sensitivity(plan: Plan, value: Value) -> int:
    if value.argument is None or value.kind is SumKind.COUNT:
        return 1
    argument = plan.arguments[value.argument]
    if value.kind is SumKind.PRODUCTS or (
        value.kind is SumKind.SQUARES and argument.kind is Kind.FLOAT
    ):
        raise CallError(
            "privacy",
            "expected variances of integers and decimals only with privacy, "
            "got squares or products of floats",
            remedy="ask AVG, SUM or COUNT, or declare the column as a decimal",
        )
    largest = _magnitude(argument)
    if argument.kind is not Kind.FLOAT:
        exact = -(-largest.numerator * 10**argument.scale // largest.denominator)
        return int(exact**2 if value.kind is SumKind.SQUARES else exact)
    # in the value's fixed point; one unit more for the rounding of each of two sums
    units = largest / 2**value.exponent if value.exponent >= 0 else largest * 2**-value.exponent
    whole = -(-units.numerator // units.denominator)
    return int(whole + whole // _FLOAT_SLACK + 2)


def _magnitude(argument: Expr) -> Fraction:
    bounds = argument.bounds
    if bounds is None:
        raise CallError(
            "privacy", "expected declared bounds of what is summed with privacy, got none"
        )
    return bounds.magnitude
