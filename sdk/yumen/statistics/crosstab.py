"""Contingency tables, and tests of independence on them.

Counts are exact over all nodes: a cell is released where every node has none of its rows or enough
(`counts_by`). One secure sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from yumen_core.errors import CallError
from yumen_core.sql.schema import DomainValue
from yumen_core.statistics.layout import Counts, Reals

from yumen.display import Grid
from yumen.statistics.cells import HIDDEN, Question, ask
from yumen.statistics.moments_table import label_of
from yumen.statistics.plot import axes
from yumen.statistics.released import Released
from yumen.statistics.source import Provenance
from yumen.statistics.table import Table
from yumen.statistics.tests_of_means import p_text

if TYPE_CHECKING:
    import pandas as pd

Normalize = Literal["all", "index", "columns"]
_HELD = "held back"
_HELD_NOTE = (
    "held back: no rows, or too few at a node, or enough at too few nodes, or least beside such a "
    "cell"
)


class Crosstab(Released):
    """Counts by two columns: `counts` is int64[rows, columns], -1 where held back; `rows` and
    `columns` name the two, `row_levels` and `column_levels` are their values."""

    def __init__(
        self,
        names: tuple[str, str],
        levels: tuple[Sequence[DomainValue | None], Sequence[DomainValue | None]],
        counts: Counts,
        provenance: Provenance,
        normalize: Normalize | None = None,
    ) -> None:
        super().__init__(provenance)
        self.rows, self.columns = names
        self.row_levels, self.column_levels = tuple(levels[0]), tuple(levels[1])
        self.counts = counts
        self.normalize = normalize

    @property
    def row_totals(self) -> list[int | None]:
        """Sum of each row, None where a cell of it is held back."""
        return [_total(row) for row in self.counts]

    @property
    def column_totals(self) -> list[int | None]:
        """Sum of each column, None where a cell of it is held back."""
        return [_total(column) for column in self.counts.T]

    @property
    def total(self) -> int | None:
        return _total(self.counts.reshape(-1))

    def complete(self, *, skip_empty: bool = False) -> Crosstab:
        """The table with every cell released. `skip_empty` leaves out the levels of which none is:
        they have no rows, or are held back.

        Raises `CallError` (`too_few_rows`) where a cell is held back, or a column has fewer than
        two levels left.
        """
        if not skip_empty and self.left_out():
            raise CallError(
                "too_few_rows",
                f"expected every level with rows enough, got a table that {self.left_out()[0]}",
                remedy="merge levels in a CASE, or pass skip_empty=True to test the others alone",
            )
        shown = self.counts != HIDDEN
        across, down = shown.any(axis=1), shown.any(axis=0)
        kept = Crosstab(
            (self.rows, self.columns),
            (_kept(self.row_levels, across), _kept(self.column_levels, down)),
            self.counts[np.ix_(across, down)],
            self.provenance,
        )
        for name, levels in ((self.rows, kept.row_levels), (self.columns, kept.column_levels)):
            if len(levels) < 2:
                raise _refused(
                    f"expected two levels or more of `{name}` with rows enough, got {len(levels)}"
                )
        held = np.argwhere(kept.counts == HIDDEN)
        if len(held):
            row, column = (int(at) for at in held[0])
            raise _refused(
                "expected every cell to be released: each with no or not too few rows at every "
                "node, and the table's threshold at enough nodes, got "
                f"`{label_of(kept.row_levels[row])}` with "
                f"`{label_of(kept.column_levels[column])}` held back"
            )
        return kept

    def left_out(self) -> tuple[str, ...]:
        """In words, the levels without any released cell."""
        shown = self.counts != HIDDEN
        notes = []
        for name, levels, axis in (
            (self.rows, self.row_levels, 1),
            (self.columns, self.column_levels, 0),
        ):
            out = _kept(levels, ~shown.any(axis=axis))
            if out:
                names = ", ".join(label_of(level) for level in out)
                notes.append(f"lacks {name} {names} (no rows, or held back)")
        return tuple(notes)

    def chi2(self, *, correction: bool = True, skip_empty: bool = False) -> Chi2Result:
        """Pearson's test of independence; `correction` is Yates', for two by two tables.
        `skip_empty` and errors as `complete`."""
        return Chi2Result(self, correction=correction, skip_empty=skip_empty)

    def fisher(self, alternative: str = "two-sided", *, skip_empty: bool = False) -> FisherResult:
        """Fisher's exact test of a two by two table. `skip_empty` and errors as `complete`."""
        return FisherResult(self, alternative, skip_empty=skip_empty)

    def to_pandas(self) -> pd.DataFrame:
        """The counts (nullable integers), or the shares where `normalize` is given."""
        import pandas as pd

        frame = pd.DataFrame(
            self.counts,
            index=pd.Index(self.row_levels, name=self.rows),
            columns=pd.Index(self.column_levels, name=self.columns),
        ).astype("Int64")
        frame = frame.mask(frame == HIDDEN)
        if self.normalize is None:
            return frame
        return pd.DataFrame(self._shares(), index=frame.index, columns=frame.columns)

    def grids(self) -> Sequence[Grid]:
        shares = None if self.normalize is None else self._shares()
        body: list[tuple[str, ...]] = []
        for at, level in enumerate(self.row_levels):
            cells = [self._text(at, column, shares) for column in range(len(self.column_levels))]
            body.append((label_of(level), *cells, _total_text(self.row_totals[at])))
        bottom = [_total_text(total) for total in self.column_totals]
        body.append(("total", *bottom, _total_text(self.total)))
        corner = f"{self.rows} by {self.columns}"
        headers = (corner, *(label_of(level) for level in self.column_levels), "total")
        notes = (_HELD_NOTE,) if (self.counts == HIDDEN).any() else ()
        return [Grid(headers, tuple(body), (False, *[True] * (len(headers) - 1)), notes)]

    def plot(self, ax: Any = None) -> Any:
        """Each column's counts or, with `normalize`, shares as the table shows them, stacked. A
        column with a cell that is not known is hatched, not drawn as if the cell were 0. Returns
        the Axes.

        Raises `CallError` (`argument`) where matplotlib is not installed.
        """
        ax = axes(ax)
        known = np.where(self.counts == HIDDEN, np.nan, self.counts).astype(np.float64)
        heights = known if self.normalize is None else self._shares()
        told = ~np.isnan(heights).any(axis=0)
        places = np.arange(len(self.column_levels))
        bottom = np.zeros(int(told.sum()))
        for level, line in zip(self.row_levels, heights[:, told], strict=True):
            ax.bar(places[told], line, bottom=bottom, label=label_of(level), width=0.8)
            bottom = bottom + line
        if not told.all():
            ax.bar(
                places[~told],
                1.0,
                width=0.8,
                facecolor="none",
                edgecolor="0.6",
                hatch="///",
                linewidth=0,
                transform=ax.get_xaxis_transform(),
                label="not known",
            )
        ax.set_xticks(places, [label_of(level) for level in self.column_levels])
        ax.set_xlabel(self.columns)
        whole = {"index": f"share of {self.rows}", "columns": f"share of {self.columns}"}
        ax.set_ylabel("rows" if self.normalize is None else whole.get(self.normalize, "share"))
        ax.legend(title=self.rows)
        return ax

    def _text(self, row: int, column: int, shares: Reals | None) -> str:
        count = int(self.counts[row, column])
        if count == HIDDEN:
            return _HELD
        share = math.nan if shares is None else float(shares[row, column])
        return f"{count:,}" if math.isnan(share) else f"{count:,} ({100 * share:.1f}%)"

    def _shares(self) -> Reals:
        """Shares of the total, the row or the column; NaN where that is not known."""
        known = np.where(self.counts == HIDDEN, np.nan, self.counts).astype(np.float64)
        match self.normalize:
            case "index":
                whole = known.sum(axis=1, keepdims=True)
            case "columns":
                whole = known.sum(axis=0, keepdims=True)
            case _:
                whole = known.sum(keepdims=True)
        shares: Reals = np.divide(known, whole, out=np.full_like(known, np.nan), where=whole > 0)
        return shares


class Chi2Result(Released):
    """Pearson's chi-squared test. Names as scipy's `chi2_contingency`: `statistic`, `pvalue`,
    `dof`, `expected_freq`; and `observed`, `cramers_v`."""

    def __init__(self, crosstab: Crosstab, *, correction: bool, skip_empty: bool = False) -> None:
        from scipy.stats import chi2

        super().__init__(crosstab.provenance)
        self.crosstab = crosstab.complete(skip_empty=skip_empty)
        self.correction = correction
        self._notes = tuple(f"the table {note}" for note in crosstab.left_out())
        observed = self.crosstab.counts.astype(np.float64)
        self.observed = self.crosstab.to_pandas().astype("int64")
        down, across = observed.sum(axis=1), observed.sum(axis=0)
        self.expected_freq = np.outer(down, across) / observed.sum()
        self.dof = (len(down) - 1) * (len(across) - 1)
        off = np.abs(observed - self.expected_freq)
        plain = float((off**2 / self.expected_freq).sum())
        if correction and self.dof == 1:
            off = off - np.minimum(0.5, off)
        self.statistic = float((off**2 / self.expected_freq).sum())
        self.pvalue = float(chi2.sf(self.statistic, self.dof))
        least = min(len(down), len(across)) - 1
        self.cramers_v = math.sqrt(plain / observed.sum() / least)

    def to_pandas(self) -> pd.DataFrame:
        import pandas as pd

        values = {
            "statistic": self.statistic,
            "dof": self.dof,
            "pvalue": self.pvalue,
            "cramers_v": self.cramers_v,
        }
        return pd.DataFrame([values])

    def grids(self) -> Sequence[Grid]:
        corrected = self.correction and self.dof == 1
        row = (f"{self.statistic:.4f}", f"{self.dof}", p_text(self.pvalue), f"{self.cramers_v:.4f}")
        notes = [*self._notes, *(["with Yates' correction"] if corrected else [])]
        if self.expected_freq.min() < 5:
            notes.append("an expected count is below 5: the p-value is rough")
        grid = Grid(("chi²", "df", "p", "Cramer's V"), (row,), (True,) * 4, tuple(notes))
        return [*self.crosstab.grids(), grid]


class FisherResult(Released):
    """Fisher's exact test of a two by two table: `statistic` (the sample odds ratio) and `pvalue`,
    as scipy's `fisher_exact`."""

    def __init__(self, crosstab: Crosstab, alternative: str, *, skip_empty: bool = False) -> None:
        from scipy.stats import fisher_exact

        super().__init__(crosstab.provenance)
        self.crosstab = crosstab.complete(skip_empty=skip_empty)
        self._notes = tuple(f"the table {note}" for note in crosstab.left_out())
        if self.crosstab.counts.shape != (2, 2):
            wide = " by ".join(str(size) for size in self.crosstab.counts.shape)
            raise CallError(
                "argument",
                f"expected two levels of each column for Fisher's test, got {wide}",
                remedy="choose two levels with `where`, or use chi2",
            )
        if alternative not in ("two-sided", "less", "greater"):
            raise CallError(
                "argument",
                "expected `alternative` to be one of `two-sided`, `less`, `greater`, got "
                f"`{alternative}`",
            )
        self.alternative = alternative
        found = fisher_exact(self.crosstab.counts, alternative=alternative)
        self.statistic, self.pvalue = float(found[0]), float(found[1])

    @property
    def odds_ratio(self) -> float:
        return self.statistic

    def to_pandas(self) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame([{"odds_ratio": self.statistic, "pvalue": self.pvalue}])

    def grids(self) -> Sequence[Grid]:
        row = (f"{self.statistic:.4f}", p_text(self.pvalue))
        name = f"p ({self.alternative})"
        grid = Grid(("odds ratio (Fisher)", name), (row,), (True, True), self._notes)
        return [*self.crosstab.grids(), grid]


def crosstab(
    table: Table, rows: str, columns: str, *, normalize: Normalize | None = None
) -> Crosstab:
    """Counts by two columns or conditions; rows that lack either are left out.

    `normalize` shows shares of all rows, of each row (`index`) or column (`columns`) beside the
    counts, where every cell they rest on is released. Totals too are shown only there.

    Exact. What leaves each node: the count of each cell that no node has few rows of; where few
    rows in a column of the table are held back, its least other cell is as well. One secure sum.
    Raises `CallError` (`argument`) for a column whose values are not known beforehand.
    """
    if normalize not in (None, "all", "index", "columns"):
        raise CallError(
            "argument",
            f"expected `normalize` to be `all`, `index` or `columns`, got `{normalize}`",
        )
    if rows == columns:
        raise CallError("argument", f"expected two columns, got `{rows}` twice")
    question = Question("crosstab", {rows: rows, columns: columns}, [(rows, columns)])
    cells = ask(table, question)
    found = cells.counts[rows, columns]
    levels = (found.levels, found.groups)
    return Crosstab((rows, columns), levels, found.known.T, cells.provenance, normalize)


def chi2(
    table: Table, a: str, b: str, *, correction: bool = True, skip_empty: bool = False
) -> Chi2Result:
    """Pearson's chi-squared test of independence of two columns or conditions.

    Exact counts, the statistic to 1e-12. What leaves each node: as `crosstab`. Refused where a
    cell is held back: a node may lack a cell's rows altogether, but must not have just a few.
    Levels that a view excludes are left out with `skip_empty`; so is then a level held back, and
    the result names both. Raises `CallError` (`too_few_rows`). Source: Pearson 1900; Cramer 1946
    for V.
    """
    return crosstab(table, a, b).chi2(correction=correction, skip_empty=skip_empty)


def fisher(
    table: Table, a: str, b: str, *, alternative: str = "two-sided", skip_empty: bool = False
) -> FisherResult:
    """Fisher's exact test of two columns of two levels.

    Works where every cell is released, as `chi2`. With cells so small that only an exact test would
    do, a cell has too few rows and the test is refused: merging levels or joining a federation with
    more rows is what helps. Raises `CallError` (`too_few_rows`).
    Source: Fisher 1922.
    """
    return crosstab(table, a, b).fisher(alternative, skip_empty=skip_empty)


def _total(counts: Counts) -> int | None:
    return None if (counts == HIDDEN).any() else int(counts.sum())


def _total_text(total: int | None) -> str:
    return "" if total is None else f"{total:,}"


def _kept(
    levels: Sequence[DomainValue | None], mask: np.ndarray[Any, np.dtype[np.bool_]]
) -> tuple[DomainValue | None, ...]:
    return tuple(level for level, kept in zip(levels, mask.tolist(), strict=True) if kept)


def _refused(message: str) -> CallError:
    return CallError(
        "too_few_rows",
        message,
        remedy="merge levels in a CASE, or leave some out with `where`",
    )
