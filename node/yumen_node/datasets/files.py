"""Source files as Arrow tables of the wanted columns alone.

What has no types of its own, CSV and SQLite, comes as text; `loading` reads texts by the declared
types. `require` is called with the file's column names before a row is read, and raises.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pyarrow as pa
from pyarrow import csv
from yumen_core.errors import StateError
from yumen_core.sql.storage import identifier

from yumen_node.datasets.declaration import SourceDeclaration

Require = Callable[[list[str]], None]
_BATCH_ROWS = 1 << 16


def read_csv(
    file: Path, source: SourceDeclaration, wanted: Sequence[str], require: Require
) -> pa.Table:
    """A CSV file with a header line."""
    reading = csv.ReadOptions(encoding=source.encoding or "utf8")
    parsing = csv.ParseOptions(delimiter=source.delimiter or ",", newlines_in_values=True)
    with csv.open_csv(file, read_options=reading, parse_options=parsing) as reader:
        require([str(name) for name in reader.schema.names])
    return csv.read_csv(
        file,
        read_options=reading,
        parse_options=parsing,
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(wanted, pa.string()),
            include_columns=list(wanted),
            strings_can_be_null=False,
        ),
    )


def read_arrow(file: Path, wanted: Sequence[str], require: Require) -> pa.Table:
    """An Arrow IPC file (Feather version 2) or stream, dictionaries decoded."""
    with pa.OSFile(str(file)) as opened:
        try:
            table = pa.ipc.open_file(opened).read_all()
        except pa.ArrowInvalid:  # a stream has no magic bytes at its end
            opened.seek(0)
            table = pa.ipc.open_stream(opened).read_all()
    require(list(table.column_names))
    table = table.select(list(wanted))
    for place, column in enumerate(table.columns):
        if pa.types.is_dictionary(column.type):
            plain = column.cast(column.type.value_type)
            table = table.set_column(place, table.column_names[place], plain)
    return table


def read_sqlite(file: Path, name: str, wanted: Sequence[str], require: Require) -> pa.Table:
    """A table or view of a SQLite file, whose values have types of their own, each as text.

    Raises `StateError` ("data_source") for bytes, which no declared type reads.
    """
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
        names = database.execute("SELECT name FROM pragma_table_info(?)", (name,)).fetchall()
        if not names:
            raise StateError("data_source", f"expected a table `{name}` in `{file}`, got none")
        require([column for (column,) in names])
        columns = ", ".join(identifier(column) for column in wanted)
        rows = database.execute(f"SELECT {columns} FROM {identifier(name)}")  # noqa: S608
        schema = pa.schema([(column, pa.string()) for column in wanted])
        batches = []
        while fetched := rows.fetchmany(_BATCH_ROWS):
            texts = [
                pa.array([_text(value, column, file) for value in values], pa.string())
                for column, values in zip(wanted, zip(*fetched, strict=True), strict=True)
            ]
            batches.append(pa.record_batch(texts, schema=schema))
    return pa.Table.from_batches(batches, schema=schema)


def _text(value: object, column: str, file: Path) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        raise StateError(
            "data_source",
            f"expected numbers or text in column `{column}` of `{file}`, got bytes",
            remedy="leave the column out, or make a view that casts it",
        )
    return repr(value)
