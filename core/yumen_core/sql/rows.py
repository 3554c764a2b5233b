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
from yumen_core.sql import operators
from yumen_core.sql.expression import (
    Apply,
    ColumnRef,
    Constant,
    Expr,
    Kind,
    Op,
    branches,
    to_json,
    walk,
)
from yumen_core.sql.grouping import exact_column, exact_columns
from yumen_core.sql.keys import key_of
from yumen_core.sql.local import key_places
from yumen_core.sql.operators import TypeFault
from yumen_core.sql.plan import PLAN_VERSION, Behind, Key, Touched
from yumen_core.sql.render import render, render_float, render_key
from yumen_core.sql.schema import DomainValue, TableSchema
from yumen_core.sql.storage import identifier
from yumen_core.sql.subgroups import MAX_SUBGROUPS, Part, odd_divisor, subgroups
from yumen_core.sql.temporal_evaluate import moment_text

MAX_VARIABLES = 500
MAX_DEGREE = 6
"""Columns multiplied with one another: a high power of a column is next to nothing on all rows but
the most extreme."""
KEY_TEXT = "key of each row"
"""A variable of this name is a column read as text, whose values nobody declared (ADR 16)."""


@dataclass(frozen=True)
class RowVariable:
    """One expression of the statement, under the name messages use.

    `numeric` says whether it has a number for each row (booleans count as 0 and 1); `levels` are
    its known values in order, of dates as ISO 8601 texts, or None where they are not known
    beforehand. `textual` says whether it is read as text instead, to find keys nobody declared:
    then it has neither, and no kind of round but `keys` takes it.
    """

    name: str
    expr: Expr
    key: Key | None

    @property
    def textual(self) -> bool:
        return self.name == KEY_TEXT

    @property
    def numeric(self) -> bool:
        return not self.textual and (self.expr.kind.numeric or self.expr.kind is Kind.BOOLEAN)

    @property
    def levels(self) -> tuple[DomainValue, ...] | None:
        if self.key is None or not self.expr.kind.temporal:
            return None if self.key is None else self.key.domain
        return tuple(moment_text(self.expr.kind, int(value)) for value in self.key.domain)


@dataclass(frozen=True)
class RowsPlan:
    """The rows of one table that `where` chooses, and the variables read of each."""

    schema: TableSchema
    where: Expr | None
    variables: tuple[RowVariable, ...]

    @property
    def table(self) -> str:
        return self.schema.name

    @property
    def joined(self) -> dict[str, TableSchema]:
        """The other tables that are read: a statistic reads one table."""
        return {}

    def touched(self, table: str) -> Touched:
        """What is read of the table of that name."""
        if table != self.table:
            return Touched(frozenset(), frozenset(), frozenset(), frozenset())
        return Touched(self.columns, self.filters, self.group_by, self.group_bands)

    @cached_property
    def filters(self) -> frozenset[str]:
        """Columns that WHERE touches."""
        return _columns(() if self.where is None else (self.where,))

    @cached_property
    def group_by(self) -> frozenset[str]:
        """Columns without numbers: a statistic can only use them as groups, by exact value."""
        return exact_columns(v.expr for v in self.variables if not v.numeric)

    @cached_property
    def group_bands(self) -> frozenset[str]:
        """Columns behind an expression without numbers, such as a CASE with texts."""
        return _columns(
            v.expr for v in self.variables if not v.numeric and exact_column(v.expr) is None
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

    Raises `CallError` (`sql_type`) for an expression that has neither a number nor known levels,
    and for a KEY_TEXT that is no column of texts or integers without a declared domain.
    """
    if name == KEY_TEXT:
        if not may_be_key_text(expr):
            raise CallError(
                "sql_type",
                f"expected `{KEY_TEXT}` to be a column of texts or integers without a declared "
                "domain, got another expression",
            )
        return RowVariable(name, expr, None)
    try:
        key = None if isinstance(expr, Constant) else key_of(expr)
    except TypeFault as fault:
        if not (expr.kind.numeric or expr.kind is Kind.BOOLEAN):
            raise CallError(
                "sql_type", f"`{name}` cannot be used in a statistic: {fault.message}"
            ) from None
        key = None
    return RowVariable(name, expr, key)


def may_be_key_text(expr: Expr) -> bool:
    """Whether the values of `expr` can be found by a round of `keys`."""
    return (
        isinstance(expr, ColumnRef)
        and expr.kind in (Kind.TEXT, Kind.INTEGER)
        and expr.column.domain is None
    )


def check_readable(name: str, expr: Expr) -> None:
    """Whether a statistic may sum `expr`, as in a query. Raises `TypeFault`."""
    if not expr.kind.numeric:
        return
    if odd_divisor(expr):
        raise TypeFault("in a statistic a divisor is a number or a column")
    if len(subgroups(expr)) > MAX_SUBGROUPS:
        raise TypeFault(f"expected at most {MAX_SUBGROUPS} branches and terms in `{name}`")
    if _degree(expr) > MAX_DEGREE:
        raise TypeFault(f"expected products of at most {MAX_DEGREE} columns in `{name}`")


def _degree(expr: Expr) -> int:
    """How many columns are multiplied, at most, in any term."""
    if isinstance(expr, ColumnRef):
        return 1
    if not isinstance(expr, Apply):
        return 0
    parts = [_degree(arg) for arg in expr.args]
    return sum(parts) if expr.op in (Op.MUL, Op.DIV) else max(parts, default=0)


def built_groups(plan: RowsPlan) -> list[tuple[str, Part]]:
    """The subgroups of rows that the statement builds inside its variables, by variable: each must
    have rows enough at a node, or a sum would tell of few (`subgroups`, `row_groups`)."""
    found: list[tuple[str, Part]] = []
    for variable in plan.variables:
        expr = variable.expr
        if _leaves_out(expr):
            found.append((variable.name, (_missing(expr), Behind.NOT_NULL)))
        if not expr.kind.numeric or isinstance(expr, ColumnRef | Constant) or fills(expr):
            continue
        if not _indicates(expr):
            found.append((variable.name, (expr, Behind.NOT_ZERO)))
        found += [(variable.name, part) for part in subgroups(expr)]
    return found


def _leaves_out(expr: Expr) -> bool:
    """A CASE decides which rows have a value: those it leaves out are a subgroup as well."""
    cases = (node for node in walk(expr) if isinstance(node, Apply) and node.op is Op.CASE)
    return any(
        result.kind is Kind.NULL
        for case in cases
        for result in (*(value for _, value in branches(case)), case.args[-1])
    )


def _missing(expr: Expr) -> Expr:
    return operators.case([(operators.is_null(expr), operators.number("1"))], operators.null())


def fills(expr: Expr) -> bool:
    """A column with a constant within its bounds where it is missing: any value it could have."""
    if not (isinstance(expr, Apply) and expr.op is Op.CASE and len(expr.args) == 3):
        return False
    condition, value, column = expr.args
    if not (isinstance(value, Constant) and isinstance(column, ColumnRef)):
        return False
    if not (isinstance(condition, Apply) and condition.op is Op.IS_NULL):
        return False
    if condition.args != (column,) or value.bounds is None or column.bounds is None:
        return False
    return column.bounds.hull(value.bounds) == column.bounds


def _indicates(expr: Expr) -> bool:
    """One value on some rows and 0 or NULL on the others: as much as a condition tells."""
    if not (isinstance(expr, Apply) and expr.op is Op.CASE):
        return False
    results = [*(value for _, value in branches(expr)), expr.args[-1]]
    telling = [v for v in results if not (isinstance(v, Constant) and not v.value)]
    return len(telling) == 1 and isinstance(telling[0], Constant)


def rows_sql(plan: RowsPlan, relation: str) -> str:
    """DuckDB SQL over the table `relation`, held as `storage` says: one row for each chosen row,
    for each variable its number (DOUBLE) if it has one, then its level as held if it has one; for
    one read as text, that (VARCHAR)."""
    selected: list[str] = []
    for variable in plan.variables:
        if variable.textual:
            selected.append(f"CAST({render(variable.expr)} AS VARCHAR)")
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
        if variable.textual:
            next(columns)
        if variable.numeric:
            numbers[variable.name] = _filled(next(columns))
        if variable.key is not None:
            codes[variable.name] = _codes(variable.key, next(columns), variable.name)
    return numbers, codes


def read_texts(
    plan: RowsPlan, fetched: Mapping[str, npt.NDArray[np.generic]]
) -> dict[str, list[str | None]]:
    """Texts by variable (None where missing), from what `fetchnumpy` gives for `rows_sql`."""
    texts: dict[str, list[str | None]] = {}
    columns = iter(fetched[f"c{at}"] for at in range(len(fetched)))
    for variable in plan.variables:
        if variable.textual:
            texts[variable.name] = [
                value if isinstance(value, str) else None for value in next(columns).tolist()
            ]
        for present in (variable.numeric, variable.key is not None):
            if present:
                next(columns)
    return texts


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
