"""What released splits say: exact rows below edges, and from them quantiles and ranks.

A partition of a variable is a set of edges with the exact number of rows below each; the rows
between two neighbouring edges are a leaf. Edges are cells' middles on the grid of binary numbers
(`yumen_core.statistics.grid`), so those of several rounds belong together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from yumen_core.statistics.grid import Cell, splits
from yumen_core.statistics.kinds import Totals
from yumen_core.statistics.layout import Reals

_MOST_GRAINS = 1 << 53


@dataclass(frozen=True)
class Support:
    """What is public of a variable's values: each lies in [low, high], and, with `grain`, is the
    double nearest to a multiple of it. None: not known."""

    low: Fraction | None = None
    high: Fraction | None = None
    grain: Fraction | None = None

    def least_from(self, edge: float) -> float:
        """A number that no value from `edge` on lies below."""
        found = edge
        if self.grain is not None and abs(edge) / self.grain < _MOST_GRAINS:
            place = math.ceil(Fraction(edge) / self.grain)
            while float((place - 1) * self.grain) >= edge:
                place -= 1
            found = float(place * self.grain)
        return found if self.low is None else max(found, float(self.low))

    def greatest_below(self, edge: float) -> float:
        """A number that no value below `edge` lies above."""
        found = edge
        if self.grain is not None and abs(edge) / self.grain < _MOST_GRAINS:
            place = math.floor(Fraction(edge) / self.grain)
            while float(place * self.grain) >= edge:
                place -= 1
            while float((place + 1) * self.grain) < edge:
                place += 1
            found = float(place * self.grain)
        return found if self.high is None else min(found, float(self.high))

    @property
    def least(self) -> float:
        return -math.inf if self.low is None else float(self.low)

    @property
    def greatest(self) -> float:
        return math.inf if self.high is None else float(self.high)


@dataclass(frozen=True)
class Bracket:
    """A quantile: `estimate`, and `lower` <= the quantile of the pooled rows <= `upper`. `unknown`
    where these are the declared bounds, so that nothing was learnt of it."""

    estimate: float
    lower: float
    upper: float
    unknown: bool = False

    @property
    def settled(self) -> bool:
        """Whether the bounds are one value but for rounding."""
        return self.upper - self.lower < 1e-9 * max(1.0, abs(self.estimate))

    @property
    def error(self) -> float:
        """The furthest that the estimate can be from the quantile."""
        return max(self.upper - self.estimate, self.estimate - self.lower)


NOTHING = Bracket(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Leaves:
    """Edges in rising order, float64[k]; the rows below each by group, int64[k, groups]; and all
    rows by group, int64[groups] (0 where too few for any to be told)."""

    edges: Reals
    below: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Rows in each leaf, int64[k + 1, groups]: below the first edge, ..., from the last on."""
        first = np.zeros((1, len(self.rows)), dtype=np.int64)
        return np.diff(np.concatenate([first, self.below, self.rows[np.newaxis]]), axis=0)

    def group(self, at: int) -> Leaves:
        """One group of a joint partition."""
        return Leaves(self.edges, self.below[:, at : at + 1], self.rows[at : at + 1])

    def leaf_of(self, place: int) -> int:
        """The leaf that holds the value at `place`, from 0, of the rows of the one group in rising
        order. Leaf `i` lies between edges `i - 1` and `i`."""
        return int(np.searchsorted(self.below[:, 0], place, side="right"))


def no_leaves(groups: int = 1) -> Leaves:
    """The partition of which nothing is known yet."""
    return Leaves(
        np.empty(0), np.empty((0, groups), dtype=np.int64), np.zeros(groups, dtype=np.int64)
    )


def told(totals: Totals, cells: Sequence[Cell], depth: int) -> list[Leaves]:
    """What a round of trees released of each tree; `cells` are where they start."""
    size = len(totals.nodes) // len(cells)
    found = []
    for tree, cell in enumerate(cells):
        part = slice(tree * size, (tree + 1) * size)
        at = splits(cell, depth).at
        known = totals.nodes[part, 0] > 0
        below = totals.values[part].astype(np.int64)
        rows = below[0] if known[0] else np.zeros_like(below[0])
        known &= np.isfinite(at)
        edges, first = np.unique(at[known], return_index=True)
        found.append(Leaves(edges, below[known][first], rows))
    return found


def joined(parts: Iterable[Leaves]) -> Leaves:
    """All that several releases told of one variable and the same groups."""
    every = list(parts)
    edges = np.concatenate([part.edges for part in every])
    below = np.concatenate([part.below for part in every])
    edges, first = np.unique(edges, return_index=True)
    return Leaves(edges, below[first], np.max([part.rows for part in every], axis=0))


def coarser(leaves: Leaves, most: int) -> Leaves:
    """At most `most` leaves: edges at the widest power of two that leaves so many, or fewer."""
    edges, exponent = leaves.edges, -64
    keep = np.ones(len(edges), dtype=np.bool_)
    while int(keep.sum()) > most - 1 and exponent < 64:
        exponent += 1
        scaled = np.ldexp(edges, -exponent)
        keep = scaled == np.floor(scaled)
    return Leaves(edges[keep], leaves.below[keep], leaves.rows)


def quantile_of(leaves: Leaves, q: float, support: Support | None = None) -> Bracket:
    """The quantile `q` of one group, as numpy's default and SQL's QUANTILE_CONT define it: with n
    values x[0] <= ... <= x[n - 1] and h = (n - 1) q, between x[floor(h)] and the next, linearly.

    Each of the two lies in a known leaf, so the quantile lies between the quantiles of the leaves'
    lower and of their upper ends, exactly. The estimate puts the values of a leaf evenly into it
    (Hyndman and Fan 1996 for the definition). Not a number where no row is known of.
    """
    support = support or Support()
    rows = int(leaves.rows[0])
    if not rows:
        return NOTHING
    at = (rows - 1) * q
    first = min(math.floor(at), rows - 1)
    low, high = (_value(leaves, place, support) for place in (first, min(first + 1, rows - 1)))
    share = at - first
    lower, upper = (
        _between(a, b, share) for a, b in ((low.lower, high.lower), (low.upper, high.upper))
    )
    least, greatest = support.least, support.greatest
    unknown = least < greatest and lower <= least and upper >= greatest
    return Bracket(_between(low.estimate, high.estimate, share), lower, upper, unknown)


def _value(leaves: Leaves, place: int, support: Support) -> Bracket:
    """The value at a place of the rows in order."""
    leaf = leaves.leaf_of(place)
    edges, below = leaves.edges, leaves.below[:, 0]
    open_below, open_above = leaf == 0, leaf == len(edges)
    lower = support.least if open_below else support.least_from(float(edges[leaf - 1]))
    upper = support.greatest if open_above else support.greatest_below(float(edges[leaf]))
    if not math.isfinite(lower) or not math.isfinite(upper):
        known = [end for end in (lower, upper) if math.isfinite(end)]
        return Bracket(known[0] if known else math.nan, lower, upper)
    before = 0 if open_below else int(below[leaf - 1])
    inside = (int(leaves.rows[0]) if open_above else int(below[leaf])) - before
    return Bracket(lower + (upper - lower) * (place - before + 0.5) / inside, lower, upper)


def _between(a: float, b: float, share: float) -> float:
    """`share` of the way from a to b, rounded as numpy's quantile is."""
    if a == b or share == 0.0 or math.isinf(a):
        return a
    if math.isinf(b):
        return b
    return a + (b - a) * share if share < 0.5 else b - (b - a) * (1 - share)
