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
        optimizer = self._optimizer(network)
        network.train()
        total, count = 0.0, 0
        for batch, first in self._batches(rows, generator):
            if first:
                total, count = 0.0, 0
            numbers = torch.from_numpy(examples.numbers[batch])
            levels = torch.from_numpy(examples.levels[batch])
            target = torch.from_numpy(np.asarray(examples.target)[batch])
            optimizer.zero_grad()
            loss = self.losses(model, network(numbers, levels), target).mean()
            loss.backward()  # type: ignore[no-untyped-call]
            for parameter, origin in zip(parameters, start, strict=False):
                if parameter.grad is not None:
                    parameter.grad.add_(parameter.detach() - origin, alpha=self.mu)
            if self.learning.clip_gradient is not None:
                nn.utils.clip_grad_norm_(parameters, self.learning.clip_gradient)
            optimizer.step()
            total += float(loss.detach()) * len(batch)
            count += len(batch)
        return total / count

    def _batches(self, rows: Rows, generator: np.random.Generator) -> Iterator[tuple[Rows, bool]]:
        """Each batch, and whether it starts a pass. A pass takes each row once."""
        size = self.learning.batch_size or len(rows)
        steps = self.learning.steps
        if steps is None:
            steps = self.learning.epochs * math.ceil(len(rows) / size)
        while steps > 0:
            order = rows if size >= len(rows) else generator.permutation(rows)
            for start in range(0, len(rows), size):
                if steps == 0:
                    return
                yield order[start : start + size], start == 0
                steps -= 1

    def _optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """New in each round: a node keeps no state of its own between rounds."""
        weights = [p for name, p in network.named_parameters() if not name.endswith("bias")]
        biases = [p for name, p in network.named_parameters() if name.endswith("bias")]
        groups = [
            {"params": weights, "weight_decay": self.learning.weight_decay},
            {"params": biases, "weight_decay": 0.0},
        ]
        if self.learning.optimizer == "adam":
            return torch.optim.Adam(groups, lr=self.rate)
        return torch.optim.SGD(groups, lr=self.rate, momentum=self.learning.momentum)


def _seed_dropout(network: nn.Module, seed: int) -> None:
    generator = torch.Generator()
    generator.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, Dropout):
            module.generator = generator
