"""Subgroups that a requester builds inside a sum, each of which must have rows enough by itself.

`SUM(CASE WHEN name = 'Bob' THEN 1000000 * age ELSE 1 END)` is a sum over everybody in which one
row, or one node, can be read off the high digits. So each branch of a CASE, and each term of a sum,
counts as a group of its own: the rows that take the branch, the rows where the term is not 0. It is
counted where the rest of the expression leaves it a part in the sum: beside a factor, only where
that is neither NULL nor 0. Two groups that are multiplied count as a third, the rows in both.

What is not held: the same taken apart over several sums or several statements (differencing).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

from yumen_core.sql import operators
from yumen_core.sql.expression import Apply, ColumnRef, Constant, Expr, Op, branches, walk
from yumen_core.sql.offsets import check_part, moving_parts, without_offsets
from yumen_core.sql.plan import Behind

MAX_SUBGROUPS = 32

Part = tuple[Expr, Behind]
_Place = Callable[[Expr], Expr]


@dataclass(frozen=True)
class _Group:
    """The rows where `expr` is not null (or not zero), by way of the branches `taken`."""

    expr: Expr
    behind: Behind
    taken: tuple[tuple[Expr, int], ...] = ()

    def within(self, place: _Place, *taken: tuple[Expr, int]) -> _Group:
        return _Group(place(self.expr), self.behind, (*taken, *self.taken))

    @property
    def condition(self) -> Expr:
        if self.behind is Behind.NOT_ZERO:
            return _not_zero(self.expr)
        return operators.present(self.expr)


def subgroups(argument: Expr, *, squared: bool = False) -> list[Part]:
    """The subgroups of a summed argument beside the argument itself, each once, in order.

    Each is an expression over the same rows and which rows count. A CASE with one branch that
    gives anything but 0 or NULL has none: its rows are those where it is not 0. `squared` says that
    squares of the argument are summed too. Stops behind `MAX_SUBGROUPS`, one more than allowed.

    Raises `TypeFault` for a part of a moved date (`offsets`).
    """
    if isinstance(argument, Apply) and argument.op is Op.CASE and _lone(argument):
        at, value = next(contributing(argument))
        found = (
            group.within(lambda inner: only(argument, at, inner))
            for group in _inside(value, squared)
        )
    else:
        found = (group for group in _inside(argument, squared))
    parts: dict[Part, None] = {}
    for group in found:
        parts[group.expr, group.behind] = None
        if len(parts) > MAX_SUBGROUPS:
            break
    return list(parts)


def odd_divisor(argument: Expr) -> bool:
    """Whether `argument` divides by anything but a number or a column: by 1 + 1e6 * (age - 37)
    squared, say, which leaves only the rows of one age."""
    return any(
        isinstance(node, Apply)
        and node.op is Op.DIV
        and not isinstance(node.args[1], Constant | ColumnRef)
        for node in walk(argument)
    )


def _inside(expr: Expr, bent: bool) -> Iterator[_Group]:
    """The groups within `expr`; `bent` where what stands around it is not linear in it."""
    if not isinstance(expr, Apply):
        return
    if expr.op is Op.CASE:
        yield from _of_case(expr, bent)
        return
    check_part(expr)
    if expr.op in (Op.ADD, Op.SUB, Op.DATE_DIFF):
        yield from _of_sum(expr, bent)
    elif expr.op in (Op.MUL, Op.DIV):
        yield from _of_product(expr, bent)
    else:
        for arg in expr.args:
            yield from _inside(arg, bent or expr.op is Op.ABS)


def _of_case(case: Apply, bent: bool) -> Iterator[_Group]:
    for at, value in contributing(case):

        def place(inner: Expr, at: int = at) -> Expr:
            return only(case, at, inner)

        yield _Group(place(operators.number("1")), Behind.NOT_NULL, ((case, at),))
        for group in _inside(value, bent):
            yield group.within(place, (case, at))


def _of_sum(expr: Apply, bent: bool) -> Iterator[_Group]:
    """Each term that varies, and all of them together: a constant must not hide that they are 0
    on most rows. A sum that is squared, or has its sign cut off, multiplies its terms."""
    terms = list(terms_of(expr))
    varying = [term for term in terms if not isinstance(term, Constant)]
    groups: list[list[_Group]] = []
    parts = list(dict.fromkeys(varying))
    if varying == [expr]:  # a DATE_DIFF by itself
        parts = [arg for arg in expr.args[1:] if not isinstance(arg, Constant)]
    for part in parts:
        others = [operators.present(e) for e in parts if e is not part and e.nullable]
        found = _bounded(_inside(part, bent)) if part.kind.temporal else _of_term(part, bent)
        of_term = list(found)
        groups.append(of_term)
        for group in of_term:
            yield group.within(_where(others))
    bare = [without_offsets(term) for term in varying]
    moving = sum(moving_parts(term) for term in varying)
    if moving > 1 and (len(varying) < len(terms) or bare != varying):
        total = bare[0]
        for term in bare[1:]:
            total = operators.arithmetic(Op.ADD, total, term)
        yield _Group(total, Behind.NOT_ZERO)
    if bent:
        for left, right in combinations(groups, 2):
            yield from _crossed(left, right)


def _of_term(term: Expr, bent: bool) -> Iterator[_Group]:
    if not isinstance(_unscaled(term), ColumnRef):
        yield _Group(term, Behind.NOT_ZERO)
    yield from _bounded(_inside(term, bent))


def _of_product(expr: Apply, bent: bool) -> Iterator[_Group]:
    left, right = expr.args
    of_left, of_right = list(_bounded(_inside(left, bent))), list(_bounded(_inside(right, bent)))
    for groups, other in ((of_left, right), (of_right, left)):
        for group in groups:
            yield group.within(_where(_effective(other)))
    yield from _crossed(of_left, of_right)


def _crossed(left: Iterable[_Group], right: Iterable[_Group]) -> Iterator[_Group]:
    """The rows in a group of each side; two branches of one CASE have none in common."""
    for one, other in product(left, right):
        taken = dict(one.taken)
        if any(taken.get(case, at) != at for case, at in other.taken):
            continue
        both = operators.connect(Op.AND, [one.condition, other.condition])
        marked = operators.case([(both, operators.number("1"))], operators.null())
        yield _Group(marked, Behind.NOT_NULL, (*one.taken, *other.taken))


def _where(conditions: Sequence[Expr]) -> _Place:
    """Puts NULL in place of an expression where not all of `conditions` hold."""

    def place(inner: Expr) -> Expr:
        if not conditions:
            return inner
        held = conditions[0]
        if len(conditions) > 1:
            held = operators.connect(Op.AND, conditions)
        return operators.case([(held, inner)], operators.null())

    return place


def _effective(factor: Expr) -> list[Expr]:
    """Under what conditions a factor leaves anything of the other."""
    if factor.bounds is None or factor.bounds.contains_zero:
        return [_not_zero(factor)]
    return [operators.present(factor)] if factor.nullable else []


def _not_zero(expr: Expr) -> Expr:
    return operators.compare(Op.NE, expr, operators.number("0"))


def _bounded(groups: Iterator[_Group]) -> Iterator[_Group]:
    """Each group once, and as many as decide that there are too many."""
    found: set[_Group] = set()
    parts: set[Part] = set()
    for group in groups:
        if group in found:
            continue
        yield group
        found.add(group)
        parts.add((group.expr, group.behind))
        if len(parts) > MAX_SUBGROUPS:
            return


def terms_of(expr: Expr) -> Iterator[Expr]:
    """The terms of a sum, signs carried along."""
    if isinstance(expr, Apply) and expr.op is Op.ADD:
        yield from terms_of(expr.args[0])
        yield from terms_of(expr.args[1])
    elif isinstance(expr, Apply) and expr.op is Op.SUB:
        yield from terms_of(expr.args[0])
        yield from (operators.negate(term) for term in terms_of(expr.args[1]))
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


def contributing(case: Apply) -> Iterator[tuple[int, Expr]]:
    """The branches, ELSE last, that can give anything but 0 or NULL, by number. A date is never
    as good as 0, whatever number it counts as."""
    for at, value in enumerate(_results(case)):
        nothing = isinstance(value, Constant) and not value.value and not value.kind.temporal
        if not nothing:
            yield at, value


def _lone(case: Apply) -> bool:
    return sum(1 for _ in contributing(case)) == 1


def only(case: Apply, at: int, value: Expr) -> Expr:
    """The CASE with `value` as its branch `at` and NULL as every other."""
    conditions = [condition for condition, _ in branches(case)]
    results = [value if number == at else operators.null() for number in range(len(conditions) + 1)]
    pairs = list(zip(conditions, results[:-1], strict=True))
    return operators.case(pairs, results[-1])
