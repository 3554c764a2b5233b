"""Federated SQL: schema, plan, a node's part and the requester's part. Pure."""

from yumen_core.sql.finish import Answer, finish
from yumen_core.sql.local import LocalCells, local_cells, local_sql, needs_centring
from yumen_core.sql.plan import Layout, Plan, Support, Value
from yumen_core.sql.rows import (
    RowsPlan,
    RowVariable,
    built_groups,
    read_rows,
    read_texts,
    rows_sql,
)
from yumen_core.sql.schema import Column, ColumnType, Grade, TableSchema
from yumen_core.sql.select import NODES_COLUMN, parse, parse_columns, parse_rows
from yumen_core.sql.storage import storage_type

__all__ = [
    "NODES_COLUMN",
    "Answer",
    "Column",
    "ColumnType",
    "Grade",
    "Layout",
    "LocalCells",
    "Plan",
    "RowVariable",
    "RowsPlan",
    "Support",
    "TableSchema",
    "Value",
    "built_groups",
    "finish",
    "local_cells",
    "local_sql",
    "needs_centring",
    "parse",
    "parse_columns",
    "parse_rows",
    "read_rows",
    "read_texts",
    "rows_sql",
    "storage_type",
]
