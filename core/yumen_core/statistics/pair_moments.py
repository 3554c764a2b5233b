"""Second moments of every pair of numbers over the rows that have both, by group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from yumen_core.disclosure import DisclosureRules
from yumen_core.statistics import arguments as read
from yumen_core.statistics.kinds import Arguments, Inputs, Local, Rule, Variables
from yumen_core.statistics.layout import Counts, Layout, Reals, count, wide_real
from yumen_core.statistics.moments import made_by_few
from yumen_core.statistics.rows import Rows, check_units, usable_numbers

MAX_COLUMNS = 60
MAX_GROUPS = 1_000
CENTRES, SCALES = "centres", "scales"
_CHUNK_VALUES = 1 << 20

Places = npt.NDArray[np.intp]


class PairMoments:
    """`variables` are numbers; `by` is a variable with levels or empty, `groups` their number (1
    without `by`).

    The cells are, for each group, the pairs of variables: (0, 1), (0, 2), ..., (1, 2), .... Each
    has its rows with both, and over them the sums of u, v, u*u, u*v and v*v, where u and v are the
    two less `centres` by `scales`, both float64[groups, variables]. A pair stands on its rows; on
    none where in one of the two all rows but a few have one value (`DisclosureRules.few`), or a few
    rows of the group make up nearly all of the spread (`moments.made_by_few`). Numbers beyond
    `rows.LARGEST` count as missing; centres and scales are refused as `rows.check_units` says.
    """

    name = "pair_moments"
    rule: Rule = Rule.WITHHOLD

    def layout(self, arguments: Arguments, variables: Variables) -> Layout:
        read.only(arguments, "by", "groups", "variables")
        names = read.texts(arguments, "variables", most=MAX_COLUMNS)
        if len(names) < 2 or len(set(names)) != len(names):
            raise read.bad("expected two variables or more, each once")
        for name in names:
            read.number_variable(variables, name)
        by, groups = read.text(arguments, "by"), read.whole(arguments, "groups", 1, MAX_GROUPS)
        expected = len(read.level_variable(variables, by)) if by else 1
        if groups != expected:
            raise read.bad(f"expected {expected} groups, got {groups}")
        pairs = len(names) * (len(names) - 1) // 2
        shape = (groups, len(names))
        inputs = {CENTRES: shape, SCALES: shape}
        return Layout(groups * pairs, ("rows",), (count(), *[wide_real()] * 5), inputs)

    def compute(
        self, rows: Rows, arguments: Arguments, inputs: Inputs, rules: DisclosureRules
    ) -> Local:
        names = read.texts(arguments, "variables", most=MAX_COLUMNS)
        groups = read.whole(arguments, "groups", 1, MAX_GROUPS)
        by = read.text(arguments, "by")
        check_units(inputs[CENTRES], inputs[SCALES])
        numbers = [usable_numbers(rows, name, rules.threshold) for name in names]
        behind: list[Counts] = []
        values: list[Reals] = []
        first, second = np.triu_indices(len(names), 1)
        for group in range(groups):
            chosen = rows.level(by) == group if by else np.ones(rows.count, dtype=np.bool_)
            own = _Own.of([x[chosen] for x in numbers], [name in rows.built for name in names])
            behind.append(own.behind(first, second, rules))
            values.append(own.pairs(first, second, inputs[CENTRES][group], inputs[SCALES][group]))
        return Local(np.concatenate(behind).reshape(-1, 1), np.concatenate(values))


@dataclass(frozen=True)
class _Own:
    """One group's rows at this node, float64[variables][rows]; each variable's mean; and for a
    variable i over its rows with j, float64[variables, variables]: rows, sum, sum of squares and
    sum of products with j, all of distances to the means."""

    numbers: Sequence[Reals]
    means: Reals
    rows: Reals
    sums: Reals
    squares: Reals
    products: Reals
    built: Sequence[bool]

    @staticmethod
    def of(numbers: Sequence[Reals], built: Sequence[bool]) -> _Own:
        k, n = len(numbers), len(numbers[0])
        means = np.zeros(k)
        rows, sums, squares, products = (np.zeros((k, k)) for _ in range(4))
        for at, x in enumerate(numbers):
            present = x[~np.isnan(x)]
            means[at] = present.mean() if len(present) else 0.0
        step = max(1, _CHUNK_VALUES // k)
        for start in range(0, n, step):
            moved = np.stack([x[start : start + step] for x in numbers]) - means[:, np.newaxis]
            here = ~np.isnan(moved)
            moved[~here] = 0.0
            there = here.astype(np.float64)
            rows += there @ there.T
            sums += moved @ there.T
            squares += (moved * moved) @ there.T
            products += moved @ moved.T
        return _Own(numbers, means, rows, sums, squares, products, built)

    def pairs(self, i: Places, j: Places, centres: Reals, scales: Reals) -> Reals:
        """The values of the pairs (i, j), float64[pairs, 6]. Centres and scales move sums, never
        single rows, which rounding would sort into those above and below an edge."""
        moved = self.means - centres
        n, a, b = self.rows[i, j], moved[i], moved[j]
        u, v = self.sums[i, j], self.sums[j, i]
        uu = self.squares[i, j] + a * (2 * u + n * a)
        vv = self.squares[j, i] + b * (2 * v + n * b)
        uv = self.products[i, j] + a * v + b * u + n * a * b
        s, t = scales[i], scales[j]
        parts = [n, (u + n * a) / s, (v + n * b) / t, uu / s / s, uv / s / t, vv / t / t]
        return np.stack(parts, axis=1)

    def behind(self, i: Places, j: Places, rules: DisclosureRules) -> Counts:
        """Rows behind each pair, int64[pairs]."""
        found = self.rows[i, j].astype(np.int64)
        present = [~np.isnan(x) for x in self.numbers]
        alone = [
            made_by_few(x[here], rules, built=built)
            for x, here, built in zip(self.numbers, present, self.built, strict=True)
        ]
        for at, pair in enumerate(zip(i.tolist(), j.tolist(), strict=True)):
            both = present[pair[0]] & present[pair[1]]
            for name in pair:
                if found[at] == self.rows[name, name]:
                    few = alone[name]
                else:
                    few = made_by_few(self.numbers[name][both], rules, built=self.built[name])
                if few:
                    found[at] = 0
                    break
        return found
