"""Opening a declared source as a relation of the private database. Reads, never writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa
from yumen_core.errors import StateError
from yumen_core.sql.storage import identifier, text_literal

from yumen_node.datasets.declaration import SourceDeclaration, TableDeclaration
from yumen_node.datasets.files import read_arrow, read_csv, read_sqlite

_ROWS = "source_rows"
_ATTACHED = "source_file"
_SUFFIXES = {
    "csv": (".csv", ".tsv", ".txt"),
    "parquet": (".parquet", ".pq"),
    "arrow": (".arrow", ".arrows", ".feather", ".ipc"),
}
"""What files of a folder are taken for those of the source."""


@contextmanager
def opened_source(
    connection: duckdb.DuckDBPyConnection, declaration: TableDeclaration
) -> Iterator[str]:
    """The SQL name of the source's relation, for as long as it is open.

    Raises `StateError` ("data_source") naming the file, and the column that it lacks; never a
    value.
    """
    source = declaration.source
    files = _files(source)
    try:
        relation = _open(connection, declaration, files)
        yield relation
    except (
        duckdb.Error,
        pa.ArrowException,
        sqlite3.Error,
        LookupError,
        OSError,
        UnicodeError,
        ValueError,
    ):
        # Their texts may quote rows, so they go nowhere.
        raise StateError(
            "data_source", f"expected `{source.path}` to be readable as {source.type}"
        ) from None
    finally:
        _close(connection, source)


def _files(source: SourceDeclaration) -> list[Path]:
    """The source's files, by name; in a folder those of its type, none that is hidden."""
    path, suffixes = source.path, _SUFFIXES.get(source.type)
    if suffixes is None or not path.is_dir():
        if not path.is_file():
            raise StateError("data_source", f"expected the source `{path}`, got no such file")
        return [path]
    found = [
        file
        for file in sorted(path.iterdir())
        if file.is_file() and file.suffix.lower() in suffixes and file.name[0] not in "._"
    ]
    if not found:
        raise StateError(
            "data_source",
            f"expected files that end in {', '.join(suffixes)} in the folder `{path}`, got none",
        )
    return found


def _open(
    connection: duckdb.DuckDBPyConnection, declaration: TableDeclaration, files: list[Path]
) -> str:
    source = declaration.source
    wanted = list(dict.fromkeys(entry.source_name or entry.name for entry in declaration.columns))
    if source.type == "parquet":
        for file in files:
            relation = f"read_parquet({text_literal(str(file))})"
            _require(file, wanted, list(column_types(connection, relation)))
        named = ", ".join(text_literal(str(file)) for file in files)
        return f"read_parquet([{named}], union_by_name = true)"
    if source.type == "duckdb":
        path = text_literal(str(source.path))
        connection.execute(f"ATTACH {path} AS {_ATTACHED} (READ_ONLY)")
        assert source.table is not None
        relation = f"{_ATTACHED}.{identifier(source.table)}"
        _require(source.path, wanted, list(column_types(connection, relation)))
        return relation
    tables = [_read(file, source, wanted) for file in files]
    connection.register(_ROWS, pa.concat_tables(tables, promote_options="permissive"))
    return _ROWS


def _read(file: Path, source: SourceDeclaration, wanted: list[str]) -> pa.Table:
    def require(names: list[str]) -> None:
        _require(file, wanted, names)

    if source.type == "arrow":
        return read_arrow(file, wanted, require)
    if source.type == "sqlite":
        return read_sqlite(file, source.table or "", wanted, require)
    return read_csv(file, source, wanted, require)


def _close(connection: duckdb.DuckDBPyConnection, source: SourceDeclaration) -> None:
    if source.type == "duckdb":
        connection.execute(f"DETACH DATABASE IF EXISTS {_ATTACHED}")
    elif source.type != "parquet":
        connection.unregister(_ROWS)


def column_types(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    """DuckDB's types of a relation's columns, by name."""
    found = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()  # noqa: S608
    return {str(row[0]): str(row[1]) for row in found}


def _require(path: Path, wanted: list[str], names: list[str]) -> None:
    for name in wanted:
        if names.count(name) != 1:
            got = "none" if name not in names else "several"
            raise StateError("data_source", f"expected a column `{name}` in `{path}`, got {got}")
