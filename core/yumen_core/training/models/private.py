"""A node's local work with a ready model, private row by row.

What leaves is a function of noisy sums alone: of clipped gradients, of bounded losses, and of rows.
Each sum is exact, in whole numbers on a grid, and so is the noise (`noise`). No rule here looks at
how many rows there are or what others hold: rare levels are not left out, as `counting` does, since
one row would decide on others; noise hides them.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property

import numpy as np
import pyarrow
import torch
from opacus.grad_sample import GradSampleModule  # type: ignore[import-untyped]
from torch import nn

from yumen_core.training.models import network as networks
from yumen_core.training.models.architecture import Affine
from yumen_core.training.models.descent import Descent, optimizer_of
from yumen_core.training.models.layers import affine
from yumen_core.training.models.learning import Holdout
from yumen_core.training.models.noise import SIGMA, Noise, Whole
from yumen_core.training.models.ready import ReadyModel
from yumen_core.training.models.rows import Examples, Rows, read_examples
from yumen_core.training.models.work import as_sent, classes_of, losses, outputs, plan_of
from yumen_core.training.privacy import WEIGHT, JobNoise
from yumen_core.training.records import Action, Scalar, Values

_AT_ONCE = 1 << 22
"""Numbers of gradients held at once: a chunk of rows times the model's."""
_SLACK = 1 - 2.0**-24
"""Keeps a clipped gradient within its norm, whatever the last bits of the norm are."""
SQUARE_BOUND, ABSOLUTE_BOUND = 4.0, 2.0
"""Where the squared and the absolute error of one row's scaled target are cut."""


class PrivateWork:
    """The runs of one job over one node's rows, which do not change while it lasts.

    `threshold` is the least that a count of rows is taken for: a public number, below which noise
    could turn a step's mean into anything.
    """

    def __init__(
        self, model: ReadyModel, table: pyarrow.Table, noise: JobNoise, *, threshold: int
    ) -> None:
        self._model = model
        self._plan = noise.plan
        self._key = noise.key.reveal()
        self._threshold = max(threshold, 1)
        self._examples = read_examples(model, table)

    def fit(
        self, tensors: Mapping[str, Values], config: Mapping[str, Scalar]
    ) -> tuple[dict[str, Values], dict[str, float]]:
        """One round from the weights `tensors`; settings as `work.fit` reads them.

        In each pass every row goes to one of the batches, drawn independently and evenly. A step
        takes the sum of the batch's gradients, each clipped to `max_grad_norm`, with noise, and
        divides by the expected number of rows in a batch. `num-examples` is the noisy count; there
        is no loss. Raises `ValueError`, which never depends on rows.
        """
        descent = plan_of(self._model, config)
        network = _network(self._model, tensors)
        noise = self._noise(Action.TRAIN, tensors, config)
        expected = self._counts[0]
        self._descend(network, descent, noise, expected)
        trained = networks.state(network)
        if not all(np.isfinite(values).all() for values in trained.values()):
            return as_sent(self._model, tensors), {WEIGHT: 0}
        return trained, {WEIGHT: expected}

    def evaluate(
        self, tensors: Mapping[str, Values], config: Mapping[str, Scalar]
    ) -> dict[str, float]:
        """The metrics of `work.evaluate` from two noisy sums of numbers from 0 to 1 a row, and the
        noisy count; they can leave their range. Of classes: right or not, and the loss cut at
        `loss_bound`; of numbers: the squared and the absolute error, cut."""
        expected = self._counts[1]
        if not self._plan.evaluate:
            return {WEIGHT: expected}
        _, rows = self._split
        network = networks.load(self._model, tensors)
        shares = torch.zeros((0, 2), dtype=torch.float64)
        if len(rows):
            shares = _shares(
                self._model, self._examples, rows, outputs(network, self._examples, rows)
            )
        scale = SIGMA / self._plan.evaluate / math.sqrt(2) * _SLACK
        noise = self._noise(Action.EVALUATE, tensors, config)
        sums = torch.trunc(shares * scale).long().sum(dim=0).numpy() + noise.gaussian(2)
        first, second = (float(value) / scale / expected for value in sums)
        return {WEIGHT: expected, **_metrics(self._model, first, second)}

    @cached_property
    def _split(self) -> tuple[Rows, Rows]:
        return split_each(self._examples, self._model.holdout)

    @cached_property
    def _counts(self) -> tuple[int, int]:
        """Noisy counts of the rows that train and that evaluate: one draw each for the whole job.
        Without rows kept apart the two are one."""
        noise = Noise(self._key, b"counts")
        scale = SIGMA / self._plan.count * _SLACK
        found = []
        for rows in self._split:
            count = (len(rows) * math.floor(scale) + int(noise.gaussian(1)[0])) / math.floor(scale)
            found.append(max(round(count), self._threshold))
        return (found[0], found[1]) if self._model.holdout.fraction else (found[0], found[0])

    def _noise(
        self, action: Action, tensors: Mapping[str, Values], config: Mapping[str, Scalar]
    ) -> Noise:
        """The draws of one run: others for every content that is sent."""
        return Noise(self._key, action.value.encode(), _digest(tensors, config))

    def _descend(self, network: nn.Module, descent: Descent, noise: Noise, expected: int) -> None:
        learning = descent.learning
        rows, _ = self._split
        batches = max(1, round(expected / learning.batch_size)) if learning.batch_size else 1
        # Before the module is wrapped: its parameters are the same objects.
        optimizer = optimizer_of(network, learning, descent.rate)
        parameters = list(network.parameters())
        start = [parameter.detach().clone() for parameter in parameters]
        module = GradSampleModule(network, batch_first=True, loss_reduction="sum")
        module.train()
        scale = SIGMA / self._plan.train / learning.max_grad_norm * _SLACK
        per_step = scale * expected / batches
        for _ in range(learning.epochs if learning.steps is None else learning.steps):
            chosen = noise.choices(batches, len(rows))
            order = np.argsort(chosen, kind="stable")
            ends = np.searchsorted(chosen[order], np.arange(1, batches + 1))
            for batch in np.split(rows[order], ends[:-1]):
                sums = clipped_sum(
                    module, self._model, self._examples, batch, learning.max_grad_norm, scale
                )
                sums += noise.gaussian(sums.size)
                _set_gradients(parameters, torch.from_numpy(sums / per_step))
                for parameter, origin in zip(parameters, start, strict=True):
                    assert parameter.grad is not None
                    parameter.grad.add_(parameter.detach() - origin, alpha=descent.mu)
                if learning.clip_gradient is not None:
                    nn.utils.clip_grad_norm_(parameters, learning.clip_gradient)
                optimizer.step()
        module.remove_hooks()


def clipped_sum(
    module: GradSampleModule,
    model: ReadyModel,
    examples: Examples,
    rows: Rows,
    norm: float,
    scale: float,
) -> Whole:
    """The sum over `rows` of each one's gradient, clipped to the L2 norm `norm`, in whole units of
    1 / `scale`: int64 (numbers of the model,), in the order of its parameters.

    Each is rounded towards zero before it is added, so that none is longer than `norm`. A row whose
    gradient is not finite adds nothing.
    """
    parameters = list(module.parameters())
    total = np.zeros(sum(p.numel() for p in parameters), dtype=np.int64)
    for gradients in _gradients(module, model, examples, rows, max(1, _AT_ONCE // total.size)):
        norms = torch.linalg.vector_norm(gradients, dim=1)
        gradients[~torch.isfinite(norms)] = 0
        factors = torch.clamp(norm / norms, max=1.0).nan_to_num(1.0) * scale
        total += torch.trunc(gradients.mul_(factors[:, None])).long().sum(dim=0).numpy()
    return total


def _gradients(
    module: GradSampleModule, model: ReadyModel, examples: Examples, rows: Rows, most: int
) -> Iterator[torch.Tensor]:
    """Each row's gradient, float64 (rows, numbers of the model), at most `most` rows at once."""
    assert examples.target is not None
    for start in range(0, len(rows), most):
        part = rows[start : start + most]
        numbers = torch.from_numpy(examples.numbers[part])
        inputs = (
            (numbers,)
            if isinstance(model.architecture, Affine)
            else (numbers, torch.from_numpy(examples.levels[part]))
        )
        module.zero_grad(set_to_none=True)
        target = torch.from_numpy(examples.target[part])
        with warnings.catch_warnings():  # that inputs need no gradients is right
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            losses(model, module(*inputs), target).sum().backward()  # type: ignore[no-untyped-call]
        yield torch.cat(
            [p.grad_sample.reshape(len(part), -1).double() for p in module.parameters()], dim=1
        )
    module.zero_grad(set_to_none=True)


def split_each(examples: Examples, holdout: Holdout) -> tuple[Rows, Rows]:
    """Rows to train on and rows to evaluate with, both ascending; all for both without a fraction.

    A hash of a row's own values and of which copy of them it is decides: adding a row moves no
    other one, as a permutation would. Classes play no part. About `fraction` of the rows are kept.
    """
    rows = np.arange(len(examples))
    if holdout.fraction == 0 or examples.target is None:
        return rows, rows
    bound = int(holdout.fraction * 2**64)
    key = holdout.seed.to_bytes(8, "big")
    seen: Counter[bytes] = Counter()
    kept = np.zeros(len(examples), dtype=np.bool_)
    for row in range(len(examples)):
        content = (
            examples.numbers[row].tobytes()
            + examples.levels[row].tobytes()
            + examples.target[row].tobytes()
        )
        copy = seen[content].to_bytes(8, "big")
        seen[content] += 1
        digest = hashlib.blake2b(copy + content, digest_size=8, key=key).digest()
        kept[row] = int.from_bytes(digest, "big") < bound
    return rows[~kept], rows[kept]


def loss_bound(classes: int) -> float:
    """Where one row's cross entropy is cut: twice that of a guess."""
    return 2 * math.log(classes)


def _network(model: ReadyModel, tensors: Mapping[str, Values]) -> nn.Module:
    """As `networks.load`; of a regression the plain layer, whose gradients Opacus knows."""
    network = networks.load(model, tensors)
    if not isinstance(model.architecture, Affine):
        return network
    layer = affine(model.width, model.target.outputs, getattr(torch, model.dtype))
    layer.load_state_dict(network.state_dict())
    return layer


def _set_gradients(parameters: list[nn.Parameter], flat: torch.Tensor) -> None:
    at = 0
    for parameter in parameters:
        part = flat[at : at + parameter.numel()].reshape(parameter.shape)
        parameter.grad = part.to(parameter.dtype)
        at += parameter.numel()


def _shares(
    model: ReadyModel, examples: Examples, rows: Rows, answers: torch.Tensor
) -> torch.Tensor:
    """Two numbers from 0 to 1 of each row: float64 (rows, 2)."""
    assert examples.target is not None
    target = torch.from_numpy(examples.target[rows])
    if model.target.classes is None:
        errors = (answers[:, 0] - target).double()
        pair = [errors**2 / SQUARE_BOUND, errors.abs() / ABSOLUTE_BOUND]
    else:
        right = (classes_of(answers) == target).double()
        bound = loss_bound(len(model.target.classes))
        pair = [right, losses(model, answers, target).double() / bound]
    return torch.stack(pair, dim=1).nan_to_num(1.0, posinf=1.0).clamp(0, 1)


def _metrics(model: ReadyModel, first: float, second: float) -> dict[str, float]:
    if model.target.classes is not None:
        bound = loss_bound(len(model.target.classes))
        return {"eval_acc": first, "eval_loss": second * bound}
    scale = model.target.scale
    return {
        "eval_loss": first * SQUARE_BOUND,
        "eval_mse": first * SQUARE_BOUND * scale**2,
        "eval_mae": second * ABSOLUTE_BOUND * abs(scale),
    }


def _digest(tensors: Mapping[str, Values], config: Mapping[str, Scalar]) -> bytes:
    """SHA-256 of what was sent, each part behind its length."""
    state = hashlib.sha256()
    parts: list[bytes] = [repr(sorted(config.items())).encode()]
    for name, values in sorted(tensors.items()):
        parts += [f"{name} {values.dtype.name} {values.shape}".encode(), values.tobytes()]
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.digest()
