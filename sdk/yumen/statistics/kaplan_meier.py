"""Survival curves by the estimator of Kaplan and Meier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from yumen_core.errors import CallError
from yumen_core.sql.schema import DomainValue
from yumen_core.statistics.layout import Counts, Reals

from yumen.display import Grid, format_numbers
from yumen.statistics.plot import axes
from yumen.statistics.released import Released
from yumen.statistics.survival import LifeTable, check_alpha, life_table, quantile_normal
from yumen.statistics.table import Table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

LABEL = "KM_estimate"


@dataclass(frozen=True)
class SurvivalCurve:
    """One group's curve. At each of `times`: the rows that left, the events among them, the rows at
    risk, the survival and its confidence limits; all [times].

    Rows censored within a cell of several steps count as at risk for all of it, so `survival` is
    the greatest that the pooled rows can have; `survival_if_censored_first`, where they leave at
    its start, is the least. The two are equal as long as every cell is one step."""

    label: str
    times: Reals
    removed: Counts
    observed: Counts
    at_risk: Counts
    survival: Reals
    lower: Reals
    upper: Reals
    survival_if_censored_first: Reals

    @property
    def median(self) -> float:
        """The first time at which survival is 0.5 or less; infinite if it stays above."""
        below = np.flatnonzero(self.survival <= 0.5)
        return float(self.times[below[0]]) if len(below) else float("inf")


class KaplanMeierResult(Released):
    """Curves with lifelines' names. Without `by` there is one, named `KM_estimate`; with `by` one
    column or entry for each level, and `result[level]` is that curve."""

    def __init__(self, table: LifeTable, alpha: float) -> None:
        super().__init__(table.provenance)
        self.alpha = alpha
        self.cells = table.cells
        self.groups: tuple[DomainValue, ...] = table.groups
        labels = [str(level) for level in table.groups] or [LABEL]
        self.curves = [_curve(label, table, at, alpha) for at, label in enumerate(labels)]

    def __getitem__(self, level: DomainValue) -> SurvivalCurve:
        """The curve of one level of `by`. Raises `CallError` (`argument`) for another."""
        for known, curve in zip(self.groups, self.curves, strict=False):
            if known == level:
                return curve
        shown = ", ".join(f"`{known}`" for known in self.groups) or "no groups"
        raise CallError("argument", f"expected a group among {shown}, got `{level}`")

    @property
    def survival_function_(self) -> pd.DataFrame:
        """Survival by time, one column for each curve."""
        return self._frame([(curve.label, curve.survival) for curve in self.curves])

    @property
    def confidence_interval_survival_function_(self) -> pd.DataFrame:
        """Pointwise limits at `1 - alpha` by the exponential Greenwood formula."""
        level = f"{1 - self.alpha:g}"
        columns: list[tuple[str, Reals]] = []
        for curve in self.curves:
            columns.append((f"{curve.label}_lower_{level}", curve.lower))
            columns.append((f"{curve.label}_upper_{level}", curve.upper))
        return self._frame(columns)

    @property
    def survival_if_censored_first_(self) -> pd.DataFrame:
        """The least survival by time, one column for each curve; `survival_function_` where every
        cell of time is one step."""
        return self._frame([(c.label, c.survival_if_censored_first) for c in self.curves])

    @property
    def median_survival_time_(self) -> float | pd.Series[float]:
        """The first time at which survival is 0.5 or less: a number, or a series by group."""
        if not self.groups:
            return self.curves[0].median
        import pandas as pd

        medians = [curve.median for curve in self.curves]
        return pd.Series(medians, index=list(self.groups), name="median_survival_time_")

    @property
    def event_table(self) -> pd.DataFrame:
        """Rows that left, with the event, censored, and at risk, by time (and group)."""
        import pandas as pd

        frames = []
        for curve in self.curves:
            columns = {
                "removed": curve.removed,
                "observed": curve.observed,
                "censored": curve.removed - curve.observed,
                "entrance": np.where(np.arange(len(curve.times)) == 0, curve.at_risk[0], 0),
                "at_risk": curve.at_risk,
            }
            frames.append(pd.DataFrame(columns, index=pd.Index(curve.times, name="event_at")))
        if not self.groups:
            return frames[0]
        return pd.concat(dict(zip(self.groups, frames, strict=True)), names=["group"])

    def to_pandas(self) -> pd.DataFrame:
        """`survival_function_`."""
        return self.survival_function_

    def grids(self) -> Sequence[Grid]:
        rows = []
        for curve in self.curves:
            rows.append(
                (
                    "all" if not self.groups else curve.label,
                    str(int(curve.at_risk[0])),
                    str(int(curve.observed.sum())),
                    self._median_text(curve),
                    _end_text(curve),
                )
            )
        headers = ("group", "rows", "events", "median survival time", "survival at the end")
        notes = ["", *self.cells.notes()]
        if not self.cells.exact:
            notes.append(
                "in brackets the least and the greatest survival: rows censored within a wide "
                "cell leave at its start, or stay at risk to its end as the curve has it"
            )
        return [Grid(headers, tuple(rows), (False, True, True, True, True), tuple(notes))]

    def _median_text(self, curve: SurvivalCurve) -> str:
        """The median, or the times between which it lies: from the start of the cell in which the
        least survival falls to 0.5 to the end of that in which the greatest does."""
        below = np.flatnonzero(curve.survival_if_censored_first <= 0.5)
        if not len(below):
            return "not reached"
        at = int(np.flatnonzero(self.cells.times == curve.times[below[0]])[0])
        start = self.cells.starts[at]
        if np.isinf(curve.median):
            return f"{start:g} or later"
        return f"{start:g}" if start == curve.median else f"{start:g}–{curve.median:g}"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Each curve as steps with its confidence limits; hatched, all that the pooled rows' curve
        can be, where cells of time are wide. Returns the axes."""
        drawn = axes(ax)
        for curve in self.curves:
            (line,) = drawn.step(curve.times, curve.survival, where="post", label=curve.label)
            drawn.fill_between(
                curve.times,
                curve.lower,
                curve.upper,
                step="post",
                alpha=0.2,
                color=line.get_color(),
                linewidth=0,
            )
            if not self.cells.exact:
                drawn.fill_between(
                    curve.times,
                    self._lowest(curve),
                    curve.survival,
                    step="post",
                    facecolor="none",
                    edgecolor=line.get_color(),
                    hatch="///",
                    linewidth=0,
                    alpha=0.5,
                )
        drawn.set_ylim(0.0, 1.05)
        drawn.set_xlabel("time")
        drawn.set_ylabel("survival")
        if self.groups:
            drawn.legend()
        return drawn

    def _lowest(self, curve: SurvivalCurve) -> Reals:
        """The least survival from each of the curve's times to the next, float64[times]: within a
        wide cell that at its end, as its events may all come early."""
        least = curve.survival_if_censored_first
        wide = np.isin(curve.times[1:], self.cells.times[self.cells.widths > 1])
        return np.append(np.where(wide, least[1:], least[:-1]), least[-1])

    def _frame(self, columns: Sequence[tuple[str, Reals]]) -> pd.DataFrame:
        import pandas as pd

        index = pd.Index(self.curves[0].times, name="timeline")
        return pd.DataFrame(dict(columns), index=index)


def kaplan_meier(
    table: Table,
    duration: str,
    event: str,
    *,
    by: str | None = None,
    resolution: float | None = None,
    horizon: float | None = None,
    alpha: float = 0.05,
) -> KaplanMeierResult:
    """Survival curves, with the rows of all nodes taken together.

    `duration` is a column or SQL expression with declared bounds, from 0; `event` is 1 (or true)
    where the duration ended with the event and 0 where it was censored; `by` has known levels.
    Durations are rounded up to `resolution`, by default 1 for whole numbers, or the least whole
    step that one round can hold. With `horizon`,
    follow-up ends there: longer durations count as censored at it. The partition's last cell must
    have rows, so where the declared upper bound is far beyond them a horizon gives finer cells.
    Rows in which one of these is missing are left out.

    What leaves each node: one secure sum of the rows that leave and the events, by group, over the
    cells of the finest partition of time in which each group has the threshold of rows at the
    minimum of nodes, and no rows or not too few (ADR 15) at each other node. Times within one cell
    count as tied at its end, as the result says; the rows censored within it count as at risk to
    its end, so the curve is the greatest that the pooled rows can have, and the least is beside it.
    Confidence limits are those of the curve, and do not hold what a wide cell hides.
    Where every cell is one distinct time the result is that of lifelines on the pooled rows, to
    rounding (1e-12).

    Raises `CallError`: `argument` for a duration without bounds or resolution, `too_few_rows` where
    nothing can be released; `statistic` for an event whose bounds are not 0 and 1. Rows
    with a negative or infinite duration, or another event, count as missing; a node with as many of
    them as its threshold refuses (`PeerError`, `data_values`).

    Source: E. L. Kaplan, P. Meier, JASA 53 (1958); exponential Greenwood limits: J. D. Kalbfleisch,
    R. L. Prentice, "The Statistical Analysis of Failure Time Data" (2002), section 1.4.
    """
    check_alpha(alpha)
    found = life_table(
        table, "kaplan_meier", duration, event, by=by, resolution=resolution, horizon=horizon
    )
    return KaplanMeierResult(found, alpha)


def _curve(label: str, table: LifeTable, group: int, alpha: float) -> SurvivalCurve:
    filled = table.removed.any(axis=1)
    wide = table.cells.widths[filled] > 1
    times = table.cells.times[filled]
    removed, observed = table.removed[filled, group], table.observed[filled, group]
    at_risk = table.at_risk[filled, group]
    if not len(times) or times[0] > 0:
        start = np.zeros(1, dtype=np.int64)
        total = at_risk[:1] if len(times) else start
        times = np.concatenate([[0.0], times])
        removed, observed = np.concatenate([start, removed]), np.concatenate([start, observed])
        at_risk, wide = np.concatenate([total, at_risk]), np.concatenate([[False], wide])
    stayed = np.maximum(at_risk - np.where(wide, removed - observed, 0), 1)
    least: Reals = np.cumprod(1.0 - observed / stayed, dtype=np.float64)
    with np.errstate(all="ignore"):
        survival: Reals = np.cumprod(1.0 - observed / np.maximum(at_risk, 1), dtype=np.float64)
        growth = observed / (at_risk * (at_risk - observed))
        spread = np.sqrt(np.cumsum(np.where(np.isfinite(growth), growth, 0.0)))
        log = np.log(survival)
        reach = quantile_normal(alpha) * spread / log
        lower = np.exp(-np.exp(np.log(-log) - reach))
        upper = np.exp(-np.exp(np.log(-log) + reach))
    lower, upper = np.nan_to_num(lower, nan=1.0), np.nan_to_num(upper, nan=1.0)
    return SurvivalCurve(label, times, removed, observed, at_risk, survival, lower, upper, least)


def _end_text(curve: SurvivalCurve) -> str:
    """Survival at the last time, with its range where the two bounds differ."""
    least, last = float(curve.survival_if_censored_first[-1]), float(curve.survival[-1])
    if least == last:
        return f"{format_numbers([last])[0]} at {curve.times[-1]:g}"
    return f"{last:.3f} ({least:.3f} to {last:.3f}) at {curve.times[-1]:g}"
