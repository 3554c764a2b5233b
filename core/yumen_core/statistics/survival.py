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
from yumen_core.errors import StateError
from yumen_core.statistics import arguments as read
from yumen_core.statistics.design import (
    Design,
    level_counts,
    level_supports,
    parse_design,
    usable_design,
)
from yumen_core.statistics.kinds import Arguments, Inputs, Local, Rule, Variables
from yumen_core.statistics.layout import Counts, Layout, Reals, Value, count, short_real, wide_real
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
from yumen_core.statistics.rows import Rows, Variable, check_units, usable
from yumen_core.statistics.spread import check_peak, check_values

ROWS_PER_COLUMN = 3
MOST_BETA = 1e4
_MOST_LEVERAGE = 0.5


@dataclass(frozen=True)
class Times:
    """The complete rows of a survival model: `chosen`, bool[n], and of these the durations,
    float64[m], and whether each ended with the event, bool[m]."""

    chosen: Mask
    durations: Reals
    events: Mask


def check_times(variables: Variables, duration: str, event: str) -> None:
    """Refuse a duration or an event without numbers, and declared bounds of a duration that reach
    below 0, or of an event that are not 0 and 1. Raises `CallError` (`statistic`)."""
    for name, what, most in ((duration, "durations", None), (event, "an event", 1.0)):
        found = read.number_variable(variables, name)
        read.check_bounds(
            name,
            what,
            (found.low, found.high),
            least=0.0,
            most=most,
            remedy="write the event as a condition, such as `status = 2`" if most else "",
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
    chosen = usable(duration, chosen, timed, rules.threshold, wanted="finite durations from 0")
    known = (events == 0.0) | (events == 1.0)
    chosen = usable(event, chosen, known, rules.threshold, wanted="0 or 1")
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

    Rows that `read_times` leaves out, and rows in which a column is not within `rows.LARGEST` of 0
    (a logarithm of 0, say), count as missing. Raises `StateError`: `data_values` where a threshold
    of rows counts as missing so, for one reason; `too_few_rows` for fewer than ROWS_PER_COLUMN
    complete rows for each column, for events that are too few beyond the columns, for a row that
    alone makes up half of what some combination of the columns varies by, and for a column that few
    rows make up (`spread.check_peak`).
    """
    key = ("cox_rows", canonical.encode({name: arguments[name] for name in _ARGUMENTS}))
    return rows.kept(key, lambda: _cox_rows(rows, model, rules))


def _cox_rows(rows: Rows, model: CoxModel, rules: DisclosureRules) -> CoxRows:
    others = [*model.design.variables, *([model.strata] if model.strata else [])]
    timed = read_times(rows, model.duration, model.event, rules, others).chosen
    for name in (*model.design.levels, *([model.strata] if model.strata else [])):
        timed = timed & (rows.level(name) >= 0)
    chosen, x = usable_design(model.design, rows, timed, rules.threshold)
    found = len(x)
    if 0 < found < ROWS_PER_COLUMN * model.size:
        raise StateError(
            "too_few_rows",
            f"expected {ROWS_PER_COLUMN} complete rows or more for each of {model.size} columns, "
            "got fewer",
            remedy="use fewer columns, or choose other nodes",
        )
    durations, events = rows.number(model.duration)[chosen], rows.number(model.event)[chosen]
    fewest = model.size + rules.degrees_of_freedom if rules.degrees_of_freedom else 0
    if 0 < np.count_nonzero(events) < fewest:
        raise StateError(
            "too_few_rows",
            f"expected {rules.degrees_of_freedom} events at least beyond the {model.size} columns "
            "of the model, or none, got fewer",
            remedy="use fewer columns, or choose other nodes",
        )
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
        for entry, column_ in zip(model.design.columns, x.T, strict=True):
            name = entry.name
            if any(factor.variable in rows.built for factor in entry.factors):
                check_values(name, column_, rules, built=True)
            elif not _two_values(column_):  # which have their supports
                check_peak(name, column_, rules)
    codes = np.zeros(found, dtype=np.int64)
    if model.strata:
        codes = rows.level(model.strata)[chosen].astype(np.int64)
    return CoxRows(Times(chosen, durations, events == 1.0), x, codes)


def _two_values(column: Reals) -> bool:
    low, high = column.min(initial=np.inf), column.max(initial=-np.inf)
    return bool(((column == low) | (column == high)).all())


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


def coefficients(inputs: Inputs, p: int) -> Reals:
    """The input `beta`, float64[p], 0 in a first run. Raises `StateError` (`data_values`) beyond
    MOST_BETA, with which a linear predictor could be none, whatever the rows."""
    beta = np.asarray(inputs.get("beta", np.zeros(p)), dtype=np.float64)
    if not (np.abs(beta) <= MOST_BETA).all():
        raise StateError(
            "data_values",
            f"expected coefficients within {MOST_BETA:g} of 0, got another",
            remedy="use the current SDK",
        )
    return beta


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


class CoxNodes:
    """The partial likelihood with strata at each node: one cell; values rows, events, the log
    partial likelihood, its gradient and the upper triangle of the information. `strata` splits
    a node's rows further. The input is `beta`, float64[p]; in a first run it is 0.

    A node refuses coefficients at which the events expected of its rows are spread over fewer rows
    than its threshold (`effective_rows`): they would pick single rows out of each risk set.
    """

    name = "cox_nodes"
    rule: Rule = Rule.REQUIRE

    def layout(self, arguments: Arguments, variables: Variables) -> Layout:
        model = parse_cox(arguments, variables, "ties")
        read.text(arguments, "ties", TIES)
        p = model.size
        totals = 1 + p + p * (p + 1) // 2
        supports = _support_names(model)
        values = (count(0), count(1), *(wide_real(1) for _ in range(totals)))
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
        beta = coefficients(inputs, p)
        terms = partial_likelihood(ready.strata, beta, read.text(arguments, "ties", TIES))
        held, events = ready.supports[:2].tolist()
        totals = np.concatenate(
            [
                [held, events, terms.log_likelihood],
                terms.gradient,
                terms.information[triangle(p)],
            ]
        )
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


class Concordance:
    """Pairs of rows of one node (and stratum) that the risk scores of `beta` put in the order of
    their events: one cell; values concordant, tied and comparable pairs."""

    name = "concordance"
    rule: Rule = Rule.REQUIRE
    once = True  # at many coefficients its counts order single pairs of rows

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
        risk = found.x @ coefficients(inputs, model.size)
        pairs = concordant_pairs(found.times.durations, found.times.events, found.codes, risk)
        return Local(supports.reshape(1, -1), np.array([pairs], dtype=np.float64))


class CovariateMoments:
    """Sums of a model's columns about `centre`, float64[p] (0 in a first run), and of their
    squares, over its complete rows: one cell; values rows, then p sums, then p sums of squares."""

    name = "covariate_moments"
    rule: Rule = Rule.REQUIRE

    def layout(self, arguments: Arguments, variables: Variables) -> Layout:
        model = parse_cox(arguments, variables)
        supports = _support_names(model)
        sums = tuple(wide_real() for _ in range(2 * model.size))
        return Layout(1, supports, (count(), *sums), {"centre": (model.size,)})

    def compute(
        self, rows: Rows, arguments: Arguments, inputs: Inputs, rules: DisclosureRules
    ) -> Local:
        model = cox_model(rows, arguments)
        found = cox_rows(rows, arguments, model, rules)
        supports = _supports(rows, model, found)
        centre, n = inputs.get("centre", np.zeros(model.size)), len(found.x)
        check_units(centre)
        # The centre moves sums, never single rows, which rounding would sort by an edge.
        means = found.x.mean(axis=0) if n else np.zeros(model.size)
        own = found.x - means
        sums, away = own.sum(axis=0), means - centre
        total = sums + n * away
        totals = np.concatenate([[n], total, (own**2).sum(axis=0) + away * (sums + total)])
        return Local(supports.reshape(1, -1), totals.reshape(1, -1))
