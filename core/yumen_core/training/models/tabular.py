"""The embedding net for tables."""

from __future__ import annotations

import torch
from torch import nn

from yumen_core.training.models.architecture import Embedding
from yumen_core.training.models.layers import Layers, embedding


class TabularNetwork(nn.Module):
    """`forward(numbers, levels)`: numbers (n, numbers) and levels (n, categories), whole numbers
    from 0, to (n, outputs)."""

    def __init__(self, form: Embedding, numbers: int, outputs: int) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(
            embedding(levels, dimension)
            for levels, dimension in zip(form.levels, form.dimensions, strict=True)
        )
        self.top = Layers(form.top, numbers + sum(form.dimensions), outputs)

    def forward(self, numbers: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        vectors = [layer(levels[:, number]) for number, layer in enumerate(self.embeddings)]
        answer: torch.Tensor = self.top(torch.cat([numbers, *vectors], dim=1))
        return answer
