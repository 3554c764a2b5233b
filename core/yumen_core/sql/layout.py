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

from yumen_core.sql.distinct import check_countable, markers
from yumen_core.sql.expression import Apply, ColumnRef, Expr, Kind, MeasureRef, Op, walk
from yumen_core.sql.operators import FLOAT_LIMIT, TypeFault, why_unbounded
from yumen_core.sql.pairs import SQUARES, Pair, pair_of
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
_MOMENTS = (SumKind.COUNT, SumKind.SUM, SumKind.SQUARES)
# What a function of one expression sums.
_SUMS: dict[Function, tuple[SumKind, ...]] = {
    Function.COUNT: (SumKind.COUNT,),
    Function.SUM: (SumKind.SUM,),
    Function.AVG: (SumKind.COUNT, SumKind.SUM),
    Function.VAR_SAMP: _MOMENTS,
    Function.STDDEV_SAMP: _MOMENTS,
    Function.VAR_POP: _MOMENTS,
    Function.STDDEV_POP: _MOMENTS,
}
_COUNTS = (Function.COUNT, Function.COUNT_DISTINCT)
_CONNECTIVES = (Op.AND, Op.OR, Op.NOT, Op.CASE)

Asked = tuple[Function, tuple[Expr, ...]]


def check_summable(function: Function, arguments: tuple[Expr, ...]) -> None:
    """Whether `function` over `arguments` has bounded, exact sums. Raises `TypeFault`, with the
    argument at fault where it is one of them."""
    if function is Function.COUNT_DISTINCT:
        check_countable(arguments[0])
    if function in _COUNTS:
        return
    squares = SQUARES.get(function, (SumKind.SQUARES in _SUMS.get(function, ()),))
    for part, (argument, squared) in enumerate(zip(reversed(arguments), squares, strict=True)):
        try:
            _check_argument(function, argument, squared)
        except TypeFault as fault:
            raise TypeFault(fault.message, len(arguments) - 1 - part) from None
    if function in SQUARES:
        product = pair_of(*arguments).product
        _check_groups(product, True)
        _check_sum(product, False, "the sum of products")


def _check_argument(function: Function, argument: Expr, squared: bool) -> None:
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
    _check_groups(argument, squared)
    _check_sum(argument, squared, "the sum of squares" if squared else "the sum")


def _check_groups(argument: Expr, squared: bool) -> None:
    if len(subgroups(argument, squared=squared)) > MAX_SUBGROUPS:
        raise TypeFault(f"expected at most {MAX_SUBGROUPS} branches and terms inside an aggregate")


def _check_sum(argument: Expr, squared: bool, what: str) -> None:
    assert argument.bounds is not None
    largest = argument.bounds.magnitude * 10**argument.scale
    if argument.kind is Kind.FLOAT:
        if largest > FLOAT_LIMIT or (squared and 0 < largest < 1 / FLOAT_LIMIT):
            raise TypeFault("expected bounds between 1e-150 and 1e150")
        return
    if (largest**2 if squared else largest) * MAX_ROWS >= _HUGEINT_LIMIT:
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
    cells: int, asked: Sequence[Asked], exprs: Iterable[Expr], folds: tuple[int, ...] = ()
) -> tuple[Layout, tuple[Expr, ...], tuple[Measure, ...]]:
    """The layout, the distinct arguments and the measures behind `exprs`.

    `asked[i]` is what `MeasureRef` i of `exprs` means.
    """
    builder = _Builder(asked, exprs)
    measures = tuple(builder.measure(function, arguments) for function, arguments in asked)
    layout = Layout(cells, tuple(builder.supports), tuple(builder.values), folds)
    return layout, tuple(builder.arguments), measures


class _Builder:
    def __init__(self, asked: Sequence[Asked], exprs: Iterable[Expr]) -> None:
        self._numbers: dict[Expr, int] = {}
        self._support_numbers: dict[Support, int] = {Support(): 0}
        self.values: list[Value] = []
        for _, arguments in asked:
            for argument in arguments:
                self._number(argument)
        for entry in asked:
            self._behind_one(entry)
        self._group = list(range(len(self.arguments)))
        summed: dict[int, bool] = {}
        tested: set[int] = set()
        for function, arguments in asked:
            for index, squared in self._summed_by(function, arguments):
                summed[index] = summed.get(index, False) or squared
            tested |= set(self._tested(function, arguments))
        self._summed, self._tested_by_itself = set(summed), tested
        self._within = {
            index: [
                (self._number(expr), behind)
                for expr, behind in subgroups(self.arguments[index], squared=squared)
            ]
            for index, squared in sorted(summed.items())
        }
        for entry in asked:
            self._unite([entry])
        for expr in exprs:
            for leaf in leaves(expr):
                self._unite([asked[index] for index in measures_in(leaf)])
        self._support_of = [self._support(index) for index in range(len(self._group))]

    @property
    def arguments(self) -> list[Expr]:
        return list(self._numbers)

    @property
    def supports(self) -> list[Support]:
        return list(self._support_numbers)

    def measure(self, function: Function, arguments: tuple[Expr, ...]) -> Measure:
        if function is Function.COUNT_DISTINCT:
            number = self._number(arguments[0])
            return Measure(function, (number,), (), self._marked(arguments[0]))
        if not arguments:
            values: tuple[int, ...] = (self._value(SumKind.ROWS, None),)
        elif function in SQUARES:
            values = self._pair_values(function, pair_of(*arguments))
        else:
            index = self._number(arguments[0])
            values = tuple(self._value(kind, index) for kind in _SUMS[function])
        numbers = tuple(self._number(argument) for argument in arguments)
        supports = tuple(sorted({self.values[value].support for value in values}))
        return Measure(function, numbers, values, supports)

    def _marked(self, argument: Expr) -> tuple[int, ...]:
        """One support per value of the domain."""
        parts = [Support(((self._number(expr), Behind.NOT_NULL),)) for expr in markers(argument)]
        return tuple(self._support_number(support) for support in parts)

    def _pair_values(self, function: Function, pair: Pair) -> tuple[int, ...]:
        """Rows, sums of y and of x, sum of products, and squares of x and of y where needed."""
        y, x = self._number(pair.y), self._number(pair.x)
        values = [
            self._value(SumKind.COUNT, self._number(pair.counted)),
            self._value(SumKind.SUM, y),
            self._value(SumKind.SUM, x),
            self._products(pair),
        ]
        for index, needed in zip((x, y), SQUARES[function], strict=True):
            if needed:
                values.append(self._value(SumKind.SQUARES, index))
        return tuple(values)

    def _products(self, pair: Pair) -> int:
        product = self._number(pair.product)
        if pair.product.kind is not Kind.FLOAT:
            return self._value(SumKind.SUM, product)
        y, x = sorted((self._number(pair.y), self._number(pair.x)))
        power = float_exponent(pair.y) + float_exponent(pair.x)
        support = self._support_of[product]
        return self._added(
            Value(SumKind.PRODUCTS, y, support, FLOAT_BITS, True, 0, power - _SQUARES_STEPS, x)
        )

    def _summed_by(self, function: Function, arguments: tuple[Expr, ...]) -> list[tuple[int, bool]]:
        """The arguments whose own subgroups count, and whether squares of them are summed."""
        if function in SQUARES:
            return [(self._number(pair_of(*arguments).product), True)]
        if not arguments or function in _COUNTS:
            return []
        return [(self._number(arguments[0]), SumKind.SQUARES in _SUMS[function])]

    def _tested(self, function: Function, arguments: tuple[Expr, ...]) -> list[int]:
        """The arguments whose own rows count. Of a pair it is the product: where that is not NULL,
        or not 0, neither are its factors."""
        if function in SQUARES:
            return [self._number(pair_of(*arguments).product)]
        if function is Function.COUNT_DISTINCT:
            return []
        return [self._number(argument) for argument in arguments]

    def _behind_one(self, entry: Asked) -> list[int]:
        """All that one aggregate sums."""
        function, arguments = entry
        if function is Function.COUNT_DISTINCT:
            return []
        if function not in SQUARES:
            return [self._number(argument) for argument in arguments]
        pair = pair_of(*arguments)
        return [self._number(expr) for expr in (pair.y, pair.x, pair.counted, pair.product)]

    def _number(self, expr: Expr) -> int:
        """The number of an argument, new ones at the end."""
        return self._numbers.setdefault(expr, len(self._numbers))

    def _support_number(self, support: Support) -> int:
        return self._support_numbers.setdefault(support, len(self._support_numbers))

    def _unite(self, together: Sequence[Asked]) -> None:
        members = [index for entry in together for index in self._behind_one(entry)]
        for member in members[1:]:
            old, new = self._group[member], self._group[members[0]]
            self._group = [new if group == old else group for group in self._group]

    def _support(self, index: int) -> int:
        members = [i for i, group in enumerate(self._group) if group == self._group[index]]
        parts = [(i, behind) for i in members if (behind := self._behind(i)) is not None]
        parts += [part for i in members for part in self._within.get(i, ())]
        return self._support_number(Support(tuple(dict.fromkeys(parts))))

    def _behind(self, index: int) -> Behind | None:
        """A built expression counts only rows where it is not 0, or SUM(CASE ...) would show
        a subgroup below the threshold."""
        argument = self.arguments[index]
        if index not in self._tested_by_itself:
            return None
        built = not isinstance(argument, ColumnRef) and index in self._summed
        if built and argument.bounds is not None and argument.bounds.contains_zero:
            return Behind.NOT_ZERO
        return Behind.NOT_NULL if argument.nullable else None

    def _value(self, kind: SumKind, index: int | None) -> int:
        return self._added(self._describe(kind, index))

    def _added(self, value: Value) -> int:
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
