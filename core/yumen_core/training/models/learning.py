"""How a ready model learns at a node, and which rows it keeps for evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from yumen_core.canonical import Json
from yumen_core.training.models.form import (
    Form,
    bad,
    check_choice,
    check_real,
    check_whole,
    real_json,
    short,
)

MAX_EPOCHS = 1_000
MAX_STEPS = 100_000
MAX_BATCH = 1 << 20
MAX_SEED = (1 << 63) - 1
OPTIMIZERS = ("sgd", "adam")


@dataclass(frozen=True)
class Learning:
    """Local work of one round.

    `epochs` passes over the node's rows in batches of `batch_size` (0: all rows at once), or just
    `steps` batches where that is set. The rate of round r, counted from 1, is `learning_rate *
    decay ** (r - 1)`. `momentum` is of `sgd`. `weight_decay` adds `weight_decay / 2 * |w|^2` to the
    loss, biases left out. `clip_gradient` bounds the L2 norm of a step's gradient. `proximal_mu` is
    FedProx's `mu`. `seed` sets the initial weights, the order of rows and what dropout leaves out.
    `max_grad_norm` is the L2 norm to which a private training clips each row's gradient.
    """

    epochs: int = 1
    steps: int | None = None
    batch_size: int = 32
    learning_rate: float = 0.01
    decay: float = 1.0
    optimizer: str = "sgd"
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip_gradient: float | None = None
    proximal_mu: float = 0.0
    seed: int = 0
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        check_whole("epochs", self.epochs, 1, MAX_EPOCHS)
        if self.steps is not None:
            check_whole("steps", self.steps, 1, MAX_STEPS)
        check_whole("batch_size", self.batch_size, 0, MAX_BATCH)
        check_real("learning_rate", self.learning_rate, 1e-12, 1e6)
        check_real("decay", self.decay, 1e-6, 1)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_real("momentum", self.momentum, 0, 0.9999)
        if self.momentum and self.optimizer != "sgd":
            raise bad(f"expected `momentum` with sgd only, got it with `{self.optimizer}`")
        check_real("weight_decay", self.weight_decay, 0, 1e6)
        if self.clip_gradient is not None:
            check_real("clip_gradient", self.clip_gradient, 1e-12, 1e12)
        check_real("proximal_mu", self.proximal_mu, 0, 1e6)
        check_whole("seed", self.seed, 0, MAX_SEED)
        check_real("max_grad_norm", self.max_grad_norm, 1e-9, 1e9)

    def to_json(self) -> Json:
        clip = self.clip_gradient
        return {
            "batch_size": self.batch_size,
            "clip_gradient": None if clip is None else real_json(clip),
            "decay": real_json(self.decay),
            "epochs": self.epochs,
            "learning_rate": real_json(self.learning_rate),
            "max_grad_norm": real_json(self.max_grad_norm),
            "momentum": real_json(self.momentum),
            "optimizer": self.optimizer,
            "proximal_mu": real_json(self.proximal_mu),
            "seed": self.seed,
            "steps": self.steps,
            "weight_decay": real_json(self.weight_decay),
        }


@dataclass(frozen=True)
class Holdout:
    """The share of a node's complete rows that it never trains on and evaluates with, drawn by
    `seed`; by class, `by_class`. With a `fraction` of 0 a node trains and evaluates on all rows."""

    fraction: float = 0.0
    seed: int = 0
    by_class: bool = False

    def __post_init__(self) -> None:
        check_real("holdout", self.fraction, 0, 0.9)
        check_whole("split_seed", self.seed, 0, MAX_SEED)
        if not isinstance(self.by_class, bool):
            raise bad(f"expected `stratify` true or false, got `{short(self.by_class)}`")

    def to_json(self) -> Json:
        return {
            "by_class": self.by_class,
            "fraction": real_json(self.fraction),
            "seed": self.seed,
        }


_LEARNING = tuple(sorted(Learning.__dataclass_fields__))
_HOLDOUT = tuple(sorted(Holdout.__dataclass_fields__))


def read_learning(document: object) -> Learning:
    """Raises `CallError` (`training`)."""
    form = Form(document, "the learning of a model", _LEARNING)
    return Learning(
        epochs=form.whole("epochs"),
        steps=None if form.raw("steps") is None else form.whole("steps"),
        batch_size=form.whole("batch_size"),
        learning_rate=form.real("learning_rate"),
        decay=form.real("decay"),
        optimizer=form.text("optimizer"),
        momentum=form.real("momentum"),
        weight_decay=form.real("weight_decay"),
        clip_gradient=None if form.raw("clip_gradient") is None else form.real("clip_gradient"),
        proximal_mu=form.real("proximal_mu"),
        seed=form.whole("seed"),
        max_grad_norm=form.real("max_grad_norm"),
    )


def read_holdout(document: object) -> Holdout:
    """Raises `CallError` (`training`)."""
    form = Form(document, "the holdout of a model", _HOLDOUT)
    return Holdout(form.real("fraction"), form.whole("seed"), form.flag("by_class"))
