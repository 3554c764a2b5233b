"""Ridge and lasso on a quadratic: what a penalised Newton step solves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from yumen_core.errors import CallError
from yumen_core.statistics.layout import Reals

_SWEEPS = 20_000
_SETTLED = 1e-13


@dataclass(frozen=True)
class Penalty:
    """`sum(ridge / 2 * b**2 + lasso * |b|)` over coefficients, float64[p] each, from 0."""

    ridge: Reals
    lasso: Reals

    def value(self, b: Reals) -> float:
        return float(self.ridge @ (b * b) / 2 + self.lasso @ np.abs(b))

    def step(self, information: Reals, score: Reals, b: Reals) -> Reals:
        """The step s, float64[p], that minimises `s'Hs/2 - g's + value(b + s)`: exactly without
        lasso, else by coordinate descent (Friedman, Hastie and Tibshirani 2010).

        Raises `CallError` (`no_convergence`) where coordinate descent does not settle.
        """
        if not self.lasso.any():
            curved = information + np.diag(self.ridge)
            return np.asarray(np.linalg.solve(curved, score - self.ridge * b), dtype=np.float64)
        return self._descend(information, score, b) - b

    def _descend(self, information: Reals, score: Reals, b: Reals) -> Reals:
        new = b.copy()
        gradient = score.copy()  # of the quadratic at `new`
        curvature = np.diag(information) + self.ridge
        if not (curvature > 0).all():
            raise CallError(
                "no_convergence",
                "expected columns that vary where the model fits, got one without weight",
            )
        for _ in range(_SWEEPS):
            moved = 0.0
            for at in range(len(b)):
                pull = gradient[at] + information[at, at] * new[at]
                shrunk = np.sign(pull) * max(0.0, abs(pull) - self.lasso[at]) / curvature[at]
                change = shrunk - new[at]
                if change:
                    gradient -= information[:, at] * change
                    new[at] = shrunk
                    moved = max(moved, abs(change) * float(np.sqrt(curvature[at])))
            if moved <= _SETTLED * (1.0 + float(np.sqrt(np.abs(new) @ (curvature * np.abs(new))))):
                return new
        raise CallError(
            "no_convergence",
            f"expected the lasso to settle in {_SWEEPS} sweeps, got coefficients that still move",
            remedy="choose a larger penalty, or leave out nearly collinear terms",
        )
