"""A table for tests, held as nodes hold it and, beside it, as plain DuckDB would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import duckdb
import numpy as np
from yumen_core.sql import (
    Answer,
    Column,
    ColumnType,
    LocalCells,
    Plan,
    TableSchema,
    finish,
    local_cells,
    local_sql,
    needs_centring,
    storage_type,
)
from yumen_core.sql.plan import Behind, Support

Row = tuple[object, ...]

PEOPLE = TableSchema(
    "people",
    (
        Column("sex", ColumnType.TEXT, domain=("female", "male"), nullable=False),
        Column("城市", ColumnType.TEXT, domain=("兰州", "天水", 'it\'s "so"')),
        Column("stage", ColumnType.INTEGER, domain=(0, 1, 2, -3)),
        Column("smoker", ColumnType.BOOLEAN),
        Column("age", ColumnType.INTEGER, lower=Decimal(0), upper=Decimal(120), nullable=False),
        Column("chol", ColumnType.INTEGER, lower=Decimal(-400), upper=Decimal(600)),
        Column("cost", ColumnType.DECIMAL, 2, lower=Decimal("0"), upper=Decimal("99999.99")),
        Column("bmi", ColumnType.FLOAT, lower=Decimal("-50"), upper=Decimal("100")),
        Column("weight", ColumnType.FLOAT, lower=Decimal("0.5"), upper=Decimal("2")),
        Column("note", ColumnType.TEXT),
        Column("raw", ColumnType.INTEGER),
        Column("signal", ColumnType.FLOAT),
    ),
)
_NATURAL = {
    ColumnType.INTEGER: "BIGINT",
    ColumnType.FLOAT: "DOUBLE",
    ColumnType.BOOLEAN: "BOOLEAN",
    ColumnType.TEXT: "VARCHAR",
    ColumnType.DATE: "DATE",
    ColumnType.TIMESTAMP: "TIMESTAMP",
}


def natural_table(
    connection: duckdb.DuckDBPyConnection, schema: TableSchema, rows: Sequence[Row]
) -> None:
    """Create `schema.name` in DuckDB's own types."""
    types = [_NATURAL.get(c.type, f"DECIMAL(18, {c.scale})") for c in schema.columns]
    _create(connection, schema.name, schema, types, rows)


def held_table(
    connection: duckdb.DuckDBPyConnection, name: str, schema: TableSchema, rows: Sequence[Row]
) -> None:
    """Create `name` in the form of `storage`."""
    held = [tuple(map(_held, schema.columns, row)) for row in rows]
    _create(connection, name, schema, [storage_type(c) for c in schema.columns], held)


def _held(column: Column, value: object) -> object:
    if value is None:
        return None
    if column.type is ColumnType.TEXT and column.domain is not None:
        return column.domain.index(str(value))
    if column.type is ColumnType.DECIMAL:
        return int(Decimal(str(value)).scaleb(column.scale))
    return value


def _create(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    schema: TableSchema,
    types: Sequence[str],
    rows: Sequence[Row],
) -> None:
    quoted = ['"' + column.name.replace('"', '""') + '"' for column in schema.columns]
    columns = ", ".join(f"{n} {t}" for n, t in zip(quoted, types, strict=True))
    table = '"' + name.replace('"', '""') + '"'
    connection.execute(f"CREATE TABLE {table} ({columns})")
    if rows:
        row = f"({', '.join('?' * len(types))})"
        values = [value for entry in rows for value in entry]
        connection.execute(f"INSERT INTO {table} VALUES {', '.join([row] * len(rows))}", values)


def node_cells(plan: Plan, rows: Sequence[Row], schema: TableSchema = PEOPLE) -> LocalCells:
    """What a node that holds `rows` has in each cell."""
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        held_table(connection, "held", schema, rows)
        found = connection.execute(local_sql(plan, "held")).fetchall()
        centred = needs_centring(plan, found)
        if centred:
            found = connection.execute(local_sql(plan, "held", centred=True)).fetchall()
        return local_cells(plan, found, centred=centred)


def add(parts: Sequence[LocalCells]) -> list[list[int]]:
    """The secure sum, without the secrecy."""
    return [
        [sum(column) for column in zip(*cells, strict=True)]
        for cells in zip(*(part.values for part in parts), strict=True)
    ]


def answer(plan: Plan, nodes: Sequence[Sequence[Row]], schema: TableSchema = PEOPLE) -> Answer:
    """The result where every node releases every cell in which it has a row.

    "Not zero" is read as "not null", so that results compare with a plain database's.
    """
    plan = _without_zero_rule(plan)
    parts = [node_cells(plan, rows, schema) for rows in nodes]
    present = np.max([part.supports for part in parts], axis=0)
    return finish(plan, (present > 0).astype(int) * len(parts), add(parts))


def _without_zero_rule(plan: Plan) -> Plan:
    supports = [
        Support(
            tuple(
                (argument, Behind.NOT_NULL)
                for argument, _ in support.parts
                if plan.arguments[argument].nullable
            )
        )
        for support in plan.layout.support_parts
    ]
    return replace(plan, layout=replace(plan.layout, support_parts=tuple(supports)))
