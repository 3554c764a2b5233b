"""Group keys over dates and timestamps: their values follow from the declared bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from yumen_core.sql import calendar, temporal_operators
from yumen_core.sql.calendar import Part, Unit
from yumen_core.sql.describe import name_of
from yumen_core.sql.expression import Apply, Constant, Expr, Kind, Op
from yumen_core.sql.operators import TypeFault
from yumen_core.sql.plan import Key
from yumen_core.sql.schema import MAX_DOMAIN_VALUES
from yumen_core.sql.temporal_evaluate import moment_of, number_of, part_of, unit_of

_ENDLESS_PARTS = (Part.YEAR, Part.ISOYEAR)


def temporal_key(expr: Expr) -> Key | None:
    """The key of an expression over dates, in order of time; None where `expr` is none.

    Raises `TypeFault` where its values are not known beforehand or too many.
    """
    if isinstance(expr, Constant) or not (expr.kind.temporal or _op(expr) in _COUNTED):
        return None
    if expr.kind is Kind.TIMESTAMP and _unit(expr) is None:
        name = _name(expr)
        raise TypeFault(
            f"it has too many values; group by DATE_TRUNC('month', {name}) or by its parts"
        )
    column = temporal_operators.undeclared(expr)
    if column is not None and not _is_cyclic(expr):
        raise TypeFault(f"column `{column.column.name}` has no declared bounds")
    count = _size(expr)
    if count > MAX_DOMAIN_VALUES:
        advice = next(
            (f"; {_name(c)} would pass" for c in _coarser(expr) if _size(c) <= MAX_DOMAIN_VALUES),
            "",
        )
        raise TypeFault(f"it has {count:,} values, expected at most {MAX_DOMAIN_VALUES:,}{advice}")
    return Key(expr, tuple(_values(expr)), expr.nullable)


def coarser_advice(keys: Sequence[Key], most_cells: int) -> str:
    """What would bring the keys' cells down to `most_cells`, as a message's end; or nothing."""
    cells = math.prod(key.positions for key in keys)
    for key in keys:
        others = cells // key.positions
        for expr in _coarser(key.expr):
            if others * (_size(expr) + key.nullable) <= most_cells:
                return f"; `{_name(expr)}` would pass"
    return ""


_COUNTED = (Op.EXTRACT, Op.DATE_DIFF)


def _op(expr: Expr) -> Op | None:
    return expr.op if isinstance(expr, Apply) else None


def _unit(expr: Expr) -> Unit | None:
    """The steps in which a key's values lie: None for a timestamp as it stands, and for parts."""
    if isinstance(expr, Apply) and expr.op in (Op.DATE_TRUNC, Op.DATE_DIFF):
        return unit_of(expr)
    return Unit.DAY if expr.kind is Kind.DATE else None


def _is_cyclic(expr: Expr) -> bool:
    """Whether the values come again every year, so that no bounds are needed."""
    return isinstance(expr, Apply) and expr.op is Op.EXTRACT and part_of(expr) not in _ENDLESS_PARTS


def _steps(expr: Expr) -> range:
    """The key's values, or for dates the numbers of the units in which they start."""
    assert expr.bounds is not None
    low, high = int(expr.bounds.low), int(expr.bounds.high)
    if not expr.kind.temporal:
        return range(low, high + 1)
    unit = _unit(expr)
    assert unit is not None
    first, last = (calendar.index(unit, moment_of(expr.kind, end)) for end in (low, high))
    return range(first, last + 1)


def _size(expr: Expr) -> int:
    return len(_steps(expr))


def _values(expr: Expr) -> Iterator[int]:
    unit = _unit(expr)
    for step in _steps(expr):
        if expr.kind.temporal and unit is not None:
            yield number_of(expr.kind, calendar.start(unit, step))
        else:
            yield step


def _coarser(expr: Expr) -> Iterator[Expr]:
    """The same key in ever longer units."""
    unit = _unit(expr)
    if unit is None:
        return
    units = list(Unit)
    for longer in reversed(units[: units.index(unit)]):
        if not isinstance(expr, Apply) or expr.op not in (Op.DATE_TRUNC, Op.DATE_DIFF):
            yield temporal_operators.truncate(longer, expr)
        elif expr.op is Op.DATE_DIFF:
            yield temporal_operators.difference(longer, *expr.args[1:])
        else:
            yield temporal_operators.truncate(longer, expr.args[1])


def _name(expr: Expr) -> str:
    return name_of(expr, (), ())
