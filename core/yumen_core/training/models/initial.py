"""The weights that training starts from: a function of the model and its seed alone."""

from __future__ import annotations

import math

import numpy as np

from yumen_core.training.models.ready import ReadyModel
from yumen_core.training.records import Values


def initial(model: ReadyModel) -> dict[str, Values]:
    """Each trained tensor by name, in the order of `state_dict`.

    The regressions start at zero, where their loss is convex. Layers of the others are drawn
    evenly from ±1/√(inputs of a unit), as PyTorch's layers are by default; embeddings from the
    standard normal distribution.
    """
    generator = np.random.Generator(np.random.PCG64(model.learning.seed))
    zero = model.kind in ("logistic", "linear")
    found: dict[str, Values] = {}
    bound = 0.0
    for name, dtype, shape in model.arrays:
        if zero:
            found[name] = np.zeros(shape, dtype)
        elif name.startswith("embeddings."):
            found[name] = generator.standard_normal(shape).astype(dtype)
        else:
            if name.endswith("weight"):  # the bias that follows has its layer's bound
                bound = 1 / math.sqrt(math.prod(shape[1:]))
            found[name] = generator.uniform(-bound, bound, shape).astype(dtype)
    return found
