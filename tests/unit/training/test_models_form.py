"""What a ready model may be, and its JSON."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yumen import models
from yumen.models import Category, Number, ReadyModel
from yumen_core import canonical
from yumen_core.errors import CallError, PeerError
from yumen_core.training.models import build, initial, metric_names

SAMPLES = {
    "logistic": models.logistic(["a", Number("b", 1.5, 2)], "y", epochs=3, learning_rate=0.1),
    "multinomial": models.logistic(["a"], "y", classes=["p", "q", "r"], dtype="float64"),
    "linear": models.linear([Category("c", ["x", "y"], drop_first=True)], "y", scale=3),
    "mlp": models.mlp(["a", "b"], "y", hidden=[4, 3], classes=3, holdout=0.2, stratify=True),
    "deep": models.mlp(["a"], "y", hidden=[], classes=None, steps=7, clip_gradient=1.0),
    "cnn": models.cnn([f"p{n}" for n in range(32)], "y", shape=(2, 4, 4), channels=[3], classes=4),
    "tabular": models.tabular(["a", Category("c", [1, 2, 3])], "y", hidden=[5], classes=[0, 1]),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_json_goes_there_and_back(name: str) -> None:
    model = SAMPLES[name]
    raw = canonical.encode(model.to_json())
    again = ReadyModel.from_json(json.loads(raw))
    assert again == model
    assert canonical.encode(again.to_json()) == raw
    assert hash(again) == hash(model)


@pytest.mark.parametrize("name", SAMPLES)
def test_arrays_are_those_of_the_module(name: str) -> None:
    model = SAMPLES[name]
    state = build(model).state_dict()
    found = [(key, str(v.dtype).removeprefix("torch."), tuple(v.shape)) for key, v in state.items()]
    assert tuple(found) == model.arrays
    start = initial(model)
    assert list(start) == list(state)
    assert all((start[key] == state[key].numpy()).all() for key in state)
    assert model.parameters == sum(v.numel() for v in state.values())


def test_words() -> None:
    model = SAMPLES["mlp"]
    assert model.columns == ("a", "b", "y")
    assert metric_names(model) == ("eval_acc", "eval_loss", "train_loss")
    assert metric_names(SAMPLES["linear"]) == ("eval_loss", "eval_mae", "eval_mse", "train_loss")
    assert model.describe() == (
        "a multilayer perceptron of `y` (3 classes) on 2 columns, 39 trained numbers; each round a "
        "node makes 1 pass over its rows in batches of 32 by sgd at rate 0.01, 20% of its rows "
        "kept for evaluation"
    )


def test_no_model_loads_torch() -> None:
    script = (
        "import sys; from yumen_core.training.models import ReadyModel, initial; "
        "from yumen import models; initial(models.mlp(['a'], 'y')).keys(); "
        "assert 'torch' not in sys.modules and 'flwr' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_values_of_numpy_are_taken() -> None:
    model = models.tabular(
        [Category("c", np.array([1, 2, 3]))], "y", classes=[*np.array(["a", "b"])]
    )
    assert model.to_json()["inputs"] == [{"column": "c", "drop_first": False, "levels": [1, 2, 3]}]
    assert model.target.classes == ("a", "b")


CALLS: list[tuple[Callable[[], object], str]] = [
    (lambda: models.logistic([], "y"), "expected 1 to 4096 inputs, got 0"),
    (lambda: models.logistic([f"c{n}" for n in range(4097)], "y"), "expected 1 to 4096 inputs"),
    (lambda: models.logistic("age", "y"), "expected a list of inputs, got the text `age`"),
    (lambda: models.logistic([3], "y"), "expected inputs that are names, Number or Category"),  # type: ignore[list-item]
    (lambda: models.logistic(["a", "a"], "y"), "expected each column once, got `a` twice"),
    (lambda: models.logistic(["a", "y"], "y"), "expected each column once, got `y` twice"),
    (lambda: models.logistic([""], "y"), "expected a column's name of 1 to 128 characters"),
    (lambda: models.logistic(["a"], "y", classes=1), "expected 2 to 1000 classes, got `1`"),
    (lambda: models.logistic(["a"], "y", classes=["x"]), "expected 2 to 1000 values of `y`"),
    (lambda: models.logistic(["a"], "y", classes=[1, True]), "expected distinct values of `y`"),
    (lambda: models.logistic(["a"], "y", classes=[0.5, 1]), "texts of at most 256 characters"),  # type: ignore[list-item]
    (lambda: models.logistic(["a"], "y", classes=None), "expected classes of a logistic"),
    (
        lambda: models.logistic(["a"], "y", epoch=3),
        "expected a setting of the model (batch_size, clip_gradient, decay, epochs, holdout, "
        "learning_rate, max_grad_norm, momentum, optimizer, proximal_mu, seed, split_seed, steps, "
        "stratify, weight_decay), got `epoch`",
    ),
    (lambda: models.logistic(["a"], "y", epochs=0), "expected `epochs` to be an integer from 1 to"),
    (lambda: models.logistic(["a"], "y", epochs=1001), "from 1 to 1000, got `1001`"),
    (lambda: models.logistic(["a"], "y", epochs=True), "expected `epochs` to be an integer"),
    (lambda: models.logistic(["a"], "y", steps=0), "expected `steps` to be an integer from 1"),
    (lambda: models.logistic(["a"], "y", batch_size=-1), "expected `batch_size` to be an integer"),
    (lambda: models.logistic(["a"], "y", learning_rate=float("nan")), "expected `learning_rate`"),
    (lambda: models.logistic(["a"], "y", learning_rate="fast"), "got `fast`"),
    (lambda: models.logistic(["a"], "y", optimizer="lion"), "one of sgd, adam, got `lion`"),
    (lambda: models.mlp(["a"], "y", optimizer="adam", momentum=0.9), "`momentum` with sgd only"),
    (lambda: models.logistic(["a"], "y", holdout=1.0), "expected `holdout` from 0 to 0.9, got `1"),
    (lambda: models.linear(["a"], "y", holdout=0.1, stratify=True), "expected classes to keep"),
    (lambda: models.logistic(["a"], "y", dtype="float16"), "one of float32, float64"),
    (lambda: models.mlp(["a"], "y", hidden=[8193]), "from 1 to 8192, got `8193`"),
    (lambda: models.mlp(["a"], "y", hidden=[8] * 17), "expected at most 16 sizes in `hidden`"),
    (lambda: models.mlp(["a"], "y", hidden=8), "expected a list of sizes in `hidden`, got `8`"),  # type: ignore[arg-type]
    (lambda: models.mlp(["a"], "y", hidden=[8192, 8192]), "expected a model of at most 64000000"),
    (lambda: models.mlp(["a"], "y", activation="step"), "one of relu, tanh, gelu, got `step`"),
    (lambda: models.mlp(["a"], "y", dropout=1.0), "expected `dropout` from 0 to 0.95, got `1.0`"),
    (lambda: models.mlp(["a"], "y", scale=2.0), "expected no center or scale of the classes in"),
    (lambda: models.cnn(["a"], "y", shape=(1, 4, 4)), "expected 16 columns of numbers for the"),
    (lambda: models.cnn(["a"], "y", shape=(4, 4)), "`shape` as (channels, height, width)"),
    (lambda: models.cnn(["a"], "y", shape=(1, 2, 2)), "as the image can be halved, got 2"),
    (lambda: models.cnn(["a"], "y", shape=(1, 8, 8), kernel=2), "expected an odd `kernel`"),
    (lambda: models.tabular(["a"], "y"), "expected a dimension for each of 1 or more categories"),
    (
        lambda: models.tabular([Category("c", [1, 2], drop_first=True)], "y"),
        "expected all levels of an embedded category, got `drop_first`",
    ),
    (lambda: models.tabular([Category("c", [1, 2])], "y", dimensions=[2, 2]), "got 2 for 1"),
    (lambda: Category("c", "ab"), "expected 2 to 8192 values of `c`, got `ab`"),
    (lambda: Category("c", ["a", "a"]), "expected distinct values of `c`, got one twice"),
    (lambda: Number("c", scale=0), "expected `scale` from 1e-300 to 1e+300, got `0`"),
    (
        lambda: models.linear([Category(f"c{n}", range(5000)) for n in range(2)], "y"),
        "expected inputs that become at most 8192 numbers, got 10000",
    ),
]


@pytest.mark.parametrize(("call", "message"), CALLS)
def test_wrong_calls(call: Callable[[], object], message: str) -> None:
    with pytest.raises(CallError) as raised:
        call()
    assert raised.value.code in ("training", "payload_too_large")
    assert message in raised.value.message


WIRE: list[tuple[str, tuple[str, ...], Any, str]] = [
    ("mlp", ("kind",), "forest", "expected `kind` to be one of logistic, linear, mlp"),
    ("mlp", ("kind",), 3, "expected `kind` as a text"),
    ("mlp", ("kind",), "linear", "expected an architecture that is an empty object"),
    ("mlp", ("more",), 1, "expected a ready model with the keys architecture, dtype"),
    ("mlp", ("learning", "epochs"), 1.0, "expected `epochs` as an integer"),
    ("mlp", ("learning", "epochs"), 10**9, "expected `epochs` to be an integer from 1 to 1000"),
    ("mlp", ("learning", "learning_rate"), 0.1, "expected `learning_rate` as a number in decimal"),
    ("mlp", ("learning", "learning_rate"), "nan", "expected `learning_rate` as a number"),
    ("mlp", ("learning", "learning_rate"), "0.10", "expected `learning_rate` as a number"),
    ("mlp", ("learning", "learning_rate"), "1e999", "expected `learning_rate` as a number"),
    ("mlp", ("learning", "extra"), 1, "expected the learning of a model with the keys"),
    ("mlp", ("holdout", "by_class"), 1, "expected `by_class` as true or false"),
    ("mlp", ("architecture", "hidden"), [True], "expected `hidden` to be an integer"),
    ("mlp", ("architecture", "hidden"), "88", "expected `hidden` as a list of at most 16"),
    ("mlp", ("architecture", "hidden"), [[]], "expected `hidden` to be an integer"),
    ("mlp", ("inputs",), [["a"]], "expected a number with the keys center, column, scale"),
    ("mlp", ("inputs",), {"a": 1}, "expected `inputs` as a list of at most 4096 entries"),
    (
        "mlp",
        ("inputs",),
        [{"center": "0.0", "column": "a", "scale": "1.0"}],
        "expected a column of numbers as they are by its name alone",
    ),
    ("mlp", ("target", "classes"), [1, [2]], "expected values of `y` that are texts"),
    ("mlp", ("target", "classes"), [1, 1 << 70], "expected values of `y` that are texts"),
    ("cnn", ("architecture", "shape"), [2, 4, "4"], "expected `shape` to be an integer"),
    ("cnn", ("architecture", "shape"), [2, 4], "`shape` as (channels, height, width)"),
    ("tabular", ("architecture", "dimensions"), [0], "expected `dimensions` to be an integer"),
]


@pytest.mark.parametrize(("name", "path", "value", "message"), WIRE)
def test_wrong_json(name: str, path: tuple[str, ...], value: Any, message: str) -> None:
    document: Any = copy.deepcopy(SAMPLES[name].to_json())
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(PeerError) as raised:
        ReadyModel.from_json(document)
    assert raised.value.code == "training"
    assert message in raised.value.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(st.sampled_from(sorted(SAMPLES)), st.lists(st.integers(0, 20), max_size=4), JSON)
def test_no_other_error_of_json(name: str, path: list[int], junk: Any) -> None:
    """Any value at any place gives a model or a `PeerError`."""
    document = _changed(name, path, junk)
    try:
        model = ReadyModel.from_json(document)
    except PeerError:
        return
    assert ReadyModel.from_json(model.to_json()) == model


def _changed(name: str, path: list[int], junk: Any) -> Any:
    document: Any = json.loads(canonical.encode(SAMPLES[name].to_json()))
    inner, parent, at = document, None, None  # type: Any, Any, Any
    for step in path:
        if not inner or not isinstance(inner, dict | list):
            break
        keys = sorted(inner) if isinstance(inner, dict) else range(len(inner))
        parent, at = inner, keys[step % len(keys)]
        inner = inner[at]
    if parent is None:
        return junk
    parent[at] = junk
    return document
