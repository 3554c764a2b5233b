"""From a ready model to its PyTorch module, with weights put in."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from yumen_core.training.models.architecture import Convolution, Embedding, Perceptron
from yumen_core.training.models.cnn import ConvolutionalNetwork
from yumen_core.training.models.initial import initial
from yumen_core.training.models.mlp import MultilayerPerceptron
from yumen_core.training.models.ready import ReadyModel
from yumen_core.training.models.regression import Regression
from yumen_core.training.models.tabular import TabularNetwork
from yumen_core.training.records import Values


def build(model: ReadyModel) -> nn.Module:
    """The network with its initial weights. `forward(numbers, levels)` takes what `read_examples`
    makes and answers (n, outputs): a logit for two classes, one a class for more, or the scaled
    number. The process's random generator is not touched."""
    return load(model, initial(model))


def load(model: ReadyModel, tensors: Mapping[str, Values]) -> nn.Module:
    """The network with those weights, copied. Raises `ValueError` for weights of other names,
    types or shapes, or that are not finite."""
    check_tensors(model, tensors)
    network = _network(model)
    state = {name: torch.from_numpy(np.array(values)) for name, values in tensors.items()}
    network.load_state_dict(state)
    return network


def state(network: nn.Module) -> dict[str, Values]:
    """The weights, copied, in the order of `state_dict`."""
    return {
        name: np.array(values.detach().numpy()) for name, values in network.state_dict().items()
    }


def check_tensors(model: ReadyModel, tensors: Mapping[str, Values]) -> None:
    """Raises `ValueError`."""
    expected = {name: (dtype, shape) for name, dtype, shape in model.arrays}
    if set(tensors) != set(expected):
        raise ValueError("expected the arrays of the model by name, got others")
    for name, values in tensors.items():
        if (values.dtype.name, values.shape) != expected[name]:
            dtype, shape = expected[name]
            raise ValueError(
                f"expected `{name}` of {dtype} {shape}, got {values.dtype.name} {values.shape}"
            )
        if not np.isfinite(values).all():
            raise ValueError(f"expected finite values in `{name}`, got one that is not")


def _network(model: ReadyModel) -> nn.Module:
    outputs = model.target.outputs
    match model.architecture:
        case Perceptron() as form:
            return MultilayerPerceptron(form, model.width, outputs)
        case Convolution() as form:
            return ConvolutionalNetwork(form, outputs)
        case Embedding() as form:
            return TabularNetwork(form, model.width, outputs)
        case _:
            return Regression(model.width, outputs, getattr(torch, model.dtype))
