"""A ready model: everything that says what a node trains, as one value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from yumen_core.canonical import Json
from yumen_core.errors import CallError, PeerError
from yumen_core.training.models.architecture import (
    MAX_WIDTH,
    Affine,
    Architecture,
    Convolution,
    Embedding,
    Perceptron,
    read_architecture,
)
from yumen_core.training.models.form import Form, bad, check_choice
from yumen_core.training.models.inputs import (
    Category,
    Input,
    Number,
    Target,
    read_input,
    read_target,
)
from yumen_core.training.models.learning import (
    Holdout,
    Learning,
    read_holdout,
    read_learning,
)

MAX_INPUTS = 4_096
MAX_PARAMETERS = 64_000_000
KINDS = {
    "logistic": (Affine, "a logistic regression"),
    "linear": (Affine, "a linear regression"),
    "mlp": (Perceptron, "a multilayer perceptron"),
    "cnn": (Convolution, "a convolutional network"),
    "tabular": (Embedding, "a tabular embedding net"),
}
_KEYS = ("architecture", "dtype", "holdout", "inputs", "kind", "learning", "target")


@dataclass(frozen=True)
class ReadyModel:
    """What is trained, from which columns, and how. A `ReadyModel` that exists is valid:
    construction raises `CallError` (`training`). `dtype` is float32, or float64 for the two
    regressions."""

    kind: str
    inputs: tuple[Input, ...]
    target: Target
    architecture: Architecture = field(default_factory=Affine)
    learning: Learning = field(default_factory=Learning)
    holdout: Holdout = field(default_factory=Holdout)
    dtype: str = "float32"

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, tuple(KINDS))
        if not isinstance(self.architecture, KINDS[self.kind][0]):
            raise bad(f"expected the architecture of `{self.kind}`, got another")
        if not 1 <= len(self.inputs) <= MAX_INPUTS:
            raise bad(f"expected 1 to {MAX_INPUTS} inputs, got {len(self.inputs)}")
        if len(set(self.columns)) != len(self.columns):
            twice = next(c for c in self.columns if self.columns.count(c) > 1)
            raise bad(f"expected each column once, got `{twice}` twice")
        self._check_target()
        self._check_inputs()
        check_choice("dtype", self.dtype, ("float32", "float64"))
        if self.dtype == "float64" and self.kind not in ("logistic", "linear"):
            raise bad(f"expected float32 of `{self.kind}`, got `float64`")
        if self.width > MAX_WIDTH:
            raise bad(f"expected inputs that become at most {MAX_WIDTH} numbers, got {self.width}")
        if self.parameters > MAX_PARAMETERS:
            raise CallError(
                "payload_too_large",
                f"expected a model of at most {MAX_PARAMETERS} values, got {self.parameters}",
                remedy="train a smaller model",
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it reads: inputs in order, then the target."""
        return (*(entry.column for entry in self.inputs), self.target.column)

    @property
    def width(self) -> int:
        """Numbers that a row becomes; of a tabular net without its categories."""
        if self.kind == "tabular":
            return sum(isinstance(entry, Number) for entry in self.inputs)
        return sum(entry.width for entry in self.inputs)

    @property
    def arrays(self) -> tuple[tuple[str, str, tuple[int, ...]], ...]:
        """Name, numpy type and shape of each trained tensor, in the order of `state_dict`."""
        shapes = self.architecture.shapes(self.width, self.target.outputs)
        return tuple((name, self.dtype, shape) for name, shape in shapes)

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(math.prod(shape) for _, _, shape in self.arrays)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Sorted. Each is a mean over rows, so that means weighted by rows are those of all rows:
        that is why there is no root mean square and no AUC."""
        if self.target.classes is None:
            return ("eval_loss", "eval_mae", "eval_mse", "train_loss")
        return ("eval_acc", "eval_loss", "train_loss")

    def describe(self) -> str:
        """One sentence for people who decide on it."""
        classes = self.target.classes
        what = f" ({len(classes)} classes)" if classes is not None else ""
        work = self.learning
        passes = (
            f"{work.epochs} pass{'es' if work.epochs > 1 else ''} over its rows"
            if work.steps is None
            else f"{work.steps} step{'s' if work.steps > 1 else ''}"
        )
        batch = f"batches of {work.batch_size}" if work.batch_size else "one batch of all rows"
        kept = f", {self.holdout.fraction:.0%} of its rows kept for evaluation"
        return (
            f"{KINDS[self.kind][1]} of `{self.target.column}`{what} on {len(self.inputs)} "
            f"column{'s' if len(self.inputs) > 1 else ''}, {self.parameters} trained numbers; each "
            f"round a node makes {passes} in {batch} by {work.optimizer} at rate "
            f"{work.learning_rate:g}{kept if self.holdout.fraction else ''}"
        )

    def to_json(self) -> dict[str, Json]:
        """Without floating-point numbers, as canonical JSON needs it."""
        return {
            "architecture": self.architecture.to_json(),
            "dtype": self.dtype,
            "holdout": self.holdout.to_json(),
            "inputs": [entry.to_json() for entry in self.inputs],
            "kind": self.kind,
            "learning": self.learning.to_json(),
            "target": self.target.to_json(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> ReadyModel:
        """The model of another party's JSON: 1. exactly the known keys and types, 2. the limits of
        construction. Raises `PeerError` (`training`)."""
        try:
            return cls._read(document)
        except CallError as fault:
            raise PeerError("training", fault.message) from None

    @classmethod
    def _read(cls, document: Mapping[str, object]) -> ReadyModel:
        form = Form(document, "a ready model", _KEYS)
        inputs = tuple(read_input(entry) for entry in form.entries("inputs", MAX_INPUTS))
        levels = [len(entry.levels) for entry in inputs if isinstance(entry, Category)]
        kind = form.text("kind")
        check_choice("kind", kind, tuple(KINDS))
        return cls(
            kind=kind,
            inputs=inputs,
            target=read_target(form.raw("target")),
            architecture=read_architecture(kind, form.raw("architecture"), levels),
            learning=read_learning(form.raw("learning")),
            holdout=read_holdout(form.raw("holdout")),
            dtype=form.text("dtype"),
        )

    def _check_target(self) -> None:
        if self.kind == "logistic" and self.target.classes is None:
            raise bad("expected classes of a logistic regression's target, got none")
        if self.kind == "linear" and self.target.classes is not None:
            raise bad("expected no classes of a linear regression's target")
        if self.holdout.by_class and self.target.classes is None:
            raise bad("expected classes to keep rows by class, got a target of numbers")

    def _check_inputs(self) -> None:
        categories = [entry for entry in self.inputs if isinstance(entry, Category)]
        if isinstance(self.architecture, Convolution):
            pixels = math.prod(self.architecture.shape)
            if categories or len(self.inputs) != pixels:
                raise bad(f"expected {pixels} columns of numbers for the image's shape")
        if isinstance(self.architecture, Embedding):
            if self.architecture.levels != tuple(len(entry.levels) for entry in categories):
                raise bad("expected the levels of the embedding to be those of the categories")
            if any(entry.drop_first for entry in categories):
                raise bad("expected all levels of an embedded category, got `drop_first`")
