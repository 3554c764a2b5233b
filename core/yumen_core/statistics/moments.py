"""Sums and cross products of several numbers over the rows that have all of them.

A first round gives counts, sums and sums of squares; a second the cross products of the columns
centred and scaled as the requester makes of the first, so that nothing cancels (Chan, Golub and
LeVeque, "Algorithms for computing the sample variance", 1983).

Rows can be told apart by which of some columns are missing: each such pattern is a cell of its own,
so every row counts with what it has, and no sum mixes patterns of which one has few rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from yumen_core.disclosure import DisclosureRules
from yumen_core.disclosure.dominance import is_dominated
from yumen_core.disclosure.rules import FEW
from yumen_core.statistics import arguments as read
from yumen_core.statistics.kinds import Arguments, Inputs, Local, Rule, Variables
from yumen_core.statistics.layout import Layout, Reals, count, real, wide_real
from yumen_core.statistics.rows import Mask, Rows, check_units, usable_numbers

MAX_COLUMNS = 100
MAX_MISSING = 6
ROWS_A_COLUMN = 3
EFFECTIVE_SHARE = 0.5
CENTRES, SCALES = "centres", "scales"
_CHUNK_VALUES = 1 << 20
_SAMPLE = 1_000
_SMALLEST, _LARGEST = 1e-250, 1e250


class Moments:
    """`variables` are numbers; `missing` those of them that a row may lack, in order; `products` is
    0 for the first round and 1 for the second.

    A cell is a pattern: bit j of its number is 1 where the j-th of `missing` is missing. In the
    first round it has rows, sums and sums of squares by variable; in the second rows, sums, and
    the upper triangle of cross products, row by row, of (x - centre) / scale. What a pattern lacks
    is 0. A node leaves out a pattern with fewer rows than the threshold or than ROWS_A_COLUMN for
    each column present, or with a column that few rows make up (`made_by_few`). Numbers beyond
    `rows.LARGEST` count as missing; centres and scales are refused as `rows.check_units` says.
    """

    name = "moments"
    rule: Rule = Rule.WITHHOLD

    def layout(self, arguments: Arguments, variables: Variables) -> Layout:
        read.only(arguments, "missing", "products", "variables")
        names = read.texts(arguments, "variables", most=MAX_COLUMNS)
        missing = read.texts(arguments, "missing", most=MAX_MISSING)
        products = read.whole(arguments, "products", 0, 1)
        if not names or len(set(names)) != len(names):
            raise read.bad("expected one variable or more, each once")
        if tuple(name for name in names if name in missing) != missing:
            raise read.bad("expected `missing` among the variables, in their order")
        for name in names:
            read.number_variable(variables, name)
        k = len(names)
        sums = k + k * (k + 1) // 2 if products else 2 * k
        inputs = {CENTRES: (k,), SCALES: (k,)} if products else {}
        summed = wide_real() if products else real()
        return Layout(1 << len(missing), ("rows",), (count(), *[summed] * sums), inputs)

    def compute(
        self, rows: Rows, arguments: Arguments, inputs: Inputs, rules: DisclosureRules
    ) -> Local:
        names = read.texts(arguments, "variables", most=MAX_COLUMNS)
        missing = read.texts(arguments, "missing", most=MAX_MISSING)
        key = (self.name, names, missing, rules.threshold)
        patterns = rows.kept(key, lambda: _patterns(rows, names, missing, rules))
        make = _products if read.whole(arguments, "products", 0, 1) else _sums
        values = [
            np.concatenate([[float(pattern.rows)], make(pattern, inputs)]) for pattern in patterns
        ]
        behind = np.array([[pattern.behind] for pattern in patterns], dtype=np.int64)
        return Local(behind, np.array(values))


@dataclass(frozen=True)
class Pattern:
    """The rows of one pattern: the numbers of the variables they have, float64[rows] each, which
    variables these are, and how many rows there are and count."""

    numbers: Sequence[Reals]
    present: Mask
    rows: int
    behind: int


def few_differ(values: Reals, threshold: int, *, built: bool = False) -> bool:
    """Whether fewer rows than `threshold`, but some unless the column is `built`, differ from the
    one value of all others: any sum would tell about those few. Where all but fewer than
    `threshold` rows agree, so do most of any 2 * threshold + 1 of them."""
    if not len(values):
        return False
    some = np.sort(values[: 2 * threshold + 1])
    differing = int(np.count_nonzero(values != some[len(some) // 2]))
    return (built or differing > 0) and differing < threshold


def few_behind(values: Reals, threshold: int) -> bool:
    """Whether few rows differ from the others, or make up nearly all of the column's spread: one
    row could be read off such a column's sum, as off that of exp(-(id - 1234)^2).

    1. Fewer than `DisclosureRules.few` rows, but some, differ from the one value of all others. 2.
    The effective number of rows (Kish, "Survey Sampling", 1965, section 11.7) behind the distances
    d from the middle, (sum d)^2 / sum d^2, is below EFFECTIVE_SHARE of the threshold; of few rows,
    below a quarter of them, but FEW. The middle is the median of up to _SAMPLE rows.
    """
    few = min(FEW, threshold)
    if not len(values) or few_differ(values, few):
        return bool(len(values))
    some = np.sort(values[:: len(values) // _SAMPLE + 1])
    with np.errstate(all="ignore"):
        distances = np.abs(values - some[len(some) // 2])
        total, squares = float(distances.sum()), float(distances @ distances)
        if total == 0.0:
            return False
        if not _SMALLEST < squares < _LARGEST:
            distances = distances / distances.max()  # no number where one is beyond range
            total, squares = float(distances.sum()), float(distances @ distances)
    least = min(EFFECTIVE_SHARE * threshold, max(few, len(values) / 4))
    return not total**2 >= least * squares


def made_by_few(values: Reals, rules: DisclosureRules, *, built: bool = False) -> bool:
    """Whether a few rows make up the column's spread (`few_behind`), or its sum by the table's
    rules of dominance; of a column that is `built` also whether fewer than the threshold vary."""
    if built and few_differ(values, rules.threshold, built=True):
        return True
    return few_behind(values, rules.threshold) or is_dominated(values, rules.dominance)


def _patterns(
    rows: Rows, names: tuple[str, ...], missing: tuple[str, ...], rules: DisclosureRules
) -> list[Pattern]:
    numbers = [usable_numbers(rows, name, rules.threshold) for name in names]
    there = dict(zip(names, numbers, strict=True))
    whole = np.ones(rows.count, dtype=np.bool_)
    for name in names:
        if name not in missing:
            whole &= ~np.isnan(there[name])
    chosen = np.flatnonzero(whole)
    pattern = np.zeros(len(chosen), dtype=np.int64)
    for bit, name in enumerate(missing):
        pattern |= np.isnan(there[name][chosen]).astype(np.int64) << bit
    found = []
    for cell in range(1 << len(missing)):
        places = chosen[pattern == cell]
        absent = [name for bit, name in enumerate(missing) if cell >> bit & 1]
        present = np.array([name not in absent for name in names])
        few = len(places) < ROWS_A_COLUMN * int(present.sum()) or any(
            made_by_few(there[name][places], rules, built=name in rows.built)
            for name in names
            if name not in absent
        )
        own = [numbers[at][places] for at in np.flatnonzero(present)]
        found.append(Pattern(own, present, len(places), 0 if few else len(places)))
    return found


def _sums(pattern: Pattern, _: Inputs) -> Reals:
    sums, squares = np.zeros(len(pattern.present)), np.zeros(len(pattern.present))
    for at, x in zip(np.flatnonzero(pattern.present), pattern.numbers, strict=True):
        sums[at], squares[at] = x.sum(), x @ x
    return np.concatenate([sums, squares])


def _products(pattern: Pattern, inputs: Inputs) -> Reals:
    """Centres and scales move sums around the node's own means, never single rows: rows less a
    centre far away would be rounded, and count the rows above an edge."""
    check_units(inputs[CENTRES], inputs[SCALES])
    k, own = len(pattern.present), len(pattern.numbers)
    means = np.array([x.mean() if len(x) else 0.0 for x in pattern.numbers])
    sums, products = np.zeros(own), np.zeros((own, own))
    step = max(1, _CHUNK_VALUES // k)
    for start in range(0, pattern.rows if own else 0, step):
        moved = np.stack([x[start : start + step] for x in pattern.numbers]) - means[:, np.newaxis]
        sums += moved.sum(axis=1)
        products += moved @ moved.T
    scales = inputs[SCALES][pattern.present]
    away = means - inputs[CENTRES][pattern.present]
    total = sums + pattern.rows * away
    products += np.outer(sums, away) + np.outer(away, total)
    at = np.flatnonzero(pattern.present)
    every, crossed = np.zeros(k), np.zeros((k, k))
    every[at] = total / scales
    crossed[np.ix_(at, at)] = products / scales / scales[:, np.newaxis]
    return np.concatenate([every, crossed[np.triu_indices(k)]])
