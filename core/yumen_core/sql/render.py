"""From a typed expression over a row to DuckDB SQL over the form in `storage`.

Exact values are integers scaled by 10**scale; every operation is cast to a type that holds its
bounds, so none can overflow. Text with a domain is compared by position: the text of a literal
reaches the database only for columns without a domain.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from yumen_core.sql.expression import (
    COMPARISONS,
    TEMPORAL,
    Apply,
    ColumnRef,
    Constant,
    Expr,
    Kind,
    Op,
    branches,
)
from yumen_core.sql.grouping import is_by_value
from yumen_core.sql.interval import Interval
from yumen_core.sql.like import LikePattern
from yumen_core.sql.plan import Key
from yumen_core.sql.schema import DomainValue
from yumen_core.sql.storage import arithmetic_type, identifier, reach, text_literal
from yumen_core.sql.temporal_render import render_moment, render_number, render_temporal

_SWAPPED = {Op.LT: Op.GT, Op.LE: Op.GE, Op.GT: Op.LT, Op.GE: Op.LE}


def render(expr: Expr) -> str:
    """SQL of `expr`: a scaled integer, a DOUBLE, a BOOLEAN, a text, a DATE or a TIMESTAMP."""
    match expr:
        case ColumnRef():
            return identifier(held_name(expr))
        case Constant():
            return _constant(expr)
        case Apply(op=op):
            if op in COMPARISONS:
                return _comparison(expr)
            if op in TEMPORAL:
                return render_temporal(expr, render)
            return _RENDERERS[op](expr)
    raise TypeError(f"no SQL of {type(expr).__name__}")


def held_name(ref: ColumnRef) -> str:
    """What a column is called where a node's tables stand joined. No published name starts with a
    space, so no two columns share a name."""
    return f" {ref.source} {ref.column.name}" if ref.source else ref.column.name


def render_key(key: Key) -> str:
    """SQL of a group key: a position in its domain, or a whole number, its value (`grouping`)."""
    expr = key.expr
    if expr.kind.temporal:
        return render_number(expr, render(expr))
    if is_by_value(expr):
        return render(expr)
    if isinstance(expr, ColumnRef) and expr.kind is not Kind.BOOLEAN:
        return render(expr)
    if isinstance(expr, Apply) and expr.op is Op.CASE:
        positions: dict[DomainValue, int] = {value: at for at, value in enumerate(key.domain)}
        return _band(expr, positions)
    return f"CAST({render(expr)} AS UTINYINT)"


def render_exact(expr: Expr, scale: int, kind: str | None = None) -> str:
    """An exact expression as an integer scaled by 10**scale, in type `kind` if given."""
    if isinstance(expr, Constant) and isinstance(expr.value, int):
        text = _integer(expr.value * 10 ** (scale - expr.scale))
        return text if kind is None else f"CAST({text} AS {kind})"
    text = render(expr)
    if kind is not None:
        text = f"CAST({text} AS {kind})"
    if scale == expr.scale:
        return text
    return f"({text} * CAST({10 ** (scale - expr.scale)} AS {kind or 'HUGEINT'}))"


def render_float(expr: Expr) -> str:
    """A numeric expression as a DOUBLE."""
    if expr.kind is Kind.FLOAT:
        return render(expr)
    if isinstance(expr, Constant) and isinstance(expr.value, int):
        return _double(float(Fraction(expr.value, 10**expr.scale)))
    text = f"CAST({render(expr)} AS DOUBLE)"
    return text if expr.scale == 0 else f"({text} / {_double(float(10**expr.scale))})"


def _constant(expr: Constant) -> str:
    value = expr.value
    if value is None:
        return "NULL"
    if expr.kind.temporal:
        return render_moment(expr)
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return text_literal(value)
    return _integer(value) if isinstance(value, int) else _double(value)


def _integer(value: int) -> str:
    return str(value) if value >= 0 else f"({value})"


def _double(value: float) -> str:
    text = repr(value)
    if "e" not in text:
        text += "e0"
    return f"CAST({text} AS DOUBLE)"


def _arithmetic(expr: Apply) -> str:
    left, right = expr.args
    if expr.kind is Kind.FLOAT:
        return f"({render_float(left)} {expr.op.value} {render_float(right)})"
    if expr.op is Op.MUL:
        kind = arithmetic_type(expr, left, right)
        a, b = render_exact(left, left.scale, kind), render_exact(right, right.scale, kind)
    else:
        kind = _wide(expr, left, right)
        a, b = render_exact(left, expr.scale, kind), render_exact(right, expr.scale, kind)
    return f"({a} {expr.op.value} {b})"


def _wide(result: Expr, *args: Expr) -> str:
    """The type for arguments brought to the scale of `result`, and for the factors that do it.

    None may overflow for any row: an error would tell the requester of that row.
    """
    scaled = []
    for arg in args:
        if arg.kind is Kind.NULL:
            continue
        factor = Interval.point(Fraction(1, 10**arg.scale))
        held = reach(arg).hull(factor) if arg.scale < result.scale else reach(arg)
        scaled.append(Constant(arg.kind, result.scale, held, False, None))
    return arithmetic_type(result, *scaled)


def _negation(expr: Apply) -> str:
    arg = expr.args[0]
    if expr.kind is Kind.FLOAT:
        return f"(-{render_float(arg)})"
    return f"(-{render_exact(arg, arg.scale, arithmetic_type(expr, arg))})"


def _absolute(expr: Apply) -> str:
    arg = expr.args[0]
    if expr.kind is Kind.FLOAT:
        return f"abs({render_float(arg)})"
    return f"abs({render_exact(arg, arg.scale, arithmetic_type(expr, arg))})"


def _comparison(expr: Apply) -> str:
    left, right = expr.args
    if Kind.NULL in (left.kind, right.kind):
        return "CAST(NULL AS BOOLEAN)"
    if isinstance(left, Constant) and not isinstance(right, Constant):
        swapped = Apply(
            expr.kind,
            0,
            None,
            expr.nullable,
            _SWAPPED.get(expr.op, expr.op),
            (right, left),
        )
        return _comparison(swapped)
    if left.kind is Kind.TEXT:
        return _text_comparison(expr.op, left, right)
    if Kind.FLOAT in (left.kind, right.kind):
        return f"({render_float(left)} {expr.op.value} {render_float(right)})"
    if left.kind is Kind.BOOLEAN or left.kind.temporal:
        return f"({render(left)} {expr.op.value} {render(right)})"
    if isinstance(right, Constant) and isinstance(right.value, int):
        return _against_number(expr.op, left, right)
    scale = max(left.scale, right.scale)
    result = Constant(Kind.DECIMAL, scale, left.bounds, False, None)
    kind = _wide(result, left, right)
    a, b = render_exact(left, scale, kind), render_exact(right, scale, kind)
    return f"({a} {expr.op.value} {b})"


def _against_number(op: Op, left: Expr, number: Constant) -> str:
    """Compare at the scale of `left`: `age > 49.5` is `age > 49`, and `age = 49.5` never."""
    assert isinstance(number.value, int)
    exact = Fraction(number.value, 10**number.scale) * 10**left.scale
    floor = math.floor(exact)
    text = render(left)
    if exact.denominator != 1:
        if op in (Op.EQ, Op.NE):
            return _settled(text, op is Op.NE)
        op = Op.LE if op in (Op.LT, Op.LE) else Op.GT
    return f"({text} {op.value} {_integer(floor)})"


def _settled(text: str, outcome: bool) -> str:
    """A comparison known beforehand, yet NULL for NULL."""
    return f"({text} = {text})" if outcome else f"({text} <> {text})"


def _text_comparison(op: Op, left: Expr, right: Expr) -> str:
    assert isinstance(left, ColumnRef)
    assert isinstance(right, Constant)
    name, domain = render(left), left.column.domain
    if domain is None:
        return f"({name} {op.value} {_constant(right)})"
    if right.value not in domain:
        return _settled(name, op is Op.NE)
    return f"({name} {op.value} {domain.index(str(right.value))})"


def _like(expr: Apply) -> str:
    column, pattern = expr.args
    assert isinstance(column, ColumnRef)
    assert isinstance(pattern, Constant)
    name, domain = render(column), column.column.domain
    if domain is None:
        return f"({name} LIKE {_constant(pattern)})"
    matches = LikePattern(str(pattern.value)).matches
    return _among(name, [str(at) for at, value in enumerate(domain) if matches(str(value))])


def _among(name: str, items: list[str]) -> str:
    return f"({name} IN ({', '.join(items)}))" if items else _settled(name, False)


def _in(expr: Apply) -> str:
    arg, items = expr.args[0], expr.args[1:]
    known = [item for item in items if isinstance(item, Constant) and item.value is not None]
    equal = [
        render(Apply(Kind.BOOLEAN, 0, None, True, Op.EQ, (arg, item)))
        for item in known
        if not _listable(arg, item)
    ]
    listed = [_listed(arg, item) for item in known if _listable(arg, item)]
    if listed:
        equal.append(f"({render(arg)} IN ({', '.join(listed)}))")
    if len(known) < len(items):
        equal.append("CAST(NULL AS BOOLEAN)")
    return "(" + " OR ".join(equal) + ")"


def _listable(arg: Expr, item: Constant) -> bool:
    """Whether a literal of IN compares as it stands in the held form of `arg`."""
    if arg.kind is Kind.TEXT:
        domain = arg.column.domain if isinstance(arg, ColumnRef) else None
        return domain is None or item.value in domain
    return arg.kind is item.kind and (arg.kind is Kind.INTEGER or arg.kind.temporal)


def _listed(arg: Expr, item: Constant) -> str:
    if isinstance(arg, ColumnRef) and arg.kind is Kind.TEXT and arg.column.domain is not None:
        return str(arg.column.domain.index(str(item.value)))
    return _constant(item)


def _is_null(expr: Apply) -> str:
    return f"({render(expr.args[0])} IS NULL)"


def _connected(expr: Apply) -> str:
    if expr.op is Op.NOT:
        return f"(NOT {render(expr.args[0])})"
    return "(" + f" {expr.op.value.upper()} ".join(render(arg) for arg in expr.args) + ")"


def _case(expr: Apply) -> str:
    def result(value: Expr) -> str:
        if value.kind is Kind.NULL:
            return "NULL"
        if expr.kind is Kind.FLOAT:
            return render_float(value)
        if expr.kind.exact:
            return render_exact(value, expr.scale, kind)
        return render(value)

    kind = _wide(expr, *_results(expr)) if expr.kind.exact else ""
    return _whens(expr, result)


def _results(expr: Apply) -> list[Expr]:
    return [*(value for _, value in branches(expr)), expr.args[-1]]


def _band(expr: Apply, positions: dict[DomainValue, int]) -> str:
    def result(value: Expr) -> str:
        if isinstance(value, Apply):
            return _band(value, positions)
        assert isinstance(value, Constant)
        if value.value is None:
            return "NULL"
        assert not isinstance(value.value, float)
        return f"CAST({positions[value.value]} AS USMALLINT)"

    return _whens(expr, result)


def _whens(expr: Apply, result: Callable[[Expr], str]) -> str:
    parts = [f"WHEN {render(when)} THEN {result(value)}" for when, value in branches(expr)]
    return f"CASE {' '.join(parts)} ELSE {result(expr.args[-1])} END"


_RENDERERS = {
    Op.ADD: _arithmetic,
    Op.SUB: _arithmetic,
    Op.MUL: _arithmetic,
    Op.DIV: _arithmetic,
    Op.NEG: _negation,
    Op.ABS: _absolute,
    Op.AND: _connected,
    Op.OR: _connected,
    Op.NOT: _connected,
    Op.IS_NULL: _is_null,
    Op.IN: _in,
    Op.LIKE: _like,
    Op.CASE: _case,
}
