"""The convolutional network."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from yumen_core.training.models.architecture import Convolution
from yumen_core.training.models.layers import ACTIVATIONS, Layers, convolution


class ConvolutionalNetwork(nn.Module):
    """`forward(numbers, levels)`: numbers (n, channels * height * width) to (n, outputs).

    It has no batch normalisation: the running statistics of nodes do not average to those of all
    rows (Hsieh et al. 2020).
    """

    def __init__(self, form: Convolution, outputs: int) -> None:
        super().__init__()
        sizes = (form.shape[0], *form.channels)
        self.convolutions = nn.ModuleList(
            convolution(before, after, form.kernel) for before, after in pairwise(sizes)
        )
        self.top = Layers(form.top, form.flat, outputs)
        self._shape = form.shape
        self._activation = ACTIVATIONS[form.top.activation]

    def forward(self, numbers: torch.Tensor, levels: torch.Tensor | None = None) -> torch.Tensor:
        values = numbers.reshape(-1, *self._shape)
        for layer in self.convolutions:
            values = nn.functional.max_pool2d(self._activation(layer(values)), 2)
        answer: torch.Tensor = self.top(values.flatten(1))
        return answer
