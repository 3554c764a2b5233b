"""The differencing guard of a run: cells that come too near an earlier release count as thin.

What is held back so is held back before anybody hears of it, by the rules for cells with too few
rows, and cannot be told from these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from yumen_core.disclosure.row_set import RowSet
from yumen_core.disclosure.rules import Flags, Keep
from yumen_core.errors import StateError
from yumen_core.sql import LocalCells
from yumen_core.sql.plan import Layout

from yumen_node.datasets.cell_sets import CellSets
from yumen_node.released import Guarded, Nodes, ReleasedSets


def thinned(
    cells: LocalCells, sets: CellSets, layout: Layout, *, released: ReleasedSets, guarded: Guarded,
    nodes: Nodes,
) -> LocalCells:  # fmt: skip
    """`cells` with one row at most counted in those that would tell of few rows or nodes by a
    difference: each for itself; and of the detail cells that are left the smallest ones, until
    their union does not either."""
    supports = cells.supports.copy()

    def hold_back(cell: int) -> None:
        supports[cell] = np.minimum(supports[cell], 1)

    def enough(cell: int) -> bool:
        return bool(supports[cell, 0] >= guarded.threshold)

    for cell, rows in sets.all(layout).items():
        if enough(cell) and released.is_near(guarded, rows, nodes):
            hold_back(cell)
    left = sorted(
        (cell for cell in sets.details if enough(cell)),
        key=lambda cell: (-len(sets.details[cell]), cell),
    )
    while left and released.is_near(guarded, sets.union(frozenset(left)), nodes):
        hold_back(left.pop())
    return replace(cells, supports=supports)


def what_leaves(
    sets: CellSets, layout: Layout, keep: Keep, by_node: Mapping[str, Flags]
) -> list[tuple[RowSet, Nodes]]:
    """The sets of rows of the cells that go out, each with the nodes that stand behind it, and the
    union of the detail cells with all of these."""
    leaving: list[tuple[RowSet, Nodes]] = []
    kept, behind_any = set[int](), set[str]()
    for cell, rows in sets.all(layout).items():
        if not keep[cell, 0]:
            continue
        behind = tuple(sorted(node for node, flags in by_node.items() if flags[cell, 0]))
        leaving.append((rows, behind))
        if cell < layout.details:
            kept.add(cell)
            behind_any.update(behind)
    return [*leaving, (sets.union(frozenset(kept)), tuple(sorted(behind_any)))]


def check_base(released: ReleasedSets, guarded: Guarded, rows: RowSet, nodes: Nodes) -> None:
    """Raise `StateError` (`near_release`) where a statistic over `rows` would tell of few rows or
    nodes by a difference."""
    if released.is_near(guarded, rows, nodes):
        raise StateError(
            "near_release",
            "expected the rows and nodes of an earlier answer, or others that differ from each by "
            f"{guarded.threshold} rows or {guarded.min_nodes} nodes at least, got a smaller "
            "difference",
        )
