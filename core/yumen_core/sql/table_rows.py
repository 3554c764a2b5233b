"""The rows of a training as a table: plain columns under their own names, in natural types.

Integers are BIGINT, decimals DOUBLE (what is trained computes in floating point), texts with a
domain their texts again, dates and times as they are; a missing value stays missing.
"""

from __future__ import annotations

from yumen_core.sql.expression import ColumnRef
from yumen_core.sql.render import render
from yumen_core.sql.rows import RowsPlan
from yumen_core.sql.schema import Column, ColumnType
from yumen_core.sql.storage import identifier


def table_columns(plan: RowsPlan) -> tuple[Column, ...]:
    """The columns that a plan of `parse_columns` reads, in order."""
    columns: list[Column] = []
    for variable in plan.variables:
        assert isinstance(variable.expr, ColumnRef)  # `parse_columns` reads nothing else
        columns.append(variable.expr.column)
    return tuple(columns)


def table_sql(plan: RowsPlan, relation: str) -> str:
    """DuckDB SQL over the table `relation`, held as `storage` says: the chosen rows. A text with a
    domain comes as its position there (`domain_texts`)."""
    selected = ", ".join(
        f"{_natural(column)} AS {identifier(column.name)}" for column in table_columns(plan)
    )
    where = "" if plan.where is None else f" WHERE {render(plan.where)}"
    return f"SELECT {selected} FROM {identifier(relation)}{where}"  # noqa: S608


def domain_texts(column: Column) -> tuple[str, ...] | None:
    """The texts whose positions stand for the values of `column`, if they do."""
    if column.type is not ColumnType.TEXT or column.domain is None:
        return None
    return tuple(str(value) for value in column.domain)


def _natural(column: Column) -> str:
    name = identifier(column.name)
    match column.type:
        case ColumnType.INTEGER:
            return f"CAST({name} AS BIGINT)"
        case ColumnType.DECIMAL:
            return f"CAST({name} AS DOUBLE) / 1e{column.scale}"
        case ColumnType.TEXT if column.domain is not None:
            return f"CAST({name} AS INTEGER)"
        case _:
            return name
