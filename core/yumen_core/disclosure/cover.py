"""Cells that are held back so that another cannot be had by subtraction. Pure.

Where a line of a table adds up to a number that is told as well (a group's size, a level's rows),
one cell held back alone is that number less the others. All participants decide alike, from all
flags, which cells are held back besides (complementary suppression; Hundepool et al., "Statistical
Disclosure Control", 2012, chapter 4).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from yumen_core.disclosure.rules import Flags, Keep

Lines = Sequence[npt.NDArray[np.int64]]


def cover_lines(keep: Keep, totals: Flags, lines: Lines, *, min_nodes: int) -> Keep:
    """`keep` with more held back: bool[cells, supports], alike in a cell's supports.

    `totals` are the counts of `whole_flags`; `lines` lists the cells of each line. A line holds
    back no cell with rows; or two or more, with rows of `min_nodes` nodes in one of them at least,
    as far as it has others to hold back: those with enough rows at the fewest nodes first.
    """
    supports = keep.shape[1]
    enough, there = totals[:, 0].astype(np.int64), totals[:, -supports].astype(np.int64)
    shown = keep[:, 0].copy()
    hidden = ~shown & (there > 0)
    before = -1
    while before != (before := int(hidden.sum())):
        for line in lines:
            _cover(line, hidden, shown, enough, there, min_nodes)
    return np.repeat(shown.reshape(-1, 1), supports, axis=1)


def _cover(
    line: npt.NDArray[np.int64],
    hidden: npt.NDArray[np.bool_],
    shown: npt.NDArray[np.bool_],
    enough: npt.NDArray[np.int64],
    there: npt.NDArray[np.int64],
    min_nodes: int,
) -> None:
    while True:
        held = line[hidden[line]]
        if not len(held) or (len(held) > 1 and int(there[held].max()) >= min_nodes):
            return
        others = line[shown[line]]
        if not len(others):
            return
        least = others[np.argmin(enough[others])]
        hidden[least], shown[least] = True, False
