"""Survival rows at one node, and Cox's model with a baseline hazard of each node's own.

With the nodes as strata a node computes its own partial likelihood, and only totals over all its
events leave: no sum over a single time's risk set does, so none can be differenced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from yumen_core import canonical
from yumen_core.disclosure import DisclosureRules
from yumen_core.errors import CallError, StateError
from yumen_core.statistics import arguments as read
from yumen_core.statistics.design import (
    Design,
    design_matrix,
    level_counts,
    level_supports,
    parse_design,
)
from yumen_core.statistics.kinds import Arguments, Inputs, Local, Rule, Variables
from yumen_core.statistics.layout import Counts, Layout, Reals, Value, count, real, short_real
from yumen_core.statistics.partial_likelihood import (
    TIES,
    Mask,
    Stratum,
    Whole,
    concordant_pairs,
    effective_rows,
    partial_likelihood,
    strata_of,
)
from yumen_core.statistics.rows import Rows, Variable

ROWS_PER_COLUMN = 3
_MOST_LEVERAGE = 0.5


@dataclass(frozen=True)
class Times:
    """The complete rows of a survival model: `chosen`, bool[n], and of these the durations,
    float64[m], and whether each ended with the event, bool[m]."""

    chosen: Mask
    durations: Reals
    events: Mask


def check_times(variables: Variables, duration: str, event: str) -> None:
    """Refuse a duration or an event without numbers, and an event whose bounds are not 0 and 1.
    Raises `CallError` (`statistic`)."""
    read.number_variable(variables, duration)
    found = read.number_variable(variables, event)
    if (found.low is not None and found.low < 0) or (found.high is not None and found.high > 1):
        raise CallError(
            "statistic",
            f"expected `{event}` to be 0 or 1, got a variable from {found.low:g} to {found.high:g}",
            remedy="write the event as a condition, such as `status = 2`",
        )


def read_times(
    rows: Rows, duration: str, event: str, rules: DisclosureRules, others: Sequence[str] = ()
) -> Times:
    """The rows in which nothing of these is missing. A duration that is infinite or negative, or an
    event other than 0 and 1, counts as missing too: a refusal for one row would tell of that row.

    Raises `StateError` (`data_values`) where a threshold of rows is at fault so.
    """
    chosen = rows.complete((duration, event, *others))
    durations, events = rows.number(duration), rows.number(event)
    timed = np.isfinite(durations) & (durations >= 0)
    known = (events == 0.0) | (events == 1.0)
    if np.count_nonzero(chosen & ~timed) >= rules.threshold:
        raise StateError(
            "data_values",
            f"expected finite durations of `{duration}` from 0, got others",
            remedy="leave such rows out with where=",
        )
    if np.count_nonzero(chosen & ~known) >= rules.threshold:
        raise StateError(
            "data_values",
            f"expected `{event}` to be 0 or 1, got other values",
            remedy="write the event as a condition, such as `status = 2`",
        )
    chosen = chosen & timed & known
    return Times(chosen, durations[chosen], events[chosen] == 1.0)


@dataclass(frozen=True)
class CoxRows:
    """Rows as Cox's model reads them: the design over complete rows, float64[m, p], and the code of
    each row's stratum, int64[m]."""

    times: Times
    x: Reals
    codes: Whole


@dataclass(frozen=True)
class CoxModel:
    """What the rounds of a model sign alike: `strata` is a variable with levels, or empty."""

    duration: str
    event: str
    strata: str
    design: Design

    @property
    def size(self) -> int:
        return len(self.design.columns)


_ARGUMENTS = ("design", "duration", "event", "levels", "strata")


def parse_cox(arguments: Arguments, variables: Variables, *more: str) -> CoxModel:
    """The arguments of a round of Cox's model; `levels` says how many levels each variable with
    levels has. Raises `CallError` (`statistic`)."""
    read.only(arguments, *_ARGUMENTS, *more)
    duration, event = read.text(arguments, "duration"), read.text(arguments, "event")
    check_times(variables, duration, event)
    strata = read.text(arguments, "strata")
    if strata:
        read.level_variable(variables, strata)
    design = parse_design(arguments.get("design"), variables)
    if design.has_intercept:
        raise read.bad("expected a design without an intercept, got one")
    used = {**design.levels, **({strata: ()} if strata else {})}
    if arguments.get("levels") != {n: len(read.level_variable(variables, n)) for n in used}:
        raise read.bad("expected `levels` to count the levels of the variables that have them")
    return CoxModel(duration, event, strata, design)


def cox_model(rows: Rows, arguments: Arguments) -> CoxModel:
    """The model at a node, where `layout` has checked the arguments already."""
    counts = arguments["levels"]
    levels = {
        name: tuple(range(number))
        for name, number in (counts.items() if isinstance(counts, Mapping) else ())
        if isinstance(number, int)
    }
    names = {*rows.numbers, *rows.codes}
    variables = {name: Variable(name, name in rows.numbers, levels.get(name)) for name in names}
    return parse_cox(arguments, variables, *(set(arguments) - set(_ARGUMENTS)))


def cox_rows(rows: Rows, arguments: Arguments, model: CoxModel, rules: DisclosureRules) -> CoxRows:
    """The model's rows, made once for all rounds of a job.

    Raises `StateError`: `data_values` for values no model can use, `too_few_rows` for fewer than
    ROWS_PER_COLUMN complete rows for each column, and for a row that alone makes up half of what
    some combination of the columns varies by.
    """
    key = ("cox_rows", canonical.encode({name: arguments[name] for name in _ARGUMENTS}))
    return rows.kept(key, lambda: _cox_rows(rows, model, rules))


def _cox_rows(rows: Rows, model: CoxModel, rules: DisclosureRules) -> CoxRows:
    others = [*model.design.variables, *([model.strata] if model.strata else [])]
    times = read_times(rows, model.duration, model.event, rules, others)
    found = len(times.durations)
    if 0 < found < ROWS_PER_COLUMN * model.size:
        raise StateError(
            "too_few_rows",
            f"expected {ROWS_PER_COLUMN} complete rows or more for each of {model.size} columns, "
            "got fewer",
            remedy="use fewer columns, or choose other nodes",
        )
    x = design_matrix(model.design, rows, times.chosen)
    if found and rules.threshold > 1:
        leverage, column = largest_leverage(x)
        if leverage > _MOST_LEVERAGE:
            name = model.design.names[column]
            raise StateError(
                "too_few_rows",
                "expected columns whose combinations vary among many rows, got one with "
                f"`{name}` that a single row makes up half of",
                remedy=f"take the logarithm of `{name}` if it has a long tail, or leave it out",
            )
    codes = np.zeros(found, dtype=np.int64)
    if model.strata:
        codes = rows.level(model.strata)[times.chosen].astype(np.int64)
        if (codes < 0).any():
            raise StateError("data_values", f"expected known levels of `{model.strata}`")
    return CoxRows(times, x, codes)


def unlike_median(x: Reals) -> Counts:
    """For each column how many rows differ from its median, int64[p]: all but those that share a
    value which most rows have. A column that tells a few rows from the others has few."""
    if not len(x):
        return np.zeros(x.shape[1], dtype=np.int64)
    middle = np.partition(x, len(x) // 2, axis=0)[len(x) // 2]
    unlike: Counts = np.count_nonzero(x != middle, axis=0).astype(np.int64)
    return unlike


def largest_leverage(x: Reals) -> tuple[float, int]:
    """The largest share that a row has of the variation along any combination of the columns, and
    the column in which that row is farthest from the others.

    That is the greatest diagonal entry of the centred hat matrix (Belsley, Kuh, Welsch, "Regression
    Diagnostics", 1980, section 2.1): a combination that tells one row from all others gives 1.
    """
    away = x - x.mean(axis=0)
    away /= _or_one(np.abs(away).max(axis=0))  # keeps the squares within range
    away /= _or_one(np.sqrt((away**2).sum(axis=0)))
    values, vectors = np.linalg.eigh(away.T @ away)
    known = values > 1e-10
    along = away @ (vectors[:, known] / np.sqrt(values[known]))
    shares = (along**2).sum(axis=1)
    row = int(shares.argmax())
    return float(shares[row]), int(np.abs(away[row]).argmax())


def _or_one(scale: Reals) -> Reals:
    positive: Reals = np.where(scale > 0, scale, 1.0)
    return positive


def outweighed() -> StateError:
    """The refusal of a node where few rows would stand behind a sum of risks."""
    return StateError(
        "data_values",
        "expected risks spread over the table's threshold of rows at these coefficients, "
        "got a few rows that outweigh the others",
        remedy="use fewer columns, take logarithms of those with long tails, or add ridge=",
    )


def triangle(p: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The places of a symmetric matrix that travel, p (p + 1) / 2 of them, row by row."""
    across, down = np.triu_indices(p)
    return across, down


def _support_names(model: CoxModel) -> tuple[str, ...]:
    columns = (f"{name} other than its median" for name in model.design.names)
    return ("rows", "events", *level_supports(model.design), *columns)


def _supports(rows: Rows, model: CoxModel, found: CoxRows) -> Counts:
    held = np.array([len(found.codes), np.count_nonzero(found.times.events)], dtype=np.int64)
    levels = level_counts(model.design, rows, found.times.chosen)
    return np.concatenate([held, levels, unlike_median(found.x)])


@dataclass(frozen=True)
class _Prepared:
    strata: list[Stratum]
    supports: Counts


@dataclass(frozen=True)
class CoxNodes:
    """The partial likelihood with strata at each node: one cell; values rows, events, the log
    partial likelihood, its gradient and the upper triangle of the information. `strata` splits
    a node's rows further. The input is `beta`, float64[p]; in a first run it is 0.

    A node refuses coefficients at which the events expected of its rows are spread over fewer rows
    than its threshold (`effective_rows`): they would pick single rows out of each risk set.
    """

    name: str = "cox_nodes"
    rule: Rule = Rule.REQUIRE

    def layout(self, arguments: Arguments, variables: Variables) -> Layout:
        model = parse_cox(arguments, variables, "ties")
        read.text(arguments, "ties", TIES)
        p = model.size
        totals = 1 + p + p * (p + 1) // 2
        supports = _support_names(model)
        values = (count(0), count(1), *(real(1) for _ in range(totals)))
        return Layout(1, supports, values, {"beta": (p,)})

    def compute(
        self, rows: Rows, arguments: Arguments, inputs: Inputs, rules: DisclosureRules
    ) -> Local:
        model = cox_model(rows, arguments)
        ready = rows.kept(
            ("cox_nodes", canonical.encode(arguments)),
            lambda: _prepared(rows, arguments, model, rules),
        )
        p = model.size
        beta = np.asarray(inputs.get("beta", np.zeros(p)), dtype=np.float64)
        terms = partial_likelihood(ready.strata, beta, read.text(arguments, "ties", TIES))
        held, events = ready.supports[:2].tolist()
        totals = np.concatenate(
            [
                [held, events, terms.log_likelihood],
                terms.gradient,
                terms.information[triangle(p)],
            ]
        )
        if not np.isfinite(totals).all():
            raise outweighed()
        if events and effective_rows(terms.expected) < min(rules.threshold, held):
            raise outweighed()
        return Local(ready.supports.reshape(1, -1), totals.reshape(1, -1))


def _prepared(
    rows: Rows, arguments: Arguments, model: CoxModel, rules: DisclosureRules
) -> _Prepared:
    found = cox_rows(rows, arguments, model, rules)
    supports = _supports(rows, model, found)
    x = found.x - found.x.mean(axis=0) if len(found.x) else found.x
    strata = strata_of(x, found.times.durations, found.times.events, found.codes)
    return _Prepared(strata, supports)


@dataclass(frozen=True)
class Concordance:
    """Pairs of rows of one node (and stratum) that the risk scores of `beta` put in the order of
    their events: one cell; values concordant, tied and comparable pairs."""

    name: str = "concordance"
    rule: Rule = Rule.REQUIRE

    def layout(self, arguments: Arguments, variables: Variables) -> Layout:
        model = parse_cox(arguments, variables)
        supports = _support_names(model)
        values: tuple[Value, ...] = (short_real(1), short_real(1), short_real(1))
        return Layout(1, supports, values, {"beta": (model.size,)})

    def compute(
        self, rows: Rows, arguments: Arguments, inputs: Inputs, rules: DisclosureRules
    ) -> Local:
        model = cox_model(rows, arguments)
        found = cox_rows(rows, arguments, model, rules)
        supports = _supports(rows, model, found)
        beta = np.asarray(inputs.get("beta", np.zeros(model.size)), dtype=np.float64)
        with np.errstate(all="ignore"):
            risk = found.x @ beta
        if not np.isfinite(risk).all():
            raise outweighed()
        pairs = concordant_pairs(found.times.durations, found.times.events, found.codes, risk)
        return Local(supports.reshape(1, -1), np.array([pairs], dtype=np.float64))


@dataclass(frozen=True)
class CovariateMoments:
    """Sums of a model's columns about `centre`, float64[p] (0 in a first run), and of their
    squares, over its complete rows: one cell; values rows, then p sums, then p sums of squares."""

    name: str = "covariate_moments"
    rule: Rule = Rule.REQUIRE

    def layout(self, arguments: Arguments, variables: Variables) -> Layout:
        model = parse_cox(arguments, variables)
        supports = _support_names(model)
        sums = tuple(real() for _ in range(2 * model.size))
        return Layout(1, supports, (count(), *sums), {"centre": (model.size,)})

    def compute(
        self, rows: Rows, arguments: Arguments, inputs: Inputs, rules: DisclosureRules
    ) -> Local:
        model = cox_model(rows, arguments)
        found = cox_rows(rows, arguments, model, rules)
        supports = _supports(rows, model, found)
        with np.errstate(all="ignore"):
            away = found.x - inputs.get("centre", np.zeros(model.size))
            totals = np.concatenate([[len(away)], away.sum(axis=0), (away**2).sum(axis=0)])
        return Local(supports.reshape(1, -1), totals.reshape(1, -1))
