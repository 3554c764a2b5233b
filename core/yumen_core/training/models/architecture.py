"""The shapes of ready models, without PyTorch: parties that train nothing check them too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from yumen_core.canonical import Json
from yumen_core.training.models.form import (
    Form,
    bad,
    check_choice,
    check_real,
    check_sizes,
    check_whole,
    real_json,
)

MAX_LAYERS = 16
MAX_WIDTH = 8_192
ACTIVATIONS = ("relu", "tanh", "gelu")

Shape = tuple[str, tuple[int, ...]]
"""A tensor's name and shape."""


@dataclass(frozen=True)
class Affine:
    """Weights and a bias: logistic and linear regression."""

    def shapes(self, width: int, outputs: int) -> Iterator[Shape]:
        """The tensors for `width` inputs, in the order of the module's `state_dict`."""
        yield from _layer("", width, outputs)

    def to_json(self) -> Json:
        return {}


@dataclass(frozen=True)
class Perceptron:
    """Hidden layers of the sizes `hidden`, an activation after each, and dropout of a share of its
    values while training."""

    hidden: tuple[int, ...] = (64, 32)
    activation: str = "relu"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_sizes("hidden", self.hidden, most=MAX_LAYERS, high=MAX_WIDTH)
        check_choice("activation", self.activation, ACTIVATIONS)
        check_real("dropout", self.dropout, 0, 0.95)

    def shapes(self, width: int, outputs: int) -> Iterator[Shape]:
        for number, size in enumerate(self.hidden):
            yield from _layer(f"hidden.{number}.", width, size)
            width = size
        yield from _layer("output.", width, outputs)

    def to_json(self) -> Json:
        return {
            "activation": self.activation,
            "dropout": real_json(self.dropout),
            "hidden": list(self.hidden),
        }


@dataclass(frozen=True)
class Convolution:
    """An image of `shape` (channels, height, width), its columns row by row and channel by channel.

    For each of `channels` a convolution of `kernel` x `kernel` that keeps height and width, the
    activation and a maximum over 2 x 2; then `top` on what is left.
    """

    shape: tuple[int, int, int]
    channels: tuple[int, ...] = (16, 32)
    kernel: int = 3
    top: Perceptron = Perceptron((64,))

    def __post_init__(self) -> None:
        check_sizes("shape", self.shape, most=3, high=1024)
        if len(self.shape) != 3:
            raise bad("expected `shape` as (channels, height, width)")
        check_sizes("channels", self.channels, most=MAX_LAYERS, high=1024)
        check_whole("kernel", self.kernel, 1, 15)
        if self.kernel % 2 == 0:
            raise bad(f"expected an odd `kernel`, got `{self.kernel}`")
        if not self.channels or min(self.shape[1:]) >> len(self.channels) < 1:
            raise bad(
                "expected 1 to as many `channels` as the image can be halved, "
                f"got {len(self.channels)}"
            )

    @property
    def flat(self) -> int:
        """Values left under the top."""
        times = len(self.channels)
        return self.channels[-1] * (self.shape[1] >> times) * (self.shape[2] >> times)

    def shapes(self, _: int, outputs: int) -> Iterator[Shape]:
        before = self.shape[0]
        for number, after in enumerate(self.channels):
            yield f"convolutions.{number}.weight", (after, before, self.kernel, self.kernel)
            yield f"convolutions.{number}.bias", (after,)
            before = after
        for name, shape in self.top.shapes(self.flat, outputs):
            yield f"top.{name}", shape

    def to_json(self) -> Json:
        return {
            "channels": list(self.channels),
            "kernel": self.kernel,
            "shape": list(self.shape),
            "top": self.top.to_json(),
        }


@dataclass(frozen=True)
class Embedding:
    """A vector of `dimensions[i]` learned for each level of the i-th category, beside the numbers,
    under `top` (Guo and Berkhahn 2016)."""

    levels: tuple[int, ...]
    dimensions: tuple[int, ...]
    top: Perceptron = Perceptron()

    def __post_init__(self) -> None:
        check_sizes("dimensions", self.dimensions, most=4_096, high=512)
        if not self.levels or len(self.levels) != len(self.dimensions):
            raise bad(
                f"expected a dimension for each of 1 or more categories, got "
                f"{len(self.dimensions)} for {len(self.levels)}"
            )

    def shapes(self, numbers: int, outputs: int) -> Iterator[Shape]:
        for number, size in enumerate(zip(self.levels, self.dimensions, strict=True)):
            yield f"embeddings.{number}.weight", size
        for name, shape in self.top.shapes(numbers + sum(self.dimensions), outputs):
            yield f"top.{name}", shape

    def to_json(self) -> Json:
        return {"dimensions": list(self.dimensions), "top": self.top.to_json()}


Architecture = Affine | Perceptron | Convolution | Embedding


def read_architecture(kind: str, document: object, levels: Sequence[int]) -> Architecture:
    """The architecture of a model of that kind. Raises `CallError` (`training`)."""
    match kind:
        case "mlp":
            return _perceptron(document)
        case "cnn":
            form = Form(document, "a convolution", ("channels", "kernel", "shape", "top"))
            shape = form.entries("shape", 3)
            return Convolution(
                tuple(shape),
                tuple(form.entries("channels", MAX_LAYERS)),
                form.whole("kernel"),
                _perceptron(form.raw("top")),
            )
        case "tabular":
            form = Form(document, "an embedding", ("dimensions", "top"))
            dimensions = tuple(form.entries("dimensions", 4_096))
            return Embedding(tuple(levels), dimensions, _perceptron(form.raw("top")))
        case _:
            Form(document, "an architecture", ())
            return Affine()


def _perceptron(document: object) -> Perceptron:
    form = Form(document, "a perceptron", ("activation", "dropout", "hidden"))
    hidden = tuple(form.entries("hidden", MAX_LAYERS))
    return Perceptron(hidden, form.text("activation"), form.real("dropout"))


def _layer(prefix: str, before: int, after: int) -> Iterator[Shape]:
    yield f"{prefix}weight", (after, before)
    yield f"{prefix}bias", (after,)
