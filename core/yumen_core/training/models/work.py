"""A node's local work with a ready model."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pyarrow
import torch
from torch import nn

from yumen_core.training.models import network as networks
from yumen_core.training.models.counting import counted
from yumen_core.training.models.descent import Descent
from yumen_core.training.models.ready import ReadyModel
from yumen_core.training.models.rows import Examples, Rows, read_examples, split
from yumen_core.training.records import Scalar, Values

_EVALUATED_AT_ONCE = 1_024


def fit(
    model: ReadyModel,
    tensors: Mapping[str, Values],
    table: pyarrow.Table,
    config: Mapping[str, Scalar],
    *,
    threshold: int = 1,
) -> tuple[dict[str, Values], dict[str, float]]:
    """One round's training from the weights `tensors` on the rows that are not kept apart and of
    which enough count (`counting.counted`).

    Of `config` are read `lr` (in place of the model's rate and decay), `proximal-mu` (in place of
    the model's) and `server-round`. Returns the new weights, and `num-examples` with `train_loss`,
    the mean loss over the last pass as its batches met it, penalties left out. Without such rows,
    and where the weights or the loss stop being finite, the weights are as they were,
    `num-examples` is 0 and there is no loss. Raises `ValueError`, which never depends on a row's
    value, for columns, weights or settings that do not fit.
    """
    plan = plan_of(model, config)
    examples = read_examples(model, table)
    rows, _ = split(examples, _classes(model), model.holdout)
    rows = _counted(model, examples, rows, threshold)
    network = networks.load(model, tensors)
    if not len(rows) or plan.reach(len(rows)) < threshold:
        return as_sent(model, tensors), {"num-examples": 0}
    loss = plan.run(network, model, examples, rows)
    trained = networks.state(network)
    if not math.isfinite(loss) or not all(np.isfinite(v).all() for v in trained.values()):
        return as_sent(model, tensors), {"num-examples": 0}
    return trained, {"num-examples": len(rows), "train_loss": loss}


def evaluate(
    model: ReadyModel,
    tensors: Mapping[str, Values],
    table: pyarrow.Table,
    config: Mapping[str, Scalar],
    *,
    threshold: int = 1,
) -> dict[str, float]:
    """How the weights `tensors` do on the rows kept apart, or on all where none are; of both, those
    that count (`counting.counted`).

    Returns `num-examples` and `eval_loss`; of classes `eval_acc`, the share of rows whose class has
    the highest probability; of numbers `eval_mse` and `eval_mae`, in the target's own unit. Without
    such rows, and where a metric is not finite, only `num-examples` of 0. Raises `ValueError` as
    `fit` does.
    """
    examples = read_examples(model, table)
    _, rows = split(examples, _classes(model), model.holdout)
    rows = _counted(model, examples, rows, threshold)
    network = networks.load(model, tensors)
    if not len(rows):
        return {"num-examples": 0}
    target = torch.from_numpy(_target(examples)[rows])
    answers = outputs(network, examples, rows)
    found = {"num-examples": len(rows), "eval_loss": float(losses(model, answers, target).mean())}
    if model.target.classes is not None:
        found["eval_acc"] = float((classes_of(answers) == target).double().mean())
    else:
        errors = (answers[:, 0] - target).double() * model.target.scale
        found["eval_mse"] = float((errors**2).mean())
        found["eval_mae"] = float(errors.abs().mean())
    return found if all(map(math.isfinite, found.values())) else {"num-examples": 0}


def outputs(network: nn.Module, examples: Examples, rows: Rows) -> torch.Tensor:
    """What the network answers for those rows: (len(rows), outputs)."""
    network.eval()
    found = []
    with torch.inference_mode():
        for start in range(0, len(rows), _EVALUATED_AT_ONCE):
            chunk = rows[start : start + _EVALUATED_AT_ONCE]
            numbers = torch.from_numpy(examples.numbers[chunk])
            found.append(network(numbers, torch.from_numpy(examples.levels[chunk])))
    return torch.cat(found)


def classes_of(answers: torch.Tensor) -> torch.Tensor:
    """The index of the likeliest class; of two that are even, the first."""
    if answers.shape[1] == 1:
        return (answers[:, 0] > 0).long()
    return answers.argmax(dim=1)


def losses(model: ReadyModel, answers: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Each row's loss: cross entropy of classes, squared error of numbers. Shape (n,)."""
    if model.target.classes is None:
        return (answers[:, 0] - target) ** 2
    if answers.shape[1] == 1:
        return nn.functional.binary_cross_entropy_with_logits(
            answers[:, 0], target.to(answers.dtype), reduction="none"
        )
    return nn.functional.cross_entropy(answers, target, reduction="none")


def plan_of(model: ReadyModel, config: Mapping[str, Scalar]) -> Descent:
    """The steps of this round. Raises `ValueError` for settings that do not fit."""
    learning = model.learning
    round_number = config.get("server-round", 1)
    if not isinstance(round_number, int) or isinstance(round_number, bool) or round_number < 0:
        raise ValueError("expected `server-round` as a count, got another value")
    rate = learning.learning_rate * learning.decay ** max(round_number - 1, 0)
    if "lr" in config:
        rate = _setting(config, "lr")
    mu = _setting(config, "proximal-mu") if "proximal-mu" in config else learning.proximal_mu
    return Descent(learning, rate, mu, round_number, losses)


def _setting(config: Mapping[str, Scalar], name: str) -> float:
    value = config[name]
    right = isinstance(value, int | float) and not isinstance(value, bool)
    if not right or not 0 <= float(value) <= 1e6:  # type: ignore[arg-type]
        raise ValueError(f"expected `{name}` from 0 to 1e6, got another value")
    return float(value)  # type: ignore[arg-type]


def _classes(model: ReadyModel) -> int | None:
    return None if model.target.classes is None else len(model.target.classes)


def as_sent(model: ReadyModel, tensors: Mapping[str, Values]) -> dict[str, Values]:
    """The weights as they came."""
    return {name: np.array(tensors[name]) for name, _, _ in model.arrays}


def _counted(model: ReadyModel, examples: Examples, rows: Rows, threshold: int) -> Rows:
    by_class = model.target.classes is not None
    return counted(examples, rows, by_class=by_class, threshold=threshold)


def _target(examples: Examples) -> Values:
    if examples.target is None:
        raise ValueError("expected rows with a target, got none")
    return examples.target
