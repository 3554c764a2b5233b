"""Which cells may leave a node, and how what may not is withheld.

A query's answer has cells (groups); each cell has *supports*, the sets of rows behind its values:
support 0 is the cell's own rows, the others the rows where some column is present. A node flags
a support if its own count reaches the threshold; the nodes then learn, without the coordinator,
how many flagged each, and contribute zeros wherever too few did or where they themselves did not.
Pure: arrays in, arrays out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from yumen_core.disclosure.dominance import Dominance
from yumen_core.errors import CallError

Flags = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]
Keep = npt.NDArray[np.bool_]

FEW = 3
"""Rows of one node that may stand in a sum of many nodes which is released whole (ADR 15)."""
LOWEST_MIN_NODES = 3  # with two behind a cell, either could subtract its own share


@dataclass(frozen=True)
class DisclosureRules:
    """One table's settings at one institution.

    `dominance` are the rules for sums of magnitudes; `degrees_of_freedom` the fewest rows of this
    node beyond a model's parameters, or events beyond those of a model of survival.
    `threshold` is the fewest rows behind a released support at this node, `min_nodes` the fewest
    nodes behind a released cell. Raises `CallError("argument")` for a threshold below 1 or fewer
    than LOWEST_MIN_NODES nodes.
    """

    threshold: int = 10
    min_nodes: int = 3
    dominance: tuple[Dominance, ...] = ()
    degrees_of_freedom: int = 0

    @property
    def few(self) -> int:
        """The fewest rows, where there are any, of this node in a sum that is released whole and
        has `threshold` rows of `min_nodes` nodes: FEW, or the threshold where that is lower."""
        return min(FEW, self.threshold)

    def __post_init__(self) -> None:
        if self.threshold < 1:
            raise CallError("argument", f"expected a threshold from 1, got `{self.threshold}`")
        _check_min_nodes(self.min_nodes)


def local_flags(supports: Counts, rules: DisclosureRules) -> Flags:
    """1 where this node's own rows suffice, uint8[cells, supports].

    `supports` counts rows, int64[cells, supports]. A support passes if it reaches the threshold and
    its cell's support 0 does too. Raises `CallError("argument")` for another shape or type, or a
    negative count.
    """
    _check_table(supports, np.dtype(np.int64), "counts")
    if supports.size and int(supports.min()) < 0:
        raise CallError("argument", "expected counts from 0, got a negative one")
    enough = supports >= rules.threshold
    return (enough & enough[:, :1]).astype(np.uint8)


def released(total_flags: Flags, own_flags: Flags, min_nodes: int) -> Keep:
    """What this node contributes, bool[cells, supports]; everything else it withholds.

    A support is released if `min_nodes` nodes or more flagged it, as many flagged its cell's
    support 0, and this node is one of them for both. `total_flags` counts the nodes that flagged,
    `own_flags` holds this node's flags, both uint8[cells, supports]. Raises `CallError("argument")`
    for other shapes or types, for too small a `min_nodes`, and for totals that leave out this node.
    """
    _check_min_nodes(min_nodes)
    _check_table(total_flags, np.dtype(np.uint8), "totals")
    _check_table(own_flags, np.dtype(np.uint8), "flags")
    if total_flags.shape != own_flags.shape:
        raise CallError(
            "argument",
            f"expected flags of the shape {total_flags.shape}, got {own_flags.shape}",
        )
    if (own_flags > 1).any() or (own_flags > total_flags).any():
        raise CallError("argument", "expected totals that count this node's flags of 0 and 1")
    enough = (total_flags >= min_nodes) & (own_flags == 1)
    keep: Keep = enough & enough[:, :1]
    return keep


def withhold(
    values: Sequence[Sequence[int]], value_supports: Sequence[int], keep: Keep
) -> list[list[int]]:
    """`values` with zero in place of each that may not leave.

    `values[c][v]` is value v of cell c and rests on support `value_supports[v]`; `keep` is
    bool[cells, supports]. Raises `CallError("argument")` where these do not fit together.
    """
    _check_table(keep, np.dtype(np.bool_), "permissions")
    cells, supports = keep.shape
    if len(values) != cells or any(len(row) != len(value_supports) for row in values):
        raise CallError(
            "argument", f"expected {cells} cells of {len(value_supports)} values, got other numbers"
        )
    wrong = next((s for s in value_supports if not 0 <= s < supports), None)
    if wrong is not None:
        raise CallError("argument", f"expected supports from 0 to {supports - 1}, got `{wrong}`")
    return [
        [
            value if allowed[support] else 0
            for value, support in zip(row, value_supports, strict=True)
        ]
        for row, allowed in zip(values, keep.tolist(), strict=True)
    ]


def _check_min_nodes(min_nodes: int) -> None:
    if min_nodes < LOWEST_MIN_NODES:
        raise CallError(
            "argument",
            f"expected {LOWEST_MIN_NODES} nodes or more behind a cell, got `{min_nodes}`",
        )


def _check_table(table: npt.NDArray[np.generic], dtype: np.dtype[np.generic], what: str) -> None:
    if table.ndim != 2 or table.dtype != dtype or table.shape[1] < 1:
        raise CallError(
            "argument",
            f"expected {what} of {dtype} by cell and support, "
            f"got the shape {table.shape} of {table.dtype}",
        )
