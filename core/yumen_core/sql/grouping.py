"""What group keys tell of the columns behind them: for policies, and for how keys are held."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from yumen_core.sql.calendar import Part, Unit
from yumen_core.sql.expression import Apply, ColumnRef, Constant, Expr, Kind, Op, walk
from yumen_core.sql.temporal_evaluate import part_of, unit_of

_DAY_PARTS = (Part.DAY, Part.DOY, Part.DOW, Part.ISODOW)
_EXACT_UNITS = {
    Kind.DATE: (Unit.DAY, Unit.HOUR, Unit.MINUTE, Unit.SECOND),
    Kind.TIMESTAMP: (Unit.MINUTE, Unit.SECOND),
}


def is_by_value(expr: Expr) -> bool:
    """Whether a key is held as a whole number, its value, rather than by position in its domain."""
    if expr.kind.temporal:
        return True
    counted = isinstance(expr, Apply) and expr.op in (Op.EXTRACT, Op.DATE_DIFF)
    return expr.kind is Kind.INTEGER and (counted or isinstance(expr, ColumnRef))


def exact_columns(exprs: Iterable[Expr]) -> frozenset[str]:
    """Columns whose exact value the keys tell.

    Beside a column as it stands, that is a date counted in days, also from another date so told,
    and a date told by two keys or more of which one counts days, such as month and day: this errs
    on the side of exact.
    """
    keys = list(exprs)
    told = {column.column.name for expr in keys if (column := exact_column(expr)) is not None}
    told |= _told_together(keys)
    pairs = [pair for expr in keys if len(pair := _day_apart(expr)) > 1]
    for _ in pairs:
        told = told.union(*(pair for pair in pairs if pair & told))
    return frozenset(told)


def exact_column(expr: Expr) -> ColumnRef | None:
    """The column whose exact value a single key tells, if it does."""
    if isinstance(expr, ColumnRef):
        return expr
    if not isinstance(expr, Apply):
        return None
    match expr.op:
        case Op.TO_TIMESTAMP | Op.TO_DATE:
            column = exact_column(expr.args[0])
            return column if column is not None and column.kind is Kind.DATE else None
        case Op.DATE_ADD:
            return exact_column(expr.args[1])
        case Op.DATE_TRUNC:
            return _at(exact_column(expr.args[1]), unit_of(expr))
        case Op.DATE_DIFF:
            sides = [arg for arg in expr.args[1:] if not isinstance(arg, Constant)]
            return _at(exact_column(sides[0]), unit_of(expr)) if len(sides) == 1 else None
    return None


def _day_apart(expr: Expr) -> frozenset[str]:
    """The columns between which a key counts days."""
    if not isinstance(expr, Apply) or expr.op is not Op.DATE_DIFF:
        return frozenset()
    ends = [_at(exact_column(arg), unit_of(expr)) for arg in expr.args[1:]]
    return frozenset(end.column.name for end in ends if end is not None)


def _at(column: ColumnRef | None, unit: Unit) -> ColumnRef | None:
    exact = column is not None and unit in _EXACT_UNITS.get(column.kind, ())
    return column if exact else None


def _told_together(keys: Sequence[Expr]) -> set[str]:
    told: dict[str, list[Expr]] = {}
    for expr in keys:
        columns = {n.column for n in walk(expr) if isinstance(n, ColumnRef)}
        for column in columns:
            if Kind(column.type.value) is Kind.DATE and isinstance(expr, Apply):
                told.setdefault(column.name, []).append(expr)
    return {name for name, over in told.items() if len(over) > 1 and any(map(_counts_days, over))}


def _counts_days(expr: Expr) -> bool:
    return isinstance(expr, Apply) and expr.op is Op.EXTRACT and part_of(expr) in _DAY_PARTS
