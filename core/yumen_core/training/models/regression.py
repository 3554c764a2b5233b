"""Logistic and linear regression as a network: one affine layer."""

from __future__ import annotations

import torch
from torch import nn

from yumen_core.training.models.layers import affine


class Regression(nn.Module):
    """`forward(numbers, levels)`: numbers (n, width) to (n, outputs). The tensors are `weight`
    (outputs, width) and `bias` (outputs,)."""

    def __init__(self, width: int, outputs: int, dtype: torch.dtype) -> None:
        super().__init__()
        layer = affine(width, outputs, dtype)
        self.weight = layer.weight
        self.bias = layer.bias

    def forward(self, numbers: torch.Tensor, levels: torch.Tensor | None = None) -> torch.Tensor:
        return nn.functional.linear(numbers, self.weight, self.bias)  # type: ignore[arg-type]
