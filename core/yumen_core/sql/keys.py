"""Group keys: which expressions have few, known values."""

from __future__ import annotations

from yumen_core.sql.expression import (
    Apply,
    ColumnRef,
    Constant,
    Expr,
    KeyRef,
    Kind,
    Op,
    branches,
)
from yumen_core.sql.operators import TypeFault, is_literal
from yumen_core.sql.plan import Key
from yumen_core.sql.schema import DomainValue
from yumen_core.sql.temporal_keys import temporal_key

_ADVICE = (
    "group by a column with a declared domain, a condition, or a CASE whose results are text, "
    "integers or booleans"
)


def bands(column: str) -> str:
    """How to group by a column of numbers, as advice in a message."""
    name = column if column.isidentifier() else '"' + column.replace('"', '""') + '"'
    return (
        f"group by bands, such as CASE WHEN {name} < 50 THEN 'under 50' "
        f"WHEN {name} >= 50 THEN '50 and over' END"
    )


def key_of(expr: Expr) -> Key:
    """The group key of an expression over a row. Raises `TypeFault` where its values are not
    known beforehand."""
    over_dates = temporal_key(expr)
    if over_dates is not None:
        return over_dates
    if isinstance(expr, ColumnRef) and expr.column.domain is not None:
        return Key(expr, expr.column.domain, expr.nullable)
    if isinstance(expr, ColumnRef) and expr.kind is not Kind.BOOLEAN:
        advice = bands(expr.column.name) if expr.kind.numeric else _ADVICE
        raise TypeFault(f"column `{expr.column.name}` has no declared domain; {advice}")
    if isinstance(expr, Apply) and expr.op is Op.CASE and is_literal(expr):
        return Key(expr, _labels(expr), expr.nullable)
    if expr.kind is Kind.BOOLEAN and not isinstance(expr, Constant):
        return Key(expr, (False, True), expr.nullable)
    raise TypeFault(_ADVICE)


def key_ref(keys: tuple[Key, ...], index: int) -> KeyRef:
    expr = keys[index].expr
    bounds = expr.bounds if expr.kind.temporal else None
    return KeyRef(expr.kind, expr.scale, bounds, keys[index].nullable, index)


def _labels(case: Apply) -> tuple[DomainValue, ...]:
    """The distinct results of a CASE in the order written, NULL left out."""
    found: dict[DomainValue, None] = {}
    for result in [*(value for _, value in branches(case)), case.args[-1]]:
        if isinstance(result, Apply):
            found.update(dict.fromkeys(_labels(result)))
        elif isinstance(result, Constant) and result.value is not None:
            if isinstance(result.value, float) or case.kind not in (
                Kind.TEXT,
                Kind.INTEGER,
                Kind.BOOLEAN,
            ):
                raise TypeFault(_ADVICE)
            found[result.value] = None
    return tuple(found)
