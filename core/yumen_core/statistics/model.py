"""A regression model as it is signed, and its rows at one node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from yumen_core import canonical
from yumen_core.canonical import Json
from yumen_core.disclosure import DisclosureRules
from yumen_core.errors import StateError
from yumen_core.statistics import arguments as read
from yumen_core.statistics.design import (
    Design,
    Factor,
    design_matrix,
    factor_bounds,
    factor_values,
    parse_design,
    usable_design,
)
from yumen_core.statistics.families import Family, family_of
from yumen_core.statistics.kinds import Arguments, Variables
from yumen_core.statistics.layout import Reals
from yumen_core.statistics.rounding import FAR
from yumen_core.statistics.rows import LARGEST, Mask, Rows, Variable, check_units, usable
from yumen_core.statistics.spread import check_spread, check_values

ROWS_A_PARAMETER = 3  # DataSHIELD's nfilter.glm: parameters at most 0.33 of a node's rows
MODEL = (
    "design",
    "exposure",
    "family",
    "intercepts",
    "levels",
    "link",
    "offset",
    "response",
    "weights",
)


@dataclass(frozen=True)
class Model:
    """`weights`, `offset` and `exposure` name variables, or are empty. `own_intercepts`: each node
    has its own, which never leaves it, and the design has none."""

    design: Design
    response: Factor
    family: Family
    weights: str
    offset: str
    exposure: str
    own_intercepts: bool

    @property
    def columns(self) -> int:
        return len(self.design.columns)

    @property
    def variables(self) -> tuple[str, ...]:
        """Every variable that must be present in a row."""
        named = (
            self.response.variable,
            *self.design.variables,
            self.weights,
            self.offset,
            self.exposure,
        )
        return tuple(dict.fromkeys(name for name in named if name))


def parse_model(arguments: Arguments, variables: Variables) -> Model:
    """The model that a round's arguments name; `levels` there must be the variables' own.

    Raises `CallError` (`statistic`).
    """
    model = _model(arguments, variables)
    for name in (model.response.variable, model.weights, model.offset, model.exposure):
        if name:
            read.number_variable(variables, name)
    _check_bounds(model, variables)
    levels: dict[str, Json] = {name: len(known) for name, known in model.design.levels.items()}
    if arguments.get("levels") != levels:
        raise read.bad(f"expected the numbers of levels {levels}")
    if model.own_intercepts and model.design.has_intercept:
        raise read.bad("expected a design without intercept where each node has its own")
    return model


def _check_bounds(model: Model, variables: Variables) -> None:
    """What must hold of every row, by the declared bounds."""
    family = model.family
    read.check_bounds(
        model.response.variable,
        f"a {family.name} response",
        factor_bounds(model.response, variables),
        least=family.least,
        most=family.most,
        remedy="write an event as a condition, such as `status = 2`" if family.most else "",
    )
    for name, what in ((model.weights, "weights"), (model.exposure, "an exposure")):
        if name:
            found = variables[name]
            read.check_bounds(name, what, (found.low, found.high), least=0.0)


def signed_model(arguments: Arguments) -> Model:
    """The same at a node, from arguments that `parse_model` has passed."""
    levels = arguments["levels"]
    assert isinstance(levels, dict)
    names = _variables_of([*_items(arguments["design"]), ["", [arguments["response"]]]])
    stand_ins = {
        name: Variable(name, True, tuple(range(count)) if isinstance(count, int) else None)
        for name in names
        for count in (levels.get(name),)
    }
    return _model(arguments, stand_ins)


def _model(arguments: Arguments, variables: Variables) -> Model:
    return Model(
        parse_design(arguments.get("design"), variables),
        _response(arguments.get("response"), variables),
        family_of(read.text(arguments, "family"), read.text(arguments, "link")),
        read.text(arguments, "weights"),
        read.text(arguments, "offset"),
        read.text(arguments, "exposure"),
        read.text(arguments, "intercepts", ("shared", "node")) == "node",
    )


def _response(entry: Json, variables: Variables) -> Factor:
    """The response: a variable's number or a function of it, as a factor of a design."""
    (column,) = parse_design([["response", [entry]]], variables).columns
    if column.factors[0].level is not None:
        raise read.bad("expected a response that is a number, got a level")
    return column.factors[0]


def _variables_of(design: Sequence[Json]) -> set[str]:
    factors = [factor for column in design for factor in _items(_items(column)[1])]
    return {str(_items(factor)[0]) for factor in factors}


def _items(json: Json) -> Sequence[Json]:
    return json if isinstance(json, list | tuple) else ()


@dataclass
class ModelRows:
    """One node's usable rows of positive weight: float64[n] each, no weights or offset where the
    model has none. `columns` is the design, float64[p, n], standardised in place for the centre and
    scale of the last round (`standardised`)."""

    model: Model
    chosen: npt.NDArray[np.bool_]
    response: Reals
    weights: Reals | None
    offset: Reals | None
    columns: Reals
    intercept: float = 0.0
    """Where the search for this node's own intercept begins: that of the last round."""
    _rows: Rows = field(kw_only=True)
    _standard: bytes = b""
    _constant: Reals | None = None
    _own_units: tuple[Reals, Reals] | None = None
    _lengths: Reals | None = None
    _weight: float | None = None

    @property
    def count(self) -> int:
        return len(self.response)

    def check_units(self, centre: Reals, scale: Reals, response: Reals, *, constant: bool) -> None:
        """Refuse centres and scales far from this node's own columns (`rounding.FAR`), and a
        response's. Raises `StateError` (`data_values`)."""
        means, deviations = self._units()
        if not constant:
            _near(centre, scale, means[:-1], deviations[:-1], FAR)
        middle, unit = response
        if self.model.family.name == "gaussian" and (middle, unit) != (0.0, 1.0):
            _near(response[:1], response[1:], means[-1:], deviations[-1:], FAR)
        elif unit != 1.0:
            size = np.maximum(np.abs(means[-1:]), deviations[-1:])
            _near(means[-1:], response[1:], means[-1:], size, FAR)

    def sizes(self, centre: Reals, scale: Reals, *, constant: bool) -> Reals:
        """The root of the mean square of each column less its centre, by its scale, float64[p]. No
        row is beyond that times the root of the number of rows."""
        if constant:
            return np.ones(1)
        means, deviations = self._units()
        found: Reals = np.hypot(deviations[:-1], means[:-1] - centre) / scale
        return found

    @property
    def lengths(self) -> Reals:
        """The roots of the columns' sums of squares, as last standardised: float64[p]."""
        if self._lengths is None:
            self._lengths = np.sqrt(np.einsum("pn,pn->p", self.columns, self.columns))
        return self._lengths

    @property
    def weight(self) -> float:
        """The sum of the rows' weights."""
        if self._weight is None:
            self._weight = float(self.count if self.weights is None else self.weights.sum())
        return self._weight

    def _units(self) -> tuple[Reals, Reals]:
        """The mean and the deviation of each column, then of the response, as they are."""
        if self._own_units is None:
            columns = [*self.columns, self.response]
            means = np.array([float(column.mean()) for column in columns])
            deviations = np.array([float(column.std()) for column in columns])
            self._own_units = (means, deviations)
        return self._own_units

    def standardised(self, centre: Reals, scale: Reals) -> Reals:
        """(columns - centre) / scale, and with intercepts of its own the node's mean taken off,
        float64[p, n]. Raises as `rows.check_units`."""
        check_units(centre, scale)
        standard = centre.tobytes() + scale.tobytes()
        if standard != self._standard:
            if self._standard:
                self.columns = design_matrix(self.model.design, self._rows, self.chosen).T
            for column, middle, unit in zip(self.columns, centre, scale, strict=True):
                column -= middle
                column /= unit
                if self.model.own_intercepts:
                    column -= np.average(column, weights=self.weights)
            self._standard, self._lengths = standard, None
        return self.columns

    def constant(self) -> Reals:
        """A column of ones in place of the design, float64[1, n]."""
        if self._constant is None:
            self._constant = np.ones((1, self.count))
        return self._constant


def _near(centre: Reals, scale: Reals, means: Reals, deviations: Reals, far: float) -> None:
    """A column of one value here can be moved at will: all rows move alike."""
    varies = deviations > 0
    near = np.abs(centre - means) <= far * deviations
    fits = (scale <= far * deviations) & (scale * far >= deviations)
    if not (near & fits)[varies].all():
        raise StateError(
            "data_values",
            "expected centres and scales near those of the rows here, got others",
            remedy="choose nodes whose columns are in one unit and of like spread",
        )


def model_rows(rows: Rows, arguments: Arguments, rules: DisclosureRules) -> ModelRows:
    """This node's rows of the model, made once a job.

    As missing count rows in which a column is not within `rows.LARGEST` of 0 (a logarithm of 0,
    say), the response is none of the family's, the weight or the exposure is below 0, or the
    exposure is 0. Rows of weight 0 have no part.

    Raises `StateError`: `data_values` where a threshold of rows counts as missing so, for one
    reason; `too_few_rows` where the rows do not suffice, or where a few of them make up nearly all
    of the spread of a column, weights, offset, exposure or response (`spread.check_values`).
    """
    signed = {name: arguments[name] for name in MODEL}
    key = ("model", canonical.encode(signed), rules.threshold)
    return rows.kept(key, lambda: _made(rows, signed_model(signed), rules))


def _made(rows: Rows, model: Model, rules: DisclosureRules) -> ModelRows:
    chosen, matrix = _usable(rows, model, rules)
    count = int(np.count_nonzero(chosen))
    parameters = model.columns + model.own_intercepts
    if count < max(rules.threshold, ROWS_A_PARAMETER * parameters):
        raise StateError(
            "too_few_rows",
            f"expected the table's threshold of rows without a missing value, and "
            f"{ROWS_A_PARAMETER} for each coefficient of the model, got fewer",
            remedy="ask with fewer variables or levels, or choose other nodes",
        )
    if count < parameters + rules.degrees_of_freedom:
        raise StateError(
            "too_few_rows",
            f"expected {rules.degrees_of_freedom} rows at least beyond the {parameters} "
            "coefficients of the model, got fewer",
            remedy="ask with fewer variables or levels, or choose other nodes",
        )
    weights = rows.number(model.weights)[chosen] if model.weights else None
    if weights is not None:
        check_spread(float(weights.sum()), float(weights @ weights), rules, share=0.5)
        check_values(model.weights, weights, rules, built=model.weights in rows.built)
    response = factor_values(model.response, rows, chosen)
    made = ModelRows(
        model, chosen, response, weights, _offset(model, rows, chosen), matrix.T, _rows=rows
    )
    if model.own_intercepts:
        _check_own_intercept(made, rules)
    if model.family.name != "binomial":  # which has its supports
        name = model.response.variable
        check_values(name, response, rules, built=name in rows.built)
    for name in (model.offset, model.exposure):
        if name:
            check_values(name, rows.number(name)[chosen], rules, built=name in rows.built)
    for entry, column in zip(model.design.columns, made.columns, strict=True):
        if any(factor.level is None for factor in entry.factors):  # levels have their supports
            built = any(factor.variable in rows.built for factor in entry.factors)
            check_values(entry.name, column, rules, built=built)
    return made


def _usable(rows: Rows, model: Model, rules: DisclosureRules) -> tuple[Mask, Reals]:
    """The rows that the model is of, bool[n], and its design over them."""
    chosen, threshold = rows.complete(model.variables), rules.threshold
    if model.weights:
        weights = rows.number(model.weights)
        fit = (weights >= 0) & (weights <= LARGEST)
        wanted = f"weights from 0 to {LARGEST:g}"
        chosen = usable(model.weights, chosen, fit, threshold, wanted=wanted) & (weights > 0)
    if model.offset:
        fit = np.abs(rows.number(model.offset)) <= LARGEST
        chosen = usable(model.offset, chosen, fit, threshold)
    if model.exposure:
        exposure = rows.number(model.exposure)
        fit = (exposure > 0) & (exposure <= LARGEST)
        wanted = f"exposures above 0, up to {LARGEST:g},"
        chosen = usable(model.exposure, chosen, fit, threshold, wanted=wanted)
    family, name = model.family, model.response.variable
    every = np.ones(rows.count, dtype=np.bool_)
    fit = family.fits(factor_values(model.response, rows, every))
    chosen = usable(name, chosen, fit, threshold, wanted=family.wanted)
    return usable_design(model.design, rows, chosen, threshold)


def _offset(model: Model, rows: Rows, chosen: Mask) -> Reals | None:
    offset = rows.number(model.offset)[chosen] if model.offset else None
    if not model.exposure:
        return offset
    logs: Reals = np.log(rows.number(model.exposure)[chosen])
    return logs if offset is None else offset + logs


def _check_own_intercept(rows: ModelRows, rules: DisclosureRules) -> None:
    """A node's own intercept has no finite value where a discrete response is all 0 or all 1. A
    few rows that are not, too, are too few."""
    y, family = rows.response, rows.model.family
    others = [np.count_nonzero(y)]
    if family.name == "binomial":
        others.append(len(y) - others[0])
    if family.discrete and min(others) < rules.few:
        raise StateError(
            "too_few_rows",
            f"expected a `{rows.model.response.variable}` that varies where a node has its own "
            "intercept, got one value in all rows or all but a few",
            remedy="choose nodes where the response varies, or leave out the fixed effects",
        )
