"""Tables of one node that join: visits of patients, who live in districts, to wards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import duckdb
import numpy as np
from sql_tables import Row, _without_zero_rule, add, held_table, natural_table
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
)

INTEGER, TEXT = ColumnType.INTEGER, ColumnType.TEXT
SITES = ("north", "south")
ZERO = Decimal(0)

DISTRICTS = TableSchema(
    "districts",
    (
        Column("name", TEXT, nullable=False),
        Column("rural", ColumnType.BOOLEAN),
    ),
    key=("name",),
)
PATIENTS = TableSchema(
    "patients",
    (
        Column("id", INTEGER, lower=ZERO, upper=Decimal(999), nullable=False),
        Column("sex", TEXT, domain=("female", "male")),
        Column("born", INTEGER, lower=Decimal(1900), upper=Decimal(2030)),
        Column("temp", ColumnType.FLOAT, lower=ZERO, upper=Decimal("1e9")),
        Column("district", TEXT),
        Column("mother", INTEGER),
    ),
    key=("id",),
)
WARDS = TableSchema(
    "wards",
    (
        Column("code", INTEGER, domain=(1, 2, 3), nullable=False),
        Column("site", TEXT, domain=SITES, nullable=False),
        Column("beds", INTEGER, lower=ZERO, upper=Decimal(90)),
    ),
    key=("site", "code"),
)
VISITS = TableSchema(
    "visits",
    (
        Column("patient", INTEGER),
        Column("day", INTEGER, lower=ZERO, upper=Decimal(365), nullable=False),
        Column("cost", ColumnType.DECIMAL, 2, lower=ZERO, upper=Decimal("999.99")),
        Column("site", TEXT, domain=SITES),
        Column("code", INTEGER, lower=ZERO, upper=Decimal(9)),
        Column("born", ColumnType.BOOLEAN),
    ),
)
TABLES = {t.name: t for t in (DISTRICTS, PATIENTS, WARDS, VISITS)}
Rows = Mapping[str, Sequence[Row]]


def local(plan: Plan, rows: Rows) -> LocalCells:
    """What a node with these tables has in each cell."""
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        for name, schema in TABLES.items():
            held_table(connection, f"held {name}", schema, rows.get(name, ()))
        base, joined = f"held {plan.table}", [f"held {j.schema.name}" for j in plan.joins]
        found = connection.execute(local_sql(plan, base, joined)).fetchall()
        centred = needs_centring(plan, found)
        if centred:
            found = connection.execute(local_sql(plan, base, joined, centred=True)).fetchall()
        return local_cells(plan, found, centred=centred)


def join_answer(plan: Plan, nodes: Sequence[Rows]) -> Answer:
    """The result where every node releases every cell in which it has a row."""
    plan = _without_zero_rule(plan)
    parts = [local(plan, rows) for rows in nodes]
    present = np.max([part.supports for part in parts], axis=0)
    return finish(plan, (present > 0).astype(int) * len(parts), add(parts))


def pooled_joined(sql: str, nodes: Sequence[Rows]) -> list[tuple[object, ...]]:
    """The statement over all nodes' rows in plain DuckDB."""
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        for name, schema in TABLES.items():
            rows = [row for node in nodes for row in node.get(name, ())]
            if schema.key:  # every node may hold the same wards
                rows = list(dict.fromkeys(rows))
            natural_table(connection, schema, rows)
        return connection.execute(sql).fetchall()
