"""From what local work answered to what a node may contribute: checked outside the sandbox. Pure.

The answer is not believed. A message here names only what the job names: array names, shapes and
texts of the answer could be made of rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from yumen_core.errors import StateError
from yumen_core.training.records import Action, Arrays, Records, Values
from yumen_core.training.shape import MAX_EXAMPLES, LocalUpdate
from yumen_core.training.spec import TensorShape, TrainingSpec

_PIECE = 1 << 16


def checked_update(
    training: TrainingSpec,
    action: Action,
    *,
    asked: Records,
    answered: Records,
    max_norm: float,
) -> LocalUpdate:
    """One node's part of a run, from what was `asked` of the local work and what it `answered`.

    1. The weight: one metric of the job's name for it, an integer from 0. 2. The other metrics that
    the job names: single finite numbers; what it does not name stays here. 3. Of `train` the
    arrays: those that the job names, of its types and shapes, finite. 4. The change from what was
    asked is clipped to an L2 norm of `max_norm`, or of the job's, where that is lower.

    Raises `StateError` (`training`).
    """
    numbers = _numbers(answered)
    examples = _examples(numbers.get(training.weight), training.weight)
    metrics: dict[str, float] = {}
    for name in training.metrics:
        value = numbers.get(name)
        if value is None:
            continue
        if not math.isfinite(value):
            raise _wrong(f"expected a finite metric `{name}`, got one that is not")
        metrics[name] = float(value)
    if action is not Action.TRAIN:
        return LocalUpdate(examples, {}, metrics)
    changes = _changes(training.arrays, asked, answered)
    limit = min(max_norm, training.clip_norm or math.inf)
    clipped = _clip(changes, limit)
    return LocalUpdate(examples, changes, metrics, clipped)


def _numbers(answered: Records) -> dict[str, float]:
    """The single numbers among metrics and settings, by name; legacy Flower answers keep their
    metrics among the settings. A name that stands twice counts for nothing."""
    found: dict[str, float] = {}
    twice: set[str] = set()
    for record in answered.values():
        if isinstance(record, Arrays):
            continue
        for name, value in record.scalars.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                twice |= {name} & found.keys()
                found[name] = value
    return {name: value for name, value in found.items() if name not in twice}


def _examples(value: float | None, name: str) -> int:
    if value is None:
        raise _wrong(f"expected one metric `{name}` in the answer, got none or several")
    if not math.isfinite(value) or value != int(value) or not 0 <= value <= MAX_EXAMPLES:
        raise _wrong(f"expected `{name}` from 0 to {MAX_EXAMPLES}, a whole number, got another")
    return int(value)


def _changes(
    wanted: tuple[TensorShape, ...], asked: Records, answered: Records
) -> dict[str, Values]:
    given = [record for record in answered.values() if isinstance(record, Arrays)]
    if len(given) != 1:
        raise _wrong("expected one record of arrays from `train`, got none or several")
    tensors = given[0].tensors
    if sorted(tensors) != sorted(tensor.name for tensor in wanted):
        raise _wrong(f"expected the {len(wanted)} arrays that the job names, got others")
    base = _base(asked)
    changes: dict[str, Values] = {}
    for tensor in wanted:
        new = tensors[tensor.name]
        if new.shape != tensor.shape or new.dtype.name != tensor.dtype:
            raise _wrong(
                f"expected `{tensor.name}` as {tensor.dtype} of the shape {tensor.shape}, "
                "got another type or shape"
            )
        changes[tensor.name] = _change(tensor, new, base.get(tensor.name))
    return changes


def _change(tensor: TensorShape, new: Values, base: Values | None) -> Values:
    """new - base in float32 or float64; base is zero where nothing of the name was sent."""
    wide = np.float32 if tensor.dtype in ("float16", "float32") else np.float64
    change: Values = np.array(new, dtype=wide)  # an array of its own, also of a single value
    if base is not None and base.shape == tensor.shape:
        with np.errstate(over="ignore", invalid="ignore"):
            change -= base.astype(wide, copy=False)
    if not np.isfinite(change).all():
        raise _wrong(f"expected finite values in `{tensor.name}`, got some that are not")
    return change


def _base(asked: Records) -> Mapping[str, Values]:
    """What the changes are measured from: the arrays that the strategy sent, if these are one
    record."""
    sent = [record for record in asked.values() if isinstance(record, Arrays)]
    return sent[0].tensors if len(sent) == 1 else {}


def base_of(training: TrainingSpec, asked: Records) -> dict[str, Values]:
    """As the nodes take it: float64 arrays of the job's shapes, by name."""
    base = _base(asked)
    return {
        tensor.name: base[tensor.name].astype(np.float64)
        if tensor.name in base and base[tensor.name].shape == tensor.shape
        else np.zeros(tensor.shape)
        for tensor in training.arrays
    }


def _clip(changes: dict[str, Values], limit: float) -> bool:
    """Scale all changes to an L2 norm of `limit` where theirs is larger; whether it was.

    The norm is found in float64 and in units of the largest change, so that no square leaves it.
    """
    largest = max((_largest(change) for change in changes.values()), default=0.0)
    if not largest:
        return False
    norm = math.sqrt(math.fsum(_squares(change, largest) for change in changes.values()))
    if norm <= limit / largest:
        return False
    for change in changes.values():
        # In float64: a small factor is a poor float32.
        np.multiply(
            change, limit / largest / norm, out=change, dtype=np.float64, casting="same_kind"
        )
    return True


def _largest(change: Values) -> float:
    return max(float(change.max()), -float(change.min())) if change.size else 0.0


def _squares(change: Values, unit: float) -> float:
    """The sum of squares in this unit, a piece at a time: of millions of values no second copy is
    made, and none is lost beside a large sum."""
    flat = change.reshape(-1)
    pieces = (
        flat[start : start + _PIECE].astype(np.float64) / unit
        for start in range(0, flat.size, _PIECE)
    )
    return math.fsum(float(np.vdot(piece, piece)) for piece in pieces)


def _wrong(message: str) -> StateError:
    return StateError("training", message)
