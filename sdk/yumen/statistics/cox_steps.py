"""Newton's steps to the greatest partial likelihood, and what can be wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from yumen_core.errors import CallError
from yumen_core.statistics.layout import Reals

STEP_TOLERANCE = 1e-8
_LARGEST_STEP = 2.0
_LARGEST = 25.0
_SINGULAR = 1e-11


@dataclass(frozen=True)
class Evaluation:
    """The log partial likelihood, its gradient float64[p] and information float64[p, p], and how
    many events there were."""

    log_likelihood: float
    gradient: Reals
    information: Reals
    events: int


@dataclass(frozen=True)
class Fit:
    """Where the steps ended: `coefficients` float64[p], their `variance` float64[p, p], the
    greatest log-likelihood, the one with all coefficients 0, and the runs it took."""

    coefficients: Reals
    variance: Reals
    log_likelihood: float
    null_log_likelihood: float
    events: int
    runs: int


def maximise(
    evaluate: Callable[[Reals], Evaluation], names: Sequence[str], penalty: Reals, max_rounds: int
) -> Fit:
    """The coefficients of the greatest log-likelihood less 0.5 * sum(penalty * b**2).

    Steps are measured in standard deviations of the columns, as the information at 0 has them; a
    step is halved while it lowers the likelihood. The last step, below STEP_TOLERANCE, is taken
    without another run.

    Raises `CallError`: `formula` for a constant or collinear column, `argument` without events,
    `no_convergence` for a likelihood without a maximum or after `max_rounds` runs.
    """
    beta = np.zeros(len(names))
    here = _penalised(evaluate(beta), beta, penalty)
    null = here.log_likelihood
    if not here.events:
        raise CallError("argument", "expected rows with an event, got none")
    _check_columns(here.information, names)
    spread = np.sqrt(np.diag(here.information) / here.events)
    runs = 1
    while True:
        step = _step(here, names, spread)
        gain = float(here.gradient @ step)
        moved = np.abs(step) * spread
        if moved.max() < STEP_TOLERANCE:
            variance: Reals = np.asarray(np.linalg.inv(here.information), dtype=np.float64)
            return Fit(
                beta + step, variance, here.log_likelihood + gain / 2, null, here.events, runs
            )
        if gain < 1e-8 * here.events and moved.max() > 0.1:
            raise _monotone(names[int(moved.argmax())])
        step *= min(1.0, _LARGEST_STEP / float(moved.max()))
        while True:
            if runs >= max_rounds:
                raise CallError(
                    "no_convergence",
                    f"expected the model to converge in {max_rounds} runs, got no end of steps",
                    remedy="raise max_rounds, use fewer columns, or add ridge=",
                )
            there = _penalised(evaluate(beta + step), beta + step, penalty)
            runs += 1
            if there.log_likelihood >= here.log_likelihood - 1e-9 * abs(here.log_likelihood):
                break
            step /= 2
        beta, here = beta + step, there
        if (np.abs(beta) * spread).max() > _LARGEST:
            raise _monotone(names[int((np.abs(beta) * spread).argmax())])


def _penalised(found: Evaluation, beta: Reals, penalty: Reals) -> Evaluation:
    return Evaluation(
        found.log_likelihood - 0.5 * float(penalty @ beta**2),
        found.gradient - penalty * beta,
        found.information + np.diag(penalty),
        found.events,
    )


def _step(here: Evaluation, names: Sequence[str], spread: Reals) -> Reals:
    scale = np.sqrt(np.abs(np.diag(here.information)))
    if (scale <= 1e-7 * spread).any():
        raise _monotone(names[int((scale / spread).argmin())])
    try:
        step = np.linalg.solve(here.information / np.outer(scale, scale), here.gradient / scale)
    except np.linalg.LinAlgError:
        raise _monotone(names[int((scale / spread).argmin())]) from None
    return step / scale


def _check_columns(information: Reals, names: Sequence[str]) -> None:
    """Raise `CallError` (`formula`) that names columns without a variance of their own, from the
    information at 0, where it does not depend on the response's strength."""
    scale = np.sqrt(np.maximum(np.diag(information), 0.0))
    typical = float(scale.max(initial=0.0))
    for name, own in zip(names, scale.tolist(), strict=True):
        if not own > 1e-12 * typical:
            raise CallError(
                "formula", f"expected `{name}` to vary among rows at risk, got a constant"
            )
    values, vectors = np.linalg.eigh(information / np.outer(scale, scale))
    if values[0] < _SINGULAR:
        part = np.abs(vectors[:, 0])
        together = [name for name, own in zip(names, part, strict=True) if own > 0.1 * part.max()]
        raise CallError(
            "formula",
            f"expected columns that vary by themselves, got collinear ones: "
            f"{', '.join(f'`{name}`' for name in together)}",
            remedy="leave one of them out",
        )


def _monotone(name: str) -> CallError:
    return CallError(
        "no_convergence",
        f"expected a finite coefficient of `{name}`, got a likelihood that grows without end: its "
        "values tell the order of events apart (monotone likelihood)",
        remedy=f"leave out `{name}`, merge its levels, or add ridge=",
    )
