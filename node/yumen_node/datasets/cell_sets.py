"""The rows of a plan's cells, kept for the next plan that has the same rows in the same cells."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from yumen_core.disclosure.row_set import RowSet
from yumen_core.sql.plan import Layout
from yumen_core.sql.row_parts import RowPart

KEPT_BYTES = 128 << 20
"""Of sets held in memory for a table; one of ten million rows takes 20 MB."""
_UNIONS_KEPT = 4


class CellSets:
    """The rows of each detail cell that has any; those of margins and unions are made once.

    Two threads may make the same one twice; what they make is equal.
    """

    def __init__(self, details: Mapping[int, RowSet]) -> None:
        self.details = details
        self._all: dict[tuple[int, tuple[int, ...]], Mapping[int, RowSet]] = {}
        self._unions: OrderedDict[frozenset[int], RowSet] = OrderedDict()

    @property
    def size(self) -> int:
        """Bytes of memory of the details at most, but for some KiB."""
        return 2 * sum(len(rows) for rows in self.details.values())

    def all(self, layout: Layout) -> Mapping[int, RowSet]:
        """The details and the margins of a layout: these are unions."""
        key = (layout.details, tuple(layout.folds))
        if key not in self._all:
            found = dict(self.details)
            start, size, level = 0, layout.details, found
            for fold in layout.folds:
                after = start + size
                parts: dict[int, list[RowSet]] = {}
                for cell, rows in level.items():
                    parts.setdefault(after + (cell - start) // fold, []).append(rows)
                level = {cell: RowSet.union(rows) for cell, rows in parts.items()}
                found = {**found, **level}
                start, size = after, size // fold
            self._all[key] = found
        return self._all[key]

    def union(self, cells: frozenset[int]) -> RowSet:
        """The rows of some detail cells together; a cell without rows may be among them."""
        found = self._unions.get(cells)
        if found is None:
            held = [self.details[cell] for cell in cells if cell in self.details]
            found = held[0] if len(held) == 1 else RowSet.union(held)
            self._unions[cells] = found
            while len(self._unions) > _UNIONS_KEPT:
                self._unions.popitem(last=False)
        return found


@dataclass(frozen=True)
class PlanSets:
    """The rows that an answer tells of: `parts` of the plan, each with its `table` and `sets`."""

    parts: tuple[RowPart, ...] = ()
    tables: tuple[str, ...] = ()
    sets: tuple[CellSets, ...] = ()

    @property
    def rows(self) -> CellSets:
        """The rows of the cells themselves."""
        return self.sets[0] if self.sets else CellSets({})

    def __iter__(self) -> Iterator[tuple[RowPart, str, CellSets]]:
        return iter(zip(self.parts, self.tables, self.sets, strict=True))


NO_SETS = PlanSets()
"""Of a job that nothing is compared for."""


class KeptSets:
    """The sets of one table that were asked last, KEPT_BYTES of them."""

    def __init__(self, most_bytes: int = KEPT_BYTES) -> None:
        self._most = most_bytes
        self._held: OrderedDict[bytes, CellSets] = OrderedDict()
        self._lock = threading.Lock()

    def of(
        self, keys: Sequence[bytes], make: Callable[[Sequence[int]], Sequence[CellSets]]
    ) -> list[CellSets]:
        """What is kept under each of `keys`; of those that are not, by their places in `keys`, what
        `make` gives."""
        with self._lock:
            found = {key: self._held[key] for key in keys if key in self._held}
        lacking = [at for at, key in enumerate(keys) if key not in found]
        if lacking:
            made = make(lacking)
            found |= {keys[at]: sets for at, sets in zip(lacking, made, strict=True)}
        with self._lock:
            for key in keys:
                self._held[key] = found[key]
                self._held.move_to_end(key)
            while sum(entry.size for entry in self._held.values()) > self._most:
                self._held.popitem(last=False)
        return [found[key] for key in keys]
