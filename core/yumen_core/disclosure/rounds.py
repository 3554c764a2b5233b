"""The release rules of a statistic's rounds, as functions of flags. Pure.

A node flags each support of a round: under `withhold` one flag, *enough* (as many rows as the
threshold); under the other rules two more, *harmless* (no rows at all, or not too few of them,
`DisclosureRules.few`, ADR 15) and *there* (any rows). The flags of all participants are counted by
all participants alike, so all come to the same partition, or to the same refusal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from yumen_core.disclosure.rules import Counts, DisclosureRules, Flags, Keep, released
from yumen_core.errors import CallError, StateError

Mask = npt.NDArray[np.bool_]

CHAIN = 130
"""Splits of one tree above its heap: one for all rows, the root, and up to 128 cells below it."""


NODES_WITH_ENOUGH = 2
"""Of the nodes behind a required support, those with the threshold of rows: whichever node is left
out of the sum, the threshold remains."""


def whole_flags(supports: Counts, rules: DisclosureRules) -> Flags:
    """Enough, harmless, then there, for each support: uint8[cells, 3 * supports]. Without the last,
    no rows at all and a few harmless ones at every node would look the same."""
    enough = supports >= rules.threshold
    harmless = (supports >= rules.few) | (supports == 0)
    return np.concatenate([enough, harmless, supports > 0], axis=1).astype(np.uint8)


def require_keep(totals: Flags, *, participants: int, min_nodes: int, names: Sequence[str]) -> Keep:
    """All of it, bool[cells, supports], or a refusal.

    Raises `StateError` (`too_few_rows`) that names the first support which has too few rows at some
    node, any at fewer than `min_nodes` nodes, or enough at fewer than NODES_WITH_ENOUGH.
    """
    enough, harmless, there = np.split(totals, 3, axis=1)
    safe: Keep = (harmless == participants) & (there >= min_nodes) & (enough >= NODES_WITH_ENOUGH)
    for at, name in enumerate(names):
        if not safe[:, at].all():
            raise StateError(
                "too_few_rows",
                f"expected no or not too few rows of `{name}` at each node, some at {min_nodes} "
                f"nodes and the table's threshold at {NODES_WITH_ENOUGH}, got fewer",
                remedy="merge levels, leave one out with C(x, levels=[...]), or choose other nodes",
            )
    return safe


def partition_keep(
    totals: Flags,
    *,
    participants: int,
    min_nodes: int,
    trees: int,
    end_supports: int | None = None,
) -> Keep:
    """The leaves of the finest safe partition, bool[cells, supports] (alike in a cell's supports).

    Cells are `trees` complete binary trees in heap order. A cell splits only where both children
    are safe: in each support every node has no rows or not too few, and enough nodes have enough or
    all have none. A cell at either end of the tree must not be empty, so that the ends of a
    partition never tell the least or the greatest value; with `end_supports`, that holds of so many
    of the first supports only. A tree whose root is not safe has no leaf.

    Leaves of one release are exact, disjoint and each safe. Two releases over other edges are not
    held together by this rule: kinds whose edges come with the inputs use `split_keep`.

    Raises `CallError` (`argument`) for a number of cells that is not that of such trees, and for
    `end_supports` that are none of the supports.
    """
    cells, supports = totals.shape[0], totals.shape[1] // 3
    size = _tree_size(cells, trees)
    if not size or (size + 1) & size:
        raise CallError("argument", f"expected {trees} complete binary trees, got {cells} cells")
    if end_supports is not None and not 1 <= end_supports <= supports:
        raise CallError(
            "argument", f"expected 1 to {supports} supports at the ends, got {end_supports}"
        )
    safe = _safe_or_empty(totals, participants, min_nodes).all(axis=1)
    ends = _safe(totals[:, : 2 * supports], participants, min_nodes)[:, :end_supports]
    filled = ends.all(axis=1) & safe
    good = np.where(_at_an_end(size), filled.reshape(trees, size), safe.reshape(trees, size))
    # `there`: the cell is a leaf or lies above one.
    there = np.zeros((trees, size), dtype=np.bool_)
    there[:, 0] = filled.reshape(trees, size)[:, 0]
    leaf = there.copy()
    first, width = 0, 1
    while first + width < size:
        parents, children = slice(first, first + width), slice(first + width, first + 3 * width)
        both = good[:, children].reshape(trees, width, 2).all(axis=2)
        splits = there[:, parents] & both
        leaf[:, parents] &= ~splits
        there[:, children] = leaf[:, children] = np.repeat(splits, 2, axis=1)
        first, width = first + width, 2 * width
    keep: Keep = np.repeat(leaf.reshape(cells, 1), supports, axis=1)
    return keep


def split_keep(totals: Flags, own: Flags, *, participants: int, min_nodes: int, trees: int) -> Keep:
    """The splits of binary trees that may be told, bool[splits, supports] (alike in a split's).

    A tree is a chain of CHAIN splits, each of a half of the cell before, from all rows downwards,
    then the splits of a complete binary tree in heap order below the chain's last. Supports come in
    fours for each group of rows: those in the left and the right half of the split's cell, and all
    rows left and right of the split. The last two are marks instead, with rows enough where the
    chain goes on in the left half, or in the right one.

    A split is safe as `safe_splits` says, of halves that have no rows or not too few at every node,
    and enough rows at enough nodes or none at all. It is told where, in every group, there are rows
    on both sides as well: so no end of the data is told.

    Whether a split is safe follows from the rows alone, whatever else a tree asks for. All splits
    told of the same rows, in any number of rounds, are of one partition, in which each node has no
    rows or not too few between any two splits, and enough nodes have enough or none has any:
    nothing thinner can be had by subtraction. Nodes see the totals besides: a node whose half has
    too few rows must flag nothing there (`trees`).

    Raises `CallError` (`argument`) for a number of splits or supports that is not that of trees.
    """
    splits, supports = totals.shape[0], totals.shape[1] // 3
    size, groups = _tree_size(splits, trees), (supports - 2) // 4
    heap = size - CHAIN
    if heap < 1 or (heap + 1) & heap or groups < 1 or supports != 4 * groups + 2:
        raise CallError(
            "argument", f"expected {trees} trees of splits, got {splits} of {supports} supports"
        )
    sides = (trees, size, groups, 4)
    safe = _safe_or_empty(totals, participants, min_nodes)[:, :-2].reshape(sides)
    filled = _safe(totals[:, : 2 * supports], participants, min_nodes)[:, :-2].reshape(sides)
    # Marks follow from the run's input: this node's own are everyone's, and no other can turn one
    # off.
    marks = (own[:, supports - 2 : supports] == 1).reshape(trees, size, 2)
    told = safe_splits(safe[..., :2], filled[..., :2], marks)
    told &= np.logical_and.reduce(filled[..., 2:], axis=(2, 3))
    keep: Keep = np.repeat(told.reshape(splits, 1), supports, axis=1)
    return keep


def agree_keep(totals: Flags, own: Flags, min_nodes: int) -> Keep:
    """The cells that may be told, bool[cells, supports] (alike in a cell's supports), from
    `local_flags`: support 0 says whether a node has something there, the others are bits of what.

    Told is a cell with something at `min_nodes` nodes or more, this one among them, whose nodes all
    have the same bits: each is flagged by all of them or by none. A node that has something else
    there makes all withhold it. Raises as `released`.
    """
    agreed = ((totals == 0) | (totals == totals[:, :1])).all(axis=1)
    told = released(totals, own, min_nodes)[:, :1] & agreed[:, np.newaxis]
    keep: Keep = np.repeat(told, totals.shape[1], axis=1)
    return keep


def safe_splits(harmless: Mask, filled: Mask, marks: Mask) -> Mask:
    """Which splits are safe, bool[trees, splits], from their halves, bool[trees, splits, groups, 2]
    of left and right: those with no rows or enough, and those with enough; and the chain's marks,
    bool[trees, splits, 2].

    A split is safe where each half has enough rows in every group; or where a half has none in some
    and enough in the others, and the split at that half's other end is safe (the grid's ends are).
    Then any two safe splits have no rows or enough between them. For let e < f be safe. Either f's
    cell lies right of e's, and e's right half between them; or f's left half lies between; or e's
    right half does. A half with enough rows settles it. An empty one is left out: its other end is
    safe and above in the tree, so the same holds of it, and so on.
    """
    harmless, filled = (
        np.logical_and.reduce(harmless, axis=2),
        np.logical_and.reduce(filled, axis=2),
    )
    safe: Mask = np.zeros(harmless.shape[:2], dtype=np.bool_)
    low = high = np.ones(safe.shape[0], dtype=np.bool_)
    passable = np.logical_and.reduce(harmless, axis=2)
    left, right = filled[..., 0], filled[..., 1]
    for at in range(CHAIN):
        here = passable[:, at] & (left[:, at] | low) & (right[:, at] | high)
        safe[:, at] = here
        low = np.where(marks[:, at, 1], here, low)
        high = np.where(marks[:, at, 0], here, high)
    lows, highs = low[:, np.newaxis], high[:, np.newaxis]
    first, width = CHAIN, 1
    while first < safe.shape[1]:
        level = slice(first, first + width)
        found = passable[:, level] & (left[:, level] | lows) & (right[:, level] | highs)
        safe[:, level] = found
        lows = np.stack([lows, found], axis=2).reshape(len(safe), 2 * width)
        highs = np.stack([found, highs], axis=2).reshape(len(safe), 2 * width)
        first, width = first + width, 2 * width
    return safe


def _tree_size(cells: int, trees: int) -> int:
    """The cells of one tree, 0 where `cells` are not those of `trees` equal ones."""
    return cells // trees if trees > 0 and cells % trees == 0 else 0


def _safe(totals: Flags, participants: int, min_nodes: int) -> Mask:
    """Which supports are harmless at every node and enough at `min_nodes`, bool[cells, supports],
    from `whole_flags`."""
    half = totals.shape[1] // 2
    enough, harmless = totals[:, :half], totals[:, half:]
    safe: Mask = (harmless == participants) & (enough >= min_nodes)
    return safe


def _safe_or_empty(totals: Flags, participants: int, min_nodes: int) -> Mask:
    """Which supports are safe, or have no rows at any node, from `whole_flags`."""
    third = totals.shape[1] // 3
    empty = (totals[:, 2 * third :] == 0) & (totals[:, third : 2 * third] == participants)
    safe: Mask = empty | _safe(totals[:, : 2 * third], participants, min_nodes)
    return safe


def _at_an_end(size: int) -> Mask:
    """The cells on the left or the right edge of a tree of `size` cells."""
    ends = np.zeros(size, dtype=np.bool_)
    left = right = 0
    while left < size:
        ends[left] = ends[right] = True
        left, right = 2 * left + 1, 2 * right + 2
    return ends
