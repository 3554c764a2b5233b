"""Quantiles as a part of another statistic's job: its means are known when the trees begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from yumen_core.statistics.statistic import Round

from yumen.statistics.moments_table import Moments
from yumen.statistics.quantiles import Quantiles, _zoom
from yumen.statistics.source import Computation
from yumen.statistics.table import Table
from yumen.statistics.tree_rounds import (
    START_DEPTH,
    ZOOM_DEPTH,
    Search,
    ask,
    cell_inputs,
    depth_for,
    distinct,
    learn_round,
    start_cells,
    tree_round,
)

ZOOMS = 5


class QuantilePart:
    """The rounds of the quantiles `q` of number variables by the levels of `by` (empty for none),
    each named in the job's statement as here. Raises `CallError` as `quantile`."""

    def __init__(self, table: Table, names: Sequence[str], by: str, q: Sequence[float]) -> None:
        self._asked = ask(table, names, by or None)
        self._q = [float(share) for share in q]
        self._groups = len(self._asked.levels)
        self._searches = [Search(s) for s in self._asked.supports for _ in range(self._groups)]
        self._start = [start_cells(support) for support in self._asked.supports]
        self._each = max(2, len(self._q))
        trees = len(self._searches)
        self._depth = depth_for(2 * trees, 1, START_DEPTH)
        self._zoom_depth = depth_for(self._each * trees, 1, ZOOM_DEPTH)

    @property
    def rounds(self) -> tuple[Round, ...]:
        filler = [distinct(cells, self._each, cells[0]) for cells in self._start]
        return (
            tree_round("start", self._asked, self._start, self._depth),
            tree_round("zoom", self._asked, filler, self._zoom_depth, at_most=ZOOMS),
        )

    def run(self, job: Computation, moments: Mapping[str, Sequence[Moments | None]]) -> Quantiles:
        """Drive the rounds; `moments` of every variable, one for each group."""
        cells = [own for own in self._start for _ in range(self._groups)]
        learn_round(
            job.run("start", cell_inputs([cell for own in cells for cell in own])),
            self._searches,
            cells,
            self._depth,
        )
        means = [
            None if part is None else part.mean
            for name in self._asked.names
            for part in moments[name]
        ]
        for _ in range(ZOOMS):
            if not _zoom(job, self._searches, self._q, means, self._each, self._zoom_depth, None):
                break
        return Quantiles(job.provenance, self._asked, self._q, self._searches)
