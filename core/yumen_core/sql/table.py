"""The rows of a plan as a table of their own: what local work of a training reads."""

from __future__ import annotations

from decimal import Decimal

from yumen_core.errors import CallError
from yumen_core.sql.expression import ColumnRef
from yumen_core.sql.render import render
from yumen_core.sql.rows import RowsPlan
from yumen_core.sql.schema import Column, ColumnType
from yumen_core.sql.storage import identifier, text_literal


def table_sql(plan: RowsPlan, relation: str) -> str:
    """DuckDB SQL over the table `relation`, held as `storage` says: one row for each chosen row,
    each variable under its own name and in its column's own type.

    Integers are BIGINT, as sums of narrower ones overflow in the hands of an app; decimals DECIMAL
    of their scale, texts VARCHAR, missing values NULL. Raises `CallError` (`sql_unsupported`) for a variable that is no column.
    """
    selected = ", ".join(
        f"{_value(_column(variable.name, variable.expr))} AS {identifier(variable.name)}"
        for variable in plan.variables
    )
    where = "" if plan.where is None else f" WHERE {render(plan.where)}"
    return f"SELECT {selected} FROM {identifier(relation)}{where}"  # noqa: S608


def _column(name: str, expr: object) -> Column:
    if not isinstance(expr, ColumnRef):
        raise CallError("sql_unsupported", f"expected a column as `{name}`, got an expression")
    return expr.column


def _value(column: Column) -> str:
    held = identifier(column.name)
    if column.type is ColumnType.TEXT and column.domain is not None:
        texts = ", ".join(text_literal(str(value)) for value in column.domain)
        return f"([{texts}])[CAST({held} AS INTEGER) + 1]"
    if column.type is ColumnType.DECIMAL:
        # Held integers have at most 19 digits (`schema`), so neither product nor cast overflows.
        unit = f"CAST({Decimal(1).scaleb(-column.scale):f} AS DECIMAL(19, {column.scale}))"
        exact = f"CAST({held} AS DECIMAL(19, 0)) * {unit}"
        return f"CAST({exact} AS DECIMAL(19, {column.scale}))"
    if column.type is ColumnType.INTEGER:
        return f"CAST({held} AS BIGINT)"
    return held
