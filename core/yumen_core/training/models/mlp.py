"""The multilayer perceptron."""

from __future__ import annotations

import torch

from yumen_core.training.models.layers import Layers


class MultilayerPerceptron(Layers):
    """`forward(numbers, levels)`: numbers (n, width) to (n, outputs)."""

    def forward(self, numbers: torch.Tensor, levels: torch.Tensor | None = None) -> torch.Tensor:
        return super().forward(numbers)
