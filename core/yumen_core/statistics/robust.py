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
    Gram,
    fit_inputs,
    model_counts,
    model_supports,
    row_weights,
    tells,
    upper,
)
from yumen_core.statistics.kinds import Arguments, Inputs, Local, Rule, Variables
from yumen_core.statistics.layout import Layout, Reals, wide_real
from yumen_core.statistics.model import MODEL, ModelRows, model_rows, parse_model
from yumen_core.statistics.rows import Rows
from yumen_core.statistics.spread import check_spread

COVARIANCES = ("HC0", "HC2", "HC3", "cluster")
_ROUNDING = 1e-6
_MOST_LEVERAGE = 1.0 - 1e-8
_MEAT_BITS = 1024  # squares of scores, of which `glm.MOST_REACH` leaves less than 1e271


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
        fit = Fit(own, inputs, constant=False)
        covariance = read.text(arguments, "covariance", COVARIANCES)
        observed, expected = _grams(own, fit, rules)
        information = expected.around(fit.own_intercept)
        root = _root(inputs["bread"], information) if covariance in ("HC2", "HC3") else None
        mean = observed.mean if fit.own_intercept else np.zeros(fit.size)
        weight = expected.weight if fit.own_intercept else 0.0
        meat, total = np.zeros_like(information), np.zeros(fit.size)
        sums = np.zeros(4)
        for block, terms in fit.terms():
            columns = block.columns - mean[:, None]
            score = terms.score
            if root is not None:
                rest = 1.0 - _leverage(root, columns, terms, weight)
                score = score / (np.sqrt(rest) if covariance == "HC2" else rest)
            squares = score * score
            sums += (np.abs(score).sum(), squares.sum(), squares.sum(), squares @ squares)
            if covariance == "cluster":
                total += columns @ score
            else:
                scores = columns * score
                meat += scores @ scores.T
        check_spread(sums[0], sums[1], rules, share=WEIGHTS_SHARE)
        check_spread(sums[2], sums[3], rules, share=SQUARES_SHARE)
        if covariance == "cluster":
            meat = np.outer(total, total)
        values = np.array([*upper(meat), *upper(observed.around(fit.own_intercept))])
        return Local(model_counts(own, rows), values.reshape(1, -1))


def _grams(own: ModelRows, fit: Fit, rules: DisclosureRules) -> tuple[Gram, Gram]:
    """The columns' products under the observed and under the expected information. Raises
    `StateError` (`too_few_rows`) at coefficients that are no fit (`glm.tells`)."""
    observed, expected = Gram(fit.size), Gram(fit.size)
    deviance, spread = 0.0, np.zeros(4)
    for block, terms in fit.terms():
        deviance += float(terms.deviance.sum())
        spread += row_weights(terms)
        observed.add(block.columns, terms.observed)
        expected.add(block.columns, terms.information)
    if not tells(own, deviance, spread, rules):
        raise StateError(
            "too_few_rows",
            "expected coefficients that fit the rows here, got weights on a few of them",
            remedy="simplify the model",
        )
    return observed, expected


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
