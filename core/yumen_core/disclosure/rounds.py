"""The release rules of a statistic's rounds, as functions of flags. Pure.

A node flags each support of a round: under `withhold` one flag, *enough* (as many rows as the
threshold); under the other rules a second one besides, *harmless*: no rows at all, or enough. The
flags of all participants are counted by all participants alike, so all come to the same partition,
or to the same refusal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from yumen_core.disclosure.rules import Counts, DisclosureRules, Flags, Keep
from yumen_core.errors import CallError, StateError

_Mask = npt.NDArray[np.bool_]


def both_flags(supports: Counts, rules: DisclosureRules) -> Flags:
    """Enough, then harmless, for each support: uint8[cells, 2 * supports]."""
    enough = supports >= rules.threshold
    harmless = enough | (supports == 0)
    return np.concatenate([enough, harmless], axis=1).astype(np.uint8)


def require_keep(totals: Flags, *, participants: int, min_nodes: int, names: Sequence[str]) -> Keep:
    """All of it, bool[cells, supports], or a refusal.

    Raises `StateError` (`too_few_rows`) that names the first support which has a few rows at some
    node, or enough rows at fewer than `min_nodes` nodes.
    """
    safe = _safe(totals, participants, min_nodes, may_be_empty=False)
    for at, name in enumerate(names):
        if not safe[:, at].all():
            raise StateError(
                "too_few_rows",
                f"expected the table's threshold of rows, or none, of `{name}` at every node, and "
                f"enough of them at {min_nodes} nodes at least, got fewer",
                remedy=f"merge or leave out `{name}`, or choose other nodes",
            )
    return safe


def partition_keep(totals: Flags, *, participants: int, min_nodes: int, trees: int) -> Keep:
    """The leaves of the finest safe partition, bool[cells, supports] (alike in a cell's supports).

    Cells are `trees` complete binary trees in heap order. A cell splits only where both children
    are safe: in each support every node has no rows or enough, and enough nodes have enough or all
    have none. A cell at either end of the tree must not be empty, so that the ends of a partition
    never tell the least or the greatest value. A tree whose root is not safe has no leaf.

    Raises `CallError` (`argument`) for a number of cells that is not that of such trees.
    """
    cells = totals.shape[0]
    size = cells // trees if trees else 0
    if not size or cells % trees or (size + 1) & size:
        raise CallError("argument", f"expected {trees} complete binary trees, got {cells} cells")
    safe = _safe(totals, participants, min_nodes, may_be_empty=True).all(axis=1)
    filled = _safe(totals, participants, min_nodes, may_be_empty=False).all(axis=1)
    good = np.where(_at_an_end(size), filled.reshape(trees, size), safe.reshape(trees, size))
    leaf = np.zeros((trees, size), dtype=np.bool_)
    leaf[:, 0] = filled.reshape(trees, size)[:, 0]
    for parent in range(size // 2):
        splits = leaf[:, parent] & good[:, 2 * parent + 1] & good[:, 2 * parent + 2]
        leaf[:, parent] &= ~splits
        leaf[:, 2 * parent + 1] = leaf[:, 2 * parent + 2] = splits
    keep: Keep = np.repeat(leaf.reshape(cells, 1), totals.shape[1] // 2, axis=1)
    return keep


def _safe(totals: Flags, participants: int, min_nodes: int, *, may_be_empty: bool) -> _Mask:
    """Which supports are harmless at every node and enough at `min_nodes`, bool[cells, supports];
    or, where they may be empty, empty at every node."""
    half = totals.shape[1] // 2
    enough, harmless = totals[:, :half], totals[:, half:]
    filled = enough >= min_nodes
    safe: _Mask = (harmless == participants) & (filled | (enough == 0) if may_be_empty else filled)
    return safe


def _at_an_end(size: int) -> _Mask:
    """The cells on the left or the right edge of a tree of `size` cells."""
    ends = np.zeros(size, dtype=np.bool_)
    left = right = 0
    while left < size:
        ends[left] = ends[right] = True
        left, right = 2 * left + 1, 2 * right + 2
    return ends
