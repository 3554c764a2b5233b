"""A federation in this process: the same kinds, rules and plans, without keys, wire or sealing.

What a statistic computes does not depend on how its sums travel, so the properties of a method are
tested here, over many random partitions, and its way through real processes once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal

import duckdb
import numpy as np
import pandas as pd
from yumen.result import HeldBack, Result
from yumen.statistics.source import Provenance
from yumen_core.disclosure import DisclosureRules, local_flags, released, withhold
from yumen_core.errors import PeerError, StateError
from yumen_core.sql import (
    Column,
    ColumnType,
    TableSchema,
    finish,
    local_cells,
    local_sql,
    needs_centring,
    parse,
    parse_rows,
    read_rows,
    read_texts,
    rows_sql,
    storage_type,
)
from yumen_core.sql.row_groups import counted_groups, is_built, row_groups
from yumen_core.statistics.kinds import Rule, Totals
from yumen_core.statistics.layout import Reals, from_integers, to_integers
from yumen_core.statistics.registry import kind_of
from yumen_core.statistics.release import round_flags, round_keep, withheld
from yumen_core.statistics.rows import Rows, Variable, check_groups
from yumen_core.statistics.statistic import Statistic, parse_statistic

HELD = "held"


class InProcess:
    """`frames` are the nodes' rows, with the schema's columns (None or NaN where missing)."""

    def __init__(
        self,
        frames: Sequence[pd.DataFrame],
        schema: TableSchema,
        *,
        threshold: int = 1,
        min_nodes: int = 3,
        purpose: str = "research",
    ) -> None:
        self.schema = schema
        self.purpose = purpose
        self.rules = DisclosureRules(threshold=threshold, min_nodes=min_nodes)
        self.names = tuple(
            f"spiffe://test.example/org/o{at}/node/n{at}" for at in range(len(frames))
        )
        self._databases = [_held(frame, schema) for frame in frames]
        self.jobs: list[Statistic | str] = []
        """Everything asked, in order: a test counts jobs here."""

    def query(self, sql: str) -> Result:
        self.jobs.append(sql)
        plan = parse(sql, {self.schema.name: self.schema})
        cells = []
        for database in self._databases:
            rows = database.execute(local_sql(plan, HELD)).fetchall()
            centred = needs_centring(plan, rows)
            if centred:
                rows = database.execute(local_sql(plan, HELD, centred=True)).fetchall()
            cells.append(local_cells(plan, rows, centred=centred))
        flags = [local_flags(part.supports, self.rules) for part in cells]
        totals = np.sum(flags, axis=0, dtype=np.uint8)
        nodes = np.zeros(totals.shape, dtype=np.int64)
        sums = [[0] * len(plan.layout.values) for _ in range(plan.layout.cells)]
        for part, own in zip(cells, flags, strict=True):
            keep = released(totals, own, self.rules.min_nodes)
            nodes += keep
            kept = withhold(part.values, [v.support for v in plan.layout.values], keep)
            sums = [
                [a + b for a, b in zip(x, y, strict=True)] for x, y in zip(sums, kept, strict=True)
            ]
        answer = finish(plan, nodes.tolist(), sums)
        return Result(
            answer.table,
            job_id=f"job-{len(self.jobs)}",
            sql=sql,
            purpose=self.purpose,
            participants=self.names,
            held_back=tuple(HeldBack(c, n) for c, n in answer.held_back.items() if n),
            empty_cells=answer.empty_cells,
            measure_nodes=answer.nodes,
        )

    @contextmanager
    def compute(self, statistic: Statistic) -> Iterator[_Computation]:
        self.jobs.append(statistic)
        yield _Computation(self, parse_statistic(statistic.to_bytes()), self._databases)


class _Computation:
    def __init__(
        self,
        source: InProcess,
        statistic: Statistic,
        databases: Sequence[duckdb.DuckDBPyConnection],
    ) -> None:
        self._source = source
        self._statistic = statistic
        plan = parse_rows(statistic.sql, {source.schema.name: source.schema})
        self._variables = {v.name: Variable.of(v) for v in plan.variables}
        self._rows = []
        for database in databases:
            groups, none = row_groups(plan), ""
            if groups:
                whole, counts = counted_groups(
                    plan, groups, HELD, lambda sql, db=database: db.execute(sql).fetchall()[0]
                )
                none = " LIMIT 0" if whole < source.rules.threshold else ""
                try:
                    if not none:
                        check_groups([g.name for g in groups], counts, source.rules.threshold)
                except StateError as error:
                    raise PeerError(error.code, error.message, remedy=error.remedy) from error
            fetched = database.execute(rows_sql(plan, HELD) + none).fetchnumpy()
            numbers, codes = read_rows(plan, fetched)
            texts = read_texts(plan, fetched)
            built = frozenset(v.name for v in plan.variables if is_built(v.expr))
            self._rows.append(Rows(len(fetched["c0"]), numbers, codes, texts, built))
        self._runs: dict[str, int] = {}
        self.rounds = 0
        # Every party looks at every round before anything is computed.
        for entry in statistic.rounds:
            kind_of(entry.kind).layout(entry.arguments, self._variables)

    @property
    def provenance(self) -> Provenance:
        return Provenance(
            self._source.purpose,
            (f"job-{len(self._source.jobs)}",),
            self._source.names,
            (),
            self.rounds,
        )

    def run(self, name: str, inputs: Mapping[str, Reals] | None = None) -> Totals:
        names = [entry.name for entry in self._statistic.rounds]
        at = names.index(name)
        assert not any(later in self._runs for later in names[at + 1 :]), "rounds run in order"
        entry = self._statistic.rounds[at]
        self._runs[name] = self._runs.get(name, 0) + 1
        assert self._runs[name] <= entry.at_most, f"round {name} runs too often"
        assert self.rounds or not inputs, "the first round takes no inputs"
        self.rounds += 1
        kind = kind_of(entry.kind)
        layout = kind.layout(entry.arguments, self._variables)
        given = {key: np.asarray(value, dtype=np.float64) for key, value in (inputs or {}).items()}
        if self.rounds > 1:
            shapes = {key: value.shape for key, value in given.items()}
            assert shapes == dict(layout.inputs), f"{shapes} for {dict(layout.inputs)}"
        rules = self._source.rules
        try:
            locals_ = [kind.compute(rows, entry.arguments, given, rules) for rows in self._rows]
            flags = [round_flags(kind.rule, part.supports, rules) for part in locals_]
            totals = np.sum(flags, axis=0, dtype=np.uint8)
            nodes = np.zeros((layout.cells, len(layout.supports)), dtype=np.int64)
            sums = [[0] * len(layout.values) for _ in range(layout.cells)]
            for part, own in zip(locals_, flags, strict=True):
                keep = round_keep(
                    kind.rule,
                    layout,
                    totals,
                    own,
                    participants=len(locals_),
                    min_nodes=rules.min_nodes,
                )
                nodes += keep
                whole = to_integers(layout, withheld(layout, part, keep))
                sums = [
                    [a + b for a, b in zip(x, y, strict=True)]
                    for x, y in zip(sums, whole, strict=True)
                ]
        except StateError as error:
            raise PeerError(error.code, error.message, remedy=error.remedy) from error
        assert kind.rule in Rule
        return Totals(nodes, from_integers(layout, sums))


def split(frame: pd.DataFrame, parts: int, seed: int = 0) -> list[pd.DataFrame]:
    """`frame` in `parts` random parts of unequal size."""
    rng = np.random.default_rng(seed)
    share = rng.dirichlet(np.full(parts, 5.0))
    where = rng.choice(parts, size=len(frame), p=share)
    return [frame[where == part].reset_index(drop=True) for part in range(parts)]


def schema_of(frame: pd.DataFrame, name: str = "t") -> TableSchema:
    """A schema for a frame: floats with bounds around the data (from 0 where they are, and 0 to 1
    where they are that), integers with bounds, booleans,
    and text with its values as domain. Columns are nullable where they have a missing value."""
    columns = []
    for label in frame.columns:
        values = frame[label]
        present = values.dropna()
        nullable = bool(values.isna().any())
        if pd.api.types.is_bool_dtype(present):
            columns.append(Column(label, ColumnType.BOOLEAN, nullable=nullable))
        elif pd.api.types.is_integer_dtype(present):
            low, high = Decimal(int(present.min())), Decimal(int(present.max()))
            columns.append(
                Column(label, ColumnType.INTEGER, lower=low, upper=high, nullable=nullable)
            )
        elif pd.api.types.is_float_dtype(present):
            room = float(present.max() - present.min()) + 1.0
            least, most = float(present.min()), float(present.max())
            low = Decimal(repr(0.0 if 0 <= least < room else least - room))
            high = Decimal(repr(1.0 if least >= 0 and most <= 1 else most + room))
            columns.append(
                Column(label, ColumnType.FLOAT, lower=low, upper=high, nullable=nullable)
            )
        else:
            domain = tuple(sorted({str(value) for value in present}))
            columns.append(Column(label, ColumnType.TEXT, domain=domain, nullable=nullable))
    return TableSchema(name, tuple(columns))


def _held(frame: pd.DataFrame, schema: TableSchema) -> duckdb.DuckDBPyConnection:
    database = duckdb.connect(config={"threads": 1})
    held = pd.DataFrame(
        {
            column.name: pd.Series(
                [_value(column, value) for value in frame[column.name]], dtype=object
            )
            for column in schema.columns
        }
    )
    types = ", ".join(f'"{column.name}" {storage_type(column)}' for column in schema.columns)
    database.execute(f"CREATE TABLE {HELD} ({types})")
    if len(held):
        database.register("given", held.astype(object).where(held.notna(), None))
        selected = ", ".join(f'CAST("{c.name}" AS {storage_type(c)})' for c in schema.columns)
        database.execute(f"INSERT INTO {HELD} SELECT {selected} FROM given")
        database.unregister("given")
    return database


def _value(column: Column, value: object) -> object:
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    match column.type:
        case ColumnType.TEXT if column.domain is not None:
            return column.domain.index(str(value))
        case ColumnType.DECIMAL:
            return int(Decimal(str(value)).scaleb(column.scale))
        case ColumnType.FLOAT:
            return float(str(value))
        case ColumnType.INTEGER:
            return int(str(int(value)))  # type: ignore[call-overload]
    return value
