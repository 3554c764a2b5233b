"""A regression model as one job: its signed rounds, and what their totals mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from yumen_core.canonical import Json
from yumen_core.errors import CallError
from yumen_core.statistics.design import Design
from yumen_core.statistics.families import Family, family_of
from yumen_core.statistics.glm import COLUMN_MOMENTS, FIT_SUMS, full
from yumen_core.statistics.layout import Reals
from yumen_core.statistics.statistic import Round, Statistic

from yumen.statistics.formula import Model, parse_formula
from yumen.statistics.model_newton import PASSES, Evaluation
from yumen.statistics.moments_table import written
from yumen.statistics.rank import RocCurve, roc_cells, roc_curve, roc_round
from yumen.statistics.source import Computation
from yumen.statistics.table import Table

COV_TYPES = ("nonrobust", "HC0", "HC1", "HC2", "HC3", "cluster")
NULL_ROUNDS = 40
_CONSTANT = 1e-12


@dataclass(frozen=True)
class Options:
    """What a regression takes beside its formula; see `regression`."""

    family: str
    link: str
    weights: str | None = None
    offset: str | None = None
    exposure: str | None = None
    cov_type: str = "nonrobust"
    fixed_effects: str | None = None
    ridge: float = 0.0
    lasso: float = 0.0
    max_rounds: int = 25
    tol: float = 1e-7
    auc: bool = False

    def __post_init__(self) -> None:
        if self.cov_type not in COV_TYPES:
            raise _wrong("cov_type", f"one of {', '.join(COV_TYPES)}", self.cov_type)
        for name in ("ridge", "lasso"):
            value = getattr(self, name)
            if not (isinstance(value, float | int) and 0 <= value < float("inf")):
                raise _wrong(name, "a number from 0", value)
        if not (isinstance(self.max_rounds, int) and 1 <= self.max_rounds <= 100):
            raise _wrong("max_rounds", "a whole number from 1 to 100", self.max_rounds)
        if not 1e-14 <= self.tol <= 1e-3:
            raise _wrong("tol", "a number from 1e-14 to 1e-3", self.tol)
        if self.penalised and self.cov_type != "nonrobust":
            raise _wrong("cov_type", "nonrobust with a penalty, which has no errors", self.cov_type)

    @property
    def penalised(self) -> bool:
        return self.ridge > 0 or self.lasso > 0

    @property
    def own_intercepts(self) -> bool:
        return self.fixed_effects == "node"


@dataclass(frozen=True)
class Specification:
    """A model ready to sign. `arguments` are those of every round (`model.MODEL`)."""

    statistic: Statistic
    model: Model
    design: Design
    options: Options
    names: tuple[str, ...]
    intercept: int | None
    needs_null: bool

    @property
    def family(self) -> Family:
        return family_of(self.options.family, self.options.link)

    @property
    def shifts(self) -> bool:
        """Whether a constant added to a column leaves the model the same."""
        return self.intercept is not None or self.options.own_intercepts

    @property
    def constant(self) -> bool:
        """Whether a constant is in the columns' span."""
        return self.options.own_intercepts or bool(self.constant_columns)

    @property
    def constant_columns(self) -> list[int]:
        """Columns that add up to 1 in every row: the intercept, or the indicators of all levels of
        a variable; empty where there are none."""
        if self.intercept is not None:
            return [self.intercept]
        coded: dict[str, list[int]] = {}
        for at, column in enumerate(self.design.columns):
            if len(column.factors) == 1 and column.factors[0].level is not None:
                coded.setdefault(column.factors[0].variable, []).append(at)
        full = (at for name, at in coded.items() if len(at) == len(self.design.levels[name]))
        return next(full, [])


def specify(table: Table, method: str, formula: str, options: Options) -> Specification:
    """Raises `CallError`: `formula`, `argument`, and the codes of SQL for bad expressions."""
    effects = options.fixed_effects
    if effects is not None and effects != "node":
        if table.column(effects) is None:
            raise _wrong("fixed_effects", "node or a declared column", effects)
        formula = f"{formula} + C({_term(effects)})"
    model = parse_formula(table, formula)
    design = model.design.without_intercept() if options.own_intercepts else model.design
    if not design.columns:
        raise CallError("formula", "expected a term beside the intercept, got none")
    if options.link == "inverse" and not model.design.has_intercept:
        raise CallError("formula", "expected an intercept with the link `inverse`, got `- 1`")
    variables = dict(model.variables)
    named = {
        role: _added(table, variables, text)
        for role, text in (
            ("weights", options.weights),
            ("offset", options.offset),
            ("exposure", options.exposure),
        )
    }
    assert model.response is not None
    arguments: dict[str, Json] = {
        "design": design.to_json(),
        "family": options.family,
        "intercepts": "node" if options.own_intercepts else "shared",
        "levels": {name: len(known) for name, known in _levels(model).items()},
        "link": options.link,
        "response": model.response.to_json(),
        **named,
    }
    names = tuple(column.name for column in design.columns)
    constant = [at for at, column in enumerate(design.columns) if not column.factors]
    needs_null = not constant or bool(options.offset or options.exposure)
    statistic = Statistic(
        method, table.rows(variables), _rounds(arguments, options, needs_null=needs_null)
    )
    return Specification(
        statistic, model, design, options, names, constant[0] if constant else None, needs_null
    )


def _rounds(arguments: dict[str, Json], options: Options, *, needs_null: bool) -> tuple[Round, ...]:
    rounds = [Round("design", "design", arguments)]
    if needs_null:
        rounds.append(Round("null", "glm", {**arguments, "fit": "constant"}, NULL_ROUNDS))
    most = options.max_rounds + PASSES
    rounds.append(Round("fit", "glm", {**arguments, "fit": "model"}, most))
    if options.cov_type != "nonrobust":
        kept = "HC0" if options.cov_type == "HC1" else options.cov_type
        rounds.append(Round("robust", "robust", {**arguments, "covariance": kept}))
    if options.auc:
        rounds.append(roc_round("roc", arguments))
    return tuple(rounds)


@dataclass(frozen=True)
class Moments:
    """Totals of the round `design`. Of the columns, float64[p] each: centre and scale of their
    standardised form. `location` and `unit` are the response's."""

    nodes: int
    rows: int
    weights: float
    response: float
    squares: float
    saturated: float
    log_weights: float
    centre: Reals
    scale: Reals
    location: float
    unit: float

    @property
    def mean(self) -> float:
        return self.response / self.weights


def moments(job: Computation, spec: Specification) -> Moments:
    """Run the round `design`. Raises `CallError` (`formula`) for a column or a response that is
    constant."""
    totals = job.run("design")
    p = len(spec.names)
    width = len(COLUMN_MOMENTS) * p
    sums, squares, within = totals.values[0, :width].reshape(len(COLUMN_MOMENTS), p)
    rows, weights, response, response_squares, saturated, logs = totals.values[0, width:].tolist()
    mean = sums / rows
    centre = mean if spec.shifts else np.zeros(p)
    length = squares / rows - (mean * mean if spec.shifts else 0.0)
    length = np.maximum(length, within / rows)
    _check_columns(spec, mean * mean, length, within)
    scale = np.sqrt(length)
    if spec.intercept is not None:
        centre[spec.intercept], scale[spec.intercept] = 0.0, 1.0
    location, unit = _response_scale(spec, response / weights, response_squares / weights)
    return Moments(
        int(totals.nodes[0, 0]),
        round(rows),
        weights,
        response,
        response_squares,
        saturated,
        logs,
        centre,
        scale,
        location,
        unit,
    )


def _check_columns(spec: Specification, level: Reals, length: Reals, within: Reals) -> None:
    for at, name in enumerate(spec.names):
        if at == spec.intercept:
            continue
        if length[at] <= (_CONSTANT * level[at] if spec.shifts and not within[at] else 0.0):
            raise CallError(
                "formula",
                f"expected columns that vary, got `{name}`, which is constant",
                remedy=f"leave out `{name}`",
            )
        if spec.options.own_intercepts and not within[at]:
            raise CallError(
                "formula",
                f"expected columns that vary within nodes, got `{name}`, constant in each: the "
                "nodes' own intercepts hold all of it",
                remedy=f"leave out `{name}`, or the fixed effects",
            )


def _response_scale(spec: Specification, mean: float, square: float) -> tuple[float, float]:
    """Location and unit of the response as the rounds see it."""
    constant = CallError(
        "formula",
        f"expected a response that varies, got `{spec.model.response_name}`, which is constant",
    )
    match spec.options.family:
        case "gaussian":
            variance = square - mean * mean
            if variance <= 1e-14 * square:
                raise constant
            return (mean, float(np.sqrt(variance))) if spec.shifts else (0.0, float(square**0.5))
        case "gamma":
            return 0.0, mean if spec.shifts else 1.0
        case "binomial":
            if not 0.0 < mean < 1.0:
                raise constant
        case _:
            if mean <= 0.0:
                raise constant
    return 0.0, 1.0


class Rounds:
    """The rounds after `design` of a running job, as functions of coefficients."""

    def __init__(self, job: Computation, spec: Specification, moments: Moments) -> None:
        self._job = job
        self._moments = moments
        self._p = len(spec.names)

    def fit(self, beta: Reals, transform: Reals) -> Evaluation:
        totals = self._job.run("fit", self._inputs(beta, transform))
        return _evaluation(beta, totals.values[0])

    def null(self, beta: Reals, transform: Reals) -> Evaluation:
        inputs = {
            "beta": beta,
            "centre": np.zeros(1),
            "scale": np.ones(1),
            "transform": transform,
            "response": np.array([self._moments.location, self._moments.unit]),
        }
        return _evaluation(beta, self._job.run("null", inputs).values[0])

    def robust(self, beta: Reals, transform: Reals, bread: Reals) -> tuple[Reals, Reals]:
        """The meat and the observed information of the columns Z, float64[p, p] each."""
        inputs = {**self._inputs(beta, transform), "bread": bread}
        both = self._job.run("robust", inputs).values[0].reshape(2, -1)
        return full(both[0], self._p), full(both[1], self._p)

    def roc(self, beta: Reals, transform: Reals) -> RocCurve:
        inputs = {**self._inputs(beta, transform), "cells": roc_cells()}
        return roc_curve(self._job.run("roc", inputs))

    def _inputs(self, beta: Reals, transform: Reals) -> dict[str, Reals]:
        return {
            "beta": beta,
            "centre": self._moments.centre,
            "scale": self._moments.scale,
            "transform": transform,
            "response": np.array([self._moments.location, self._moments.unit]),
        }


def _evaluation(beta: Reals, values: Reals) -> Evaluation:
    p, sums = len(beta), values[-len(FIT_SUMS) :]
    triangles = values[p : -len(FIT_SUMS)].reshape(-1, p * (p + 1) // 2)
    return Evaluation(
        beta,
        values[:p],
        full(triangles[0], p),
        full(triangles[-1], p),
        deviance=float(sums[0]),
        pearson=float(sums[1]),
        weight=float(sums[2]),
    )


def _levels(model: Model) -> dict[str, Sequence[object]]:
    used = {
        factor.variable
        for column in model.design.columns
        for factor in column.factors
        if factor.level is not None
    }
    return {name: model.design.levels[name] for name in sorted(used)}


def _added(table: Table, variables: dict[str, str], text: str | None) -> str:
    """The name of the variable for `text`, added to `variables`; empty for None."""
    if text is None:
        return ""
    sql = written(table, text)
    name = text
    while name in variables and variables[name] != sql:
        name += "'"
    variables[name] = sql
    return name


def _term(column: str) -> str:
    return column if column.isidentifier() else f"`{column}`"


def _wrong(name: str, expected: str, got: object) -> CallError:
    return CallError("argument", f"expected {name} as {expected}, got `{got}`")
