"""What one node contributes to a training run, as slots, and what its total says. Pure.

    1           1 where this node has rows enough, else 0 and zeros all over
    1           1 where its change was clipped to the norm
    examples    n, the examples its change and its metrics count for
    metrics     of each: round(value * n * 2^40), and n where the code gave this metric and nodes
                enough gave it, else 0
    levels      of each tensor the level that all participants agreed on (`train` only)
    change      (new - base) * n of each tensor, in fixed point within its level (`train` only)

The range of a tensor follows from the largest change times n among the participants, so that every
one fits and none is cut. They find it in the support step: a level is a power of four, so that
participants learn of one another no more than that coarse size (ADR 18). Lengths follow from the
signed job alone.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from yumen_core.disclosure.rules import Flags
from yumen_core.errors import CallError, PeerError, StateError
from yumen_core.securesum.codec import IntegerCodec
from yumen_core.securesum.lanes import LanesCodec
from yumen_core.securesum.modulus import Slots
from yumen_core.securesum.suite import Suite, total_slots
from yumen_core.training.records import Action, Values
from yumen_core.training.spec import TensorShape, TrainingSpec

LEVELS = 64
LOWEST_POWER = -24
"""Level l bounds a change times n by 4^(l + LOWEST_POWER): from 4e-15 to 3e23."""
MAX_EXAMPLES = (1 << 40) - 1
_LEVEL_BITS = 6
_METRIC_BITS, _METRIC_POINT = 112, 40
MAX_METRIC = 2.0 ** (_METRIC_BITS - 2 - _METRIC_POINT)


@dataclass(frozen=True)
class LocalUpdate:
    """What one node has to contribute, checked: `changes` are new - base of each tensor, of the
    layout's shapes; `metrics` finite numbers by name."""

    examples: int
    changes: Mapping[str, Values]
    metrics: Mapping[str, float]
    clipped: bool = False


@dataclass(frozen=True)
class UpdateTotals:
    """The total of a run: mean changes over all examples, weighted means of the metrics that some
    node gave, and how many nodes stand behind them."""

    nodes: int
    clipped: int
    examples: int
    changes: Mapping[str, Values]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class UpdateShape:
    """The form of every contribution to a run of one action. `contributions` is the number of nodes
    that the job names, the most that can take part."""

    tensors: tuple[TensorShape, ...]
    metrics: tuple[str, ...]
    suite: Suite
    contributions: int

    @classmethod
    def of(cls, training: TrainingSpec, action: Action, suite: Suite, nodes: int) -> UpdateShape:
        """The form for a signed training. Raises `CallError` (`payload_too_large`) for a model that
        has no room in a sum of this suite."""
        tensors = training.arrays if action is Action.TRAIN else ()
        shape = cls(tensors, training.metrics, suite, nodes)
        try:
            _ = shape.slots
        except CallError:
            raise CallError(
                "payload_too_large",
                f"expected a model that fits one secure sum in suite `{suite}`, "
                f"got one of {training.values} values",
                remedy="use suite `stream`, which holds more, or train a smaller model",
            ) from None
        return shape

    @property
    def cells(self) -> int:
        return 1

    @property
    def flags(self) -> int:
        """The flags of the support step: rows enough; for each metric whether this node gives it;
        each tensor's level, one flag for each level from 1 that it reaches."""
        return self._levels_at + len(self.tensors) * (LEVELS - 1)

    @property
    def _levels_at(self) -> int:
        return 1 + len(self.metrics)

    @property
    def payload_slots(self) -> int:
        """The slots of an answer without the contribution's overhead."""
        return self._integers.slots + (self._lanes.slots if self.tensors else 0)

    @property
    def slots(self) -> int:
        """The slots of a whole contribution, overhead included."""
        return total_slots(self.payload_slots)

    def flags_of(self, update: LocalUpdate | None) -> Flags:
        """One node's flags, uint8[1, flags]; all zero where it has no rows enough.

        Raises `StateError` (`training`) for a change beyond the highest level, or a metric beyond
        `MAX_METRIC`.
        """
        flags = np.zeros((1, self.flags), dtype=np.uint8)
        if update is None:
            return flags
        flags[0, 0] = 1
        for index, name in enumerate(self.metrics, start=1):
            flags[0, index] = name in update.metrics
            _check_metric(name, update)
        for index, tensor in enumerate(self.tensors):
            level = _level(update.changes[tensor.name], update.examples)
            start = self._levels_at + index * (LEVELS - 1)
            flags[0, start : start + level] = 1
        return flags

    def levels(self, totals: Flags) -> tuple[int, ...]:
        """The level of each tensor that holds the changes of all participants, from the flags of
        all of them, counted."""
        reached = totals[0, self._levels_at :].reshape(len(self.tensors), LEVELS - 1) > 0
        return tuple(int(np.flatnonzero(row)[-1]) + 1 if row.any() else 0 for row in reached)

    def released_metrics(self, totals: Flags, min_nodes: int) -> frozenset[str]:
        """The metrics that `min_nodes` nodes or more give: of fewer, a mean would be theirs."""
        given = totals[0, 1 : self._levels_at] >= min_nodes
        return frozenset(name for name, kept in zip(self.metrics, given, strict=True) if kept)

    def encode(
        self, update: LocalUpdate | None, levels: Sequence[int], released: Collection[str]
    ) -> Slots:
        """The payload slots of one node's answer; `None` contributes zeros, and the levels, which
        are the same for all. Metrics that are not `released` are left out."""
        slots = np.empty(self.payload_slots, dtype=np.uint64)
        split = self._integers.slots
        slots[:split] = self._integers.encode(self._whole_numbers(update, levels, released))
        if self.tensors:
            n = 1 if update is None else max(update.examples, 1)
            ranges = [_bound(level) / n for level in levels]
            # Clipped, since a range divided by n can round to a hair below the largest value.
            self._lanes.encode(self._changes(update), ranges, slots[split:], clip=True)
        return slots

    def _changes(self, update: LocalUpdate | None) -> list[Values]:
        if update is None or not update.examples:
            return [np.broadcast_to(np.float32(0), (t.size,)) for t in self.tensors]
        return [update.changes[tensor.name] for tensor in self.tensors]

    def decode(self, sums: Slots, participants: int) -> UpdateTotals:
        """What the payload slots of a sum of `participants` answers say.

        Raises `PeerError` (`headroom`) where the numbers do not fit together.
        """
        split = self._integers.slots
        numbers = self._integers.decode(sums[:split], participants)
        nodes, clipped, examples = numbers[:3]
        pairs = numbers[3 : 3 + 2 * len(self.metrics)]
        levels = numbers[3 + 2 * len(self.metrics) :]
        if any(level % participants for level in levels):
            raise PeerError("headroom", "expected one level of all participants, got several")
        if clipped > nodes or (examples and not nodes) or max(pairs[1::2], default=0) > examples:
            raise PeerError("headroom", "expected counts that fit together, got others")
        bounds = [_bound(level // participants) for level in levels]
        changes: dict[str, Values] = {}
        if self.tensors and examples:
            found = self._lanes.decode(sums[split:], bounds, participants)
            for tensor, values in zip(self.tensors, found, strict=True):
                values /= examples
                changes[tensor.name] = values.reshape(tensor.shape)
        metrics = {
            name: pairs[2 * i] / (1 << _METRIC_POINT) / pairs[2 * i + 1]
            for i, name in enumerate(self.metrics)
            if pairs[2 * i + 1]
        }
        return UpdateTotals(nodes, clipped, examples, changes, metrics)

    def _whole_numbers(
        self, update: LocalUpdate | None, levels: Sequence[int], released: Collection[str]
    ) -> list[int]:
        if update is None:
            return [0, 0, 0, *[0] * (2 * len(self.metrics)), *levels]
        numbers = [1, int(update.clipped), update.examples]
        for name in self.metrics:
            value = update.metrics.get(name)
            if value is None or name not in released:
                numbers += [0, 0]
                continue
            numbers += [round(value * update.examples * (1 << _METRIC_POINT)), update.examples]
        return [*numbers, *levels]

    @cached_property
    def _integers(self) -> IntegerCodec:
        bits = [1, 1, 40, *[_METRIC_BITS, 40] * len(self.metrics)]
        signed = [False, False, False, *[True, False] * len(self.metrics)]
        levels = len(self.tensors)
        return IntegerCodec([*bits, *[_LEVEL_BITS] * levels], [*signed, *[False] * levels])

    @cached_property
    def _lanes(self) -> LanesCodec:
        return LanesCodec([t.size for t in self.tensors], self.contributions, self.suite)


def _check_metric(name: str, update: LocalUpdate) -> None:
    if abs(update.metrics.get(name, 0.0)) * max(update.examples, 1) >= MAX_METRIC:
        raise StateError(
            "training",
            f"expected metrics times examples below {MAX_METRIC:g}, got more in `{name}`",
        )


def _level(change: Values, examples: int) -> int:
    """The lowest level whose bound holds `change * examples`."""
    largest = max(abs(float(change.max())), abs(float(change.min()))) if change.size else 0.0
    largest *= examples
    if largest <= _bound(0):
        return 0
    if largest > _bound(LEVELS - 1):
        raise StateError(
            "training",
            f"expected changes times examples of at most {_bound(LEVELS - 1):g}, got a larger one",
            remedy="scale the inputs, or lower the learning rate",
        )
    fraction, exponent = math.frexp(largest)  # a logarithm can be a hair off
    power_of_two = exponent - (fraction == 0.5)
    return -(-power_of_two // 2) - LOWEST_POWER


def _bound(level: int) -> float:
    return 4.0 ** (level + LOWEST_POWER)
