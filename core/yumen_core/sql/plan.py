"""The plan of a query: what every party derives, alike, from the statement and the schema.

A plan says which rows count (`where`), how they fall into cells (`keys`), what each node sums per
cell (`layout`), and how released sums become the result (`measures`, `outputs`, `having`, `order`,
`limit`, `offset`). Its digest is named in the job.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from yumen_core import canonical
from yumen_core.canonical import Json
from yumen_core.disclosure import FLAGS_OF_A_MARGIN, Margins
from yumen_core.sql.expression import ColumnRef, Expr, to_json, walk
from yumen_core.sql.grouping import exact_column, exact_columns
from yumen_core.sql.schema import Column, DomainValue, TableSchema

PLAN_VERSION = 2
ROWS_BITS = 40
MAX_ROWS = (1 << ROWS_BITS) - 1


class Function(StrEnum):
    COUNT = "count"
    COUNT_DISTINCT = "count_distinct"
    SUM = "sum"
    AVG = "avg"
    VAR_SAMP = "var_samp"
    STDDEV_SAMP = "stddev_samp"
    VAR_POP = "var_pop"
    STDDEV_POP = "stddev_pop"
    COVAR_SAMP = "covar_samp"
    COVAR_POP = "covar_pop"
    CORR = "corr"
    REGR_SLOPE = "regr_slope"
    REGR_INTERCEPT = "regr_intercept"
    REGR_R2 = "regr_r2"


class SumKind(StrEnum):
    """What one summed value is: rows; rows where e is not null; sum of e; sum of e squared; sum of
    e times another expression."""

    ROWS = "rows"
    COUNT = "count"
    SUM = "sum"
    SQUARES = "squares"
    PRODUCTS = "products"


class Behind(StrEnum):
    """Which rows stand behind an argument: not null, or not null and not 0."""

    NOT_NULL = "not null"
    NOT_ZERO = "not zero"


@dataclass(frozen=True)
class Value:
    """One summed value of a cell: an integer of at most `bits` bits at each node.

    The quantity is integer * 10**-scale * 2**exponent. `argument` numbers `Plan.arguments`
    (None for rows), `other` the second factor of products; the two are NULL on the same rows.
    `support` numbers `Layout.supports`. A signed value lies in
    [-2**(bits-1), 2**(bits-1)), an unsigned one in [0, 2**bits).
    """

    kind: SumKind
    argument: int | None
    support: int
    bits: int
    signed: bool
    scale: int = 0
    exponent: int = 0
    other: int | None = None


@dataclass(frozen=True)
class Support:
    """How many rows of a cell stand behind some values: the least count of its parts.

    Each part is (argument number, which rows); without parts it is the rows of the cell.
    """

    parts: tuple[tuple[int, Behind], ...] = ()


@dataclass(frozen=True)
class Layout:
    """What a node contributes: for each of `cells`, one integer per value, in order.

    `support_parts` describes the supports; support 0 is the rows of the cell. With `folds` the
    cells are those of all keys, then level after level of margins (GROUP BY ROLLUP): each fold is
    the number of positions of the key that the level leaves out, the last key first.
    """

    cells: int
    support_parts: tuple[Support, ...]
    values: tuple[Value, ...]
    folds: tuple[int, ...] = ()

    @property
    def supports(self) -> int:
        return len(self.support_parts)

    @property
    def flags(self) -> int:
        """Flags of a cell in the support round."""
        return self.supports * (FLAGS_OF_A_MARGIN if self.folds else 1)

    @cached_property
    def details(self) -> int:
        """The cells of all keys."""
        product, sizes = 1, 1
        for fold in reversed(self.folds):
            product *= fold
            sizes += product
        return self.cells * product // sizes

    @cached_property
    def margins(self) -> Margins | None:
        """The shape of the margins, None without."""
        if not self.folds:
            return None
        summed = {value.support for value in self.values}
        tight = {at for at in range(self.supports) if self._is_tight(at)}
        return Margins(self.details, self.folds, frozenset(summed), frozenset(tight))

    def _is_tight(self, support: int) -> bool:
        """Whether no value on this support takes anything from a row that it does not count."""
        parts = self.support_parts[support].parts
        arguments = {value.argument for value in self.values if value.support == support}
        if not parts or not arguments:
            return True
        return len(arguments) == 1 and parts == ((*arguments, Behind.NOT_NULL),)


@dataclass(frozen=True)
class Key:
    """One group key: `expr` takes the values of `domain`, and NULL where `nullable`.

    A cell's number is the mixed-radix number of its key positions, the first key most significant;
    NULL comes last among the positions of its key. Dates and timestamps are in a domain as the
    whole numbers of `temporal`. Margins come after all of these (`Layout`).
    """

    expr: Expr
    domain: tuple[DomainValue, ...]
    nullable: bool

    @property
    def positions(self) -> int:
        return len(self.domain) + self.nullable

    def value(self, position: int) -> DomainValue | None:
        return self.domain[position] if position < len(self.domain) else None


@dataclass(frozen=True)
class Measure:
    """One aggregate: `values` and `supports` number the layout's, `arguments` the plan's, in the
    order written (none for rows). COUNT(DISTINCT) has no values and one support per value of its
    domain."""

    function: Function
    arguments: tuple[int, ...]
    values: tuple[int, ...]
    supports: tuple[int, ...]


@dataclass(frozen=True)
class Output:
    name: str
    expr: Expr


@dataclass(frozen=True)
class Ordering:
    expr: Expr
    descending: bool
    nulls_first: bool


@dataclass(frozen=True)
class Join:
    """A table joined by its key, so that each row before meets one of its rows at most.

    `on` pairs, in the order of the key, a column of a table before with a column of the key.
    `optional` keeps the rows that meet none (LEFT JOIN); else they are left out.
    """

    schema: TableSchema
    on: tuple[tuple[ColumnRef, Column], ...]
    optional: bool


@dataclass(frozen=True)
class Touched:
    """The columns of one table that a plan reads, by use; `columns` holds them all."""

    columns: frozenset[str]
    filters: frozenset[str]
    group_by: frozenset[str]
    group_bands: frozenset[str]


@dataclass(frozen=True)
class Plan:
    """See the module's text. Built by `parse` only. `joins` are numbered from 1 as sources of
    columns; the table of `schema` is source 0."""

    schema: TableSchema
    where: Expr | None
    keys: tuple[Key, ...]
    arguments: tuple[Expr, ...]
    measures: tuple[Measure, ...]
    layout: Layout
    outputs: tuple[Output, ...]
    having: Expr | None
    order: tuple[Ordering, ...]
    limit: int | None
    offset: int
    joins: tuple[Join, ...] = ()

    @property
    def table(self) -> str:
        return self.schema.name

    @property
    def joined(self) -> dict[str, TableSchema]:
        """The other tables that are read, by name, in order."""
        found = {join.schema.name: join.schema for join in self.joins}
        found.pop(self.table, None)
        return found

    @property
    def refs(self) -> tuple[ColumnRef, ...]:
        """Every column that a node reads to compute its cells, once, in order."""
        exprs = [*(key.expr for key in self.keys), *self.arguments]
        exprs += [] if self.where is None else [self.where]
        found = (node for expr in exprs for node in walk(expr) if isinstance(node, ColumnRef))
        return tuple(dict.fromkeys(found))

    def touched(self, table: str) -> Touched:
        """What is read of the table of that name, wherever in the statement it stands."""
        schemas = (self.schema, *(join.schema for join in self.joins))
        sources = {at for at, schema in enumerate(schemas) if schema.name == table}

        def names(exprs: Iterable[Expr]) -> frozenset[str]:
            nodes = (node for expr in exprs for node in walk(expr) if isinstance(node, ColumnRef))
            return frozenset(node.column.name for node in nodes if node.source in sources)

        told = self._told_apart
        exact = exact_columns(told)
        banded = [expr for expr in told if exact_column(expr) is None]
        filters = names([] if self.where is None else [self.where])
        for at, join in enumerate(self.joins, start=1):
            filters |= names(before for before, _ in join.on)
            if at in sources:
                filters |= {column.name for _, column in join.on}
        columns = names([*told, *self.arguments]) | filters
        return Touched(columns, filters, names(told) & exact, names(banded))

    @property
    def grouped(self) -> bool:
        return bool(self.keys)

    @property
    def aggregates(self) -> frozenset[str]:
        """The aggregate functions used, in lower case."""
        return frozenset(measure.function.value for measure in self.measures)

    @property
    def group_by(self) -> frozenset[str]:
        """Columns of the table that are told apart by their exact value: group keys, and what
        COUNT(DISTINCT) counts."""
        return self.touched(self.table).group_by

    @property
    def group_bands(self) -> frozenset[str]:
        """Columns of the table that are told apart in bands: in a CASE, a condition, or by parts of
        a date."""
        return self.touched(self.table).group_bands

    @property
    def _told_apart(self) -> list[Expr]:
        counted = [
            self.arguments[measure.arguments[0]]
            for measure in self.measures
            if measure.function is Function.COUNT_DISTINCT
        ]
        return [*(key.expr for key in self.keys), *counted]

    @property
    def filters(self) -> frozenset[str]:
        """Columns of the table that WHERE or a join touches."""
        return self.touched(self.table).filters

    @property
    def columns(self) -> frozenset[str]:
        """Every column of the table that the node reads for this plan."""
        return self.touched(self.table).columns

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over the canonical JSON of the whole plan: 32 bytes."""
        return canonical.digest(self.to_json())

    def describe(self) -> str:
        """One line in words: what is asked of which rows, by which groups."""
        from yumen_core.sql.describe import describe  # it reads plans, so it comes after them

        return describe(self)

    def to_json(self) -> dict[str, Json]:
        plan: dict[str, Json] = {
            "version": PLAN_VERSION,
            "schema": self.schema.digest.hex(),
            "where": None if self.where is None else to_json(self.where),
            "keys": [[to_json(key.expr), list(key.domain), key.nullable] for key in self.keys],
            "arguments": [to_json(argument) for argument in self.arguments],
            "measures": [_measure_json(measure) for measure in self.measures],
            "layout": _layout_json(self.layout),
            "outputs": [[output.name, to_json(output.expr)] for output in self.outputs],
            "having": None if self.having is None else to_json(self.having),
            "order": [
                [to_json(entry.expr), entry.descending, entry.nulls_first] for entry in self.order
            ],
            "limit": self.limit,
            "offset": self.offset,
        }
        if self.joins:
            plan["joins"] = [_join_json(join) for join in self.joins]
        return plan


def _join_json(join: Join) -> Json:
    pairs = [[to_json(before), column.name] for before, column in join.on]
    return [join.schema.digest.hex(), pairs, join.optional]


def _measure_json(measure: Measure) -> Json:
    return [
        measure.function.value,
        list(measure.arguments),
        list(measure.values),
        list(measure.supports),
    ]


def _layout_json(layout: Layout) -> dict[str, Json]:
    return {
        "cells": layout.cells,
        "folds": list(layout.folds),
        "supports": [
            [[argument, behind.value] for argument, behind in support.parts]
            for support in layout.support_parts
        ],
        "values": [
            [
                value.kind.value,
                value.argument,
                value.support,
                value.bits,
                value.signed,
                value.scale,
                value.exponent,
                value.other,
            ]
            for value in layout.values
        ],
    }
