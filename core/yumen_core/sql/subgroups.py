"""Subgroups that a requester builds inside a sum, each of which must have rows enough by itself.

`SUM(CASE WHEN name = 'Bob' THEN 1000000 * age ELSE 1 END)` is a sum over everybody in which one
row, or one node, can be read off the high digits. So each branch of a CASE, and each term of a sum,
counts as a group of its own: the rows that take the branch, the rows where the term is not 0.

What is not held: the same taken apart over several sums or several statements (differencing).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from yumen_core.sql import operators
from yumen_core.sql.expression import Apply, ColumnRef, Constant, Expr, Op, branches, walk
from yumen_core.sql.offsets import check_part, moving_parts, without_offsets
from yumen_core.sql.plan import Behind

MAX_SUBGROUPS = 32

Part = tuple[Expr, Behind]
_Place = Callable[[Expr], Expr]


def subgroups(argument: Expr) -> list[Part]:
    """The subgroups of a summed argument beside the argument itself, each once, in order.

    Each is an expression over the same rows and which rows count. A CASE with one branch that
    gives anything but 0 or NULL has none: its rows are those where it is not 0.

    Raises `TypeFault` for a part of a moved date (`offsets`).
    """
    if isinstance(argument, Apply) and argument.op is Op.CASE and _lone(argument):
        at, value = next(_contributing(argument))
        found = _inside(value, lambda inner: _only(argument, at, inner))
    else:
        found = _inside(argument, lambda inner: inner)
    return list(dict.fromkeys(found))


def odd_divisor(argument: Expr) -> bool:
    """Whether `argument` divides by anything but a number or a column: by 1 + 1e6 * (age - 37)
    squared, say, which leaves only the rows of one age."""
    return any(
        isinstance(node, Apply)
        and node.op is Op.DIV
        and not isinstance(node.args[1], Constant | ColumnRef)
        for node in walk(argument)
    )


def _inside(expr: Expr, place: _Place) -> Iterator[Part]:
    """`place` puts an expression where `expr` stands: NULL on the rows that do not come there."""
    if not isinstance(expr, Apply):
        return
    if expr.op is Op.CASE:
        for at, value in _contributing(expr):

            def here(inner: Expr, at: int = at) -> Expr:
                return place(_only(expr, at, inner))

            yield here(operators.number("1")), Behind.NOT_NULL
            yield from _inside(value, here)
        return
    check_part(expr)
    if expr.op in (Op.ADD, Op.SUB, Op.DATE_DIFF):
        yield from _of_sum(expr, place)
        return
    for arg in expr.args:
        yield from _inside(arg, place)


def _of_sum(expr: Apply, place: _Place) -> Iterator[Part]:
    """Each term that varies, and all of them together: a constant must not hide that they are 0
    on most rows."""
    terms = list(_terms(expr))
    varying = [term for term in terms if not isinstance(term, Constant)]
    for term in varying:
        if term is expr:  # a DATE_DIFF by itself
            for arg in expr.args:
                yield from _inside(arg, place)
            continue
        if not isinstance(_unscaled(term), ColumnRef):
            yield place(term), Behind.NOT_ZERO
        yield from _inside(term, place)
    bare = [without_offsets(term) for term in varying]
    moving = sum(moving_parts(term) for term in varying)
    if moving > 1 and (len(varying) < len(terms) or bare != varying):
        total = bare[0]
        for term in bare[1:]:
            total = operators.arithmetic(Op.ADD, total, term)
        yield place(total), Behind.NOT_ZERO


def _terms(expr: Expr) -> Iterator[Expr]:
    """The terms of a sum, signs carried along."""
    if isinstance(expr, Apply) and expr.op is Op.ADD:
        yield from _terms(expr.args[0])
        yield from _terms(expr.args[1])
    elif isinstance(expr, Apply) and expr.op is Op.SUB:
        yield from _terms(expr.args[0])
        yield from (operators.negate(term) for term in _terms(expr.args[1]))
    else:
        yield expr


def _unscaled(expr: Expr) -> Expr:
    """`expr` without sign and constant factors."""
    if isinstance(expr, Apply) and expr.op is Op.NEG:
        return _unscaled(expr.args[0])
    if isinstance(expr, Apply) and expr.op in (Op.MUL, Op.DIV):
        left, right = expr.args
        if isinstance(right, Constant):
            return _unscaled(left)
        if isinstance(left, Constant) and expr.op is Op.MUL:
            return _unscaled(right)
    return expr


def _results(case: Apply) -> list[Expr]:
    return [*(value for _, value in branches(case)), case.args[-1]]


def _contributing(case: Apply) -> Iterator[tuple[int, Expr]]:
    """The branches, ELSE last, that can give anything but 0 or NULL, by number. A date is never
    as good as 0, whatever number it counts as."""
    for at, value in enumerate(_results(case)):
        nothing = isinstance(value, Constant) and not value.value and not value.kind.temporal
        if not nothing:
            yield at, value


def _lone(case: Apply) -> bool:
    return sum(1 for _ in _contributing(case)) == 1


def _only(case: Apply, at: int, value: Expr) -> Expr:
    """The CASE with `value` as its branch `at` and NULL as every other."""
    conditions = [condition for condition, _ in branches(case)]
    results = [value if number == at else operators.null() for number in range(len(conditions) + 1)]
    pairs = list(zip(conditions, results[:-1], strict=True))
    return operators.case(pairs, results[-1])
