"""The differencing guard of a run: cells that come too near an earlier release count as thin.

What is held back so is held back before anybody hears of it, by the rules for cells with too few
rows, and cannot be told from these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from yumen_core.disclosure.difference import too_close
from yumen_core.disclosure.row_set import RowSet
from yumen_core.disclosure.rules import Counts, Flags, Keep
from yumen_core.errors import StateError
from yumen_core.sql import LocalCells
from yumen_core.sql.plan import Layout
from yumen_core.sql.row_parts import Label, RowPart, meets

from yumen_node.datasets.cell_sets import CellSets, PlanSets
from yumen_node.released import NEAR, Guarded, Leaving, Nodes, ReleasedSets


@dataclass(frozen=True)
class _Told:
    """What a cell of an answer tells of."""

    table: str
    label: Label
    rows: RowSet

    def is_close(self, other: _Told, threshold: int) -> bool:
        return (
            self.table == other.table
            and meets(self.label, other.label)
            and too_close(self.rows.rows, other.rows.rows, threshold)
        )


def thinned(
    cells: LocalCells, sets: PlanSets, layout: Layout, *, released: ReleasedSets, guarded: Guarded,
    nodes: Nodes,
) -> LocalCells:  # fmt: skip
    """`cells` with one row at most counted behind what would tell of few rows or nodes by a
    difference, to an earlier release or within the answer: each cell for itself; each sum in it, in
    the order of the supports; and of the detail cells that are left the smallest ones, until
    their union does not either."""
    supports = cells.supports.copy()
    told: dict[int, list[_Told]] = {}
    by_support: dict[int, list[tuple[RowPart, str, CellSets]]] = {}
    for entry in sets:
        by_support.setdefault(entry[0].support, []).append(entry)
    for support in sorted(by_support):
        parts = by_support[support]
        for cell in range(layout.cells):
            if min(supports[cell, support], supports[cell, 0]) < guarded.threshold:
                continue
            here = [
                _Told(table, part.label, found)
                for part, table, held in parts
                if (found := held.all(layout).get(cell)) is not None
            ]
            if any(
                released.is_near(guarded.of(one.table), one.rows, nodes, label=one.label)
                or any(one.is_close(other, guarded.threshold) for other in told.get(cell, ()))
                for one in here
            ):
                supports[cell, support] = min(int(supports[cell, support]), 1)
            else:
                told.setdefault(cell, []).extend(here)
        for part, table, held in parts:
            _hold_back_union(
                supports[:, support], part, held, released=released, guarded=guarded.of(table),
                nodes=nodes,
            )  # fmt: skip
    return replace(cells, supports=supports)


def _hold_back_union(
    counts: Counts, part: RowPart, held: CellSets, *, released: ReleasedSets, guarded: Guarded,
    nodes: Nodes,
) -> None:  # fmt: skip
    """Hold the smallest detail cells back until what is left, together, is not near."""
    left = sorted(
        (cell for cell in held.details if counts[cell] >= guarded.threshold),
        key=lambda cell: (-len(held.details[cell]), cell),
    )
    while left and released.is_near(guarded, held.union(frozenset(left)), nodes, label=part.label):
        cell = left.pop()
        counts[cell] = min(int(counts[cell]), 1)


def what_leaves(
    sets: PlanSets, layout: Layout, keep: Keep, by_node: Mapping[str, Flags]
) -> list[Leaving]:
    """The sets of rows that the values which go out stand on, each with the nodes that stand behind
    it, and of each part the union of its detail cells with all of these."""
    leaving: list[Leaving] = []
    for part, table, held in sets:
        kept, behind_any = set[int](), set[str]()
        for cell, rows in held.all(layout).items():
            if not keep[cell, part.support]:
                continue
            behind = tuple(
                sorted(node for node, flags in by_node.items() if flags[cell, part.support])
            )
            leaving.append(Leaving(rows, behind, part.label, table))
            if cell < layout.details:
                kept.add(cell)
                behind_any.update(behind)
        whole = tuple(sorted(behind_any))
        leaving.append(Leaving(held.union(frozenset(kept)), whole, part.label, table))
    return leaving


def bases(sets: PlanSets, nodes: Nodes) -> list[Leaving]:
    """The rows of a statistic or a training, and of the groups that it builds."""
    return [
        Leaving(held.union(frozenset({0})), nodes, part.label, table) for part, table, held in sets
    ]


def is_near(released: ReleasedSets, guarded: Guarded, sets: PlanSets, nodes: Nodes) -> bool:
    """Whether a statistic or a training over these rows would tell of few rows or nodes by a
    difference."""
    return any(
        released.is_near(guarded.of(entry.table), entry.rows, nodes, label=entry.label)
        for entry in bases(sets, nodes)
    )


def check_bases(released: ReleasedSets, guarded: Guarded, sets: PlanSets, nodes: Nodes) -> None:
    """Raise `StateError` (`near_release`) where `is_near`."""
    if is_near(released, guarded, sets, nodes):
        raise StateError("near_release", NEAR)
