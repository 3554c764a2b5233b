"""The rounds of a generalised linear model: its design's moments, then Newton steps.

Nodes standardise the design's columns by centres and scales that the requester takes from the first
round, and give the score and Fisher's information of the coefficients of the columns `Z = X T`,
where the transform `T` orthogonalises a design that is nearly collinear, so that its Gram matrix
keeps the digits that X'X would lose (Cholesky QR2 and its shifted form: Yamamoto, Nakatsukasa,
Yanagisawa and Fukaya 2015; Fukaya et al. 2020).

A node with an intercept of its own fits it to its rows at the given coefficients and gives the
derivatives of the profile likelihood, which are those of the model with a dummy for each node
(Murphy and van der Vaart 2000; for ordinary least squares: Frisch, Waugh and Lovell).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from yumen_core.disclosure import DisclosureRules
from yumen_core.errors import StateError
from yumen_core.statistics import arguments as read
from yumen_core.statistics.design import level_counts, level_supports
from yumen_core.statistics.families import Terms, pearson
from yumen_core.statistics.kinds import Arguments, Inputs, Local, Rule, Variables
from yumen_core.statistics.layout import Counts, Layout, Reals, wide_real
from yumen_core.statistics.model import MODEL, Model, ModelRows, model_rows, parse_model
from yumen_core.statistics.rounding import (
    MOST_ERROR,
    MOST_TRANSFORM,
    UNIT,
    Gram,
    Products,
    Sizing,
    Slices,
    Total,
    coarse,
    room_of,
    rows_at_once,
    unsliced,
)
from yumen_core.statistics.rows import Rows, check_units
from yumen_core.statistics.spread import is_spread

COLUMN_MOMENTS = ("sum", "squares", "within")
RESPONSE_MOMENTS = ("rows", "weights", "sum", "squares", "saturated", "log_weights")
FIT_SUMS = ("deviance", "pearson", "information")
UNTOLD = 1e30
"""What a node gives as deviance, with zeros for all else, at coefficients that leave the sums on
too few of its rows: the requester takes a shorter step, as it does for any large deviance."""

MOST_DEVIANCE = {"binomial": 8.0, "poisson": 40.0, "gamma": 40.0}
"""For each row of weight 1 (poisson: for each count, and one more a row). A constant of all nodes
stays within it where a node's odds differ from theirs a thousandfold, its means twentyfold."""

BENDS = {"identity": 0.0, "inverse": 2.0}
"""`rounding.Sizes.bend` by link, 1 for others."""

WEIGHTS_SHARE, SQUARES_SHARE = 0.5, 0.25
"""Of the threshold, the effective rows that weights and squared residuals must leave: rows that
count unequally, as in any sound model, pass; coefficients that single out a row or two do not."""

_MOST_INNER_STEPS = 200


class Block(NamedTuple):
    """Some rows: their places, Z (float64[p, m]) and the linear predictor (float64[m]). The room of
    Z and of its slices is that of the next block."""

    rows: slice
    slices: Slices
    eta: Reals

    @property
    def columns(self) -> Reals:
        return self.slices.lines


class DesignMoments:
    """The arguments are a model's (`model.MODEL`). For each column of the design its sum, its sum
    of squares and that of the distances from the node's own mean; for the response
    `RESPONSE_MOMENTS`, its sums weighted."""

    name = "design"
    rule: Rule = Rule.REQUIRE

    def layout(self, arguments: Arguments, variables: Variables) -> Layout:
        read.only(arguments, *MODEL)
        model = parse_model(arguments, variables)
        width = len(COLUMN_MOMENTS) * model.columns + len(RESPONSE_MOMENTS)
        return Layout(1, model_supports(model), (wide_real(),) * width)

    def compute(
        self, rows: Rows, arguments: Arguments, inputs: Inputs, rules: DisclosureRules
    ) -> Local:
        own = model_rows(rows, arguments, rules)
        moments = [_moments(column) for column in own.columns]
        y = own.response
        weights = np.ones_like(y) if own.weights is None else own.weights
        response = [
            float(own.count),
            float(weights.sum()),
            float(weights @ y),
            float((weights * y) @ y),
            float(own.model.family.saturated(y, weights).sum()),
            0.0 if own.weights is None else float(weights @ np.log(weights)),
        ]
        values = np.array([*np.array(moments).T.ravel(), *response])
        return Local(model_counts(own, rows), values.reshape(1, -1))


class GlmStep:
    """A model's arguments, and `fit`: `model`, or `constant` for a shared constant in the design's
    place. At `beta` (of Z): score, information (its upper triangle, row by row), the observed
    information too where the link is not canonical, and `FIT_SUMS`; or `UNTOLD`."""

    name = "glm"
    rule: Rule = Rule.REQUIRE

    def layout(self, arguments: Arguments, variables: Variables) -> Layout:
        read.only(arguments, *MODEL, "fit")
        model = parse_model(arguments, variables)
        fit = read.text(arguments, "fit", ("model", "constant"))
        p = model.columns if fit == "model" else 1
        values = (wide_real(),) * fit_width(model, p)
        return Layout(1, model_supports(model), values, fit_inputs(p))

    def compute(
        self, rows: Rows, arguments: Arguments, inputs: Inputs, rules: DisclosureRules
    ) -> Local:
        own = model_rows(rows, arguments, rules)
        check_fit_inputs(inputs)
        constant = arguments["fit"] == "constant"
        width = fit_width(own.model, len(inputs["beta"]))
        if too_steep(own, inputs, constant=constant):
            return Local(model_counts(own, rows), untold(width))
        fit = Fit(own, inputs, constant=constant)
        score, sums, spread = Products(fit.size, 1), Total(len(FIT_SUMS)), np.zeros(4)
        scores, sizing = Slices(1, rows_at_once(fit.size)), fit.sizing()
        expected, *observed = grams = fit.grams()
        for block, terms in fit.terms():
            score.add(block.slices, scores.take(terms.score[np.newaxis]))
            expected.add(block.slices, terms.information)
            for gram in observed:
                gram.add(block.slices, terms.observed)
            sums.add(
                np.array([terms.deviance.sum(), pearson(terms).sum(), terms.information.sum()])
            )
            spread += row_weights(terms)
            sizing.add(block.columns, block.eta + fit.intercept, terms)
        if not tells(own, float(sums.value[0]), spread, rules):
            return Local(model_counts(own, rows), untold(width))
        sizes = sizing.sizes(*grams)
        parts = [score.value[:, 0], *(upper(gram.around()) for gram in grams), sums.value]
        bounds = [
            sizes.of_score(),
            *[upper(sizes.of_gram())] * len(grams),
            sizes.of_sums(*sums.value.tolist()),
        ]
        values = coarse(np.concatenate(parts), np.concatenate(bounds), rules.threshold)
        return Local(model_counts(own, rows), values.reshape(1, -1))


def fit_width(model: Model, p: int) -> int:
    """The values of a step over `p` columns."""
    triangles = 1 if model.family.canonical else 2
    return p + triangles * (p * (p + 1) // 2) + len(FIT_SUMS)


def untold(width: int) -> Reals:
    """What a node gives at coefficients that it does not tell of, float64[1, width]."""
    values = np.zeros((1, width))
    values[0, -len(FIT_SUMS)] = UNTOLD
    return values


def too_steep(own: ModelRows, inputs: Inputs, *, constant: bool) -> bool:
    """Whether the coefficients are so large that rounding could move the linear predictor by more
    than `rounding.MOST_ERROR`: that follows from them and from the rows' own spread."""
    sizes = own.sizes(inputs["centre"], inputs["scale"], constant=constant)
    with np.errstate(over="ignore", invalid="ignore"):
        reach = float(np.abs(inputs["beta"]) @ (np.abs(inputs["transform"]).T @ sizes))
    return not UNIT * reach <= MOST_ERROR


def no_fit() -> StateError:
    return StateError(
        "too_few_rows",
        "expected coefficients that fit the rows here, got weights on a few of them",
        remedy="simplify the model",
    )


def tells(own: ModelRows, deviance: float, spread: Reals, rules: DisclosureRules) -> bool:
    """Whether this node's sums at some coefficients are those of a fit, and not of a few rows.

    1. The deviance is not far above that of a constant: a predictor that is steep on some rows, so
    that a small change of it moves one row at a time, is wrong on many others. 2. The rows'
    information is spread, and there is some. 3. So are their scores. `spread` is as `row_weights`
    gives it. Least squares tell the same moments whatever the coefficients.
    """
    family = own.model.family
    if family.name == "gaussian":
        return True
    most, room = MOST_DEVIANCE[family.name], own.weight
    if family.name == "poisson":
        counts = own.response.sum() if own.weights is None else own.weights @ own.response
        room += float(counts)
    return bool(
        deviance <= most * room
        and spread[0] > 0
        and is_spread(spread[0], spread[1], rules, share=WEIGHTS_SHARE)
        and is_spread(spread[2], spread[3], rules, share=WEIGHTS_SHARE)
    )


class Fit:
    """A model at given coefficients over one node's rows, block by block. Raises `StateError`
    (`data_values`) for inputs that are none of a fit (`check_fit_inputs`)."""

    def __init__(self, own: ModelRows, inputs: Inputs, *, constant: bool) -> None:
        check_fit_inputs(inputs)
        own.check_units(inputs["centre"], inputs["scale"], inputs["response"], constant=constant)
        self._own = own
        family = own.model.family
        middle, unit = inputs["response"]
        shiftable = family.name == "gaussian"
        if (middle and not shiftable) or (unit != 1 and family.discrete):
            raise StateError(
                "data_values",
                "expected a response scale of the family, got another",
                remedy="use the current SDK",
            )
        self._response = own.response
        if middle != 0.0 or unit != 1.0:
            self._response = (own.response - middle) / unit
        self._offset = own.offset
        if own.offset is not None and family.link in ("identity", "inverse"):
            self._offset = own.offset / unit if family.link == "identity" else own.offset * unit
        self.own_intercept = own.model.own_intercepts and not constant
        self._constant = constant
        self._columns = (
            own.constant() if constant else own.standardised(inputs["centre"], inputs["scale"])
        )
        self.size = self._columns.shape[0]
        transform = inputs["transform"]
        self._transform = None if np.array_equal(transform, np.eye(self.size)) else transform
        self.moved = np.zeros(self.size)
        """What rounding may do to any row of Z, float64[p], beyond a share of its own value."""
        if self._transform is not None:
            sizes = own.sizes(inputs["centre"], inputs["scale"], constant=constant)
            self.moved = unsliced(transform, np.sqrt(own.count) * sizes)
        self._beta = inputs["beta"]
        self.intercept = self._own_intercept() if self.own_intercept else 0.0

    def grams(self) -> tuple[Gram, ...]:
        """To add up the information, and the observed one where the link is not canonical."""
        count = 1 if self._own.model.family.canonical else 2
        return tuple(Gram(self.size, centred=self.own_intercept) for _ in range(count))

    def sizing(self) -> Sizing:
        """What adds up the bounds of this fit's sums."""
        response = np.maximum(np.abs(self._response), 1.0)
        if self._own.weights is not None:
            response *= self._own.weights
        length = None
        if self._transform is None:
            length = np.sqrt(self._own.count * np.ones(1)) if self._constant else self._own.lengths
        return Sizing(
            self._beta,
            self.moved,
            self._own.count,
            length=length,
            bend=BENDS.get(self._own.model.family.link, 1.0),
            weight=self._own.weight,
            response=float(np.sqrt(response @ response)),
        )

    def blocks(self) -> Iterator[Block]:
        """Every row, with the predictor of offset, coefficients and the node's own intercept."""
        step = rows_at_once(self.size)
        slices, standard = Slices(self.size, step), Slices(self.size, step)
        into = room_of(self.size, step), room_of(self.size, step)
        for start in range(0, self._own.count, step):
            rows = slice(start, start + step)
            columns = self._columns[:, rows]
            if self._transform is not None:
                columns = standard.take(columns).combined(self._transform, into)
            eta = slices.take(columns).combined(self._beta[:, np.newaxis])[0]
            if self._offset is not None:
                eta += self._offset[rows]
            yield Block(rows, slices, eta)

    def terms(self) -> Iterator[tuple[Block, Terms]]:
        """Every row's terms, weighted."""
        for block in self.blocks():
            yield block, self._terms(block.rows, block.eta + self.intercept)

    def _terms(self, rows: slice, eta: Reals) -> Terms:
        terms = self._own.model.family.terms(self._response[rows], eta)
        if self._own.weights is None:
            return terms
        weights = self._own.weights[rows]
        deviance, score, information = (term * weights for term in terms[:3])
        same = terms.observed is terms.information
        observed = information if same else terms.observed * weights
        return Terms(deviance, score, information, observed)

    def _own_intercept(self) -> float:
        """The likelihood's maximum over the node's intercept: Newton's method in one dimension,
        halved until the deviance falls, or the last one reached: `tells` judges it."""
        eta = np.concatenate([block.eta for block in self.blocks()])
        everything = slice(None)
        at = self._own.intercept if self._own.intercept else self._first_intercept()
        terms = self._terms(everything, eta + at)
        deviance = float(terms.deviance.sum())
        step = _newton(terms)
        for _ in range(_MOST_INNER_STEPS):
            step = float(np.clip(step, -2.0, 2.0))
            if not abs(step) > 1e-13 * (1.0 + abs(at)):
                self._own.intercept = at + step
                return at + step
            there = self._terms(everything, eta + at + step)
            reached = float(there.deviance.sum())
            if not reached <= deviance * (1 + 1e-12) + 1e-300:
                step /= 2
                continue
            if reached >= deviance and abs(step) < 1e-9 * (1.0 + abs(at)):
                self._own.intercept = at + step
                return at + step
            at, deviance = at + step, reached
            step = _newton(there)
        return at

    def _first_intercept(self) -> float:
        mean = float(np.average(self._response, weights=self._own.weights))
        match self._own.model.family.link:
            case "logit":
                mean = min(max(mean, 1e-12), 1.0 - 1e-12)  # of very unequal weights
                return float(np.log(mean / (1.0 - mean)))
            case "log":
                return float(np.log(mean))
            case "inverse":
                return 1.0 / mean
        return mean


def _newton(terms: Terms) -> float:
    """A step of Newton's method over an intercept; 0 where the rows have no information."""
    information = float(terms.information.sum())
    return float(terms.score.sum()) / information if information > 0.0 else 0.0


def check_fit_inputs(inputs: Inputs) -> None:
    """Refuse inputs with which a sum over usable rows could be beyond its range. That follows from
    the inputs alone, for a sum that is refused for its size tells of the rows. Raises `StateError`
    (`data_values`)."""
    check_units(inputs["centre"], inputs["scale"])
    middle, unit = inputs["response"]
    check_units(np.array([middle]), np.array([unit]))
    if not np.abs(inputs["transform"]).max() <= MOST_TRANSFORM:
        raise StateError(
            "data_values",
            "expected a transform within the range of a fit, got another",
            remedy="use the current SDK",
        )


def model_supports(model: Model) -> tuple[str, ...]:
    """The sets of rows that every round of a model rests on, by name."""
    outcomes = ("0", "1") if model.family.name == "binomial" else ()
    return (
        "rows",
        *level_supports(model.design),
        *(f"{model.response.variable} = {outcome}" for outcome in outcomes),
    )


def model_counts(own: ModelRows, rows: Rows) -> Counts:
    """This node's rows behind each of `model_supports`, int64[1, supports]."""

    def made() -> Counts:
        counts = [own.count, *level_counts(own.model.design, rows, own.chosen).tolist()]
        if own.model.family.name == "binomial":
            ones = int(np.count_nonzero(own.response))
            counts += [own.count - ones, ones]
        return np.array([counts], dtype=np.int64)

    return rows.kept(("model_counts", id(own)), made)


def fit_inputs(p: int) -> dict[str, tuple[int, ...]]:
    """The shapes of what the requester sends for a round over `p` columns."""
    return {"beta": (p,), "centre": (p,), "scale": (p,), "transform": (p, p), "response": (2,)}


def upper(square: Reals) -> Reals:
    """The upper triangle, row by row, float64[p (p + 1) / 2]."""
    return square[np.triu_indices(len(square))]


def full(triangle: Reals, p: int) -> Reals:
    """The symmetric matrix of an upper triangle, float64[p, p]."""
    square = np.zeros((p, p))
    square[np.triu_indices(p)] = triangle
    return square + np.triu(square, 1).T


def _moments(column: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Sum, sum of squares, and sum of squares around the mean: exactly 0 for a constant."""
    away = column - column[0]
    within = float(away @ away) - float(away.sum()) ** 2 / len(away)
    return float(column.sum()), float(column @ column), max(0.0, within)


def row_weights(terms: Terms) -> tuple[float, float, float, float]:
    """Sums and sums of squares of the rows' weights: in the information, and in the score."""
    information, score = terms.information, np.abs(terms.score)
    return (
        float(information.sum()),
        float(information @ information),
        float(score.sum()),
        float(score @ score),
    )
