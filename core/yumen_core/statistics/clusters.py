"""One round of k-means (Lloyd, "Least squares quantization in PCM", 1982) at one node.

The centres are the requester's word, so two rounds whose clusters differ by one row would tell that
row. Therefore a node keeps, for the length of a job, the finest division of its rows by all the
clusters it has given so far, and lets no part of it fall below the threshold: rows that would make
a smaller part go to the nearest centre among those that enough of their part go to. Every sum of
every round, and every difference of such sums, then rests on the threshold of rows at this node.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from yumen_core.disclosure import DisclosureRules
from yumen_core.errors import StateError
from yumen_core.statistics import arguments as read
from yumen_core.statistics.kinds import Arguments, Inputs, Local, Rule, Variables
from yumen_core.statistics.layout import Layout, Reals, count, wide_real
from yumen_core.statistics.moments import (
    CENTRES,
    MAX_COLUMNS,
    ROWS_A_COLUMN,
    SCALES,
    made_by_few,
)
from yumen_core.statistics.rows import Rows, check_units, usable_numbers

MAX_CLUSTERS = 50
CLUSTERS = "clusters"
FARTHEST = 1e30
"""Of the centre of a cluster, in standard units: sums stay within a round's range."""
_CHUNK_VALUES = 1 << 18

_Places = npt.NDArray[np.int64]
_Flags = npt.NDArray[np.bool_]


class Clusters:
    """`variables` are numbers, `clusters` how many there are.

    The inputs are `centres` and `scales`, which standardise each variable, and `clusters`,
    float64[clusters, variables], the centres of the clusters in standard units. Per cluster (a
    cell): rows, the sums of the distances to its centre by variable, and the sum of their squares.
    Complete rows count; a node gives nothing where they are fewer than three for each variable, or
    where few rows make up a variable (`moments.made_by_few`). Numbers beyond `rows.LARGEST` count
    as missing; centres and scales are refused as `rows.check_units` says, centres of clusters
    beyond FARTHEST.
    """

    name = "clusters"
    remembers = True  # what it told in earlier runs, in `Rows.kept`
    rule: Rule = Rule.WITHHOLD

    def layout(self, arguments: Arguments, variables: Variables) -> Layout:
        read.only(arguments, "clusters", "variables")
        names = read.texts(arguments, "variables", most=MAX_COLUMNS)
        if not names or len(set(names)) != len(names):
            raise read.bad("expected one variable or more, each once")
        for name in names:
            read.number_variable(variables, name)
        clusters = read.whole(arguments, "clusters", 1, MAX_CLUSTERS)
        width = len(names)
        inputs = {CENTRES: (width,), SCALES: (width,), CLUSTERS: (clusters, width)}
        return Layout(clusters, ("rows",), (count(), *[wide_real()] * (width + 1)), inputs)

    def compute(
        self, rows: Rows, arguments: Arguments, inputs: Inputs, rules: DisclosureRules
    ) -> Local:
        names = read.texts(arguments, "variables", most=MAX_COLUMNS)
        centres = inputs[CLUSTERS]
        check_units(inputs[CENTRES], inputs[SCALES])
        if not (np.abs(centres) <= FARTHEST).all():
            raise StateError(
                "data_values",
                f"expected centres of clusters within {FARTHEST:g} of 0, got another",
                remedy="use the current SDK",
            )
        key = (self.name, names, rules.threshold)
        history = rows.kept(key, lambda: _start(rows, names, rules))
        history.standardise(inputs[CENTRES], inputs[SCALES])
        cluster = history.assign(centres, rules.threshold)
        sizes = np.bincount(cluster, minlength=len(centres)).astype(np.int64)
        values = np.zeros((len(centres), len(names) + 2))
        values[:, 0] = sizes
        units = zip(inputs[CENTRES], inputs[SCALES], strict=True)
        for at, (centre, scale) in enumerate(units):
            # Centres and scales move sums around the mean here: single rows would be rounded.
            moved = history.moved[at]
            sums = np.bincount(cluster, moved, len(centres))
            squares = np.bincount(cluster, moved * moved, len(centres))
            away = history.means[at] - centre - scale * centres[:, at]
            total = sums + sizes * away
            values[:, at + 1] = total / scale
            values[:, -1] += (squares + away * (sums + total)) / scale / scale
        behind = sizes.reshape(-1, 1) if history.sound else np.zeros((len(centres), 1), np.int64)
        return Local(behind, values)


@dataclass
class _History:
    """The complete rows' numbers less their means at this node, float64[variables, n], these means,
    and the part each row is in so far."""

    moved: Reals
    means: Reals
    part: _Places
    sound: bool
    _standard: Reals = field(default_factory=lambda: np.empty((0, 0)))
    _by: bytes = b""

    def standardise(self, centres: Reals, scales: Reals) -> None:
        """Keep (value - centre) / scale, made anew only where these change."""
        by = centres.tobytes() + scales.tobytes()
        if by != self._by:
            away = (self.means - centres)[:, np.newaxis]
            self._standard = (self.moved + away) / scales[:, np.newaxis]
            self._by = by

    def assign(self, centres: Reals, threshold: int) -> _Places:
        """The cluster of each row, int64[n]: that of the nearest of `centres`, as far as parts stay
        large enough. The parts are divided further by it."""
        clusters = len(centres)
        parts = int(self.part.max(initial=-1)) + 1
        nearest = _nearest(self._standard, centres, None)
        sizes = np.bincount(self.part * clusters + nearest, minlength=parts * clusters)
        allowed = _allowed(sizes.reshape(parts, clusters), threshold)
        moved = ~allowed[self.part, nearest]
        nearest[moved] = _nearest(self._standard[:, moved], centres, allowed[self.part[moved]])
        divided = self.part * clusters + nearest
        filled = np.bincount(divided, minlength=parts * clusters) > 0
        self.part = (np.cumsum(filled) - 1)[divided]
        return nearest


def _allowed(sizes: _Places, threshold: int) -> _Flags:
    """The clusters that rows of each part may go to: those with enough of it, or the largest."""
    allowed: _Flags = sizes >= threshold
    none = ~allowed.any(axis=1)
    allowed[none, sizes[none].argmax(axis=1)] = True
    return allowed


def _start(rows: Rows, names: tuple[str, ...], rules: DisclosureRules) -> _History:
    numbers = [usable_numbers(rows, name, rules.threshold) for name in names]
    chosen = ~np.isnan(np.sum(numbers, axis=0))
    values = np.stack([x[chosen] for x in numbers])
    n = values.shape[1]
    enough = n >= ROWS_A_COLUMN * len(names)  # as for the moments of the same job
    sound = enough and not any(
        made_by_few(column, rules, built=name in rows.built)
        for name, column in zip(names, values, strict=True)
    )
    means = values.mean(axis=1) if n else np.zeros(len(names))
    return _History(values - means[:, np.newaxis], means, np.zeros(n, dtype=np.int64), sound)


def _nearest(z: Reals, centres: Reals, allowed: _Flags | None) -> _Places:
    """The nearest centre of each row among those allowed, int64[n]: the one with the largest c z -
    c^2 / 2."""
    found = np.empty(z.shape[1], dtype=np.int64)
    step = max(1, _CHUNK_VALUES // len(centres))
    for start in range(0, len(found), step):
        rows = slice(start, start + step)
        score = centres @ z[:, rows] - (centres**2).sum(axis=1)[:, None] / 2
        if allowed is not None:
            score[~allowed[rows].T] = -np.inf
        found[rows] = score.argmax(axis=0)
    return found
