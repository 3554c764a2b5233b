"""Which sums of a plan are sums of magnitudes, whose cells a few values could make up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from yumen_core.sql import operators
from yumen_core.sql.expression import Apply, Constant, Expr, Kind, Op
from yumen_core.sql.floats import as_double
from yumen_core.sql.operators import TypeFault
from yumen_core.sql.plan import Plan, SumKind
from yumen_core.sql.render import render
from yumen_core.sql.subgroups import contributing, only, terms_of


@dataclass(frozen=True)
class Peak:
    """A summed expression, its square, or its product with `other`, and the supports of the values
    it is part of."""

    expr: Expr
    squared: bool
    other: Expr | None
    supports: frozenset[int]

    @property
    def size(self) -> str:
        """SQL of the absolute value; of a square, that of its root."""
        if self.other is not None:
            return f"abs({as_double(self.expr)} * {as_double(self.other)})"
        text, bounds = render(self.expr), self.expr.bounds
        return text if bounds is not None and bounds.low >= 0 else f"abs({text})"

    @property
    def total(self) -> str:
        """SQL of the sum over a cell: of absolute values, or of squares."""
        if self.squared:
            squared = operators.arithmetic(Op.MUL, self.expr, self.expr)
            return f"sum({render(squared)})"
        real = self.other is not None or self.expr.kind is Kind.FLOAT
        return f"{'fsum' if real else 'sum'}({self.size})"


def peaks_of(plan: Plan) -> list[Peak]:
    """The sums of numbers that are not 0 and 1 alone (those are counts, ADR 5), with what else each
    could be made to tell (`parts_of`)."""
    found: dict[tuple[Expr, bool, Expr | None], set[int]] = {}
    for value in plan.layout.values:
        if value.argument is None or value.kind is SumKind.COUNT:
            continue
        squared = value.kind is SumKind.SQUARES
        others: list[Expr | None] = [None]
        if value.other is not None:
            others = [*_magnitudes(plan.arguments[value.other])]
        for expr in _magnitudes(plan.arguments[value.argument]):
            for other in others:
                for power in {False, squared}:
                    found.setdefault((expr, power, other), set()).add(value.support)
    return [Peak(*key, frozenset(supports)) for key, supports in found.items()]


def parts_of(expr: Expr) -> Iterator[Expr]:
    """Each term, branch and factor of an expression with what else multiplies it: a great value
    must not be drowned in what is added to it, be it a constant, a column or another branch."""
    if not isinstance(expr, Apply):
        return
    if expr.op is Op.CASE:
        values = list(contributing(expr))
        for at, value in values:
            if len(values) > 1:
                yield only(expr, at, value)
            for part in parts_of(value):
                yield only(expr, at, part)
    elif expr.op in (Op.ADD, Op.SUB):
        yield from _parts_of_sum(expr)
    elif expr.op is Op.MUL:
        left, right = ([factor, *parts_of(factor)] for factor in expr.args)
        yield from (_product(one, other) for one in left for other in right)
    elif expr.op is Op.DIV:  # by a number or a column (`subgroups.odd_divisor`)
        yield from (operators.arithmetic(Op.DIV, p, expr.args[1]) for p in parts_of(expr.args[0]))
    elif expr.op in (Op.NEG, Op.ABS):
        yield from parts_of(expr.args[0])


def _parts_of_sum(expr: Apply) -> Iterator[Expr]:
    terms = list(terms_of(expr))
    varying = [term for term in terms if not isinstance(term, Constant)]
    for term in varying:
        yield term
        yield from parts_of(term)
    if 1 < len(varying) < len(terms):
        total = varying[0]
        for term in varying[1:]:
            total = operators.arithmetic(Op.ADD, total, term)
        yield total


def _product(one: Expr, other: Expr) -> Expr:
    """A part can have wider bounds than what it is part of; then it is looked at by itself."""
    try:
        return operators.arithmetic(Op.MUL, one, other)
    except TypeFault:
        return one


def _magnitudes(whole: Expr) -> list[Expr]:
    found = dict.fromkeys([whole, *parts_of(whole)])
    return [expr for expr in found if _is_magnitude(expr)]


def _is_magnitude(expr: Expr) -> bool:
    bounds = expr.bounds
    if not expr.kind.numeric or bounds is None:
        return False
    return expr.kind is not Kind.INTEGER or not 0 <= bounds.low <= bounds.high <= 1
