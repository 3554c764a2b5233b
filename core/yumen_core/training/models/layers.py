"""The parts that the networks share."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils import skip_init

from yumen_core.training.models.architecture import Perceptron

Activation = Callable[[torch.Tensor], torch.Tensor]

ACTIVATIONS: dict[str, Activation] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "gelu": nn.functional.gelu,
}


class Dropout(nn.Module):
    """Leaves out a share of the values while training, by a generator of its own: `nn.Dropout`
    draws from the process's. Without a generator nothing is left out."""

    generator: torch.Generator | None = None

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if not self.training or self.share == 0 or self.generator is None:
            return values
        kept = torch.rand(values.shape, generator=self.generator) >= self.share
        return values * kept / (1 - self.share)


class Layers(nn.Module):
    """Hidden layers and an output layer."""

    def __init__(self, form: Perceptron, width: int, outputs: int) -> None:
        super().__init__()
        sizes = (width, *form.hidden)
        self.hidden = nn.ModuleList(affine(before, after) for before, after in pairwise(sizes))
        self.output = affine(sizes[-1], outputs)
        self._activation = ACTIVATIONS[form.activation]
        self.dropout = Dropout(form.dropout)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        for layer in self.hidden:
            values = self.dropout(self._activation(layer(values)))
        answer: torch.Tensor = self.output(values)
        return answer


def affine(before: int, after: int, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A linear layer whose weights are set later: drawing them here would move the process's
    generator."""
    layer: nn.Module = skip_init(  # type: ignore[no-untyped-call]
        nn.Linear, before, after, dtype=dtype
    )
    return layer


def convolution(before: int, after: int, kernel: int) -> nn.Module:
    """A convolution that keeps height and width, its weights set later."""
    layer: nn.Module = skip_init(  # type: ignore[no-untyped-call]
        nn.Conv2d, before, after, kernel, padding=kernel // 2
    )
    return layer


def embedding(levels: int, dimension: int) -> nn.Module:
    """A vector for each level, set later."""
    layer: nn.Module = skip_init(  # type: ignore[no-untyped-call]
        nn.Embedding, levels, dimension
    )
    return layer
