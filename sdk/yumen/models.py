"""Ready models: say what to train and from which columns; the nodes use their own code.

    import yumen
    from yumen import models

    model = models.logistic(
        [models.Number("age", center=54, scale=9), models.Category("cp", [1, 2, 3, 4])],
        "num", epochs=5, learning_rate=0.1, holdout=0.2,
    )

Inputs are names of columns of numbers, `Number` (moved and scaled) or `Category` (one of known
levels). Rows with a missing value in a used column are left out at each node. Every constructor
takes the settings of `Learning`:

- `epochs` passes over a node's rows in a round, or `steps` batches instead; `batch_size`, 0 for all
  rows at once;
- `learning_rate`, and `decay`, its factor from one round to the next; a strategy's `lr` setting
  takes the place of both;
- `optimizer` "sgd" (with `momentum`) or "adam"; `weight_decay`; `clip_gradient`, a bound on the L2
  norm of a step's gradient; `proximal_mu`, which FedProx sets;
- `seed` of initial weights, order of rows and dropout;

and `holdout`, the share of each node's rows kept for evaluation, drawn by `split_seed`, within each
class with `stratify=True`.

All raise `CallError` (`training`) for arguments that make no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow
from yumen_core.errors import CallError
from yumen_core.training.models import (
    Affine,
    Convolution,
    Embedding,
    Holdout,
    Learning,
    Number,
    Perceptron,
    ReadyModel,
    Target,
    initial,
)
from yumen_core.training.models import (
    Category as _Category,
)
from yumen_core.training.models.inputs import Input, Level

if TYPE_CHECKING:
    import torch

__all__ = [
    "Category",
    "Number",
    "ReadyModel",
    "cnn",
    "initial",
    "linear",
    "logistic",
    "mlp",
    "module",
    "predict",
    "probabilities",
    "tabular",
]

Classes = int | Sequence[Level] | None
Inputs = Sequence[str | Number | _Category]


def Category(
    column: str, levels: Iterable[Level], *, drop_first: bool = False
) -> _Category:
    """A column with one of `levels` in each row; a row with another value is an error at its node.

    It becomes one input a level, or an embedding in a tabular net. `drop_first` leaves out the
    first level, which all zeros then stand for: regressions without a penalty need it.
    """
    return _Category(column, tuple(_plain(level) for level in levels), drop_first)


def logistic(
    inputs: Inputs,
    target: str,
    *,
    classes: Classes = 2,
    dtype: str = "float32",
    **settings: Any,
) -> ReadyModel:
    """Logistic regression; with more than two classes, multinomial.

    `classes` is their number, for values 0, 1, ..., or the list of values. `dtype="float64"` trains
    in double precision. Tensors: `weight` (1 or classes, inputs) and `bias`; with two classes they
    give the logit of the second.
    """
    return _model("logistic", inputs, _target(target, classes), Affine(), settings, dtype)


def linear(
    inputs: Inputs,
    target: str,
    *,
    center: float = 0.0,
    scale: float = 1.0,
    dtype: str = "float32",
    **settings: Any,
) -> ReadyModel:
    """Linear regression by least squares. The target is learned as `(value - center) / scale`;
    predictions, `eval_mse` and `eval_mae` are in its own unit."""
    goal = Target(target, None, float(center), float(scale))
    return _model("linear", inputs, goal, Affine(), settings, dtype)


def mlp(
    inputs: Inputs,
    target: str,
    *,
    classes: Classes = 2,
    hidden: Sequence[int] = (64, 32),
    activation: str = "relu",
    dropout: float = 0.0,
    center: float = 0.0,
    scale: float = 1.0,
    **settings: Any,
) -> ReadyModel:
    """A multilayer perceptron with `hidden` layers, `activation` "relu", "tanh" or "gelu", and
    `dropout` of a share of each hidden layer. `classes=None` predicts a number, learned as
    `(value - center) / scale`."""
    form = Perceptron(_sizes("hidden", hidden), activation, float(dropout))
    return _model("mlp", inputs, _target(target, classes, center, scale), form, settings)


def cnn(
    inputs: Inputs,
    target: str,
    *,
    shape: Sequence[int],
    classes: Classes = 2,
    channels: Sequence[int] = (16, 32),
    kernel: int = 3,
    hidden: Sequence[int] = (64,),
    activation: str = "relu",
    dropout: float = 0.0,
    center: float = 0.0,
    scale: float = 1.0,
    **settings: Any,
) -> ReadyModel:
    """A convolutional network over images of `shape` (channels, height, width), one column a pixel
    in `inputs`, row by row and channel by channel.

    For each entry of `channels`: a convolution of `kernel` x `kernel`, the activation, a maximum
    over 2 x 2. Then a perceptron with `hidden` layers. `center` and `scale` are of every pixel
    given by its name.
    """
    pixels = [Number(p, float(center), float(scale)) if isinstance(p, str) else p for p in inputs]
    top = Perceptron(_sizes("hidden", hidden), activation, float(dropout))
    sides = _sizes("shape", shape)
    if len(sides) != 3:
        raise CallError("training", "expected `shape` as (channels, height, width)")
    form = Convolution((sides[0], sides[1], sides[2]), _sizes("channels", channels), kernel, top)
    return _model("cnn", pixels, _target(target, classes), form, settings)


def tabular(
    inputs: Inputs,
    target: str,
    *,
    classes: Classes = 2,
    dimensions: int | Sequence[int] | None = None,
    hidden: Sequence[int] = (64, 32),
    activation: str = "relu",
    dropout: float = 0.0,
    center: float = 0.0,
    scale: float = 1.0,
    **settings: Any,
) -> ReadyModel:
    """A net for tables: a learned vector for each level of each `Category`, beside the numbers,
    under a perceptron.

    `dimensions` of those vectors: one for all, one for each category, or by default half the
    levels, at most 50. `classes=None` predicts a number, learned as `(value - center) / scale`.
    """
    levels = tuple(len(entry.levels) for entry in inputs if isinstance(entry, _Category))
    if dimensions is None:
        sizes = tuple(min(50, (count + 1) // 2) for count in levels)
    elif isinstance(dimensions, int):
        sizes = (dimensions,) * len(levels)
    else:
        sizes = _sizes("dimensions", dimensions)
    top = Perceptron(_sizes("hidden", hidden), activation, float(dropout))
    form = Embedding(levels, sizes, top)
    return _model("tabular", inputs, _target(target, classes, center, scale), form, settings)


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


def _model(
    kind: str,
    inputs: Inputs,
    target: Target,
    form: Affine | Perceptron | Convolution | Embedding,
    settings: dict[str, Any],
    dtype: str = "float32",
) -> ReadyModel:
    if isinstance(inputs, str):
        raise CallError("training", f"expected a list of inputs, got the text `{inputs}`")
    known = {field.name for field in fields(Learning)}
    extra = sorted(set(settings) - known - {"holdout", "split_seed", "stratify"})
    if extra:
        raise CallError("training", f"expected a setting of the model, got `{extra[0]}`")
    holdout = Holdout(
        settings.get("holdout", 0.0), settings.get("split_seed", 0), settings.get("stratify", False)
    )
    learning = Learning(**{name: value for name, value in settings.items() if name in known})
    entries = tuple(_input(entry) for entry in inputs)
    return ReadyModel(kind, entries, target, form, learning, holdout, dtype)


def _input(entry: object) -> Input:
    if isinstance(entry, str):
        return Number(entry)
    if isinstance(entry, Number | _Category):
        return entry
    raise CallError(
        "training", f"expected inputs that are names, Number or Category, got `{entry!r}`"
    )


def _target(column: str, classes: Classes, center: float = 0.0, scale: float = 1.0) -> Target:
    if classes is None:
        return Target(column, None, float(center), float(scale))
    if isinstance(classes, int) and not isinstance(classes, bool):
        if not 2 <= classes <= 1_000:
            raise CallError("training", f"expected 2 to 1000 classes, got `{classes}`")
        return Target(column, tuple(range(classes)), float(center), float(scale))
    return Target(column, tuple(_plain(c) for c in classes), float(center), float(scale))


def _sizes(name: str, values: Sequence[int]) -> tuple[int, ...]:
    if isinstance(values, int | str):
        raise CallError("training", f"expected a list of sizes in `{name}`, got `{values}`")
    return tuple(_plain(value) for value in values)


def _plain(value: Any) -> Any:
    """A numpy scalar as Python's own."""
    return value.item() if isinstance(value, np.generic) else value
