"""Plans and expressions in words, for people and logs; never sent to a database."""

from __future__ import annotations

from decimal import Decimal

from yumen_core.sql.expression import (
    Apply,
    ColumnRef,
    Constant,
    Expr,
    KeyRef,
    Kind,
    MeasureRef,
    Op,
)
from yumen_core.sql.plan import Function, Key, Plan
from yumen_core.sql.temporal_render import render_moment


def name_of(
    expr: Expr, keys: tuple[Key, ...], asked: tuple[tuple[Function, tuple[Expr, ...]], ...]
) -> str:
    """SQL-like text of an expression; `asked[i]` is what `MeasureRef` i means."""

    def text(node: Expr) -> str:
        match node:
            case ColumnRef(column=column):
                return column.name
            case Constant():
                return _literal(node)
            case KeyRef(index=index) if index >= len(keys):
                return f"GROUPING({text(keys[index - len(keys)].expr)})"
            case KeyRef(index=index):
                return text(keys[index].expr)
            case MeasureRef(index=index):
                function, arguments = asked[index]
                listed = ", ".join(map(text, arguments)) or "*"
                if function is Function.COUNT_DISTINCT:
                    return f"COUNT(DISTINCT {listed})"
                return f"{function.upper()}({listed})"
            case Apply():
                return _applied(node, [text(arg) for arg in node.args])
        raise TypeError(f"no text of {type(node).__name__}")

    return text(expr)


def describe(plan: Plan) -> str:
    """One paragraph: what is asked of which rows, by which groups, and how much is summed."""
    asked = tuple(
        (measure.function, tuple(plan.arguments[index] for index in measure.arguments))
        for measure in plan.measures
    )
    wanted = ", ".join(name_of(output.expr, plan.keys, asked) for output in plan.outputs)
    words = [f"{wanted} of table {plan.table}"]
    words += [f"joined with table {join.schema.name} by its key" for join in plan.joins]
    if plan.where is not None:
        words.append(f"where {name_of(plan.where, plan.keys, asked)}")
    if plan.keys:
        names = [name_of(key.expr, (), ()) for key in plan.keys]
        plain = len(names) - len(plan.layout.folds)
        rolled = f"ROLLUP({', '.join(names[plain:])})"
        words.append("by " + ", ".join([*names[:plain], *([rolled] if names[plain:] else [])]))
    values = len(plan.layout.values)
    words.append(f"({plan.layout.cells} cells of {values} summed values)")
    return " ".join(words)


def _literal(constant: Constant) -> str:
    value = constant.value
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if constant.kind.temporal:
        return render_moment(constant)
    if constant.kind is Kind.DECIMAL:
        return str(Decimal(int(value)).scaleb(-constant.scale))
    return repr(value)


def _applied(node: Apply, args: list[str]) -> str:
    match node.op:
        case Op.NEG:
            return f"-{args[0]}"
        case Op.ABS:
            return f"ABS({args[0]})"
        case Op.NOT:
            return f"NOT {args[0]}"
        case Op.IS_NULL:
            return f"{args[0]} IS NULL"
        case Op.IN:
            return f"{args[0]} IN ({', '.join(args[1:])})"
        case Op.EXTRACT:
            return f"EXTRACT({args[0].strip(chr(39)).upper()} FROM {args[1]})"
        case Op.DATE_TRUNC | Op.DATE_DIFF:
            return f"{node.op.upper()}({', '.join(args)})"
        case Op.DATE_ADD:
            return f"({args[1]} + INTERVAL {args[2]} {args[0].strip(chr(39)).upper()})"
        case Op.TO_DATE | Op.TO_TIMESTAMP:
            return f"CAST({args[0]} AS {node.kind.upper()})"
        case Op.CASE:
            whens = zip(args[:-1:2], args[1:-1:2], strict=True)
            text = " ".join(f"WHEN {condition} THEN {value}" for condition, value in whens)
            return f"CASE {text} ELSE {args[-1]} END"
    return "(" + f" {node.op.value.upper()} ".join(args) + ")"
