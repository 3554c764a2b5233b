"""A declared table, loaded once into a private database of this process.

Trust line: the database is in memory, has no file, no network and no extension to load, and its
configuration is locked before the first query; only SQL built from a plan runs in it. Nothing
spills to disk: a query beyond `memory_limit` fails.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import numpy as np
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
    rows_sql,
)
from yumen_core.statistics.rows import Rows

from yumen_node.datasets.declaration import TableDeclaration
from yumen_node.datasets.loading import TABLE, load_rows
from yumen_node.datasets.quality import QualityReport
from yumen_node.datasets.source import opened_source

_BEFORE_LOADING = (
    "SET temp_directory = ''",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET allow_community_extensions = false",
)
_AFTER_LOADING = ("SET enable_external_access = false", "SET lock_configuration = true")


class Dataset:
    """Answers plans over one table. Its methods may be called from several threads at once."""

    def __init__(
        self,
        declaration: TableDeclaration,
        connection: duckdb.DuckDBPyConnection,
        quality: QualityReport,
    ) -> None:
        self.declaration = declaration
        self.schema: TableSchema = declaration.schema()
        self.quality = quality
        self._connection = connection

    @classmethod
    def open(
        cls, declaration: TableDeclaration, *, threads: int = 2, memory_limit: str = "2GB"
    ) -> Dataset:
        """Load the source as `loading` says.

        `memory_limit` is DuckDB's, such as 2GB. Raises `StateError` ("data_source") naming file and
        column.
        """
        connection = duckdb.connect(config={"threads": threads, "memory_limit": memory_limit})
        try:
            for statement in _BEFORE_LOADING:
                connection.execute(statement)
            with opened_source(connection, declaration) as relation:
                quality = load_rows(connection, declaration, relation)
            for statement in _AFTER_LOADING:
                connection.execute(statement)
        except BaseException:
            connection.close()
            raise
        return cls(declaration, connection, quality)

    def cells(self, plan: Plan, *, timeout_s: float) -> LocalCells:
        """This node's part of the query.

        Raises `StateError`: "deadline" after `timeout_s` seconds, "state" where the plan is of
        another schema, "data_source" where the database cannot answer.
        """
        if plan.schema.digest != self.schema.digest:
            raise StateError("state", f"expected a plan of the table `{self.schema.name}` as held")
        with self._cursor(timeout_s) as cursor:
            rows = cursor.execute(local_sql(plan, TABLE)).fetchall()
            centred = needs_centring(plan, rows)
            if centred:
                rows = cursor.execute(local_sql(plan, TABLE, centred=True)).fetchall()
        return local_cells(plan, rows, centred=centred)

    def rows(self, plan: RowsPlan, *, timeout_s: float) -> Rows:
        """The rows that a statistic is computed over. They stay in this process.

        Raises as `cells`.
        """
        if plan.schema.digest != self.schema.digest:
            raise StateError("state", f"expected a plan of the table `{self.schema.name}` as held")
        with self._cursor(timeout_s) as cursor:
            fetched = cursor.execute(rows_sql(plan, TABLE)).fetchnumpy()
        columns = {name: c for name, c in fetched.items() if isinstance(c, np.ndarray)}
        numbers, codes = read_rows(plan, columns)
        return Rows(len(columns["c0"]), numbers, codes)

    def close(self) -> None:
        """Drop the rows from memory."""
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
