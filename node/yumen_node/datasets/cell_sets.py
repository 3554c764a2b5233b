"""The rows of a plan's cells, kept for the next plan that has the same rows in the same cells."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping

from yumen_core.disclosure.row_set import RowSet
from yumen_core.sql.plan import Layout

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


class KeptSets:
    """The sets of one table that were asked last, KEPT_BYTES of them."""

    def __init__(self, most_bytes: int = KEPT_BYTES) -> None:
        self._most = most_bytes
        self._held: OrderedDict[bytes, CellSets] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, key: bytes, make: Callable[[], CellSets]) -> CellSets:
        """What is kept under `key`, or else what `make` gives."""
        with self._lock:
            found = self._held.get(key)
            if found is not None:
                self._held.move_to_end(key)
                return found
        found = make()
        with self._lock:
            self._held[key] = found
            while sum(entry.size for entry in self._held.values()) > self._most:
                self._held.popitem(last=False)
        return found
