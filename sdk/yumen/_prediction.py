"""A trained ready model applied to a data frame on the requester's own machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow
from yumen_core.errors import CallError
from yumen_core.training.models import ReadyModel

if TYPE_CHECKING:
    import torch


def module(model: ReadyModel, state: Mapping[str, Any]) -> torch.nn.Module:
    """The PyTorch module with the weights of `state`, a `state_dict` of tensors or arrays.

    Raises `CallError` (`training`) for weights of another model.
    """
    from yumen_core.training.models import network

    arrays = {name: np.asarray(values) for name, values in state.items()}
    try:
        return network.load(model, arrays).eval()
    except ValueError as fault:
        raise CallError("training", str(fault)) from None


def probabilities(model: ReadyModel, state: Mapping[str, Any], frame: pd.DataFrame) -> pd.DataFrame:
    """The probability of each class for each row of `frame`, a column a class; NaN where a used
    column has no value. Raises `CallError` (`training`) for a model of numbers, and as
    `predict`."""
    import torch

    classes = model.target.classes
    if classes is None:
        raise CallError("training", "expected a model of classes, got one of numbers")
    answers, complete = _answers(model, state, frame)
    if answers.shape[1] == 1:
        second = torch.sigmoid(answers[:, 0])
        shares = torch.stack([1 - second, second], dim=1)
    else:
        shares = torch.softmax(answers, dim=1)
    values = np.full((len(frame), len(classes)), np.nan)
    values[complete] = shares.double().numpy()
    return pd.DataFrame(values, index=frame.index, columns=list(classes))


def predict(model: ReadyModel, state: Mapping[str, Any], frame: pd.DataFrame) -> pd.Series[Any]:
    """The likeliest class, or the number in the target's own unit, for each row of `frame`; None or
    NaN where a used column has no value. `frame` needs the model's input columns as the nodes have
    them.

    Raises `CallError` (`training`) for a column that is missing or holds what the model does not
    know, and for weights of another model.
    """
    from yumen_core.training.models import work

    answers, complete = _answers(model, state, frame)
    name = model.target.column
    if model.target.classes is None:
        numbers = np.full(len(frame), np.nan)
        scaled = answers[:, 0].double().numpy()
        numbers[complete] = scaled * model.target.scale + model.target.center
        return pd.Series(numbers, index=frame.index, name=name)
    labels = np.full(len(frame), None, dtype=object)
    known = np.array(model.target.classes, dtype=object)
    labels[complete] = known[work.classes_of(answers).numpy()]
    return pd.Series(labels, index=frame.index, name=name).infer_objects()


def _answers(
    model: ReadyModel, state: Mapping[str, Any], frame: pd.DataFrame
) -> tuple[torch.Tensor, Any]:
    import torch
    from yumen_core.training.models import rows, work

    network = module(model, state)
    used = [column for column in model.columns[:-1] if column in frame.columns]
    try:
        table = pyarrow.Table.from_pandas(frame[used], preserve_index=False)
        examples = rows.read_examples(model, table, target=False)
    except (ValueError, pyarrow.ArrowInvalid) as fault:
        raise CallError("training", str(fault)) from None
    if not len(examples):
        return torch.zeros((0, model.target.outputs)), examples.complete
    return work.outputs(network, examples, np.arange(len(examples))), examples.complete
