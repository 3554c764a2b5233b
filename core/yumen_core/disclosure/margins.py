"""Which margins of a GROUP BY ROLLUP may leave: complementary suppression. Pure.

Cells are the detail cells, then level after level of margins: cell number j of a level holds the
cells j * fold to (j + 1) * fold of the level before. What a margin tells beyond the released cells
below it is its *rest*: the rows of its nodes that no released cell below covers. A rest goes out
only where it would as a cell of its own (rows enough at each node, nodes enough), or is empty.

Each node says three things of a margin and support: *given* (it has rows enough, and its own thin
cells below hold none or enough), *rest* (it gives, and they hold enough), *harmless* (it gives, or
gave nothing below). A margin is released where enough nodes give, all are harmless, so that who
stands behind a cell stands behind every margin above, and the rest is empty or enough nodes have
one. Then whatever linear combination of released cells a requester forms is one of rests and cells
that each stand on enough nodes with rows enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from yumen_core.disclosure.rules import Counts, DisclosureRules, Flags, Keep, local_flags
from yumen_core.errors import CallError

FLAGS_OF_A_MARGIN = 3
_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Margins:
    """The shape of a rollup: `details` cells, folded by each of `folds` in turn.

    Values rest on the supports `summed`; about the others only their flags are told. Of the
    supports `tight` the count is that of all rows that their values touch; of the others it may be
    lower, so that the rows of the cell count.
    """

    details: int
    folds: tuple[int, ...]
    summed: frozenset[int]
    tight: frozenset[int]

    @property
    def cells(self) -> int:
        return sum(stop - start for start, stop, _ in self.levels())

    def levels(self) -> Iterator[tuple[int, int, int]]:
        """Of each level the first cell, the end, and how many cells of the level before a cell
        holds (1 for the details)."""
        size, start = self.details, 0
        yield start, size, 1
        for fold in self.folds:
            start, size = start + size, size // fold
            yield start, start + size, fold

    def columns(self, chosen: frozenset[int], supports: int) -> _Mask:
        return np.array([support in chosen for support in range(supports)], dtype=np.bool_)


def margin_flags(supports: Counts, rules: DisclosureRules, margins: Margins) -> Flags:
    """*given*, *rest*, *harmless* for each support: uint8[cells, 3 * supports].

    `supports` is int64[cells, supports]; a detail cell is given as `local_flags` says. Raises
    `CallError` (`argument`) for another shape.
    """
    enough = local_flags(supports, rules).astype(np.bool_)
    if len(supports) != margins.cells:
        raise CallError("argument", f"expected {margins.cells} cells, got {len(supports)}")
    width = supports.shape[1]
    summed = margins.columns(margins.summed, width)
    tight = margins.columns(margins.tight, width)
    given, rest = enough.copy(), np.zeros_like(enough)
    harmless = np.ones_like(enough)
    # What a level leaves to the next: thin rows, rows that their values touch, anything given.
    thin = np.where(enough, 0, supports)[: margins.details]
    touched = np.where(enough, 0, np.where(tight, supports, supports[:, :1]))[: margins.details]
    below = enough[: margins.details]
    for start, stop, fold in margins.levels():
        if not start:
            continue
        here = slice(start, stop)
        thin, touched = _folded(thin, fold).sum(axis=1), _folded(touched, fold).sum(axis=1)
        below = _folded(below, fold).sum(axis=1) > 0
        safe = (touched == 0) | (thin >= rules.threshold) | ~summed
        gives = enough[here] & safe
        gives &= gives[:, :1]
        given[here], rest[here] = gives, gives & (touched > 0) & summed
        harmless[here] = gives | ~below
        thin, touched = np.where(gives, 0, thin), np.where(gives, 0, touched)
        below = below | gives
    return np.concatenate([given, rest, harmless], axis=1).astype(np.uint8)


def margin_keep(
    totals: Flags, own: Flags, margins: Margins, *, participants: int, min_nodes: int
) -> Keep:
    """What this node contributes, bool[cells, supports].

    `totals` counts the flags of all `participants`, `own` holds this node's, both
    uint8[cells, 3 * supports].
    """
    width = totals.shape[1] // FLAGS_OF_A_MARGIN
    given, rest, harmless = (totals[:, at * width : (at + 1) * width] for at in range(3))
    summed = margins.columns(margins.summed, width)
    free = given >= min_nodes
    free &= free[:, :1]
    # Cells below with rows that nodes gave and that are not released.
    hidden = ~free[: margins.details] & (given[: margins.details] > 0)
    for start, stop, fold in margins.levels():
        if not start:
            continue
        here = slice(start, stop)
        hidden = _folded(hidden, fold).sum(axis=1) > 0
        stands = (rest[here] >= min_nodes) | ((rest[here] == 0) & ~hidden)
        free[here] &= ((harmless[here] == participants) & stands) | ~summed
        free[here] &= free[here, :1]
        hidden = ~free[here] & (hidden | (rest[here] > 0))
    keep: Keep = free & (own[:, :width] == 1)
    return keep


def _folded(table: npt.NDArray[np.generic], fold: int) -> npt.NDArray[np.generic]:
    """The cells of a level, by the cell of the next level that holds them."""
    return table.reshape(len(table) // fold, fold, table.shape[1])
