"""Which sums a query needs, and which rows stand behind each.

Every quantity (rows; count, sum, sum of squares of an argument) is summed once, under one support,
so that no quantity is ever released over two different sets of nodes: their difference would be one
node's share. Arguments that one output combines share a support; the rows of a cell always have
support 0, so an output that combines rows with an argument is given only where the same nodes
stand behind both (`finish`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from yumen_core.sql.expression import Apply, ColumnRef, Expr, Kind, MeasureRef, Op, walk
from yumen_core.sql.operators import FLOAT_LIMIT, TypeFault, why_unbounded
from yumen_core.sql.plan import (
    MAX_ROWS,
    ROWS_BITS,
    Behind,
    Function,
    Layout,
    Measure,
    SumKind,
    Support,
    Value,
)
from yumen_core.sql.subgroups import MAX_SUBGROUPS, odd_divisor, subgroups

FLOAT_BITS = 160
_SUM_STEPS = 119
_SQUARES_STEPS = 120
_HUGEINT_LIMIT = 1 << 127
_SQUARED = (Function.VAR_SAMP, Function.STDDEV_SAMP)
_CONNECTIVES = (Op.AND, Op.OR, Op.NOT, Op.CASE)

Asked = tuple[Function, Expr | None]


def check_summable(function: Function, argument: Expr) -> None:
    """Whether `function` over `argument` has a bounded, exact sum. Raises `TypeFault`."""
    if function is Function.COUNT:
        return
    if not argument.kind.numeric:
        hint = ""
        if argument.kind is Kind.BOOLEAN:
            hint = "; write CASE WHEN condition THEN 1 ELSE 0 END"
        if argument.kind.temporal:
            hint = "; write DATE_DIFF('day', DATE '2000-01-01', ...) for days since a date"
        raise TypeFault(f"{function.upper()} takes a number, got {argument.kind}{hint}")
    if argument.bounds is None:
        raise TypeFault(why_unbounded(argument))
    if odd_divisor(argument):
        raise TypeFault("inside an aggregate a divisor is a number or a column")
    if len(subgroups(argument)) > MAX_SUBGROUPS:
        raise TypeFault(f"expected at most {MAX_SUBGROUPS} branches and terms inside an aggregate")
    largest = argument.bounds.magnitude * 10**argument.scale
    squared = function in _SQUARED
    if argument.kind is Kind.FLOAT:
        if largest > FLOAT_LIMIT or (squared and 0 < largest < 1 / FLOAT_LIMIT):
            raise TypeFault("expected bounds between 1e-150 and 1e150")
        return
    if (largest**2 if squared else largest) * MAX_ROWS >= _HUGEINT_LIMIT:
        what = "the sum of squares" if squared else "the sum"
        raise TypeFault(f"{what} may need more than 38 digits; narrow the column's bounds")


def leaves(expr: Expr) -> list[Expr]:
    """The parts of an output that are computed as one: all but AND, OR, NOT and CASE."""
    if isinstance(expr, Apply) and expr.op in _CONNECTIVES:
        return [leaf for arg in expr.args for leaf in leaves(arg)]
    return [expr]


def measures_in(expr: Expr) -> list[int]:
    return [node.index for node in walk(expr) if isinstance(node, MeasureRef)]


def float_exponent(argument: Expr) -> int:
    """The least convenient m with every |value| < 2**(m-1): one bit is slack for rounding."""
    assert argument.bounds is not None
    largest: Fraction = argument.bounds.magnitude
    return largest.numerator.bit_length() - largest.denominator.bit_length() + 2


def build_layout(
    cells: int, asked: Sequence[Asked], exprs: Iterable[Expr]
) -> tuple[Layout, tuple[Expr, ...], tuple[Measure, ...]]:
    """The layout, the distinct arguments and the measures behind `exprs`.

    `asked[i]` is what `MeasureRef` i of `exprs` means.
    """
    builder = _Builder(asked, exprs)
    measures = tuple(builder.measure(function, argument) for function, argument in asked)
    layout = Layout(cells, tuple(builder.supports), tuple(builder.values))
    return layout, tuple(builder.arguments), measures


class _Builder:
    def __init__(self, asked: Sequence[Asked], exprs: Iterable[Expr]) -> None:
        self.arguments: list[Expr] = []
        for _, argument in asked:
            if argument is not None and argument not in self.arguments:
                self.arguments.append(argument)
        self.supports: list[Support] = [Support()]
        self.values: list[Value] = []
        self._summed = {
            self.arguments.index(argument)
            for function, argument in asked
            if argument is not None and function is not Function.COUNT
        }
        self._group = list(range(len(self.arguments)))
        self._within: dict[int, list[tuple[int, Behind]]] = {}
        for index in sorted(self._summed):
            self._within[index] = [
                (self._added(expr), behind) for expr, behind in subgroups(self.arguments[index])
            ]
        for expr in exprs:
            for leaf in leaves(expr):
                self._unite([asked[index][1] for index in measures_in(leaf)])
        self._support_of = [self._support(index) for index in range(len(self._group))]

    def measure(self, function: Function, argument: Expr | None) -> Measure:
        if argument is None:
            return Measure(function, None, (self._value(SumKind.ROWS, None),), (0,))
        index = self.arguments.index(argument)
        kinds: tuple[SumKind, ...] = (SumKind.COUNT, SumKind.SUM, SumKind.SQUARES)
        if function is Function.COUNT:
            kinds = (SumKind.COUNT,)
        elif function is Function.SUM:
            kinds = (SumKind.SUM,)
        elif function is Function.AVG:
            kinds = (SumKind.COUNT, SumKind.SUM)
        values = tuple(self._value(kind, index) for kind in kinds)
        supports = tuple(sorted({self.values[value].support for value in values}))
        return Measure(function, index, values, supports)

    def _added(self, expr: Expr) -> int:
        """The number of an argument that is only counted, for a support."""
        if expr not in self.arguments:
            self.arguments.append(expr)
        return self.arguments.index(expr)

    def _unite(self, arguments: Sequence[Expr | None]) -> None:
        members = [self.arguments.index(entry) for entry in arguments if entry is not None]
        for member in members[1:]:
            old, new = self._group[member], self._group[members[0]]
            self._group = [new if group == old else group for group in self._group]

    def _support(self, index: int) -> int:
        members = [i for i, group in enumerate(self._group) if group == self._group[index]]
        parts = [(i, behind) for i in members if (behind := self._behind(i)) is not None]
        parts += [part for i in members for part in self._within.get(i, ())]
        support = Support(tuple(dict.fromkeys(parts)))
        if support not in self.supports:
            self.supports.append(support)
        return self.supports.index(support)

    def _behind(self, index: int) -> Behind | None:
        """A built expression counts only rows where it is not 0, or SUM(CASE ...) would show
        a subgroup below the threshold."""
        argument = self.arguments[index]
        built = not isinstance(argument, ColumnRef) and index in self._summed
        if built and argument.bounds is not None and argument.bounds.contains_zero:
            return Behind.NOT_ZERO
        return Behind.NOT_NULL if argument.nullable else None

    def _value(self, kind: SumKind, index: int | None) -> int:
        value = self._describe(kind, index)
        if value not in self.values:
            self.values.append(value)
        return self.values.index(value)

    def _describe(self, kind: SumKind, index: int | None) -> Value:
        if index is None or (kind is SumKind.COUNT and not self.arguments[index].nullable):
            return Value(SumKind.ROWS, None, 0, ROWS_BITS, False)
        argument, support = self.arguments[index], self._support_of[index]
        if kind is SumKind.COUNT:
            return Value(kind, index, support, ROWS_BITS, False)
        if argument.kind is Kind.FLOAT:
            power = float_exponent(argument)
            if kind is SumKind.SUM:
                return Value(kind, index, support, FLOAT_BITS, True, 0, power - _SUM_STEPS)
            exponent = 2 * power - _SQUARES_STEPS
            return Value(kind, index, support, FLOAT_BITS, False, 0, exponent)
        return self._exact(kind, index)

    def _exact(self, kind: SumKind, index: int) -> Value:
        argument, support = self.arguments[index], self._support_of[index]
        bounds = argument.bounds
        assert bounds is not None
        largest = int(bounds.magnitude * 10**argument.scale)
        if kind is SumKind.SQUARES and not (argument.scale == 0 and _is_flag(argument)):
            bits = max(1, (largest**2 * MAX_ROWS).bit_length())
            return Value(kind, index, support, bits, False, 2 * argument.scale)
        bits = max(1, (largest * MAX_ROWS).bit_length())
        signed = bounds.low < 0
        return Value(SumKind.SUM, index, support, bits + signed, signed, argument.scale)


def _is_flag(argument: Expr) -> bool:
    """Values 0 and 1 only: the sum is the sum of squares."""
    bounds = argument.bounds
    return (
        argument.kind is Kind.INTEGER and bounds is not None and 0 <= bounds.low <= bounds.high <= 1
    )
