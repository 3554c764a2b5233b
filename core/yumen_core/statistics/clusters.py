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
from yumen_core.statistics import arguments as read
from yumen_core.statistics.kinds import Arguments, Inputs, Local, Rule, Variables
from yumen_core.statistics.layout import Layout, Reals, count, real
from yumen_core.statistics.moments import (
    CENTRES,
    MAX_COLUMNS,
    ROWS_A_COLUMN,
    SCALES,
    few_behind,
)
from yumen_core.statistics.rows import Rows, check_finite

MAX_CLUSTERS = 50
CLUSTERS = "clusters"
_CHUNK_VALUES = 1 << 18

_Places = npt.NDArray[np.int64]
_Flags = npt.NDArray[np.bool_]


class Clusters:
    """`variables` are numbers, `clusters` how many there are.

    The inputs are `centres` and `scales`, which standardise each variable, and `clusters`,
    float64[clusters, variables], the centres of the clusters in standard units. Per cluster (a
    cell): rows, the sums of the distances to its centre by variable, and the sum of their squares.
    Complete rows count; a node gives nothing where they are fewer than three for each variable, or
    where few rows make up a variable (`moments.few_behind`).
    """

    name = "clusters"
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
        return Layout(clusters, ("rows",), (count(), *[real()] * (width + 1)), inputs)

    def compute(
        self, rows: Rows, arguments: Arguments, inputs: Inputs, rules: DisclosureRules
    ) -> Local:
        names = read.texts(arguments, "variables", most=MAX_COLUMNS)
        centres = inputs[CLUSTERS]
        key = (self.name, names, rules.threshold)
        history = rows.kept(key, lambda: _start(rows, names, rules))
        z = history.standardised(inputs[CENTRES], inputs[SCALES])
        cluster = history.assign(centres, rules.threshold)
        sizes = np.bincount(cluster, minlength=len(centres)).astype(np.int64)
        values = np.zeros((len(centres), len(names) + 2))
        values[:, 0] = sizes
        with np.errstate(all="ignore"):  # a sum that is not finite is refused later
            for at in range(len(names)):
                distance = z[at] - centres[cluster, at]
                values[:, at + 1] = np.bincount(cluster, distance, len(centres))
                values[:, -1] += np.bincount(cluster, distance * distance, len(centres))
        behind = sizes.reshape(-1, 1) if history.sound else np.zeros((len(centres), 1), np.int64)
        return Local(behind, values)


@dataclass
class _History:
    """The complete rows' numbers, float64[variables, n], and the part each row is in so far."""

    values: Reals
    part: _Places
    sound: bool
    _standard: Reals = field(default_factory=lambda: np.empty((0, 0)))
    _by: bytes = b""

    def standardised(self, centres: Reals, scales: Reals) -> Reals:
        """(values - centre) / scale, made anew only where these change."""
        by = centres.tobytes() + scales.tobytes()
        if by != self._by:
            with np.errstate(all="ignore"):
                self._standard = (self.values - centres[:, None]) / scales[:, None]
            self._by = by
        return self._standard

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
    for name in names:
        check_finite(name, rows.number(name))
    chosen = rows.complete(names)
    values = np.stack([rows.number(name)[chosen] for name in names])
    enough = values.shape[1] >= ROWS_A_COLUMN * len(names)  # as for the moments of the same job
    sound = enough and not any(few_behind(column, rules.threshold) for column in values)
    return _History(values, np.zeros(values.shape[1], dtype=np.int64), sound)


def _nearest(z: Reals, centres: Reals, allowed: _Flags | None) -> _Places:
    """The nearest centre of each row among those allowed, int64[n]: the one with the largest c z -
    c^2 / 2. Where that is no number or beyond range, the centre is as far as can be."""
    found = np.empty(z.shape[1], dtype=np.int64)
    step = max(1, _CHUNK_VALUES // len(centres))
    for start in range(0, len(found), step):
        rows = slice(start, start + step)
        with np.errstate(all="ignore"):
            score = centres @ z[:, rows] - (centres**2).sum(axis=1)[:, None] / 2
        score[~np.isfinite(score)] = -np.finfo(np.float64).max
        if allowed is not None:
            score[~allowed[rows].T] = -np.inf
        found[rows] = score.argmax(axis=0)
    return found
