"""Rows by bins that are signed beforehand: a histogram whose released bins are exact."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from yumen_core.disclosure import DisclosureRules
from yumen_core.privacy.noise import Summed
from yumen_core.statistics import arguments as read
from yumen_core.statistics.kinds import Arguments, Inputs, Local, Rule, Variables
from yumen_core.statistics.layout import Counts, Layout, Reals, count
from yumen_core.statistics.rows import MAX_FLOAT, Rows, usable_numbers

MAX_BINS = 1_000
MAX_GROUPS = 1_000
_MAX_EDGE_CHARS = 40


@dataclass(frozen=True)
class BinArguments:
    """`edges`, float64[bins + 1], rise. `by` may be empty; `groups` is then 1."""

    variable: str
    by: str
    groups: int
    edges: Reals

    @property
    def bins(self) -> int:
        return len(self.edges) - 1


class Bins:
    """Arguments: `variable`, a number; `by`, a variable with known levels, or empty; `groups`, its
    number of levels (1 without); `edges`, decimal texts in rising order, closed at the last.

    The cells are the bins of each group. A bin leaves only where every node has none of its rows or
    enough, and enough nodes have enough, so that its count is exact. A lone bin held back would be
    found by subtraction from a group's rows; so a node whose rows beyond the edges and in thin bins
    are few together holds back its least other bin as well (complementary suppression; Hundepool et
    al., "Statistical Disclosure Control", 2012, chapter 4). Edges are signed and not an input: two
    runs whose edges differ a little would give the rows between them.
    """

    name = "bins"
    rule: Rule = Rule.PARTITION

    def layout(self, arguments: Arguments, variables: Variables) -> Layout:
        asked = _read(arguments)
        read.number_variable(variables, asked.variable)
        if asked.by and len(read.level_variable(variables, asked.by)) != asked.groups:
            raise read.bad(
                f"expected the {len(read.level_variable(variables, asked.by))} levels of "
                f"`{asked.by}`, got {asked.groups}"
            )
        cells = asked.groups * asked.bins
        lines = tuple(np.arange(cells).reshape(asked.groups, asked.bins))
        return Layout(cells, ("rows",), (count(),), trees=cells, lines=lines)

    def compute(
        self, rows: Rows, arguments: Arguments, inputs: Inputs, rules: DisclosureRules
    ) -> Local:
        asked = _read(arguments)
        numbers = usable_numbers(rows, asked.variable, rules.threshold, most=MAX_FLOAT)
        present = ~np.isnan(numbers)
        group = np.zeros(rows.count, dtype=np.int64)
        if asked.by:
            group = rows.level(asked.by).astype(np.int64)
            present &= group >= 0
        counted = _counted(numbers[present], group[present], asked)
        shown = _shown(counted, rules.threshold)[:, :-1].reshape(-1, 1)
        return Local(shown, counted[:, :-1].reshape(-1, 1).astype(np.float64))

    def moved(self, arguments: Arguments, layout: Layout) -> tuple[Summed, ...]:
        """A row is in one bin of its group, or in none."""
        (value,) = layout.values
        return (Summed(value.bits, value.signed, 1),)

    def integers(self, rows: Rows, arguments: Arguments) -> list[list[int]]:
        asked = _read(arguments)
        numbers = rows.number(asked.variable)
        present = np.isfinite(numbers)
        group = np.zeros(rows.count, dtype=np.int64)
        if asked.by:
            group = rows.level(asked.by).astype(np.int64)
            present &= group >= 0
        counted = _counted(numbers[present], group[present], asked)
        return [[int(one)] for one in counted[:, :-1].reshape(-1).tolist()]


def _read(arguments: Arguments) -> BinArguments:
    read.only(arguments, "by", "edges", "groups", "variable")
    by = read.text(arguments, "by")
    texts = read.texts(arguments, "edges", most=MAX_BINS + 1)
    edges = np.array([_number(text) for text in texts], dtype=np.float64)
    if len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise read.bad("expected two edges of bins or more, in rising order")
    groups = read.whole(arguments, "groups", 1, MAX_GROUPS if by else 1)
    return BinArguments(read.text(arguments, "variable"), by, groups, edges)


def _number(text: str) -> float:
    try:
        value = float(text) if len(text) <= _MAX_EDGE_CHARS else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise read.bad(f"expected edges of bins as decimal texts, got `{text[:_MAX_EDGE_CHARS]}`")
    return value


def _counted(numbers: Reals, group: Counts, asked: BinArguments) -> Counts:
    """Rows by group and bin, int64[groups, bins + 1]: the last for those beyond the edges."""
    wide = asked.bins + 1
    at = np.searchsorted(asked.edges, numbers, side="right") - 1
    at[numbers == asked.edges[-1]] = asked.bins - 1
    at[(at < 0) | (at >= asked.bins)] = asked.bins
    found = np.bincount(group * wide + at, minlength=asked.groups * wide)
    return found.reshape(asked.groups, wide).astype(np.int64)


def _shown(counted: Counts, threshold: int) -> Counts:
    """The rows behind each bin, int64 as `counted`; 1 in place of a large bin held back to cover
    thin ones."""
    thin = (counted > 0) & (counted < threshold)
    thin[:, -1] = counted[:, -1] > 0
    hidden = np.where(thin, counted, 0).sum(axis=1)
    bins = counted[:, :-1]
    least = np.where(bins >= threshold, bins, np.iinfo(np.int64).max).argmin(axis=1)
    covers = (hidden > 0) & (hidden < threshold) & (bins >= threshold).any(axis=1)
    shown = counted.copy()
    shown[np.flatnonzero(covers), least[covers]] = 1
    return shown
