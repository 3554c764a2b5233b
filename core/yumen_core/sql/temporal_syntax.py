"""From the syntax tree to the operators of dates and timestamps, by a list of what is supported."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlglot import exp

from yumen_core.sql import operators, temporal_operators
from yumen_core.sql.calendar import Part, Unit
from yumen_core.sql.expression import Expr

if TYPE_CHECKING:
    from yumen_core.sql.scalar import Reader

FUNCTIONS = ("EXTRACT", "DATE_TRUNC", "DATE_DIFF", "CAST")
_SHORT: dict[type[exp.Expr], Part] = {
    exp.Year: Part.YEAR,
    exp.Quarter: Part.QUARTER,
    exp.Month: Part.MONTH,
    exp.Week: Part.WEEK,
    exp.WeekOfYear: Part.WEEK,
    exp.Day: Part.DAY,
    exp.DayOfMonth: Part.DAY,
    exp.DayOfWeek: Part.DOW,
    exp.DayOfWeekIso: Part.ISODOW,
    exp.DayOfYear: Part.DOY,
    exp.Hour: Part.HOUR,
    exp.Minute: Part.MINUTE,
    exp.Second: Part.SECOND,
}
_PART_NAMES = {part.value: part for part in Part} | {
    "dayofmonth": Part.DAY,
    "dayofweek": Part.DOW,
    "weekday": Part.DOW,
    "dayofyear": Part.DOY,
    "weekofyear": Part.WEEK,
}
_UNIT_NAMES = {unit.value: unit for unit in Unit}
_CLOCKS = (exp.CurrentDate, exp.CurrentTime, exp.CurrentTimestamp, exp.Localtimestamp)
_CLOCK_NAMES = ("NOW", "TODAY", "GET_CURRENT_TIMESTAMP", "TRANSACTION_TIMESTAMP")
_NO_CLOCK = "write the date as a literal: every party derives the same plan"
_INTERVAL = "an interval is a whole number and a unit, such as INTERVAL 3 MONTH"
_WHOLE = re.compile(r"[+-]?[0-9]{1,10}", re.ASCII)


def read_temporal(reader: Reader, node: exp.Expr) -> Expr | None:
    """The typed expression, or None where `node` is of another kind."""
    if type(node) in _SHORT:
        return _extract(reader, node, _SHORT[type(node)], node.this, "this")
    match node:
        case exp.Extract():
            return _extract(
                reader, node, _part(reader, node, node.this), node.expression, "this", "expression"
            )
        case exp.TimestampTrunc() | exp.DateTrunc():
            reader.only(node, "this", "unit")
            unit = _unit(reader, node, node.args.get("unit"))
            return reader.build(node, lambda a: temporal_operators.truncate(unit, a), node.this)
        case exp.DateDiff():
            return _difference(reader, node)
        case exp.Cast():
            return _cast(reader, node)
        case exp.Add() | exp.Sub() | exp.DateAdd():
            return _moved(reader, node)
        case exp.Interval():
            raise reader.source.unsupported(node, "an interval is added to a date")
        case exp.Anonymous():
            return _by_name(reader, node)
    if isinstance(node, _CLOCKS):
        raise reader.source.unsupported(node, _NO_CLOCK)
    return None


def _by_name(reader: Reader, node: exp.Anonymous) -> Expr | None:
    """Functions that the grammar has no node for."""
    name, args = str(node.this).upper(), node.expressions
    if name in _CLOCK_NAMES:
        raise reader.source.unsupported(node, _NO_CLOCK)
    if name in ("DATE_PART", "DATEPART") and len(args) == 2:
        return _extract(reader, node, _part(reader, node, args[0]), args[1], "this", "expressions")
    if name == "ISOYEAR" and len(args) == 1:
        return _extract(reader, node, Part.ISOYEAR, args[0], "this", "expressions")
    return None


def _extract(reader: Reader, node: exp.Expr, part: Part, argument: exp.Expr, *known: str) -> Expr:
    reader.only(node, *known)
    return reader.build(node, lambda a: temporal_operators.extract(part, a), argument)


def _part(reader: Reader, node: exp.Expr, named: exp.Expr) -> Part:
    part = _PART_NAMES.get(str(named.name).lower())
    if part is None:
        known = ", ".join(entry.upper() for entry in Part)
        raise reader.source.unsupported(node, f"EXTRACT takes one of {known}")
    return part


def _unit(reader: Reader, node: exp.Expr, named: exp.Expr | None) -> Unit:
    name = "" if named is None else str(named.name).lower()
    unit = _UNIT_NAMES.get(name) or _UNIT_NAMES.get(name.removesuffix("s"))
    if unit is None:
        known = ", ".join(f"'{entry}'" for entry in Unit)
        raise reader.source.unsupported(node, f"the unit is one of {known}")
    return unit


def _difference(reader: Reader, node: exp.DateDiff) -> Expr:
    reader.only(node, "this", "expression", "unit", "date_part_boundary")
    unit = _unit(reader, node, node.args.get("unit"))
    since, until = node.expression, node.this
    return reader.build(node, lambda a, b: temporal_operators.difference(unit, a, b), since, until)


def _cast(reader: Reader, node: exp.Cast) -> Expr:
    """CAST(x AS DATE), x::DATE, and the literal DATE '2020-01-31', which is a cast of text."""
    if isinstance(node, exp.TryCast):
        raise reader.source.unsupported(node.this, "CAST never fails here, so write CAST")
    reader.only(node, "this", "to")
    match node.args["to"].this:
        case exp.DType.DATE:
            return reader.build(node, temporal_operators.to_date, node.this)
        case exp.DType.TIMESTAMPNTZ | exp.DType.TIMESTAMP:
            return reader.build(node, temporal_operators.to_timestamp, node.this)
    raise reader.source.unsupported(node.this, "CAST makes a DATE or a TIMESTAMP")


def _moved(reader: Reader, node: exp.Expr) -> Expr | None:
    """date + INTERVAL n unit, INTERVAL n unit + date, date - INTERVAL n unit."""
    date, interval = node.this, node.expression
    if isinstance(date, exp.Interval) and isinstance(node, exp.Add):
        date, interval = interval, date
    if not isinstance(interval, exp.Interval):
        return None
    reader.only(node, "this", "expression")
    unit = _unit(reader, interval, interval.args.get("unit")) if interval.unit else None
    text = _count(interval.this)
    if unit is None or _WHOLE.fullmatch(text) is None:
        raise reader.source.unsupported(interval, _INTERVAL)
    steps = operators.number(text.lstrip("+-"))
    sign = -1 if text.startswith("-") ^ isinstance(node, exp.Sub) else 1
    return reader.build(node, lambda a: temporal_operators.add(a, unit, steps, sign), date)


def _count(node: exp.Expr) -> str:
    """The number of an interval, as written: 3, -3, '3' or (3)."""
    if isinstance(node, exp.Paren):
        return _count(node.this)
    if isinstance(node, exp.Neg):
        return f"-{_count(node.this)}"
    return str(node.this).strip() if isinstance(node, exp.Literal) else ""
