"""The design matrix of a model: from signed columns to numbers, at one node.

A column is a product of factors over one row: a variable's number, a function of it, or whether a
variable is at a level. A column without factors is the intercept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

import numpy as np
import numpy.typing as npt

from yumen_core.canonical import Json
from yumen_core.sql.schema import DomainValue
from yumen_core.statistics.arguments import bad, level_variable, number_variable
from yumen_core.statistics.kinds import Variables
from yumen_core.statistics.layout import Counts, Reals
from yumen_core.statistics.rows import LARGEST, Rows, usable

FUNCTIONS = ("identity", "log", "log2", "log10", "log1p", "exp", "sqrt")
_NUMPY = {"identity": "positive", **{name: name for name in FUNCTIONS[1:]}}
MAX_COLUMNS = 200
MAX_FACTORS = 6
MAX_NAME_CHARS = 400
MAX_LEVEL_CELLS = 2_000

_Chosen = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Factor:
    """`function` of the variable's number; or, where `level` is given, 1 at that level (a position
    among the variable's levels) and 0 elsewhere."""

    variable: str
    function: str = "identity"
    level: int | None = None

    def to_json(self) -> Json:
        return [self.variable, self.function, self.level]


@dataclass(frozen=True)
class DesignColumn:
    """`name` is what tables and messages call it, as statsmodels would."""

    name: str
    factors: tuple[Factor, ...]

    def to_json(self) -> Json:
        return [self.name, [factor.to_json() for factor in self.factors]]


@dataclass(frozen=True)
class Design:
    """`levels` gives, for each variable whose levels a column uses, all its levels in order; it is
    public and follows from the statement of the rows, so it is not part of what is signed here."""

    columns: Sequence[DesignColumn]
    levels: Mapping[str, tuple[DomainValue, ...]] = field(default_factory=dict)

    def to_json(self) -> Json:
        return [column.to_json() for column in self.columns]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Every variable that a column uses, in order of appearance."""
        found = (factor.variable for column in self.columns for factor in column.factors)
        return tuple(dict.fromkeys(found))

    @property
    def has_intercept(self) -> bool:
        """Whether one column is 1 in every row."""
        return any(not column.factors for column in self.columns)

    def without_intercept(self) -> Design:
        """The design less its intercept; the coding of levels stays as it is."""
        return Design(tuple(column for column in self.columns if column.factors), self.levels)


def parse_design(json: Json, variables: Variables) -> Design:
    """Read a signed design: `[[name, [[variable, function, level or null], ...]], ...]`.

    Verification: 1. 1 to MAX_COLUMNS columns of at most MAX_FACTORS factors, 2. names of 1 to
    MAX_NAME_CHARS characters, each once, 3. each factor a known function of a variable that has
    numbers, or a position among the levels of one that has levels, 4. no product twice, 5. at most
    MAX_LEVEL_CELLS combinations of levels to count. Raises `CallError` (`statistic`).
    """
    if not isinstance(json, list | tuple) or not 1 <= len(json) <= MAX_COLUMNS:
        raise bad(f"expected a design of 1 to {MAX_COLUMNS} columns")
    columns = tuple(_column(entry, variables) for entry in json)
    if len({column.name for column in columns}) != len(columns):
        raise bad("expected columns of a design with distinct names, got one twice")
    products = {tuple(sorted(map(repr, column.factors))) for column in columns}
    if len(products) != len(columns):
        raise bad("expected each product of factors once in a design, got one twice")
    categorical = {f.variable for column in columns for f in column.factors if f.level is not None}
    levels = {name: level_variable(variables, name) for name in sorted(categorical)}
    design = Design(columns, levels)  # type: ignore[arg-type]
    cells = sum(_cells(design, names) for names in _crossed(design))
    if cells > MAX_LEVEL_CELLS:
        raise bad(
            f"expected at most {MAX_LEVEL_CELLS} combinations of levels in a design, got {cells}"
        )
    return design


def design_matrix(design: Design, rows: Rows, chosen: _Chosen) -> Reals:
    """The design over the rows that `chosen`, bool[n], marks: float64[chosen, columns], column by
    column in memory. Chosen rows must be complete in `design.variables`. Values can be infinite, or
    NaN outside a function's domain (`usable_design`)."""
    made: dict[Factor, Reals] = {}
    matrix = np.empty((int(np.count_nonzero(chosen)), len(design.columns)), order="F")
    for at, column in enumerate(design.columns):
        values = matrix[:, at]
        values.fill(1.0)
        for factor in column.factors:
            if factor not in made:
                made[factor] = factor_values(factor, rows, chosen)
            with np.errstate(over="ignore", invalid="ignore"):
                values *= made[factor]
    return matrix


def usable_design(
    design: Design, rows: Rows, chosen: _Chosen, threshold: int
) -> tuple[_Chosen, Reals]:
    """The chosen rows in which every column is within `rows.LARGEST` of 0, bool[n], and the design
    over these. The others count as missing: those of a logarithm of 0, say.

    Raises `StateError` (`data_values`) that names the first column in which `threshold` rows or
    more are not (`rows.usable`).
    """
    matrix = design_matrix(design, rows, chosen)
    every = np.ones(len(matrix), dtype=np.bool_)
    fit = every.copy()
    for column, values in zip(design.columns, matrix.T, strict=True):
        if column.factors:
            fit &= usable(column.name, every, np.abs(values) <= LARGEST, threshold)
    if fit.all():
        return chosen, matrix
    kept = chosen.copy()
    kept[chosen] = fit
    return kept, np.asfortranarray(matrix[fit])


def factor_bounds(factor: Factor, variables: Variables) -> tuple[float | None, float | None]:
    """The declared bounds of a factor, from those of its variable: every function rises."""
    found = variables[factor.variable]
    if found.low is None or found.high is None:
        return None, None
    with np.errstate(all="ignore"):
        low, high = getattr(np, _NUMPY[_known(factor.function)])([found.low, found.high]).tolist()
    return (-np.inf if np.isnan(low) else low), (-np.inf if np.isnan(high) else high)


def factor_values(factor: Factor, rows: Rows, chosen: _Chosen) -> Reals:
    """One factor over the chosen rows, float64[chosen]; not finite outside a function's domain."""
    if factor.level is not None:
        at_level: Reals = (rows.level(factor.variable)[chosen] == factor.level).astype(np.float64)
        return at_level
    numbers = rows.number(factor.variable)
    if not chosen.all():
        numbers = numbers[chosen]
    if factor.function == "identity":
        return numbers
    with np.errstate(all="ignore"):
        found: Reals = getattr(np, _NUMPY[_known(factor.function)])(numbers)
    return found


def level_supports(design: Design) -> tuple[str, ...]:
    """The sets of rows that the indicator columns rest on, by name.

    For each set of variables whose levels are multiplied in some column (and no larger one): every
    combination of the levels that columns use, the levels that none uses counted together as the
    reference. A variable alone gives its levels and its reference. Where each of these has no rows
    or enough, so has every indicator column, and so has each difference of two of them.
    """
    names: list[str] = []
    for variables in _crossed(design):
        groups = [_labels(design, name) for name in variables]
        names += [":".join(labels) for labels in product(*groups)]
    return tuple(names)


def level_counts(design: Design, rows: Rows, chosen: _Chosen) -> Counts:
    """How many chosen rows stand behind each of `level_supports`, int64[supports]."""
    counts = [np.empty(0, dtype=np.int64)]
    for variables in _crossed(design):
        cell = np.zeros(int(np.count_nonzero(chosen)), dtype=np.int64)
        for name in variables:
            used = _used(design, name)
            group = np.full(len(design.levels[name]), len(used), dtype=np.int64)
            group[list(used)] = np.arange(len(used))
            cell = cell * len(_labels(design, name)) + group[rows.level(name)[chosen]]
        counts.append(np.bincount(cell, minlength=_cells(design, variables)).astype(np.int64))
    return np.concatenate(counts)


def _crossed(design: Design) -> list[tuple[str, ...]]:
    """The largest sets of variables whose levels are multiplied in one column, in order."""
    sets = {
        tuple(sorted({f.variable for f in column.factors if f.level is not None})): None
        for column in design.columns
    }
    return [names for names in sets if names and not any(set(names) < set(other) for other in sets)]


def _used(design: Design, variable: str) -> tuple[int, ...]:
    """The levels of the variable that columns use, in order."""
    found = {f.level for c in design.columns for f in c.factors if f.variable == variable}
    return tuple(sorted(level for level in found if level is not None))


def _labels(design: Design, variable: str) -> list[str]:
    levels, used = design.levels[variable], _used(design, variable)
    rest = [level for at, level in enumerate(levels) if at not in used]
    labels = [f"{variable}[{levels[at]}]" for at in used]
    if rest:
        labels.append(f"{variable}[{rest[0]}]" if len(rest) == 1 else f"{variable}[other levels]")
    return labels


def _cells(design: Design, variables: Sequence[str]) -> int:
    cells = 1
    for name in variables:
        used = len(_used(design, name))
        cells *= used + (used < len(design.levels[name]))
    return cells


def _column(entry: Json, variables: Variables) -> DesignColumn:
    if not isinstance(entry, list | tuple) or len(entry) != 2:
        raise bad("expected a column of a design as its name and its factors")
    name, factors = entry
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME_CHARS:
        raise bad(f"expected a column's name of 1 to {MAX_NAME_CHARS} characters")
    if not isinstance(factors, list | tuple) or len(factors) > MAX_FACTORS:
        raise bad(f"expected at most {MAX_FACTORS} factors in `{name}`")
    return DesignColumn(name, tuple(_factor(part, name, variables) for part in factors))


def _factor(entry: Json, name: str, variables: Variables) -> Factor:
    match entry:
        case [str() as variable, str() as function, None]:
            number_variable(variables, variable)
            return Factor(variable, _known(function))
        case [str() as variable, "identity", int() as level] if not isinstance(level, bool):
            count = len(level_variable(variables, variable))
            if not 0 <= level < count:
                raise bad(f"expected a level of `{variable}` from 0 to {count - 1}, got `{level}`")
            return Factor(variable, "identity", level)
    raise bad(f"expected factors of `{name}` as a variable, a function and a level or null")


def _known(function: str) -> str:
    if function not in FUNCTIONS:
        raise bad(f"expected a function among {', '.join(FUNCTIONS)}, got `{function[:40]}`")
    return function
