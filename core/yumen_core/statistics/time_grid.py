"""Time in equal steps, and the tree over them whose leaves a round releases. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from yumen_core.canonical import Json
from yumen_core.statistics import arguments as read
from yumen_core.statistics.kinds import Arguments
from yumen_core.statistics.layout import Counts, Reals

MAX_STEPS = 1 << 14
_SLACK = 1e-9
_T = TypeVar("_T", np.int64, np.float64)


@dataclass(frozen=True)
class TimeGrid:
    """Durations from `start` in `steps` steps of `resolution`, each rounded up to its step.

    Steps are spread over the leaves of a complete binary tree, the first and the last step on its
    first and last leaf; a leaf between them may have no step.
    """

    start: float
    resolution: float
    steps: int

    @property
    def leaves(self) -> int:
        """A power of two."""
        return 1 << (self.steps - 1).bit_length()

    @property
    def cells(self) -> int:
        """The nodes of the tree, in heap order."""
        return 2 * self.leaves - 1

    def to_arguments(self) -> dict[str, Json]:
        return {
            "resolution": repr(self.resolution),
            "start": repr(self.start),
            "steps": self.steps,
        }

    def time(self, step: int) -> float:
        """The duration that a step stands for."""
        return self.start + step * self.resolution

    def leaf_of_step(self) -> npt.NDArray[np.int64]:
        """The leaf of each step, int64[steps], rising."""
        gaps = max(self.steps - 1, 1)
        steps = np.arange(self.steps, dtype=np.int64)
        return (2 * steps * (self.leaves - 1) + gaps) // (2 * gaps)

    def leaves_of(self, durations: Reals) -> npt.NDArray[np.int64]:
        """The leaf of each duration, int64[n]: the last one for those beyond the last step."""
        steps = np.clip(self._steps(durations), 0.0, self.steps - 1.0)
        return self.leaf_of_step()[steps.astype(np.int64)]

    def within(self, durations: Reals) -> npt.NDArray[np.bool_]:
        """Whether each duration is at or before the last step, bool[n]. One beyond it is followed
        up to there only: it counts as censored at the last step."""
        seen: npt.NDArray[np.bool_] = self._steps(durations) <= self.steps - 1
        return seen

    def _steps(self, durations: Reals) -> Reals:
        steps: Reals = np.ceil((durations - self.start) / self.resolution - _SLACK)
        return steps

    def partition(self, nodes: Counts) -> Iterator[tuple[int, int, int]]:
        """The leaves of one tree's partition in order of time: cell, first and last step. `nodes`
        says how many nodes gave each cell, int64[cells]; a leaf without a step is left out."""
        places = self.leaf_of_step()
        found = []
        for cell in np.flatnonzero(nodes).tolist():
            depth = (cell + 1).bit_length() - 1
            width = self.leaves >> depth
            low = (cell + 1 - (1 << depth)) * width
            first = int(np.searchsorted(places, low))
            last = int(np.searchsorted(places, low + width)) - 1
            if first <= last:
                found.append((cell, first, last))
        yield from sorted(found, key=lambda entry: entry[1])


def parse_grid(arguments: Arguments) -> TimeGrid:
    """The arguments `start`, `resolution` (decimal texts) and `steps` of a round. Raises
    `CallError` (`statistic`)."""
    resolution = _decimal(arguments, "resolution")
    if resolution <= 0:
        raise read.bad("expected a `resolution` above 0")
    steps = read.whole(arguments, "steps", 1, MAX_STEPS)
    return TimeGrid(_decimal(arguments, "start"), resolution, steps)


def summed(leaves: npt.NDArray[_T]) -> npt.NDArray[_T]:
    """Sums over a complete binary tree in heap order, [2 * leaves - 1, ...], from those of its
    leaves, [leaves, ...]."""
    levels = [leaves]
    while len(levels[-1]) > 1:
        levels.append(levels[-1][0::2] + levels[-1][1::2])
    return np.concatenate(levels[::-1])


def _decimal(arguments: Arguments, name: str) -> float:
    text = read.text(arguments, name)
    try:
        value = float(Decimal(text))
    except InvalidOperation:
        value = float("nan")
    if not abs(value) < 1e15:
        raise read.bad(f"expected `{name}` to be a decimal number, got `{text[:40]}`")
    return value
