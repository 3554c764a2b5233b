"""Declared tables, loaded once into one private database of this process.

Trust line: the database is in memory, has no file, no network and no extension to load, and its
configuration is locked before the first query; only SQL built from a plan runs in it. Nothing
spills to disk: a query beyond `memory_limit` fails.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from yumen_core.disclosure.dominance import Dominance
from yumen_core.disclosure.row_set import RowSet
from yumen_core.errors import StateError
from yumen_core.sql import (
    LocalCells,
    Plan,
    RowsPlan,
    TableSchema,
    local_cells,
    local_sql,
    needs_centring,
    read_rows,
    read_texts,
    rows_sql,
)
from yumen_core.sql.dominated import open_peaks, tops_sql, without_dominated
from yumen_core.sql.row_groups import counted_groups, is_built, row_groups
from yumen_core.sql.row_parts import row_parts
from yumen_core.sql.row_sets import asks_rows, numbers_by_cell, part_key, row_sets_sql
from yumen_core.sql.table_rows import domain_texts, table_columns, table_sql
from yumen_core.statistics.rows import Rows, check_groups

from yumen_node.datasets.cell_sets import CellSets, KeptSets, PlanSets
from yumen_node.datasets.declaration import DisclosureDeclaration, TableDeclaration
from yumen_node.datasets.loading import check_key, check_names, load_rows
from yumen_node.datasets.numbers import Numbers, RowNumbers
from yumen_node.datasets.quality import QualityReport
from yumen_node.datasets.source import opened_source

_BEFORE_LOADING = (
    "SET temp_directory = ''",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET allow_community_extensions = false",
)
_AFTER_LOADING = ("SET enable_external_access = false", "SET lock_configuration = true")


@dataclass(frozen=True)
class _Held:
    """A table as the database holds it."""

    name: str
    schema: TableSchema
    numbers: Numbers
    disclosure: DisclosureDeclaration


class Dataset:
    """Answers plans over one table, joined with others of its node where the plan says so.

    Its methods may be called from several threads at once.
    """

    def __init__(
        self,
        declaration: TableDeclaration,
        connection: duckdb.DuckDBPyConnection,
        quality: QualityReport,
        held: dict[str, _Held],
        open_names: set[str],
    ) -> None:
        self.declaration = declaration
        self.schema: TableSchema = declaration.schema()
        self.quality = quality
        self._connection = connection
        self._held = held
        self._open_names = open_names
        self._sets = KeptSets()

    @classmethod
    def open(
        cls, declaration: TableDeclaration, *, threads: int = 2, memory_limit: str = "2GB"
    ) -> Dataset:
        """The only table of a node: see `open_all`."""
        opened = cls.open_all([declaration], threads=threads, memory_limit=memory_limit)
        return opened[declaration.name]

    @classmethod
    def open_all(
        cls,
        declarations: Sequence[TableDeclaration],
        *,
        threads: int = 2,
        memory_limit: str = "2GB",
        row_numbers: RowNumbers | None = None,
    ) -> dict[str, Dataset]:
        """Load the sources of a node's tables as `loading` says, into one database, so that they
        can be joined. Names must be distinct.

        `memory_limit` is DuckDB's, a whole number and a unit such as 2GB, for each table: the
        database may use as many times that as it has tables. Raises `StateError` ("data_source")
        naming file and column, or the key that rows share.
        """
        limit = _times(memory_limit, max(len(declarations), 1))
        connection = duckdb.connect(config={"threads": threads, "memory_limit": limit})
        try:
            for statement in _BEFORE_LOADING:
                connection.execute(statement)
            held: dict[str, _Held] = {}
            quality: dict[str, QualityReport] = {}
            for number, declaration in enumerate(declarations):
                schema, name = declaration.schema(), f"rows {number}"
                check_names(declaration)
                with opened_source(connection, declaration) as relation:
                    quality[declaration.name] = load_rows(connection, declaration, relation, name)
                check_key(connection, declaration, name)
                if row_numbers is None:
                    ((count,),) = connection.execute(
                        f'SELECT count(*) FROM "{name}"'  # noqa: S608
                    ).fetchall()
                    numbers = np.arange(count, dtype=np.uint32)
                else:
                    numbers = row_numbers.of(connection, schema.name, name, schema.columns)
                held[declaration.name] = _Held(name, schema, numbers, declaration.disclosure)
            for statement in _AFTER_LOADING:
                connection.execute(statement)
        except BaseException:
            connection.close()
            raise
        open_names = set(held)
        return {
            entry.name: cls(entry, connection, quality[entry.name], held, open_names)
            for entry in declarations
        }

    def cells(self, plan: Plan, *, timeout_s: float, private: bool = False) -> LocalCells:
        """This node's part of the query. Behind a sum that a few values make up by the rules of
        this table or one it joins, one row at most is counted; not where it is `private`, as what
        leaves with noise may not hang on that.

        Raises `StateError`: "deadline" after `timeout_s` seconds, "state" where the plan is of
        another schema of this table or of one that it joins, "data_source" where the database
        cannot answer.
        """
        schemas = (plan.schema, *(join.schema for join in plan.joins))
        table, *joined = [self._name(schema) for schema in schemas]
        declared = [self._held[schema.name].disclosure for schema in schemas]
        threshold = max(entry.threshold for entry in declared)
        rules: tuple[Dominance, ...] = ()
        if not private:
            rules = tuple({entry.rules: None for entry in declared if entry.rules.on})
        peaks = bool(rules)
        with self._cursor(timeout_s) as cursor:
            rows = cursor.execute(local_sql(plan, table, joined, peaks=peaks)).fetchall()
            centred = needs_centring(plan, rows)
            if centred:
                again = local_sql(plan, table, joined, centred=True, peaks=peaks)
                rows = cursor.execute(again).fetchall()
            cells = local_cells(plan, rows, centred=centred)
            if not rules:
                return cells
            asked = open_peaks(plan, cells, rows, rules, threshold, centred=centred)
            if not asked:
                return cells
            tops = cursor.execute(tops_sql(plan, table, joined, asked, rules)).fetchall()
        return without_dominated(plan, cells, rows, tops, asked, rules, threshold, centred=centred)

    def row_sets(self, plan: Plan | RowsPlan, *, timeout_s: float) -> PlanSets:
        """The rows behind each detail cell and each sum, of each table that they come from; those
        of a statistic or a training as cell 0. Raises as `cells`."""
        schemas = (plan.schema, *(j.schema for j in plan.joins)) if isinstance(plan, Plan) else (
            plan.schema,
        )  # fmt: skip
        table, *others = [self._name(schema) for schema in schemas]
        numbers = [self._held[schema.name].numbers for schema in schemas]
        parts = row_parts(plan)

        def make(lacking: Sequence[int]) -> list[CellSets]:
            chosen = [parts[at] for at in lacking]
            columns: dict[str, npt.NDArray[np.generic]] = {}
            if asks_rows(plan, chosen):
                with self._cursor(timeout_s) as cursor:
                    statement = row_sets_sql(plan, table, others, chosen)
                    fetched = cursor.sql(statement).to_arrow_table()
                columns = {name: fetched[name].to_numpy() for name in fetched.column_names}
            found = numbers_by_cell(plan, columns, numbers, chosen)
            return [CellSets({c: RowSet.of(rows) for c, rows in part.items()}) for part in found]

        sets = self._sets.of([part_key(plan, part) for part in parts], make)
        names = tuple(schemas[part.source].name for part in parts)
        return PlanSets(parts, names, tuple(sets))

    @property
    def disclosure(self) -> DisclosureDeclaration:
        """What must stand behind a value of this table."""
        return self.declaration.disclosure

    @property
    def version(self) -> bytes:
        """SHA-256 that names the rows as held, whatever their order: 32 bytes."""
        whole = hashlib.sha256(self.schema.digest)
        whole.update(RowSet.of(self._held[self.schema.name].numbers).digest)
        return whole.digest()

    def rows(self, plan: RowsPlan, *, threshold: int, timeout_s: float) -> Rows:
        """The rows that a statistic is computed over. They stay in this process.

        Raises as `cells`, and `StateError` (`too_few_rows`) where the statement builds a subgroup
        with fewer than `threshold` rows here, which may be none. Where the statement chooses fewer
        rows than that, and builds a subgroup, it gets none: so many or none must look the same.
        """
        table = self._name(plan.schema)
        groups = row_groups(plan) if threshold else []
        none = ""
        with self._cursor(timeout_s) as cursor:
            if groups:
                whole, counts = counted_groups(
                    plan, groups, table, lambda sql: cursor.execute(sql).fetchall()[0]
                )
                none = " LIMIT 0" if whole < threshold else ""
                if not none:
                    check_groups([group.name for group in groups], counts, threshold)
            fetched = cursor.execute(rows_sql(plan, table) + none).fetchnumpy()
        columns = {name: c for name, c in fetched.items() if isinstance(c, np.ndarray)}
        numbers, codes = read_rows(plan, columns)
        built = frozenset(v.name for v in plan.variables if is_built(v.expr))
        return Rows(len(columns["c0"]), numbers, codes, read_texts(plan, columns), built)

    def parquet(self, plan: RowsPlan, path: Path, *, timeout_s: float) -> int:
        """Write the rows of a training to a Parquet file for this user alone; how many they are.

        Types are those of `table_rows`. The file is whole or not there; one of that name is
        replaced. Raises as `cells`, and `OSError` where the file cannot be written.
        """
        statement = table_sql(plan, self._name(plan.schema))
        with self._cursor(timeout_s) as cursor:
            fetched = cursor.sql(statement).to_arrow_table()
        table = _with_texts(fetched, plan)
        partial = path.with_name(f"{path.name}.partial")
        partial.unlink(missing_ok=True)
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                pq.write_table(table, file)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return int(table.num_rows)

    def _name(self, schema: TableSchema) -> str:
        """What the database calls the table of that schema."""
        held = self._held.get(schema.name)
        if held is None or held.schema.digest != schema.digest:
            raise StateError("state", f"expected a plan of the table `{schema.name}` as held")
        return held.name

    def close(self) -> None:
        """Answer no more plans. The rows leave memory with the last table of the node."""
        self._open_names.discard(self.schema.name)
        if not self._open_names:
            self._connection.close()

    @contextmanager
    def _cursor(self, timeout_s: float) -> Iterator[duckdb.DuckDBPyConnection]:
        late = threading.Event()
        cursor = self._connection.cursor()

        def stop() -> None:
            late.set()
            cursor.interrupt()

        timer = threading.Timer(timeout_s, stop)
        timer.start()
        try:
            yield cursor
        except duckdb.Error:
            if late.is_set():
                raise StateError(
                    "deadline", f"expected the query to end within {timeout_s:g} s"
                ) from None
            # The text of the error may quote rows, so it goes nowhere.
            raise StateError(
                "data_source", f"the table `{self.schema.name}` could not be queried"
            ) from None
        finally:
            timer.cancel()
            timer.join()
            cursor.close()


def _times(limit: str, tables: int) -> str:
    unit = limit.lstrip("0123456789")
    return f"{int(limit.removesuffix(unit)) * tables}{unit}"


def _with_texts(fetched: pa.Table, plan: RowsPlan) -> pa.Table:
    """Positions in a domain as its texts."""
    for place, column in enumerate(table_columns(plan)):
        texts = domain_texts(column)
        if texts is not None:
            positions = fetched.column(place).combine_chunks()
            values = pa.array(texts, pa.string()).take(positions)
            fetched = fetched.set_column(place, column.name, values)
    return fetched
