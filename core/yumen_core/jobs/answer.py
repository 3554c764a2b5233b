"""A node's part of one secure sum as one vector of integers, and back. Pure.

    for each cell, for each support    1 where this node stands behind it, else 0
    for each cell, for each value      the node's integer, 0 where it is withheld

All parties derive the shape from the signed job, so no length ever depends on a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from yumen_core.privacy.noise import NoisePlan
from yumen_core.securesum.codec import IntegerCodec
from yumen_core.securesum.modulus import Slots
from yumen_core.securesum.suite import total_slots
from yumen_core.sql import Plan
from yumen_core.statistics.layout import Layout

Kept = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SumTotals:
    """The sums over all participants: `nodes[cell][support]` counts the nodes that stand behind
    it, `values[cell][value]` is the exact total of those nodes."""

    nodes: list[list[int]]
    values: list[list[int]]


@dataclass(frozen=True)
class AnswerShape:
    """What one sum carries: per cell a flag for each support and an integer for each value, whose
    widths are (bits, signed). With `noise` a value travels in units of its noise, and signed."""

    cells: int
    supports: int
    widths: tuple[tuple[int, bool], ...]
    noise: NoisePlan | None = None

    @classmethod
    def of_plan(cls, plan: Plan) -> AnswerShape:
        layout = plan.layout
        widths = tuple((value.bits, value.signed) for value in layout.values)
        return cls(layout.cells, layout.supports, widths)

    @classmethod
    def of_layout(cls, layout: Layout) -> AnswerShape:
        widths = tuple((value.bits, value.signed) for value in layout.values)
        return cls(layout.cells, len(layout.supports), widths)

    def with_noise(self, noise: NoisePlan) -> AnswerShape:
        """The shape of the same answer with noise in every value."""
        widths = tuple((entry.bits, True) for entry in noise.noises)
        return AnswerShape(self.cells, self.supports, widths, noise)

    @property
    def payload_slots(self) -> int:
        """The slots of an answer without the contribution's overhead."""
        return self._codec.slots

    @property
    def slots(self) -> int:
        """The slots of a whole contribution, overhead included."""
        return total_slots(self._codec.slots)

    def encode(self, kept: Kept, values: Sequence[Sequence[int]]) -> Slots:
        """The payload slots of one node's answer.

        `kept` is bool[cells, supports]; `values` has cells x values integers, already 0 where they
        are withheld; with noise they are in its units.
        """
        flat = [int(flag) for flag in kept.reshape(-1)]
        for row in values:
            flat.extend(row)
        return self._codec.encode(flat)

    def decode(self, sums: Slots, contributions: int) -> SumTotals:
        """The totals behind the payload slots of a sum of `contributions` answers."""
        flat = self._codec.decode(sums, contributions)
        split = self.cells * self.supports
        values = _rows(flat[split:], self.cells, len(self.widths))
        if self.noise is not None:
            shifts = [entry.shift for entry in self.noise.noises]
            values = [
                [value << shift for value, shift in zip(row, shifts, strict=True)] for row in values
            ]
        return SumTotals(nodes=_rows(flat[:split], self.cells, self.supports), values=values)

    @cached_property
    def _codec(self) -> IntegerCodec:
        flags = self.cells * self.supports
        bits = [1] * flags + [bits for bits, _ in self.widths] * self.cells
        signed = [False] * flags + [signed for _, signed in self.widths] * self.cells
        return IntegerCodec(bits, signed)


def _rows(flat: list[int], rows: int, width: int) -> list[list[int]]:
    return [flat[row * width : (row + 1) * width] for row in range(rows)]
