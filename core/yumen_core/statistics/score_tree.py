"""How a fitted model ranks rows with and without the response: the tree behind a ROC curve."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from yumen_core.canonical import Json
from yumen_core.disclosure import DisclosureRules
from yumen_core.errors import StateError
from yumen_core.statistics import arguments as read
from yumen_core.statistics.glm import Fit, check_fit_inputs, fit_inputs, no_fit, too_steep
from yumen_core.statistics.grid import MAX_DEPTH
from yumen_core.statistics.kinds import Arguments, Inputs, Local, Rule, Variables
from yumen_core.statistics.layout import Layout, Reals
from yumen_core.statistics.model import MODEL, model_rows, parse_model
from yumen_core.statistics.rows import Rows
from yumen_core.statistics.trees import (
    TreeArguments,
    counted,
    in_order,
    read_start,
    tree_layout,
)


class ScoreTrees:
    """Arguments: a model's (`model.MODEL`) of the binomial family, and `depth` and `start` of trees
    over its linear predictor, one list of [exponent, index]. Inputs: those of a step of the model
    (`glm.GlmStep`), and `cells` as for `trees.Trees`. The groups of each tree are the rows whose
    response is 0, then those whose response is 1; a row of positive weight counts once.

    A job has one predictor: other coefficients would move rows across the same splits, and the
    difference of two runs would count those that moved. A node refuses a second one.
    """

    name = "score_tree"
    remembers = True  # what it told in earlier runs, in `Rows.kept`
    rule: Rule = Rule.SPLITS

    def layout(self, arguments: Arguments, variables: Variables) -> Layout:
        read.only(arguments, *MODEL, "depth", "start")
        model = parse_model(_model(arguments), variables)
        if model.family.name != "binomial":
            raise read.bad(f"expected a binomial model, got `{model.family.name}`")
        return tree_layout(_trees(arguments), **fit_inputs(model.columns))

    def compute(
        self, rows: Rows, arguments: Arguments, inputs: Inputs, rules: DisclosureRules
    ) -> Local:
        given = b"".join(inputs[name].tobytes() for name in sorted(inputs) if name != "cells")
        if rows.kept("score_tree", lambda: given) != given:
            raise StateError(
                "data_values",
                "expected the coefficients of the job's earlier score, got others",
                remedy="submit another job for other coefficients",
            )
        ordered = rows.kept(
            "score_tree_order", lambda: _ordered(rows, _model(arguments), inputs, rules)
        )
        return counted([ordered], _trees(arguments), inputs, rules)


def _trees(arguments: Arguments) -> TreeArguments:
    depth = read.whole(arguments, "depth", 1, MAX_DEPTH)
    start = read_start(arguments.get("start"))
    return TreeArguments(("score",), "response", 2, True, depth, (start,))


def _model(arguments: Arguments) -> Mapping[str, Json]:
    return {name: arguments.get(name) for name in MODEL}


def _ordered(
    rows: Rows, model: Mapping[str, Json], inputs: Inputs, rules: DisclosureRules
) -> list[Reals]:
    own = model_rows(rows, model, rules)
    check_fit_inputs(inputs)
    if too_steep(own, inputs, constant=False):
        raise no_fit()
    fit = Fit(own, inputs, constant=False)
    score = np.concatenate([block.eta + fit.intercept for block in fit.blocks()])
    return in_order(score, own.response.astype(np.int64), 2)
