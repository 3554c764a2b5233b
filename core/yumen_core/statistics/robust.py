"""The last round of a model whose errors are robust: the middle of the sandwich.

White 1980 (HC0), MacKinnon and White 1985 (HC2, HC3, with the leverage of each row), and Liang and
Zeger 1986 for clusters, which are the nodes here.
"""

from __future__ import annotations

import numpy as np

from yumen_core.disclosure import DisclosureRules
from yumen_core.errors import StateError
from yumen_core.statistics import arguments as read
from yumen_core.statistics.families import Terms
from yumen_core.statistics.glm import (
    SQUARES_SHARE,
    WEIGHTS_SHARE,
    Fit,
    check_fit_inputs,
    fit_inputs,
    model_counts,
    model_supports,
    no_fit,
    row_weights,
    tells,
    too_steep,
    upper,
)
from yumen_core.statistics.kinds import Arguments, Inputs, Local, Rule, Variables
from yumen_core.statistics.layout import Layout, Reals, wide_real
from yumen_core.statistics.model import MODEL, ModelRows, model_rows, parse_model
from yumen_core.statistics.rounding import (
    MOST_ERROR,
    SUMMED,
    UNIT,
    Gram,
    Products,
    Sizes,
    coarse,
    crossed,
    product,
)
from yumen_core.statistics.rows import Rows
from yumen_core.statistics.spread import check_spread

COVARIANCES = ("HC0", "HC2", "HC3", "cluster")
_ROUNDING = 1e-6
_MOST_LEVERAGE = 1.0 - 1e-8
_MEAT_BITS = 1024  # squares of scores, and leverage can divide these by 1e-8 each


class Robust:
    """A model's arguments, and `covariance`. At `beta` (of Z, as in `glm`) and with the inverse of
    the pooled information, `bread`: the sum of the products of the rows' scores, or with `cluster`
    the product of the node's summed score; then the observed information; upper triangles both.
    """

    name = "robust"
    rule: Rule = Rule.REQUIRE

    def layout(self, arguments: Arguments, variables: Variables) -> Layout:
        read.only(arguments, *MODEL, "covariance")
        read.text(arguments, "covariance", COVARIANCES)
        model = parse_model(arguments, variables)
        p = model.columns
        inputs = {**fit_inputs(p), "bread": (p, p)}
        meat = wide_real(bits=_MEAT_BITS)
        values = (meat,) * (p * (p + 1) // 2) + (wide_real(),) * (p * (p + 1) // 2)
        return Layout(1, model_supports(model), values, inputs)

    def compute(
        self, rows: Rows, arguments: Arguments, inputs: Inputs, rules: DisclosureRules
    ) -> Local:
        own = model_rows(rows, arguments, rules)
        check_fit_inputs(inputs)
        if too_steep(own, inputs, constant=False):
            raise no_fit()
        fit = Fit(own, inputs, constant=False)
        covariance = read.text(arguments, "covariance", COVARIANCES)
        observed, expected, sizes = _grams(own, fit, rules)
        information = expected.around()
        root = _root(inputs["bread"], information) if covariance in ("HC2", "HC3") else None
        mean = observed.mean if fit.own_intercept else np.zeros(fit.size)
        weight = expected.weight if fit.own_intercept else 0.0
        meat, total = Products(fit.size, fit.size), Products(fit.size, 1)
        sums, rounded = np.zeros(4), _Rounded(fit, sizes, root)
        for block, terms in fit.terms():
            columns = block.columns - mean[:, None]
            score, rest = terms.score, np.ones_like(terms.score)
            if root is not None:
                rest = 1.0 - _leverage(root, columns, terms, weight)
                rest = np.sqrt(rest) if covariance == "HC2" else rest
                score = score / rest
            squares = score * score
            sums += (np.abs(score).sum(), squares.sum(), squares.sum(), squares @ squares)
            if covariance == "cluster":
                product(columns, score[np.newaxis], total)
            else:
                scores = columns * score
                product(scores, scores, meat)
                rounded.add(block.columns, squares, np.square(terms.information / rest))
        check_spread(sums[0], sums[1], rules, share=WEIGHTS_SHARE)
        check_spread(sums[2], sums[3], rules, share=SQUARES_SHARE)
        if covariance == "cluster":  # one row of a product: the score is given, so it is coarse
            told = coarse(total.value[:, 0], sizes.of_score(), rules.threshold)
            middle = upper(np.outer(told, told))
        else:
            middle = coarse(upper(meat.value), upper(rounded.bounds()), rules.threshold)
        outer = upper(observed.around())
        values = [middle, coarse(outer, upper(sizes.of_gram()), rules.threshold)]
        return Local(model_counts(own, rows), np.concatenate(values).reshape(1, -1))


class _Rounded:
    """Bounds on the rounding of the products of the rows' scores (`rounding`), of which `squares`,
    float64[m], are the squares: of the columns, beside the scores; of the scores through the
    predictor and as differences, beside the columns; and of the leverage.

    A row's leverage is |root' z|^2 w, at most 1 here, and so off by no more than twice the length
    of what rounding does to root' z. Raises `StateError` (`too_few_rows`) for a root that would
    make that large.
    """

    def __init__(self, fit: Fit, sizes: Sizes, root: Reals | None) -> None:
        self._moved, self._sizes, self._along = fit.moved, sizes, 0.0
        self._columns, self._bent, self._squares = np.zeros(fit.size), np.zeros(fit.size), 0.0
        if root is not None:
            error = sizes.error + fit.size * UNIT * sizes.length
            self._along = float(np.linalg.norm(np.abs(root).T @ error))
            if not self._along <= MOST_ERROR:
                raise no_fit()

    def add(self, columns: Reals, squares: Reals, bent: Reals) -> None:
        """`bent` is the square of what a unit of the predictor makes of the score."""
        self._squares += float(squares.sum())
        both = np.square(columns) @ np.column_stack([squares, bent])
        self._columns += both[:, 0]
        self._bent += both[:, 1]

    def bounds(self) -> Reals:
        """Of the sum over the rows added so far, float64[p, p]."""
        sizes, length = self._sizes, np.sqrt(self._columns)
        error = np.sqrt(self._squares) * self._moved + 2 * UNIT * length
        scores = sizes.of_predictor * np.sqrt(self._bent) + (
            8 * UNIT * sizes.response / np.sqrt(sizes.rows) * sizes.plain_length
        )
        moved = np.outer(length, scores)
        return crossed(error, length, SUMMED + 4 * self._along) + moved + moved.T


def _grams(own: ModelRows, fit: Fit, rules: DisclosureRules) -> tuple[Gram, Gram, Sizes]:
    """The columns' products under the observed and under the expected information, and what bounds
    their rounding. Raises `StateError` (`too_few_rows`) at coefficients that are no fit
    (`glm.tells`)."""
    grams, sizing = fit.grams(), fit.sizing()
    deviance, spread = 0.0, np.zeros(4)
    for block, terms in fit.terms():
        deviance += float(terms.deviance.sum())
        spread += row_weights(terms)
        for gram, weights in zip(grams, (terms.information, terms.observed), strict=False):
            gram.add(block.slices, weights)
        sizing.add(block.columns, block.eta + fit.intercept, terms)
    if not tells(own, deviance, spread, rules):
        raise no_fit()
    return grams[-1], grams[0], sizing.sizes(*grams)


def _leverage(root: Reals, columns: Reals, terms: Terms, weight: float) -> Reals:
    """The diagonal of the hat matrix, float64[m]. A row that fits itself has _MOST_LEVERAGE, and
    such a part of the sum that it is refused where there are few of them (`check_spread`)."""
    along = root.T @ columns
    leverage: Reals = np.einsum("pm,pm->m", along, along) * terms.information
    if weight:
        leverage = leverage + terms.information / weight
    return np.minimum(leverage, _MOST_LEVERAGE)


def _root(bread: Reals, information: Reals) -> Reals:
    """R with R R' = bread, float64[p, p].

    The inverse of all nodes' information is below that of this node's own `information`, so that no
    row's leverage is above its own here; a bread that is not could single out a row. Raises
    `StateError` (`data_values`) for it.
    """
    try:
        root: Reals = np.asarray(np.linalg.cholesky(bread), dtype=np.float64)
        largest = float(np.linalg.eigvalsh(root.T @ information @ root)[-1])
    except np.linalg.LinAlgError:
        largest = np.inf
    if not largest <= 1.0 + _ROUNDING:
        raise StateError(
            "data_values", "expected the inverse of the pooled information, got another matrix"
        )
    return root
