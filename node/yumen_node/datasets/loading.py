"""From a source's rows to the table as the node holds it, in one SQL pipeline.

Per column, in this order: (1) an absent, empty or listed null value, or NaN, is missing; (2) `map`
renames; (3) a value of another type is mistyped; (4) a value outside bounds or domain is out. What
is mistyped or out becomes missing, or drops its row where the declaration says so. Then (5) a row
that lacks a value in a column that is not nullable is dropped. Every step is counted.

Types are read leniently where nothing is lost: `63.0` is an integer, `63.5` is not; decimals beyond
the scale are rounded half away from zero; yes/no, true/false, t/f, y/n and 1/0 are booleans. Dates
and timestamps are read as `moments` says.
"""

from __future__ import annotations

from decimal import Decimal

import duckdb
from yumen_core.errors import StateError
from yumen_core.sql import ColumnType, storage_type
from yumen_core.sql.schema import Bound
from yumen_core.sql.storage import identifier, temporal_literal, text_literal

from yumen_node.datasets import moments
from yumen_node.datasets.declaration import ColumnDeclaration, OutOfBounds, TableDeclaration
from yumen_node.datasets.quality import ColumnQuality, QualityReport
from yumen_node.datasets.source import column_types

_INTEGERS = (
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT",
    "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT",
)  # fmt: skip
_FLOATS = ("FLOAT", "DOUBLE")
_TRUE = "('true', 't', 'yes', 'y', '1', '1.0')"
_FALSE = "('false', 'f', 'no', 'n', '0', '0.0')"


def load_rows(
    connection: duckdb.DuckDBPyConnection, declaration: TableDeclaration, relation: str, name: str
) -> QualityReport:
    """Fill the table `name` from `relation` and report on it. Raises `duckdb.Error`."""
    stages = _stages(connection, declaration, relation)
    kept = _kept(declaration)
    counts = ", ".join(
        f"count(*) FILTER (r{at} IS NULL), "
        f"count(*) FILTER (r{at} IS NOT NULL AND t{at} IS NULL), "
        f"count(*) FILTER (t{at} IS NOT NULL AND v{at} IS NULL)"
        for at in range(len(declaration.columns))
    )
    found = connection.execute(
        f"SELECT count(*), count(*) FILTER ({kept}), {counts} FROM ({stages})"  # noqa: S608
    ).fetchone()
    assert found is not None
    names = ", ".join(
        f"v{at} AS {identifier(entry.name)}" for at, entry in enumerate(declaration.columns)
    )
    connection.execute(
        f"CREATE TABLE {identifier(name)} AS SELECT {names} FROM ({stages}) WHERE {kept}"  # noqa: S608
    )
    for at in range(len(declaration.columns)):
        connection.execute(f"DROP TYPE IF EXISTS domain{at}")
    return _report(declaration, [int(count) for count in found])


def check_names(declaration: TableDeclaration) -> None:
    """Whether no column hides the places of the rows. Raises `StateError` (`table_declaration`)."""
    if any(entry.name.casefold() == "rowid" for entry in declaration.columns):
        raise StateError(
            "table_declaration",
            f"expected no column named `rowid` in table `{declaration.name}`, got one",
            remedy="give it another name, with the one in the source as `source_name`",
        )


def check_key(
    connection: duckdb.DuckDBPyConnection, declaration: TableDeclaration, name: str
) -> None:
    """Whether no two rows of the table `name` share a key: a join would count them for one.

    Raises `StateError` ("data_source"), without a value.
    """
    if not declaration.key:
        return
    columns = ", ".join(identifier(column) for column in declaration.key)
    twice = connection.execute(
        f"SELECT 1 FROM {identifier(name)} GROUP BY {columns} HAVING count(*) > 1 LIMIT 1"  # noqa: S608
    ).fetchone()
    if twice is not None:
        names = " and ".join(f"`{column}`" for column in declaration.key)
        raise StateError(
            "data_source",
            f"expected one row of table `{declaration.name}` for each key {names}, got several",
            remedy="correct the source, or declare the table without a key",
        )


def _report(declaration: TableDeclaration, counts: list[int]) -> QualityReport:
    columns = []
    for at, entry in enumerate(declaration.columns):
        missing, mistyped, out = counts[2 + 3 * at : 5 + 3 * at]
        bounded = entry.domain is None
        columns.append(
            ColumnQuality(
                entry.name, missing, mistyped, out if bounded else 0, 0 if bounded else out
            )
        )
    return QualityReport(counts[0], counts[1], tuple(columns))


def _kept(declaration: TableDeclaration) -> str:
    tests = ["TRUE"]
    for at, entry in enumerate(declaration.columns):
        if not entry.nullable:
            tests.append(f"v{at} IS NOT NULL")
        elif declaration.out_of_bounds is OutOfBounds.DROP_ROW:
            tests.append(f"(r{at} IS NULL OR v{at} IS NOT NULL)")
    return " AND ".join(tests)


def _stages(
    connection: duckdb.DuckDBPyConnection, declaration: TableDeclaration, relation: str
) -> str:
    """Columns r0.. (as in the source, null where missing), t0.. (typed), v0.. (valid, as held)."""
    nulls = ["", *declaration.source.null_values]
    types = column_types(connection, relation)
    raw, typed, valid = [], [], []
    for at, entry in enumerate(declaration.columns):
        native = _native(entry, types[entry.source_name or entry.name])
        raw.append(f"{_raw(entry, nulls, native)} AS r{at}")
        typed.append(f"{_typed(entry, f'r{at}', native)} AS t{at}")
        valid.append(f"{_valid(connection, entry, at)} AS v{at}")
    raws = ", ".join(f"r{at}" for at in range(len(raw)))
    kinds = ", ".join(f"t{at}" for at in range(len(raw)))
    return (
        f"SELECT {raws}, {kinds}, {', '.join(valid)} FROM ("  # noqa: S608
        f"SELECT {raws}, {', '.join(typed)} FROM (SELECT {', '.join(raw)} FROM {relation}))"
    )


def _native(entry: ColumnDeclaration, held: str) -> str:
    """The source's own type where values need not pass through text, else VARCHAR."""
    if entry.map or entry.format:
        return "VARCHAR"
    if entry.type is ColumnType.BOOLEAN:
        return "BOOLEAN" if held == "BOOLEAN" else "VARCHAR"
    if entry.type is ColumnType.TEXT:
        return "VARCHAR"
    if entry.type.temporal:
        return held if held in moments.NATIVE else "VARCHAR"
    if held in _INTEGERS or held in _FLOATS or held.startswith("DECIMAL"):
        return held
    return "VARCHAR"


def _raw(entry: ColumnDeclaration, nulls: list[str], native: str) -> str:
    """NULL where missing; text is trimmed, in Unicode NFC and renamed."""
    name = identifier(entry.source_name or entry.name)
    if native in _FLOATS:
        return f"CASE WHEN isnan({name}) THEN NULL ELSE {name} END"
    if native != "VARCHAR":
        return name
    text = f"nfc_normalize(trim(CAST({name} AS VARCHAR)))"
    listed = ", ".join(text_literal(value) for value in nulls)
    present = f"CASE WHEN {text} IN ({listed}) THEN NULL ELSE {text} END"
    if not entry.map:
        return present
    whens = " ".join(
        f"WHEN {text_literal(_text(old))} THEN "
        + ("NULL" if new is None else text_literal(_text(new)))
        for old, new in entry.map.items()
    )
    return f"CASE {present} {whens} ELSE {present} END"


def _text(value: bool | int | str) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _typed(entry: ColumnDeclaration, raw: str, native: str) -> str:
    if native == "BOOLEAN":
        return raw
    match entry.type:
        case ColumnType.TEXT:
            return raw
        case ColumnType.BOOLEAN:
            low = f"lower({raw})"
            return f"CASE WHEN {low} IN {_TRUE} THEN TRUE WHEN {low} IN {_FALSE} THEN FALSE END"
        case ColumnType.DATE:
            return moments.date(raw, native, entry.format)
        case ColumnType.TIMESTAMP:
            return moments.timestamp(raw, native, entry.format)
        case ColumnType.FLOAT:
            number = f"TRY_CAST({raw} AS DOUBLE)"
            return f"CASE WHEN isfinite({number}) THEN {number} END"
        case ColumnType.DECIMAL:
            factor = f"CAST({10**entry.scale} AS DECIMAL({entry.scale + 1}, 0))"
            scaled = f"TRY_CAST({raw} AS DECIMAL(19, {entry.scale})) * {factor}"
            return f"TRY_CAST({scaled} AS BIGINT)"
    if native in _INTEGERS:
        return f"TRY_CAST({raw} AS BIGINT)"
    number = f"TRY_CAST({raw} AS DOUBLE)"
    return f"CASE WHEN {number} = floor({number}) THEN TRY_CAST({raw} AS BIGINT) END"


def _valid(connection: duckdb.DuckDBPyConnection, entry: ColumnDeclaration, at: int) -> str:
    column, typed = entry.column(), f"t{at}"
    held = storage_type(column)
    if column.domain is not None:
        if column.type is ColumnType.TEXT:
            members = ", ".join(text_literal(str(value)) for value in column.domain)
            connection.execute(f"CREATE TYPE domain{at} AS ENUM ({members})")
            return f"CAST(enum_code(TRY_CAST({typed} AS domain{at})) AS {held})"
        members = ", ".join(str(value) for value in column.domain)
        return f"CASE WHEN {typed} IN ({members}) THEN CAST({typed} AS {held}) END"
    tests = []
    if column.lower is not None:
        tests.append(f"{typed} >= {_literal(column.lower, column.type, column.scale)}")
    if column.upper is not None:
        tests.append(f"{typed} <= {_literal(column.upper, column.type, column.scale)}")
    if not tests:
        return f"CAST({typed} AS {held})"
    return f"CASE WHEN {' AND '.join(tests)} THEN CAST({typed} AS {held}) END"


def _literal(bound: Bound, kind: ColumnType, scale: int) -> str:
    if not isinstance(bound, Decimal):
        return temporal_literal(bound)
    if kind is ColumnType.FLOAT:
        return f"CAST({text_literal(repr(float(bound)))} AS DOUBLE)"
    return str(int(bound * 10**scale))
