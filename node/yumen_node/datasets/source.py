"""Opening a declared source as a relation of the private database. Reads, never writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa
from pyarrow import csv
from yumen_core.errors import StateError
from yumen_core.sql.storage import identifier, text_literal

from yumen_node.datasets.declaration import SourceDeclaration, TableDeclaration

_ARROW_NAME = "csv_rows"
_ATTACHED = "source_file"


@contextmanager
def opened_source(
    connection: duckdb.DuckDBPyConnection, declaration: TableDeclaration
) -> Iterator[str]:
    """The SQL name of the source's relation, for as long as it is open.

    Raises `StateError` ("data_source") naming the file, and the column that it lacks; never a
    value.
    """
    source = declaration.source
    if not source.path.is_file():
        raise StateError("data_source", f"expected the source `{source.path}`, got no such file")
    try:
        relation = _open(connection, declaration)
        _check_columns(connection, declaration, relation)
        yield relation
    except (duckdb.Error, pa.ArrowException, LookupError, OSError, UnicodeError, ValueError):
        # Their texts may quote rows, so they go nowhere.
        raise StateError(
            "data_source", f"expected `{source.path}` to be readable as {source.type}"
        ) from None
    finally:
        _close(connection, source)


def _open(connection: duckdb.DuckDBPyConnection, declaration: TableDeclaration) -> str:
    source = declaration.source
    if source.type == "csv":
        connection.register(_ARROW_NAME, _read_csv(declaration))
        return _ARROW_NAME
    path = text_literal(str(source.path))
    if source.type == "parquet":
        return f"read_parquet({path})"
    connection.execute(f"ATTACH {path} AS {_ATTACHED} (READ_ONLY)")
    assert source.table is not None
    return f"{_ATTACHED}.{identifier(source.table)}"


def _close(connection: duckdb.DuckDBPyConnection, source: SourceDeclaration) -> None:
    if source.type == "csv":
        connection.unregister(_ARROW_NAME)
    elif source.type == "duckdb":
        connection.execute(f"DETACH DATABASE IF EXISTS {_ATTACHED}")


def _read_csv(declaration: TableDeclaration) -> pa.Table:
    """Every declared column as text; the rest of the file is left out."""
    source = declaration.source
    wanted = {entry.source_name or entry.name: pa.string() for entry in declaration.columns}
    names = _csv_header(source.path, source)
    _require(source.path, list(wanted), names)
    return csv.read_csv(
        source.path,
        read_options=csv.ReadOptions(encoding=source.encoding or "utf8"),
        parse_options=csv.ParseOptions(delimiter=source.delimiter or ",", newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=wanted, include_columns=list(wanted), strings_can_be_null=False
        ),
    )


def _csv_header(path: Path, source: SourceDeclaration) -> list[str]:
    with csv.open_csv(
        path,
        read_options=csv.ReadOptions(encoding=source.encoding or "utf8"),
        parse_options=csv.ParseOptions(delimiter=source.delimiter or ",", newlines_in_values=True),
    ) as reader:
        return [str(name) for name in reader.schema.names]


def column_types(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    """DuckDB's types of a relation's columns, by name."""
    found = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()  # noqa: S608
    return {str(row[0]): str(row[1]) for row in found}


def _check_columns(
    connection: duckdb.DuckDBPyConnection, declaration: TableDeclaration, relation: str
) -> None:
    names = list(column_types(connection, relation))
    wanted = [entry.source_name or entry.name for entry in declaration.columns]
    _require(declaration.source.path, wanted, names)


def _require(path: Path, wanted: list[str], names: list[str]) -> None:
    for name in wanted:
        if names.count(name) != 1:
            got = "none" if name not in names else "several"
            raise StateError("data_source", f"expected a column `{name}` in `{path}`, got {got}")
