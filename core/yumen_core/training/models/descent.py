"""The steps of a round: gradient descent over batches of a node's rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from yumen_core.training.models.layers import Dropout
from yumen_core.training.models.learning import Learning
from yumen_core.training.models.ready import ReadyModel
from yumen_core.training.models.rows import Examples, Rows
from yumen_core.training.records import Values

Losses = Callable[[ReadyModel, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Descent:
    """`rate` and `mu` are those of this round; `losses` gives each row's loss."""

    learning: Learning
    rate: float
    mu: float
    round_number: int
    losses: Losses

    def run(self, network: nn.Module, model: ReadyModel, examples: Examples, rows: Rows) -> float:
        """Train `network` in place; the mean loss over the last pass, as its batches met it.

        With mu, each step's gradient has mu * (w - w0) added, w0 being the weights of the round's
        start: the gradient of mu/2 |w - w0|^2 (Li et al. 2020, FedProx).
        """
        # Same order on every node and in every repetition of the round.
        generator = np.random.Generator(
            np.random.PCG64(np.random.SeedSequence([self.learning.seed, self.round_number]))
        )
        _seed_dropout(network, int(generator.integers(1 << 62)))
        parameters = list(network.parameters())
        start = [parameter.detach().clone() for parameter in parameters] if self.mu else []
        optimizer = optimizer_of(network, self.learning, self.rate)
        network.train()
        total, count = 0.0, 0
        parts = [torch.from_numpy(part[rows]) for part in _parts(examples)]
        for batch, first in self._batches(len(rows), generator):
            if first:
                total, count = 0.0, 0
            numbers, levels, target = (part[batch] for part in parts)
            optimizer.zero_grad()
            loss = self.losses(model, network(numbers, levels), target).mean()
            loss.backward()  # type: ignore[no-untyped-call]
            for parameter, origin in zip(parameters, start, strict=False):
                if parameter.grad is not None:
                    parameter.grad.add_(parameter.detach() - origin, alpha=self.mu)
            if self.learning.clip_gradient is not None:
                nn.utils.clip_grad_norm_(parameters, self.learning.clip_gradient)
            optimizer.step()
            total += float(loss.detach()) * len(target)
            count += len(target)
        return total / count

    def reach(self, rows: int) -> int:
        """How many of that many rows the steps of a round meet."""
        steps, size = self.learning.steps, self.learning.batch_size
        return rows if steps is None or not size else min(rows, steps * size)

    def _batches(
        self, rows: int, generator: np.random.Generator
    ) -> Iterator[tuple[torch.Tensor | slice, bool]]:
        """The rows of each batch, and whether it starts a pass. A pass takes each row once."""
        size = self.learning.batch_size or rows
        steps = self.learning.steps
        if steps is None:
            steps = self.learning.epochs * math.ceil(rows / size)
        while steps > 0:
            if size >= rows:
                yield slice(None), True
                steps -= 1
                continue
            order = torch.from_numpy(generator.permutation(rows))
            for start in range(0, min(rows, steps * size), size):
                yield order[start : start + size], start == 0
                steps -= 1


def optimizer_of(network: nn.Module, learning: Learning, rate: float) -> torch.optim.Optimizer:
    """New in each round: a node keeps no state of its own between rounds."""
    weights = [p for name, p in network.named_parameters() if not name.endswith("bias")]
    biases = [p for name, p in network.named_parameters() if name.endswith("bias")]
    groups = [
        {"params": weights, "weight_decay": learning.weight_decay},
        {"params": biases, "weight_decay": 0.0},
    ]
    if learning.optimizer == "adam":
        return torch.optim.Adam(groups, lr=rate)
    return torch.optim.SGD(groups, lr=rate, momentum=learning.momentum)


def _parts(examples: Examples) -> tuple[Values, Values, Values]:
    if examples.target is None:
        raise ValueError("expected rows with a target, got none")
    return examples.numbers, examples.levels, examples.target


def _seed_dropout(network: nn.Module, seed: int) -> None:
    generator = torch.Generator()
    generator.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, Dropout):
            module.generator = generator
