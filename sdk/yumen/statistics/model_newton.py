"""Newton's method over secure sums: each evaluation is one sum over all nodes.

A step is halved until the deviance, with its penalty, does not grow. The last evaluation gives the
information for the errors and the step to the solution at once: where the step is so small that the
information does not change by more than the tolerance, there is nothing to gain from another round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from yumen_core.errors import CallError
from yumen_core.statistics.glm import UNTOLD
from yumen_core.statistics.layout import Reals

from yumen.statistics.conditioning import (
    WELL_CONDITIONED,
    check_independent,
    least_eigenvalue,
    orthogonaliser,
)
from yumen.statistics.penalties import Penalty

PASSES = 3  # over a design that is nearly collinear, before its first step
_SLACK = 1e-11
_LINEAR_IS_ENOUGH = 1e-6
_FIRST_TO_JUDGE = 8
_HALVINGS = 30
_MOST_UNTOLD = 5


@dataclass(frozen=True)
class Evaluation:
    """A model at `beta`, float64[p], of the columns Z: the score, float64[p], the expected
    information and the observed one, which curves the deviance, float64[p, p], and sums over all
    rows. `weight` is the sum of the rows' information. A deviance of UNTOLD or more comes from
    nodes that say nothing else of this point."""

    beta: Reals
    score: Reals
    information: Reals
    curvature: Reals
    deviance: float
    pearson: float
    weight: float


Evaluate = Callable[[Reals, Reals], Evaluation]
"""The model at `beta`, float64[p], with the transform from Z to standardised columns."""


@dataclass(frozen=True)
class Solution:
    """`beta` belongs to the columns Z; `transform @ beta` to the standardised ones. The first
    evaluation is that at the start, the last one at the solution, up to the tolerance."""

    beta: Reals
    transform: Reals
    first: Evaluation
    last: Evaluation
    deviance: float
    evaluations: int

    @property
    def standardised(self) -> Reals:
        """The coefficients of the standardised columns, float64[p]."""
        return self.transform @ self.beta

    @property
    def covariance(self) -> Reals:
        """The inverse of the information of the standardised columns, float64[p, p]."""
        return self.transform @ solved(self.last.information, self.transform.T)


@dataclass
class Newton:
    """One fit. `linear` models have a quadratic deviance; `discrete` families can be separated;
    `tol` bounds the last step's change of the linear predictor (root of its mean square, weighted
    by the rows' information); `names` are the columns'."""

    evaluate: Evaluate
    names: Sequence[str]
    linear: bool
    discrete: bool
    tol: float
    max_rounds: int
    penalty: Penalty | None = None
    evaluations: int = 0
    _untold: int = 0

    def solve(self, start: Reals) -> Solution:
        """From `start`, float64[p], of the standardised columns.

        Raises `CallError`: `formula` for collinear columns, `no_convergence` for separation or
        where `max_rounds` do not suffice.
        """
        transform = np.eye(len(start))
        first = at = self._evaluated(start, transform)
        if at.deviance >= UNTOLD:
            raise CallError(
                "no_convergence",
                "expected a constant to fit the rows of every node roughly, got a node far from it",
                remedy="give fixed_effects='node', an offset or an exposure, or scale the weights",
            )
        if self.penalty is None:
            at, transform = self._conditioned(at, transform)
        for number in range(1, self.max_rounds + 1):
            step = self._step(at)
            if self._settled(at, step, transform, number):
                deviance = at.deviance + _change(at, step)
                return Solution(at.beta + step, transform, first, at, deviance, self.evaluations)
            if self.discrete and number >= _FIRST_TO_JUDGE:
                self._check_separation(first, at, step, transform)
            if number < self.max_rounds:
                at = self._line_search(at, step, transform)
        raise CallError(
            "no_convergence",
            f"expected the coefficients to settle in {self.max_rounds} rounds, got a last step "
            f"that moves `{self._largest(step, transform)}` still",
            remedy="raise max_rounds, or leave out terms that the data hardly determine",
        )

    def _conditioned(self, at: Evaluation, transform: Reals) -> tuple[Evaluation, Reals]:
        """The same point with a transform that makes the columns nearly orthonormal, if needed."""
        gram = at.information
        standardised = transform @ at.beta
        if least_eigenvalue(gram) > WELL_CONDITIONED:
            return at, transform
        for _ in range(PASSES):
            further = transform @ orthogonaliser(at.information)
            check_independent(further, gram, self.names)
            if at.information is not gram and least_eigenvalue(at.information) > WELL_CONDITIONED:
                break
            transform = further
            at = self._evaluated(solved(transform, standardised), transform)
        return at, transform

    def _step(self, at: Evaluation) -> Reals:
        try:
            if self.penalty is not None:
                return self.penalty.step(at.curvature, at.score, at.beta)
            return solved(at.curvature, at.score)
        except np.linalg.LinAlgError:
            raise CallError(
                "no_convergence", "expected columns that vary where the model fits, got none"
            ) from None

    def _settled(self, at: Evaluation, step: Reals, transform: Reals, number: int) -> bool:
        if self.linear and number > 1:
            return True
        if self.linear:
            # A solution far below the start cancels digits of the deviance: look there again.
            plain = np.array_equal(transform, np.eye(len(step)))
            return plain and at.deviance + _change(at, step) > _LINEAR_IS_ENOUGH * at.deviance
        change = step @ at.information @ step
        return at.weight > 0 and float(change) < self.tol**2 * at.weight

    def _line_search(self, at: Evaluation, step: Reals, transform: Reals) -> Evaluation:
        limit = self._objective(at)
        for _ in range(_HALVINGS):
            there = self._evaluated(at.beta + step, transform)
            untold = there.deviance >= UNTOLD
            if self.linear or (
                not untold and self._objective(there) <= limit + _SLACK * abs(limit)
            ):
                return there
            self._untold += untold
            if untold and self.discrete and self._untold >= _MOST_UNTOLD:
                raise self._separated(transform @ step)
            step = step / 2
        raise CallError(
            "no_convergence",
            "expected a step that improves the fit, got none",
            remedy="leave out terms that the data hardly determine, or scale the response",
        )

    def _objective(self, at: Evaluation) -> float:
        return at.deviance / 2 + (self.penalty.value(at.beta) if self.penalty else 0.0)

    def _evaluated(self, beta: Reals, transform: Reals) -> Evaluation:
        if self.evaluations >= self.max_rounds + PASSES:
            raise CallError(
                "no_convergence",
                f"expected the coefficients to settle in {self.max_rounds} rounds, got steps that "
                "had to be halved",
                remedy="raise max_rounds, or leave out terms that the data hardly determine",
            )
        self.evaluations += 1
        return self.evaluate(beta, transform)

    def _check_separation(
        self, first: Evaluation, at: Evaluation, step: Reals, transform: Reals
    ) -> None:
        """A coefficient that moves on while the likelihood does not (Albert and Anderson 1984)."""
        moves = transform @ step
        moving = np.abs(moves) > 0.02 * (1.0 + np.abs(transform @ at.beta))
        flat = float(step @ at.information @ step) < 1e-4 * at.deviance
        if (moving.any() and flat) or at.deviance < 1e-5 * first.deviance:
            raise self._separated(moves)

    def _separated(self, moves: Reals) -> CallError:
        terms = np.array([name != "Intercept" for name in self.names])
        sizes = np.abs(moves) * terms
        growing = [
            f"`{self.names[at]}`" for at in np.flatnonzero(sizes >= 0.5 * sizes.max()).tolist()
        ]
        named = ", ".join(growing[:5])
        return CallError(
            "no_convergence",
            f"expected coefficients that settle, got {named} growing without bound: the response "
            "is separated by the model",
            remedy=f"leave out {named}, merge its levels, or give a ridge penalty",
        )

    def _largest(self, step: Reals, transform: Reals) -> str:
        return self.names[int(np.argmax(np.abs(transform @ step)))]


def solved(matrix: Reals, right: Reals) -> Reals:
    """`matrix`^-1 `right`. Raises `numpy.linalg.LinAlgError` for a singular matrix."""
    return np.asarray(np.linalg.solve(matrix, right), dtype=np.float64)


def _change(at: Evaluation, step: Reals) -> float:
    """Of the deviance, by the quadratic at `at`."""
    return float(step @ at.curvature @ step - 2 * at.score @ step)
