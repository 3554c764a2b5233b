"""Histograms: rows by bins that are named beforehand, or by leaves that disclosure allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from yumen_core.canonical import Json
from yumen_core.errors import CallError
from yumen_core.sql.schema import DomainValue
from yumen_core.statistics.histogram import MAX_BINS
from yumen_core.statistics.layout import Reals
from yumen_core.statistics.statistic import Round, Statistic

from yumen.display import Grid, counted, format_numbers, format_value
from yumen.statistics.moments_table import group_moments, pooled_moments
from yumen.statistics.partitions import coarser
from yumen.statistics.released import Released
from yumen.statistics.source import Provenance
from yumen.statistics.table import Table
from yumen.statistics.tree_rounds import (
    ZOOM_DEPTH,
    Asked,
    Search,
    ask,
    depth_for,
    learn_round,
    mean_round,
    means_of,
    start_cells,
    tree_round,
    zoomed,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

HELD_BACK = -1
_STRIP = 0.04
"""Of the axes' height: where a group's bins that are held back are hatched."""


class Histogram(Released):
    """Rows in bins, by group.

    `edges[g]` (float64[bins + 1]) and `counts[g]` (int64[bins], HELD_BACK where too few rows stand
    behind a bin) for each of `groups` (None alone without groups). A bin holds its lower edge and
    not its upper one, but the last holds both, as numpy's. A released count is that of the pooled
    rows. `density` says what `heights` and the plot show.
    """

    def __init__(
        self,
        provenance: Provenance,
        asked: Asked,
        edges: Sequence[Reals],
        counts: Sequence[npt.NDArray[np.int64]],
        *,
        density: bool,
    ) -> None:
        super().__init__(provenance)
        self.column, self.by = asked.names[0], asked.by
        self.groups = asked.levels
        self.edges = tuple(edges)
        self.counts = tuple(counts)
        self.density = density

    @property
    def heights(self) -> tuple[Reals, ...]:
        """By group float64[bins], NaN where held back: rows, or with `density` their share of the
        released rows of the group for each unit of the column."""
        found = []
        for edges, counts in zip(self.edges, self.counts, strict=True):
            rows = np.where(counts == HELD_BACK, np.nan, counts.astype(np.float64))
            if self.density:
                with np.errstate(invalid="ignore"):
                    rows = rows / np.diff(edges) / np.nansum(rows)
            found.append(rows)
        return tuple(found)

    def to_pandas(self) -> pd.DataFrame:
        """By bin: the group, `lower`, `upper`, `count` (missing where held back), `height`."""
        import pandas as pd  # takes most of a second

        frames = []
        for group, edges, counts, heights in self._by_group():
            part = pd.DataFrame({"lower": edges[:-1], "upper": edges[1:]})
            part["count"] = pd.array(counts, dtype="Int64")
            part.loc[counts == HELD_BACK, "count"] = pd.NA
            part["height"] = heights
            if self.by:
                part.insert(0, self.by, [group] * len(part))
            frames.append(part)
        return pd.concat(frames, ignore_index=True)

    def grids(self) -> Sequence[Grid]:
        lines = []
        for group, edges, counts, heights in self._by_group():
            level = [format_value(group)] if self.by else []
            ends = format_numbers(edges.tolist())
            highest = np.nanmax(heights) if np.isfinite(heights).any() else 1.0
            for at, count in enumerate(counts.tolist()):
                held = count == HELD_BACK
                bar = "" if held or not highest else "█" * round(20 * heights[at] / highest)
                shown = ["held back" if held else format_value(count)]
                if self.density:
                    shown.append("" if held else f"{heights[at]:.4g}")
                lines.append((*level, ends[at], ends[at + 1], *shown, bar))
        by = [self.by] if self.by else []
        dense = ["density"] if self.density else []
        right = (*[False] * len(by), *[True] * (3 + len(dense)), False)
        held = sum(int((counts == HELD_BACK).sum()) for counts in self.counts)
        notes = ["", f"rows of {self.column}, exact where released"]
        if held:
            notes.append(f"{counted(held, 'bin')} held back: too few rows, or none, at some node")
        if self.density:
            notes.append("density: share of the released rows for each unit of the column")
        headers = (*by, "from", "to", "rows", *dense, "")
        return [Grid(headers, tuple(lines), right, tuple(notes))]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the bins, each group in its own colour; a bin that is held back is hatched from
        bottom to top or, with groups, in a strip of its group at the foot.

        Raises `CallError` (`argument`) where matplotlib is not installed.
        """
        if ax is None:
            try:
                from matplotlib import pyplot
            except ImportError:
                raise CallError(
                    "argument",
                    "expected matplotlib for plotting, which is not installed",
                    remedy="pip install 'yumen[plot]'",
                ) from None
            ax = pyplot.subplots(layout="constrained")[1]
        for at, (group, edges, counts, heights) in enumerate(self._by_group()):
            label = None if group is None else f"{self.by} = {format_value(group)}"
            alpha = 0.85 if len(self.groups) == 1 else 0.5
            widths, held = np.diff(edges), counts == HELD_BACK
            bars = ax.bar(edges[:-1], heights, widths, align="edge", alpha=alpha, label=label)
            if held.any():
                ax.bar(
                    edges[:-1][held],
                    1.0 if len(self.groups) == 1 else _STRIP,
                    widths[held],
                    bottom=0.0 if len(self.groups) == 1 else at * _STRIP,
                    align="edge",
                    facecolor="none",
                    edgecolor="0.6" if len(self.groups) == 1 else bars[0].get_facecolor(),
                    hatch="///",
                    linewidth=0,
                    transform=ax.get_xaxis_transform(),
                    label="held back" if group is None else f"{label}, held back",
                )
        ax.set_xlabel(self.column)
        ax.set_ylabel("density of the released rows" if self.density else "rows")
        if self.by or any((counts == HELD_BACK).any() for counts in self.counts):
            ax.legend()
        return ax

    def _by_group(
        self,
    ) -> list[tuple[DomainValue | None, Reals, npt.NDArray[np.int64], Reals]]:
        return list(zip(self.groups, self.edges, self.counts, self.heights, strict=True))


def histogram(
    table: Table,
    column: str,
    bins: int | Sequence[float] = 10,
    *,
    by: str | None = None,
    density: bool = False,
    spread: float | None = None,
    merged: str = "no",
) -> Histogram:
    """Rows of a column or expression in bins, by the levels of `by`.

    `bins` are edges in rising order, or the number of equal bins over the declared bounds or, with
    `spread`, over the mean and so many standard deviations around it (one more query). With
    `merged="auto"` the bins are at most so many leaves of the finest partition that disclosure
    allows: none is held back, they differ in width, and the outermost reach to the bounds.

    Leaves each node: the rows in each bin that has none or enough of them at every node; with
    `merged="auto"` the rows below its edges, and a mean where no edge was found at first. A bin of
    a group may be held back to cover a thin one.

    Precision: released counts are exact. Raises `CallError` (`argument`) for bins, bounds and
    columns that do not fit. Source: complementary suppression, Hundepool et al., "Statistical
    Disclosure Control", 2012, chapter 4.
    """
    if merged not in ("no", "auto"):
        raise CallError("argument", f'expected merged="no" or "auto", got `{merged}`')
    asked = ask(table, [column], by)
    if merged == "auto":
        if not isinstance(bins, int) or spread is not None:
            raise CallError("argument", 'expected the number of bins alone with merged="auto"')
        return _merged(table, asked, _number(bins), density)
    edges = _edges(table, column, bins, spread, asked)
    arguments: dict[str, Json] = {
        "by": asked.by,
        "edges": [repr(edge) for edge in edges.tolist()],
        "groups": len(asked.levels),
        "variable": column,
    }
    statistic = Statistic("histogram", asked.statement, (Round("bins", "bins", arguments),))
    with table.compute(statistic) as job:
        totals = job.run("bins")
        rows = np.where(totals.nodes[:, 0] > 0, np.rint(totals.values[:, 0]), HELD_BACK)
        counts = rows.astype(np.int64).reshape(len(asked.levels), len(edges) - 1)
        every = [edges] * len(asked.levels)
        return Histogram(job.provenance, asked, every, list(counts), density=density)


def _merged(table: Table, asked: Asked, bins: int, density: bool) -> Histogram:
    support = asked.supports[0]
    searches = [Search(support) for _ in asked.levels]
    start = start_cells(support)
    depth = depth_for(2 * len(searches), 1, 12)
    rounds = (
        tree_round("start", asked, [start], depth),
        mean_round(asked),
        tree_round("zoom", asked, [start], ZOOM_DEPTH, at_most=2),
    )
    with table.compute(Statistic("histogram", asked.statement, rounds)) as job:
        learn_round(job.run("start"), searches, [start] * len(searches), depth)
        blind = [search for search in searches if search.blind]
        if blind:
            means = means_of(job.run("means", {}), 1)
            wanted = [
                search.guess(mean)[:2] if search.blind else []
                for search, mean in zip(searches, means, strict=True)
            ]
            zoomed(job, searches, wanted, 2, ZOOM_DEPTH)
        edges, counts = [], []
        for search in searches:
            leaves = coarser(search.leaves, bins)
            if not leaves.rows[0]:
                edges.append(np.array([support.least, support.greatest]))
                counts.append(np.array([HELD_BACK]))
                continue
            inner = leaves.edges.tolist()
            ends = [support.least, *inner, support.greatest]
            edges.append(_finite(np.array(ends)))
            counts.append(leaves.counts[:, 0])
        return Histogram(job.provenance, asked, edges, counts, density=density)


def _finite(edges: Reals) -> Reals:
    """`edges` with a finite width in place of an end without a bound: that of the leaf beside."""
    if not np.isfinite(edges[1:-1]).any():
        return edges
    widths = np.diff(edges[1:-1]) if len(edges) > 3 else np.ones(1)
    low = edges[0] if math.isfinite(edges[0]) else edges[1] - widths[0]
    high = edges[-1] if math.isfinite(edges[-1]) else edges[-2] + widths[-1]
    return np.array([low, *edges[1:-1], high])


def _edges(
    table: Table, column: str, bins: int | Sequence[float], spread: float | None, asked: Asked
) -> Reals:
    if not isinstance(bins, int):
        edges = np.array([float(edge) for edge in bins])
        rising = len(edges) >= 2 and np.isfinite(edges).all() and (np.diff(edges) > 0).all()
        if not rising or spread is not None:
            raise CallError("argument", "expected finite edges in rising order, and no spread")
        _number(len(edges) - 1)
        return edges
    number = _number(bins)
    if spread is not None:
        if not (spread > 0 and math.isfinite(spread)):
            raise CallError("argument", f"expected a spread above 0, got `{spread}`")
        moments = pooled_moments(group_moments(table, column).moments)
        reach = spread * moments.standard_deviation
        if not reach > 0:
            raise CallError("argument", f"expected values of `{column}` that vary, got none")
        return np.linspace(moments.mean - reach, moments.mean + reach, number + 1)
    support = asked.supports[0]
    if support.low is None or support.high is None:
        raise CallError(
            "argument",
            f"expected a column with declared bounds, got `{column}`",
            remedy='give the edges, spread=3, or merged="auto"',
        )
    low, high = support.least, support.greatest
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, number + 1)


def _number(bins: int) -> int:
    if not 1 <= bins <= MAX_BINS:
        raise CallError("argument", f"expected 1 to {MAX_BINS} bins, got `{bins}`")
    return bins
