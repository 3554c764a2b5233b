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

import difflib
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from yumen_core.errors import CallError
from yumen_core.training.models import (
    Affine,
    Category,
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
from yumen_core.training.models.inputs import MAX_CLASSES, Input, Level

from yumen._prediction import module, predict, probabilities

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
Inputs = Sequence[str | Number | Category]


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
    levels = tuple(len(entry.levels) for entry in inputs if isinstance(entry, Category))
    if dimensions is None:
        sizes = tuple(min(50, (count + 1) // 2) for count in levels)
    elif isinstance(dimensions, int):
        sizes = (dimensions,) * len(levels)
    else:
        sizes = _sizes("dimensions", dimensions)
    top = Perceptron(_sizes("hidden", hidden), activation, float(dropout))
    form = Embedding(levels, sizes, top)
    return _model("tabular", inputs, _target(target, classes, center, scale), form, settings)


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
    _check_settings(settings, [*known, "holdout", "split_seed", "stratify"])
    holdout = Holdout(
        settings.get("holdout", 0.0), settings.get("split_seed", 0), settings.get("stratify", False)
    )
    learning = Learning(**{name: value for name, value in settings.items() if name in known})
    entries = tuple(_input(entry) for entry in inputs)
    return ReadyModel(kind, entries, target, form, learning, holdout, dtype)


def _check_settings(settings: dict[str, Any], known: Sequence[str]) -> None:
    """Refuse a setting that no model has, with the nearest: by spelling, or by first letters."""
    extra = sorted(set(settings) - set(known))
    if not extra:
        return
    parts = [name for name in known if extra[0] == "".join(p[0] for p in name.split("_"))]
    near = difflib.get_close_matches(extra[0], known, n=1) or parts[:1]
    raise CallError(
        "training",
        f"expected a setting of the model ({', '.join(sorted(known))}), got `{extra[0]}`",
        remedy=f"the nearest is `{near[0]}`" if near else "use one of these",
    )


def _input(entry: object) -> Input:
    if isinstance(entry, str):
        return Number(entry)
    if isinstance(entry, Number | Category):
        return entry
    raise CallError(
        "training", f"expected inputs that are names, Number or Category, got `{entry!r}`"
    )


def _target(column: str, classes: Classes, center: float = 0.0, scale: float = 1.0) -> Target:
    if isinstance(classes, int):
        if isinstance(classes, bool) or not 2 <= classes <= MAX_CLASSES:
            raise CallError("training", f"expected 2 to {MAX_CLASSES} classes, got `{classes}`")
        return Target(column, range(classes), float(center), float(scale))
    return Target(column, classes, float(center), float(scale))


def _sizes(name: str, values: Sequence[int]) -> tuple[int, ...]:
    if isinstance(values, int | str):
        raise CallError("training", f"expected a list of sizes in `{name}`, got `{values}`")
    return tuple(values)
