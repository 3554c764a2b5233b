"""Rows for a statistic: which columns and expressions of which rows a node reads, and how.

A statistic's signed statement is a SELECT of expressions over single rows. No row leaves a node:
the statement says what the node's own rounds of secure sums are computed over. It is read by the
same grammar as a query, so every rule on columns, types and bounds holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from yumen_core import canonical
from yumen_core.errors import CallError, StateError
from yumen_core.sql.expression import ColumnRef, Constant, Expr, Kind, to_json, walk
from yumen_core.sql.keys import key_of
from yumen_core.sql.local import key_places
from yumen_core.sql.operators import TypeFault
from yumen_core.sql.plan import PLAN_VERSION, Key
from yumen_core.sql.render import render, render_float, render_key
from yumen_core.sql.schema import DomainValue, TableSchema
from yumen_core.sql.storage import identifier

MAX_VARIABLES = 500


@dataclass(frozen=True)
class RowVariable:
    """One expression of the statement, under the name messages use.

    `numeric` says whether it has a number for each row (booleans count as 0 and 1); `levels` are
    its known values in order, or None where they are not known beforehand.
    """

    name: str
    expr: Expr
    key: Key | None

    @property
    def numeric(self) -> bool:
        return self.expr.kind.numeric or self.expr.kind is Kind.BOOLEAN

    @property
    def levels(self) -> tuple[DomainValue, ...] | None:
        return None if self.key is None else self.key.domain


@dataclass(frozen=True)
class RowsPlan:
    """The rows of one table that `where` chooses, and the variables read of each."""

    schema: TableSchema
    where: Expr | None
    variables: tuple[RowVariable, ...]

    @property
    def table(self) -> str:
        return self.schema.name

    @cached_property
    def filters(self) -> frozenset[str]:
        """Columns that WHERE touches."""
        return _columns(() if self.where is None else (self.where,))

    @cached_property
    def group_by(self) -> frozenset[str]:
        """Columns without numbers: a statistic can only use them as groups, by exact value."""
        return _columns(
            v.expr for v in self.variables if not v.numeric and isinstance(v.expr, ColumnRef)
        )

    @cached_property
    def group_bands(self) -> frozenset[str]:
        """Columns behind an expression without numbers, such as a CASE with texts."""
        return _columns(
            v.expr for v in self.variables if not v.numeric and not isinstance(v.expr, ColumnRef)
        )

    @cached_property
    def columns(self) -> frozenset[str]:
        """Every column that the node reads for this plan."""
        return self.filters | _columns(variable.expr for variable in self.variables)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over the canonical JSON of the plan: 32 bytes."""
        return canonical.digest(
            {
                "version": PLAN_VERSION,
                "schema": self.schema.digest.hex(),
                "where": None if self.where is None else to_json(self.where),
                "variables": [[v.name, to_json(v.expr)] for v in self.variables],
            }
        )


def row_variable(name: str, expr: Expr) -> RowVariable:
    """A variable with its levels, where they are known beforehand.

    Raises `CallError` (`sql_type`) for an expression that has neither a number nor known levels.
    """
    try:
        key = None if isinstance(expr, Constant) else key_of(expr)
    except TypeFault as fault:
        if not (expr.kind.numeric or expr.kind is Kind.BOOLEAN):
            raise CallError(
                "sql_type", f"`{name}` cannot be used in a statistic: {fault.message}"
            ) from None
        key = None
    return RowVariable(name, expr, key)


def rows_sql(plan: RowsPlan, relation: str) -> str:
    """DuckDB SQL over the table `relation`, held as `storage` says: one row for each chosen row,
    for each variable its number (DOUBLE) if it has one, then its level as held if it has one."""
    selected: list[str] = []
    for variable in plan.variables:
        if variable.numeric:
            selected.append(_number(variable.expr))
        if variable.key is not None:
            selected.append(render_key(variable.key))
    where = "" if plan.where is None else f" WHERE {render(plan.where)}"
    named = ", ".join(f"{text} AS c{at}" for at, text in enumerate(selected))
    return f"SELECT {named} FROM {identifier(relation)}{where}"  # noqa: S608


def read_rows(
    plan: RowsPlan, fetched: Mapping[str, npt.NDArray[np.generic]]
) -> tuple[dict[str, npt.NDArray[np.float64]], dict[str, npt.NDArray[np.int32]]]:
    """Numbers (NaN where missing) and level codes (-1 where missing) by variable, from what
    DuckDB's `fetchnumpy` gives for `rows_sql`.

    Raises `StateError` (`data_source`) for a level outside its domain.
    """
    numbers: dict[str, npt.NDArray[np.float64]] = {}
    codes: dict[str, npt.NDArray[np.int32]] = {}
    columns = iter(fetched[f"c{at}"] for at in range(len(fetched)))
    for variable in plan.variables:
        if variable.numeric:
            numbers[variable.name] = _filled(next(columns))
        if variable.key is not None:
            codes[variable.name] = _codes(variable.key, next(columns), variable.name)
    return numbers, codes


def _number(expr: Expr) -> str:
    if expr.kind is Kind.BOOLEAN:
        return f"CAST({render(expr)} AS DOUBLE)"
    return render_float(expr)


def _filled(column: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    if isinstance(column, np.ma.MaskedArray):
        return np.ma.filled(column.astype(np.float64), np.nan)
    return np.ascontiguousarray(column, dtype=np.float64)


def _codes(key: Key, column: npt.NDArray[np.generic], name: str) -> npt.NDArray[np.int32]:
    missing = np.zeros(column.shape, dtype=np.bool_)
    if isinstance(column, np.ma.MaskedArray):
        missing = np.ma.getmaskarray(column)
        column = column.filled(0)
    places = {value: at for value, at in key_places(key).items() if value is not None}
    held = np.array([int(str(value)) for value in places], dtype=np.int64)
    order = np.argsort(held)
    whole = np.asarray(column, dtype=np.int64)
    at = np.searchsorted(held[order], whole).clip(0, len(held) - 1)
    known = held[order][at] == whole
    if not (known | missing).all():
        raise StateError("data_source", f"expected values of `{name}` in its domain, got another")
    positions = np.array(list(places.values()), dtype=np.int32)[order]
    codes: npt.NDArray[np.int32] = np.where(missing, np.int32(-1), positions[at])
    return codes


def _columns(exprs: Iterable[Expr] | Sequence[Expr]) -> frozenset[str]:
    return frozenset(
        node.column.name for expr in exprs for node in walk(expr) if isinstance(node, ColumnRef)
    )
