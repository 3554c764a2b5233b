"""Formulas such as `y ~ age + C(sex) + log(chol)`: from text to a design and SQL expressions.

formulaic's parser gives the terms; nothing of the text is evaluated, here or at a node.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

from yumen_core.errors import CallError
from yumen_core.sql import Column, ColumnType, RowVariable, TableSchema, parse_rows
from yumen_core.sql.expression import Kind
from yumen_core.sql.schema import DomainValue
from yumen_core.statistics.design import (
    MAX_COLUMNS,
    MAX_FACTORS,
    MAX_NAME_CHARS,
    Design,
    DesignColumn,
    Factor,
)

from yumen.statistics.coding import Product, coded
from yumen.statistics.formula_text import Sides, parsed
from yumen.statistics.python_sql import fault
from yumen.statistics.table import Table, quoted
from yumen.statistics.terms import Written, call_factor, column_factor

if TYPE_CHECKING:
    from formulaic.parser.types import Factor as Token
    from formulaic.parser.types import Term


@dataclass(frozen=True)
class Levels:
    """The levels of a categorical factor in order, and the one that has no column of its own."""

    variable: str
    labels: tuple[DomainValue, ...]
    reference: DomainValue


@dataclass(frozen=True)
class Model:
    """A formula as read. `response` is None where the formula has no left side; it is a number for
    each row (a condition counts as 0 and 1). `variables` maps the names that `design` and
    `response` use to SQL expressions, for `Table.rows`. `levels` is by categorical factor, as the
    formula writes it."""

    formula: str
    response: Factor | None
    response_name: str
    design: Design
    variables: Mapping[str, str]
    levels: Mapping[str, Levels]


def parse_formula(table: Table, formula: str, *, response: bool = True) -> Model:
    """Read `formula` over the columns of `table`; `response=False` for one without a left side.

    `+`, `:`, `*`, `**`, `/`, `-`, brackets, `-1` or `0 +`; `C(x)`, `C(x, Treatment("ref"))`,
    `C(x, levels=[...])`; `I(arithmetic or condition)`; log, log2, log10, log1p, exp and sqrt, with
    or without `np.`; names in backticks. Text and booleans are categorical by themselves. Names
    and coding are those of patsy and formulaic; terms stand by degree, then as written.

    Raises `CallError` (`formula`) that names the term at fault and what would pass.
    """
    sides = parsed(formula, response=response)
    reader = _Reader(table)
    name, left = "", None
    if sides.left is not None:
        name, left = reader.response(sides.left)
    terms = [tuple(map(reader.factor, _factors(term))) for term in _by_degree(sides)]
    levels = {f.text: reader.levels(f) for term in terms for f in term if reader.categorical(f)}
    design = _design(terms, levels, reader)
    return Model(formula, left, name, design, reader.variables, levels)


class _Reader:
    """The factors of one formula, and the variables they read."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._known: dict[str, RowVariable] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._factors: dict[str, Written] = {}
        self.variables: dict[str, str] = {}

    def factor(self, factor: Token) -> Written:
        if factor.expr not in self._factors:
            self._factors[factor.expr] = self._read(factor)
        return self._factors[factor.expr]

    def variable(self, factor: Written) -> str:
        """The name of the factor's variable in the statement: its own, unless another has it."""
        return self._names[factor.variable, factor.sql]

    def categorical(self, factor: Written) -> bool:
        kind = self._known[self.variable(factor)].expr.kind
        return factor.categorical or (
            factor.function == "identity" and kind in (Kind.TEXT, Kind.BOOLEAN)
        )

    def levels(self, factor: Written) -> Levels:
        found = self._known[self.variable(factor)].levels
        if found is None:
            raise fault(
                factor.text,
                "levels that are known beforehand",
                "a column without a declared domain",
                f"write C({factor.variable}, levels=[...]) with the levels to use",
            )
        reference = found[0] if factor.reference is None else factor.reference
        if reference not in found:
            shown = ", ".join(f"`{level}`" for level in found[:10])
            raise fault(factor.text, f"a reference among {shown}", f"`{reference}`")
        return Levels(self.variable(factor), found, reference)

    def response(self, term: Term) -> tuple[str, Factor]:
        """The left side's name, and its number for each row."""
        factors = _factors(term)
        if len(factors) != 1:
            raise fault(str(term), "one column as the response", "a product")
        written = self.factor(factors[0])
        known = self._known[self.variable(written)]
        if written.categorical or not known.numeric:
            shown = written.column or written.variable
            level = f'"{known.levels[-1]}"' if known.levels else '"level"'
            raise fault(
                written.text,
                "a number or a condition as the response",
                "levels",
                f"write {shown}" if known.numeric else f"write I({shown} == {level})",
            )
        return written.text, Factor(known.name, written.function)

    def _read(self, factor: Token) -> Written:
        match factor.eval_method.value:
            case "lookup":
                written = column_factor(self._table, factor.expr)
            case "python":
                written = call_factor(self._table, factor.expr, _shown(factor))
            case _:
                raise fault(factor.expr, "columns", "a literal")
        self._declare(written)
        return written

    def _declare(self, written: Written) -> None:
        key = (written.variable, written.sql)
        if key in self._names:
            return
        if written.column is not None and not written.levels:
            self._check_text(written, self._table.column(written.column))
        name = written.variable
        while name in self.variables:
            name += "'"
        self._names[key] = name
        known = self._known[name] = self._typed(name, written)
        if written.function != "identity" and not known.numeric:
            raise fault(written.text, f"a number for `{written.function}`", "levels")
        self.variables[name] = written.sql

    def _check_text(self, written: Written, column: Column | None) -> None:
        if column is not None and column.type is ColumnType.TEXT and column.domain is None:
            raise fault(
                written.text,
                "a number, or text with a declared domain",
                "text whose values are not known beforehand",
                f"write C({written.text}, levels=[...]) or I({written.text} == ...)",
            )

    def _typed(self, name: str, written: Written) -> RowVariable:
        sql = self._table.sql(written.sql)
        try:
            plan = parse_rows(
                f"SELECT {sql} AS {quoted(name)} FROM {quoted(self._table.name)}",  # noqa: S608
                {self._table.name: self._schema},
            )
        except CallError as error:
            raise CallError(
                "formula",
                f"in the term `{written.text[:200]}`: {error.message}",
                remedy=error.remedy,
            ) from None
        return plan.variables[0]

    @cached_property
    def _schema(self) -> TableSchema:
        columns = [self._table.column(name) for name in self._table.columns]
        return TableSchema(self._table.name, tuple(c for c in columns if c is not None))


def _design(
    terms: Sequence[tuple[Written, ...]], levels: Mapping[str, Levels], reader: _Reader
) -> Design:
    by_text = {factor.text: factor for term in terms for factor in term}
    products = coded([[factor.text for factor in term] for term in terms], levels)
    size = sum(_size(entry, levels) for entry in products)
    if not 1 <= size <= MAX_COLUMNS:
        raise CallError(
            "formula",
            f"expected a formula with 1 to {MAX_COLUMNS} columns, got {size}",
            remedy="use fewer terms, or columns with fewer levels",
        )
    columns: list[DesignColumn] = []
    for entry in products:
        choices = [
            list(_choices(by_text[one.factor], one.full, levels.get(one.factor), reader))
            for one in entry
        ]
        for chosen in product(*reversed(choices)):  # the first factor varies fastest
            parts = chosen[::-1]
            name = ":".join(label for label, _ in parts) or "Intercept"
            if len(name) > MAX_NAME_CHARS:
                raise fault(name, f"a name of at most {MAX_NAME_CHARS} characters", "a longer one")
            columns.append(DesignColumn(name, tuple(factor for _, factor in parts)))
    _check_once(columns)
    used = {entry.variable: entry.labels for entry in levels.values()}
    return Design(tuple(columns), used)


def _check_once(columns: Sequence[DesignColumn]) -> None:
    """Refuse two names for one column, such as `x + I(x)`."""
    seen: dict[frozenset[Factor], str] = {}
    for column in columns:
        first = seen.setdefault(frozenset(column.factors), column.name)
        if first != column.name:
            raise fault(column.name, "each column once", f"the same as `{first}`")


def _choices(
    factor: Written, full: bool, levels: Levels | None, reader: _Reader
) -> Iterator[tuple[str, Factor]]:
    """What one factor contributes to the columns of a product, each with its label."""
    if levels is None:
        yield factor.text, Factor(reader.variable(factor), factor.function)
        return
    for at, label in enumerate(levels.labels):
        if full:
            yield f"{factor.text}[{label}]", Factor(levels.variable, level=at)
        elif label != levels.reference:
            yield f"{factor.text}[T.{label}]", Factor(levels.variable, level=at)


def _size(entry: Product, levels: Mapping[str, Levels]) -> int:
    return math.prod(
        len(levels[one.factor].labels) - (not one.full) for one in entry if one.factor in levels
    )


def _by_degree(sides: Sides) -> list[Term]:
    return sorted(sides.right, key=lambda term: term.degree)


def _factors(term: Term) -> list[Any]:
    """The factors of a term; none for the intercept."""
    if str(term) == "1":
        return []
    if len(term.factors) > MAX_FACTORS:
        raise fault(str(term), f"at most {MAX_FACTORS} factors", f"{len(term.factors)}")
    return list(term.factors)


def _shown(factor: Token) -> str:
    """The factor's text with the quotes as written: statsmodels' names keep them."""
    token = factor.token
    if token is None or token.source is None or token.source_start is None:
        return str(factor.expr)
    written = token.source[token.source_start : (token.source_end or token.source_start) + 1]
    if "'" in written or '"' in str(factor.expr):
        return str(factor.expr)
    return str(factor.expr).replace("'", '"')
