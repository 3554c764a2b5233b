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
    factor_values,
    not_finite,
    parse_design,
)
from yumen_core.statistics.families import Family, check_response, family_of
from yumen_core.statistics.kinds import Arguments, Variables
from yumen_core.statistics.layout import Reals
from yumen_core.statistics.rows import Rows, Variable, check_finite
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
    levels: dict[str, Json] = {name: len(known) for name, known in model.design.levels.items()}
    if arguments.get("levels") != levels:
        raise read.bad(f"expected the numbers of levels {levels}")
    if model.own_intercepts and model.design.has_intercept:
        raise read.bad("expected a design without intercept where each node has its own")
    return model


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
    """One node's complete rows of positive weight: float64[n] each, no weights or offset where the
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

    @property
    def count(self) -> int:
        return len(self.response)

    def standardised(self, centre: Reals, scale: Reals) -> Reals:
        """(columns - centre) / scale, and with intercepts of its own the node's mean taken off,
        float64[p, n]. Raises `StateError` (`data_values`) for a scale that is not positive."""
        if not (scale > 0).all():
            raise StateError("data_values", "expected positive scales of columns, got another")
        standard = centre.tobytes() + scale.tobytes()
        if standard != self._standard:
            if self._standard:
                self.columns = design_matrix(self.model.design, self._rows, self.chosen).T
            for column, middle, unit in zip(self.columns, centre, scale, strict=True):
                column -= middle
                column /= unit
                if self.model.own_intercepts:
                    column -= np.average(column, weights=self.weights)
            self._standard = standard
        return self.columns

    def constant(self) -> Reals:
        """A column of ones in place of the design, float64[1, n]."""
        if self._constant is None:
            self._constant = np.ones((1, self.count))
        return self._constant


def model_rows(rows: Rows, arguments: Arguments, rules: DisclosureRules) -> ModelRows:
    """This node's rows of the model, made once a job.

    Raises `StateError`: `data_values` for infinite values, negative weights, exposures not above 0
    or a response that the family does not have; `too_few_rows` where the rows do not suffice.
    """
    signed = {name: arguments[name] for name in MODEL}
    key = ("model", canonical.encode(signed), rules.threshold)
    return rows.kept(key, lambda: _made(rows, signed_model(signed), rules))


def _made(rows: Rows, model: Model, rules: DisclosureRules) -> ModelRows:
    for name in model.variables:
        if name in rows.numbers:
            check_finite(name, rows.number(name))
    chosen = rows.complete(model.variables)
    if model.weights:
        chosen &= _weighted(model.weights, rows.number(model.weights))
    count = int(np.count_nonzero(chosen))
    parameters = model.columns + model.own_intercepts
    if count < max(rules.threshold, ROWS_A_PARAMETER * parameters):
        raise StateError(
            "too_few_rows",
            f"expected the table's threshold of rows without a missing value, and "
            f"{ROWS_A_PARAMETER} for each coefficient of the model, got fewer",
            remedy="ask with fewer variables or levels, or choose other nodes",
        )
    weights = rows.number(model.weights)[chosen] if model.weights else None
    if weights is not None:
        check_spread(float(weights.sum()), float(weights @ weights), rules, share=0.5)
    name = model.response.variable
    response = factor_values(model.response, rows, chosen)
    if not np.isfinite(response).all():
        raise not_finite(name)
    check_response(model.family, name, response)
    check_values(name, response, rules)
    columns = design_matrix(model.design, rows, chosen).T
    for entry, column in zip(model.design.columns, columns, strict=True):
        if any(factor.level is None for factor in entry.factors):  # levels have their supports
            check_values(entry.name, column, rules)
    made = ModelRows(
        model, chosen, response, weights, _offset(model, rows, chosen), columns, _rows=rows
    )
    if model.own_intercepts:
        _check_own_intercept(made)
    return made


def _weighted(name: str, weights: Reals) -> npt.NDArray[np.bool_]:
    if (weights < 0).any():
        raise StateError("data_values", f"expected weights from 0 in `{name}`, got a negative one")
    return weights > 0


def _offset(model: Model, rows: Rows, chosen: npt.NDArray[np.bool_]) -> Reals | None:
    offset = rows.number(model.offset)[chosen] if model.offset else None
    if not model.exposure:
        return offset
    exposure = rows.number(model.exposure)[chosen]
    if (exposure <= 0).any():
        raise StateError(
            "data_values", f"expected exposures above 0 in `{model.exposure}`, got another value"
        )
    logs: Reals = np.log(exposure)
    return logs if offset is None else offset + logs


def _check_own_intercept(rows: ModelRows) -> None:
    """A node's own intercept has no finite value where a discrete response is all 0 or all 1."""
    y, family = rows.response, rows.model.family
    if family.discrete and (not y.any() or (family.name == "binomial" and y.all())):
        raise StateError(
            "data_values",
            f"expected a `{rows.model.response.variable}` that varies where a node has its own "
            "intercept, got one value",
            remedy="choose nodes where the response varies, or leave out the fixed effects",
        )
