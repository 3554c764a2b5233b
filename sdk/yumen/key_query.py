"""GROUP BY over values that nobody declared: one job finds the keys, a second asks the query.

The first is a statistic of `keys` rounds (ADR 16): it tells which values have rows enough at enough
nodes. The second is the statement with the key written out over these values, so that all a query
promises holds of it.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from yumen_core.errors import CallError, PeerError
from yumen_core.sql.rows import KEY_TEXT
from yumen_core.sql.schema import Column, ColumnType, TableSchema
from yumen_core.sql.source import MAX_TEXT_BYTES, MAX_TOKENS, Source
from yumen_core.statistics.keys import MAX_KEY_BYTES, SALT_BYTES, known_input, told_keys
from yumen_core.statistics.statistic import Round, Statistic

from yumen.display import counted
from yumen.statistics.source import Provenance
from yumen.statistics.source import Source as Asks
from yumen.statistics.table import quoted

BUCKETS = 4096
RUNS = 3


@dataclass(frozen=True)
class Found:
    """The keys in rising order, and the job that found them."""

    keys: tuple[str, ...]
    provenance: Provenance


class KeyStatement:
    """A query of one table that groups by one of its columns without a declared domain."""

    def __init__(self, sql: str, schema: TableSchema, column: Column) -> None:
        self.sql = sql
        self.schema = schema
        self.column = column

    @property
    def rows(self) -> str:
        """The signed statement of the rows whose keys are sought."""
        where = Source(self.sql).tree.args.get("where")
        condition = "" if where is None else f" {_bare(where).sql(dialect=DuckDB)}"
        name, table = quoted(self.column.name), quoted(self.schema.name)
        return f"SELECT {name} AS {quoted(KEY_TEXT)} FROM {table}{condition}"  # noqa: S608

    def statistic(self, *, buckets: int = BUCKETS, runs: int = RUNS) -> Statistic:
        """The job that finds the keys, with a fresh salt for each of `runs` rounds."""
        rounds = tuple(
            Round(
                f"keys_{run + 1}",
                "keys",
                {
                    "buckets": buckets,
                    "known": run * buckets,
                    "salt": secrets.token_hex(SALT_BYTES),
                    "variable": KEY_TEXT,
                },
            )
            for run in range(runs)
        )
        return Statistic("keys", self.rows, rounds)

    def over(self, keys: Sequence[str]) -> str:
        """The statement with the key written out over `keys`, one at least, and over no other row.

        Raises `CallError` (`sql_too_large`) where so many do not fit a statement.
        """
        texts = [self._literal(key) for key in keys]
        select = Source(self.sql).tree.copy()
        name = quoted(self.column.name)
        whens = " ".join(f"WHEN {text} THEN {text}" for text in texts[:-1])
        first = whens or f"WHEN {texts[0]} THEN {texts[0]}"
        case: exp.Expr = exp.maybe_parse(
            f"CASE {name} {first} ELSE {texts[-1]} END", dialect=DuckDB
        )
        self._write_key(select, case)
        known = f"{name} IN ({', '.join(texts)})"
        written: str = select.where(known, dialect=DuckDB, copy=False).sql(dialect=DuckDB)
        tokens = len(list(DuckDB().tokenize(written)))
        if len(written.encode()) > MAX_TEXT_BYTES or tokens > MAX_TOKENS:
            raise CallError(
                "sql_too_large",
                f"expected keys of `{self.column.name}` that fit one statement, got {len(keys)}",
                remedy="choose fewer rows with WHERE",
            )
        return written

    def _literal(self, key: str) -> str:
        if self.column.type is ColumnType.INTEGER:
            return str(int(key))
        return "'" + key.replace("'", "''") + "'"

    def _write_key(self, select: exp.Select, case: exp.Expr) -> None:
        """The key as `case` where it stands outside an aggregate; by its number, once selected."""
        keys = [
            node
            for node in select.args["group"].expressions
            if self._is_column(_meant(select, node, self.schema))
        ]
        for item in list(select.expressions):
            if self._is_column(item):
                item.replace(exp.alias_(case.copy(), item.name, quoted=True))
            else:
                self._write_inside(item, case)
        selected = [
            place
            for place, item in enumerate(select.expressions, 1)
            if isinstance(item, exp.Alias) and item.this == case
        ]
        order = select.args.get("order")
        for entry in () if order is None else order.expressions:
            if selected and self._is_column(entry.this):
                keys.append(entry.this)
        for node in keys:
            node.replace(exp.Literal.number(selected[0]) if selected else case.copy())
        for clause in (select.args.get("having"), order):
            if clause is not None:
                self._write_inside(clause, case)

    def _write_inside(self, node: exp.Expr, case: exp.Expr) -> None:
        for column in list(node.find_all(exp.Column)):
            inside = column.find_ancestor(exp.AggFunc, exp.Case)
            if inside is None and self._is_column(column):
                column.replace(case.copy())

    def _is_column(self, node: exp.Expr) -> bool:
        return isinstance(node, exp.Column) and node.name.casefold() == self.column.name.casefold()


def undeclared_key(sql: str, schemas: Sequence[TableSchema]) -> KeyStatement | None:
    """The statement, where its one fault may be that it groups by a column of texts or integers
    whose values nobody declared; None for any other."""
    try:
        select = Source(sql).tree
    except CallError:
        return None
    source, group = select.args.get("from_"), select.args.get("group")
    if source is None or group is None or not isinstance(source.this, exp.Table):
        return None
    if select.args.get("joins") or select.args.get("with_") or select.find(exp.Subquery):
        return None
    schema = next((s for s in schemas if s.name.casefold() == source.this.name.casefold()), None)
    if schema is None:
        return None
    found: list[Column] = []
    for node in group.expressions:
        meant = _meant(select, node, schema)
        column = schema.find(meant.name) if isinstance(meant, exp.Column) else None
        undeclared = column is not None and column.domain is None
        if (
            column is not None
            and undeclared
            and column.type
            in (
                ColumnType.TEXT,
                ColumnType.INTEGER,
            )
        ):
            found.append(column)
    return KeyStatement(sql, schema, found[0]) if len(found) == 1 else None


def find_keys(source: Asks, statement: KeyStatement, *, buckets: int = BUCKETS) -> Found:
    """The keys that have the table's threshold of rows at the minimum of nodes: one job.

    Each round leaves out the keys found before it, so that those that shared a bucket come apart. A
    key of more than 60 bytes, or with a control or format character, is not found.

    Leaves each node: nothing of a key with fewer rows than its threshold; of others the bytes, told
    only as a sum over the minimum of nodes that have the same key. Raises `PeerError`
    (`too_few_rows`) where there is none.
    """
    statistic = statement.statistic(buckets=buckets)
    keys: list[str] = []
    with source.compute(statistic) as job:
        for entry in statistic.rounds:
            salt, known = str(entry.arguments["salt"]), int(str(entry.arguments["known"]))
            inputs = known_input(keys, salt, buckets, known) if known else None
            keys += [key for key in told_keys(job.run(entry.name, inputs), salt) if key not in keys]
        provenance = job.provenance
    if not keys:
        raise PeerError(
            "too_few_rows",
            f"expected a value of `{statement.column.name}` with rows enough at enough nodes, "
            "got none",
            remedy="group by something coarser, or choose more rows",
        )
    whole = statement.column.type is ColumnType.INTEGER
    ordered = sorted(keys, key=int) if whole else sorted(keys)
    return Found(tuple(ordered), provenance)


def notes_of(found: Found, statement: KeyStatement) -> tuple[str, ...]:
    """What a reader of the second job's result should know of the first."""
    name = statement.column.name
    return (
        f"{counted(len(found.keys), 'value')} of {name} found by job "
        f"{', '.join(found.provenance.job_ids)}",
        f"values of {name} with too few rows at each node, or at too few nodes, or of more than "
        f"{MAX_KEY_BYTES} bytes are not there",
    )


def _meant(select: exp.Select, node: exp.Expr, schema: TableSchema) -> exp.Expr:
    """What a GROUP BY entry writes: an ordinal, or an alias that is no column, stands for its
    output."""
    items = [
        (entry.alias, entry.this) if isinstance(entry, exp.Alias) else ("", entry)
        for entry in select.expressions
    ]
    if isinstance(node, exp.Literal) and node.is_int and 1 <= int(node.this) <= len(items):
        ordinal: exp.Expr = items[int(node.this) - 1][1]
        return ordinal
    if isinstance(node, exp.Column) and schema.find(node.name) is None:
        for alias, item in items:
            if alias and alias.casefold() == node.name.casefold():
                named: exp.Expr = item
                return named
    return node


def _bare(node: exp.Expr) -> exp.Expr:
    """The same with columns by their names alone."""
    plain = node.copy()
    for column in list(plain.find_all(exp.Column)):
        column.set("table", None)
    return plain
