"""Ready models: a node trains them with its own code, so only names and numbers are approved.

`ReadyModel` and its parts are plain values and load no PyTorch. `build`, `fit` and `evaluate` load
it when they are called, in the node's sandbox and in the SDK.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from yumen_core.training.models.architecture import Affine, Convolution, Embedding, Perceptron
from yumen_core.training.models.initial import initial
from yumen_core.training.models.inputs import Category, Number, Target
from yumen_core.training.models.learning import Holdout, Learning
from yumen_core.training.models.ready import ReadyModel
from yumen_core.training.records import Scalar, Values

if TYPE_CHECKING:
    import pyarrow
    import torch

    from yumen_core.training.models.private import PrivateWork
    from yumen_core.training.privacy import JobNoise

__all__ = [
    "Affine",
    "Category",
    "Convolution",
    "Embedding",
    "Holdout",
    "Learning",
    "Number",
    "Perceptron",
    "ReadyModel",
    "Target",
    "build",
    "evaluate",
    "fit",
    "initial",
    "metric_names",
    "private_work",
]


def build(model: ReadyModel) -> torch.nn.Module:
    """The network with its initial weights. It takes what `network.forward` says."""
    from yumen_core.training.models.network import build as build_network

    return build_network(model)


def fit(
    model: ReadyModel,
    tensors: Mapping[str, Values],
    table: pyarrow.Table,
    config: Mapping[str, Scalar],
    *,
    threshold: int = 1,
) -> tuple[dict[str, Values], dict[str, float]]:
    """Local work of a `train` run; see `work.fit`."""
    from yumen_core.training.models.work import fit as fit_rows

    return fit_rows(model, tensors, table, config, threshold=threshold)


def evaluate(
    model: ReadyModel,
    tensors: Mapping[str, Values],
    table: pyarrow.Table,
    config: Mapping[str, Scalar],
    *,
    threshold: int = 1,
) -> dict[str, float]:
    """Local work of an `evaluate` run; see `work.evaluate`."""
    from yumen_core.training.models.work import evaluate as evaluate_rows

    return evaluate_rows(model, tensors, table, config, threshold=threshold)


def metric_names(model: ReadyModel) -> tuple[str, ...]:
    """The metrics that `fit` and `evaluate` answer beside `num-examples`, sorted."""
    return model.metric_names


def private_work(
    model: ReadyModel, table: pyarrow.Table, noise: JobNoise, *, threshold: int = 1
) -> PrivateWork:
    """Local work of a private training; see `private.PrivateWork`."""
    from yumen_core.training.models.private import PrivateWork

    return PrivateWork(model, table, noise, threshold=threshold)
