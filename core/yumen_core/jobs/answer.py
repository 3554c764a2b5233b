"""A node's answer to a query as one vector of integers, and back. Pure.

    for each cell, for each support    1 where this node stands behind it, else 0
    for each cell, for each value      the node's exact integer, 0 where it is withheld

Both parties derive the shape from the plan, so no length ever depends on a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from yumen_core.securesum.codec import IntegerCodec
from yumen_core.securesum.contribution import total_slots
from yumen_core.securesum.modulus import Slots
from yumen_core.sql import Plan

Kept = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Totals:
    """The sums over all participants: `nodes[cell][support]` counts the nodes that stand behind
    it, `values[cell][value]` is the exact total of those nodes."""

    nodes: list[list[int]]
    values: list[list[int]]


def answer_slots(plan: Plan) -> int:
    """The slots of a whole contribution to this plan, overhead included."""
    return total_slots(_codec(plan).slots)


def encode_answer(plan: Plan, kept: Kept, values: Sequence[Sequence[int]]) -> Slots:
    """The payload slots of one node's answer.

    `kept` is bool[cells, supports]; `values` has cells x values integers, already 0 where they
    are withheld.
    """
    flat = [int(flag) for flag in kept.reshape(-1)]
    for row in values:
        flat.extend(row)
    return _codec(plan).encode(flat)


def decode_answer(plan: Plan, sums: Slots, contributions: int) -> Totals:
    """The totals behind the payload slots of a sum of `contributions` answers."""
    layout = plan.layout
    flat = _codec(plan).decode(sums, contributions)
    split = layout.cells * layout.supports
    width = len(layout.values)
    return Totals(
        nodes=_rows(flat[:split], layout.cells, layout.supports),
        values=_rows(flat[split:], layout.cells, width),
    )


def payload_slots(plan: Plan) -> int:
    """The slots of an answer without the contribution's overhead."""
    return _codec(plan).slots


def _codec(plan: Plan) -> IntegerCodec:
    layout = plan.layout
    flags = layout.cells * layout.supports
    bits = [1] * flags + [value.bits for value in layout.values] * layout.cells
    signed = [False] * flags + [value.signed for value in layout.values] * layout.cells
    return IntegerCodec(bits, signed)


def _rows(flat: list[int], rows: int, width: int) -> list[list[int]]:
    return [flat[row * width : (row + 1) * width] for row in range(rows)]
