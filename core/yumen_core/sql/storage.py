"""How a node holds a table for `local_sql`: compact, and so that no text need reach the database.

| column | held as |
|---|---|
| integer, decimal | the integer value * 10**scale, in the narrowest type for its bounds |
| float | DOUBLE, never infinite or NaN |
| boolean | BOOLEAN |
| text with a domain | the value's position in the domain, from 0 |
| text without one | VARCHAR in Unicode NFC |
| date, timestamp | DATE, TIMESTAMP within the years 1 to 9999, never infinite |

A missing value is NULL. Columns keep their published names.
"""

from __future__ import annotations

from datetime import date, datetime
from fractions import Fraction

from yumen_core.sql.expression import Apply, Expr, Kind, Op, branches
from yumen_core.sql.interval import Interval
from yumen_core.sql.schema import Column, ColumnType

_SIGNED = (("TINYINT", 7), ("SMALLINT", 15), ("INTEGER", 31), ("BIGINT", 63), ("HUGEINT", 127))


def storage_type(column: Column) -> str:
    """The DuckDB type that holds `column`."""
    match column.type:
        case ColumnType.FLOAT:
            return "DOUBLE"
        case ColumnType.BOOLEAN:
            return "BOOLEAN"
        case ColumnType.DATE:
            return "DATE"
        case ColumnType.TIMESTAMP:
            return "TIMESTAMP"
        case ColumnType.TEXT:
            if column.domain is None:
                return "VARCHAR"
            return "UTINYINT" if len(column.domain) <= 256 else "USMALLINT"
    if column.interval is None:
        return "BIGINT"
    return integer_type(column.interval, column.scale)


def integer_type(bounds: Interval, scale: int) -> str:
    """The narrowest DuckDB type for integers scaled by 10**scale within `bounds`."""
    low, high = bounds.low * 10**scale, bounds.high * 10**scale
    return next(name for name, bits in _SIGNED if -(1 << bits) <= low and high < 1 << bits)


def reach(expr: Expr) -> Interval:
    """Every value an exact expression over a row can take: its bounds, or what 64 bits can hold of
    a column without any."""
    if expr.bounds is not None:
        return expr.bounds
    if isinstance(expr, Apply) and expr.op is Op.CASE:
        results = [*(value for _, value in branches(expr)), expr.args[-1]]
        known = [reach(value) for value in results if value.kind is not Kind.NULL]
        whole = known[0]
        for interval in known[1:]:
            whole = whole.hull(interval)
        return whole
    limit = Fraction(1 << 63, 10**expr.scale)
    return Interval(-limit, limit)


def arithmetic_type(*exprs: Expr) -> str:
    """A type, INTEGER at least, that holds every one of some bounded exact expressions."""
    least = Interval(Fraction(-(1 << 31)), Fraction((1 << 31) - 1))
    for expr in exprs:
        if expr.bounds is None:
            least = least.hull(Interval(Fraction(-(1 << 63)), Fraction((1 << 63) - 1)))
        else:
            factor = Interval.point(10**expr.scale)
            least = least.hull(expr.bounds * factor)
    return integer_type(least, 0)


def identifier(name: str) -> str:
    """A quoted SQL name."""
    return '"' + name.replace('"', '""') + '"'


def text_literal(value: str) -> str:
    """A quoted SQL text. Control characters cannot occur: literals and domains are checked."""
    return "'" + value.replace("'", "''") + "'"


def temporal_literal(value: date | datetime) -> str:
    """A SQL literal of a date, or of a timestamp without a zone."""
    kind = "TIMESTAMP" if isinstance(value, datetime) else "DATE"
    return f"{kind} '{value.isoformat()}'"
