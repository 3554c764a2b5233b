"""Columns derived from released moments: standardised ones, and ones with missing values filled.

What comes back is a table with more columns, each an SQL expression with released numbers in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from yumen_core.errors import CallError, PeerError
from yumen_core.statistics.layout import Reals
from yumen_core.statistics.moments import MAX_MISSING
from yumen_core.statistics.statistic import Statistic

from yumen.statistics.joint_moments import (
    JointMoments,
    joint_moments,
    linear,
    moment_rounds,
    numbers_of,
    real,
    renamed,
)
from yumen.statistics.table import Table

MAX_IMPUTATION_ROUNDS = 100
T = TypeVar("T", bound=Table)


def standardize(table: T, columns: Sequence[str], *, suffix: str = "_std") -> T:
    """`table` with a column `x_std` for each x: (x - mean) / standard deviation, of the rows of all
    nodes together that have x.

    Rounds: one query for all columns. Leaves each node: count, sum and sum of squares of each
    column. Precision: 1e-12 of a standard deviation. Raises `CallError` (`argument`), also for a
    column with one value, and `PeerError` (`too_few_rows`).
    """
    variables = numbers_of(table, columns)
    names = renamed(variables, suffix)
    found = _released(table, variables, ("AVG", "STDDEV_SAMP"))
    derived: dict[str, str] = {}
    for name, (mean, deviation) in found.items():
        if not deviation > 1e-13 * abs(mean):
            raise CallError(
                "argument",
                f"expected columns that vary, got `{name}` with one value",
                remedy=f"leave out `{name}`",
            )
        derived[names[name]] = f"({variables[name]} - {real(mean)}) / {real(deviation)}"
    return table.assign(**derived)


def impute(
    table: T,
    columns: Sequence[str],
    *,
    method: str = "mean",
    rounds: int = 5,
    suffix: str = "_imputed",
) -> T:
    """`table` with a column `x_imputed` for each x: x, or what stands in where x is missing.

    `method="mean"`: the mean of all rows that have x; the column can be used however few rows miss
    it, where x is declared with bounds. `method="regression"`: chained equations without random
    draws:
    missing values start at the means; then, `rounds` times, each column in turn is regressed by
    least squares on all the others where it is present, and its missing values become what that
    regression makes of the row. Columns that are never missing only explain. At most 6 columns may
    have missing values. The new column then has a branch for each pattern of
    missing columns, and a later statistic refuses it (`too_few_rows`) where a node has some rows of
    a pattern but fewer than its threshold: use the mean there.

    Standard errors of later statistics do not know that values were filled in. Rounds: one query,
    or two secure sums however many `rounds`: nodes give count, sums and cross products for each
    pattern of missing columns, a pattern only with its threshold of rows, and the equations are
    iterated on the totals. Precision: 1e-9 of a standard deviation. Raises `CallError`
    (`argument`), `PeerError` (`too_few_rows`). Source: van Buuren and Groothuis-Oudshoorn, "mice",
    Journal of Statistical Software 45(3), 2011, section 2.
    """
    if method not in ("mean", "regression"):
        raise CallError("argument", f"expected the method mean or regression, got `{method}`")
    variables = numbers_of(table, columns)
    names = renamed(variables, suffix)
    if method == "mean":
        filled = {
            name: f"CASE WHEN {variables[name]} IS NULL THEN {real(mean)} "
            f"ELSE {variables[name]} END"
            for name, (mean,) in _released(table, variables, ("AVG",)).items()
        }
    else:
        filled = _regressed(table, variables, rounds)
    return table.assign(**{names[name]: sql for name, sql in filled.items()})


def _regressed(table: Table, variables: Mapping[str, str], rounds: int) -> dict[str, str]:
    if not 1 <= rounds <= MAX_IMPUTATION_ROUNDS:
        raise CallError("argument", f"expected 1 to {MAX_IMPUTATION_ROUNDS} rounds, got `{rounds}`")
    names = list(variables)
    missing = [name for name in names if _nullable(table, name)]
    if len(names) < 2 or len(missing) > MAX_MISSING:
        raise CallError(
            "argument",
            f"expected two columns or more, at most {MAX_MISSING} of them with missing values, "
            f"got {len(names)} with {len(missing)}",
            remedy='ask with fewer columns, or with method="mean"',
        )
    statistic = Statistic("impute", table.rows(variables), moment_rounds(names, missing))
    with table.compute(statistic) as job:
        moments = joint_moments(job, names, missing)
    maps = chained_maps(moments, [names.index(name) for name in missing], rounds)
    filled = {name: variables[name] for name in names}
    for name in missing:
        filled[name] = _expression(name, names, missing, variables, moments, maps)
    return filled


def chained_maps(moments: JointMoments, missing: Sequence[int], rounds: int) -> Reals:
    """How each pattern fills each column, float64[patterns, k + 1, k + 1]: row 1 + j gives column j
    in standard units, from 1 and the standardised columns that the pattern has."""
    patterns, k = moments.sums.shape
    gram = np.zeros((patterns, k + 1, k + 1))
    gram[:, 0, 0] = moments.count
    gram[:, 0, 1:] = gram[:, 1:, 0] = moments.sums
    gram[:, 1:, 1:] = moments.products
    lacks = np.zeros((patterns, k), dtype=np.bool_)
    for bit, column in enumerate(missing):
        lacks[:, column] = np.arange(patterns) >> bit & 1 == 1
    maps = np.tile(np.eye(k + 1), (patterns, 1, 1))
    for column in missing:
        maps[lacks[:, column], 1 + column] = 0.0
        mean = moments.sums[:, column].sum() / moments.count[~lacks[:, column]].sum()
        maps[lacks[:, column], 1 + column, 0] = mean
    for _ in range(rounds):
        for column in missing:
            has = ~lacks[:, column]
            total = (maps[has] @ gram[has] @ maps[has].transpose(0, 2, 1)).sum(axis=0)
            others = np.delete(np.arange(k + 1), 1 + column)
            inverse = np.linalg.pinv(total[np.ix_(others, others)], rcond=1e-12, hermitian=True)
            slopes = inverse @ total[others, 1 + column]
            maps[~has, 1 + column] = np.einsum("i,pij->pj", slopes, maps[~has][:, others])
    return maps


def _expression(
    name: str,
    names: Sequence[str],
    missing: Sequence[str],
    variables: Mapping[str, str],
    moments: JointMoments,
    maps: Reals,
) -> str:
    """The column where present, and else what its row's pattern of missing columns makes of it."""
    at, bit = names.index(name), missing.index(name)
    cases = [f"WHEN {variables[name]} IS NOT NULL THEN 1e0 * {variables[name]}"]
    for pattern in range(len(maps)):
        if not pattern >> bit & 1:
            continue
        slopes = maps[pattern, 1 + at, 1:] * moments.scale[at] / moments.scale
        constant = moments.centre[at] + moments.scale[at] * maps[pattern, 1 + at, 0]
        constant -= float(slopes @ moments.centre)
        fitted = linear(constant, slopes.tolist(), [variables[other] for other in names])
        conditions = [
            f"{variables[other]} IS {'' if pattern >> place & 1 else 'NOT '}NULL"
            for place, other in enumerate(missing)
            if other != name
        ]
        when = " AND ".join(conditions) or f"{variables[name]} IS NULL"
        cases.append(f"WHEN {when} THEN {fitted}")
    return f"CASE {' '.join(cases)} END"


def _released(
    table: Table, variables: Mapping[str, str], functions: Sequence[str]
) -> dict[str, list[float]]:
    """Each function of each column, from one query. Raises `PeerError` (`too_few_rows`)."""
    outputs = [
        f"{function}({sql}) AS v{at}_{number}"
        for at, sql in enumerate(variables.values())
        for number, function in enumerate(functions)
    ]
    rows = list(table.query(outputs))
    row = rows[0] if rows else {}
    found: dict[str, list[float]] = {}
    for at, name in enumerate(variables):
        values = [row.get(f"v{at}_{number}") for number in range(len(functions))]
        if any(value is None for value in values):
            raise PeerError(
                "too_few_rows",
                f"expected the table's threshold of rows with `{name}` at the least number of "
                "nodes, got fewer",
            )
        found[name] = [float(str(value)) for value in values]
    return found


def _nullable(table: Table, name: str) -> bool:
    found = table.column(name) if name in table.columns else None
    return found is None or found.nullable
