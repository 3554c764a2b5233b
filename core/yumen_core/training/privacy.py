"""How much noise a private training carries: from the signed job alone, the same at every party.

The cost of a job at one node, in zero-concentrated differential privacy, where neighbouring tables
differ in one row that is there or not (ADR 25):

    counts      one noisy count of the rows that train, one of those that evaluate: a row is in one
    train       in each pass a row is in one batch, so a pass costs 1 / (2 z^2), z the noise's
                standard deviation in units of the longest gradient
    evaluate    in each run one pair of sums, 1 / (2 z^2) in units of their sensitivity

With rows kept apart a row pays for training or for evaluation, never for both (parallel
composition); without, it pays for both. No credit is taken for sampling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from yumen_core.errors import CallError
from yumen_core.privacy.budget import MICRO, Privacy
from yumen_core.secret import Secret
from yumen_core.training.models.ready import ReadyModel
from yumen_core.training.records import Action
from yumen_core.training.spec import TrainingSpec

WEIGHT = "num-examples"
_COUNT_SHARE = 20  # one twentieth of the cost pays for the counts
_EVALUATE_SHARE = 10  # of the rest, where evaluation and training use the same rows
_POINT = 20  # binary places of a multiplier


@dataclass(frozen=True)
class NoisePlan:
    """Standard deviations of the noise: `count` in rows; `train` in units of `max_grad_norm`, on
    the sum of a step's clipped gradients; `evaluate` in units of the sensitivity, on an
    evaluation's sums. 0 where the job names no such run."""

    count: float
    train: float
    evaluate: float


@dataclass(frozen=True)
class JobNoise:
    """What one node's noise of one job is made from: `key` is its own, of 32 bytes."""

    plan: NoisePlan
    key: Secret


def noise_plan(training: TrainingSpec, privacy: Privacy) -> NoisePlan:
    """The noise with which all runs that the job names cost `privacy` together, rounded up.

    Raises `CallError` (`training`) for a training that cannot be private: code, whose author alone
    knows what it does with rows; dropout, whose draws one row would shift for the others; a number
    of steps over batches, whose passes depend on the rows; and a cost too small to be divided.
    """
    model = _private_model(training)
    learning = model.learning
    passes = learning.epochs if learning.steps is None else learning.steps
    trained = training.runs.get(Action.TRAIN, 0) * passes
    evaluated = training.runs.get(Action.EVALUATE, 0) if told_metrics(training) else 0
    counting = max(1, privacy.micro_rho // _COUNT_SHARE)
    training_cost = evaluating_cost = privacy.micro_rho - counting
    if trained and evaluated and not model.holdout.fraction:
        evaluating_cost = training_cost // _EVALUATE_SHARE
        training_cost -= evaluating_cost
    if training_cost < 1 or evaluating_cost < 1:
        raise _bad(
            f"expected a privacy cost that a training can divide, got {privacy.micro_rho} "
            "millionths of rho",
            remedy="ask with a larger epsilon",
        )
    return NoisePlan(
        count=_multiplier(1, counting),
        train=_multiplier(trained, training_cost),
        evaluate=_multiplier(evaluated, evaluating_cost),
    )


def told_metrics(training: TrainingSpec) -> tuple[str, ...]:
    """The metrics that a private training tells: those of evaluations. The loss of training is of
    the rows of the gradients, and would cost again."""
    return tuple(name for name in training.metrics if name.startswith("eval_"))


def _private_model(training: TrainingSpec) -> ReadyModel:
    model = training.program
    if not isinstance(model, ReadyModel):
        raise _bad(
            "expected a model of `yumen.models` with `privacy`, got code of your own",
            remedy="train a ready model: no reader of code can show that it clips each row",
        )
    if getattr(model.architecture, "dropout", 0.0) or getattr(
        getattr(model.architecture, "top", None), "dropout", 0.0
    ):
        raise _bad("expected no dropout with `privacy`, got some", remedy="use dropout=0")
    if model.learning.steps is not None and model.learning.batch_size:
        raise _bad(
            "expected `epochs`, or `steps` with batch_size=0, with `privacy`, got `steps` of "
            f"batches of {model.learning.batch_size}",
            remedy="say how many passes: epochs=1",
        )
    if training.weight != WEIGHT:
        raise _bad(f"expected the weight `{WEIGHT}` with `privacy`, got `{training.weight}`")
    return model


def _multiplier(uses: int, micro_rho: int) -> float:
    """A z with uses / (2 z^2) at most the cost: a multiple of 2^-20, above the least such number
    by at most one. Whole numbers alone, so that all parties find the same."""
    if not uses:
        return 0.0
    square = (uses * MICRO << 2 * _POINT) // (2 * micro_rho)
    return float((math.isqrt(square) + 1) / (1 << _POINT))


def _bad(message: str, *, remedy: str = "") -> CallError:
    return CallError("training", message, remedy=remedy)
