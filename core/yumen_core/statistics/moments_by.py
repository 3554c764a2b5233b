"""Counts, sums and sums of squares of numbers by group, around centres that the requester sends.

A first round without centres gives the means; a second one around those means gives the variances,
so that nothing cancels (Chan, Golub and LeVeque, "Algorithms for computing the sample variance",
1983).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from yumen_core.disclosure import DisclosureRules
from yumen_core.statistics import arguments as read
from yumen_core.statistics.kinds import Arguments, Inputs, Local, Rule, Variables
from yumen_core.statistics.layout import Counts, Layout, Reals, Value, count, real
from yumen_core.statistics.moments import made_by_few
from yumen_core.statistics.rows import Rows, check_units, usable_numbers

MAX_GROUPS = 10_000
CENTRES = "centres"


class MomentsBy:
    """`variables` are numbers; `by` is a variable with levels or empty, `groups` their number (1
    without `by`); `squares` is 0 for the first round and 1 for the second.

    Per group (a cell) and variable, over its rows with a value: rows and sum; in the second round
    rows, sum and sum of squares of the distances to `centres`, float64[groups, variables]. Each
    variable's values stand on its own rows with a value; or, where all but a few of these have one
    value (`DisclosureRules.few`), on those few; or on none, where a few rows make up nearly all of
    their spread or their sum (`moments.made_by_few`). Numbers beyond `rows.LARGEST` count as
    missing, and centres beyond it are refused.
    """

    name = "moments_by"
    rule: Rule = Rule.WITHHOLD

    def layout(self, arguments: Arguments, variables: Variables) -> Layout:
        read.only(arguments, "by", "groups", "squares", "variables")
        names = _names(arguments)
        for name in names:
            read.number_variable(variables, name)
        by = read.text(arguments, "by")
        groups = read.whole(arguments, "groups", 1, MAX_GROUPS)
        expected = len(read.level_variable(variables, by)) if by else 1
        if groups != expected:
            raise read.bad(f"expected {expected} groups, got {groups}")
        squares = read.whole(arguments, "squares", 0, 1)
        values: list[Value] = []
        for at in range(1, len(names) + 1):
            values += [count(at), real(at), real(at)] if squares else [count(at), real(at)]
        inputs = {CENTRES: (groups, len(names))} if squares else {}
        return Layout(groups, ("rows", *names), tuple(values), inputs)

    def compute(
        self, rows: Rows, arguments: Arguments, inputs: Inputs, rules: DisclosureRules
    ) -> Local:
        names, groups = _names(arguments), read.whole(arguments, "groups", 1, MAX_GROUPS)
        by = read.text(arguments, "by")
        if inputs:
            check_units(inputs[CENTRES])
        group = _group(rows, by)
        grouped = group >= 0
        behind = [np.bincount(group[grouped], minlength=groups).astype(np.int64)]
        values: list[Reals] = []
        for at, name in enumerate(names):
            key = (self.name, name, by, rules.threshold)
            x = usable_numbers(rows, name, rules.threshold)
            make = partial(_own, x, group, groups, rules, built=name in rows.built)
            own = rows.kept(key, make)
            behind.append(own.behind)
            if read.whole(arguments, "squares", 0, 1):
                values += own.around(inputs[CENTRES][:, at])
            else:
                values += [own.rows, own.rows * own.means + own.sums]
        return Local(np.stack(behind, axis=1), np.stack(values, axis=1))


@dataclass(frozen=True)
class _Own:
    """By group, float64[groups]: rows with a value, their mean at this node, and the sums of
    distances to it and of their squares; and int64[groups], the rows behind these."""

    rows: Reals
    means: Reals
    sums: Reals
    squares: Reals
    behind: Counts

    def around(self, centres: Reals) -> list[Reals]:
        """Rows, sums and sums of squares around other centres. The centres move sums, never single
        rows: rows less a centre far away would be rounded, and count the rows above an edge."""
        moved = self.means - centres
        sums = self.sums + self.rows * moved
        return [self.rows, sums, self.squares + moved * (self.sums + sums)]


def _own(
    x: Reals, group: npt.NDArray[np.int64], groups: int, rules: DisclosureRules, *, built: bool
) -> _Own:
    present = (group >= 0) & ~np.isnan(x)
    place, x = group[present], x[present]
    rows = np.bincount(place, minlength=groups).astype(np.float64)
    means = np.divide(_sums(place, x, groups), rows, out=np.zeros(groups), where=rows > 0)
    moved = x - (means[0] if groups == 1 else means[place])
    sums, squares = _sums(place, moved, groups), _sums(place, moved * moved, groups)
    return _Own(rows, means, sums, squares, _shown(x, place, groups, rules, built=built))


def _sums(place: npt.NDArray[np.int64], x: Reals, groups: int) -> Reals:
    if groups == 1:
        return np.array([x.sum()])
    return np.bincount(place, weights=x, minlength=groups).astype(np.float64)


def _shown(
    x: Reals, place: npt.NDArray[np.int64], groups: int, rules: DisclosureRules, *, built: bool
) -> Counts:
    """The rows behind each group's values, int64[groups]: where a few are unlike the rest, those
    few; where a few make up their spread, none."""
    behind = np.bincount(place, minlength=groups).astype(np.int64)
    by_group = x if groups == 1 else x[np.argsort(place, kind="stable")]
    for at, part in enumerate(np.split(by_group, np.cumsum(behind)[:-1])):
        few = unlike_the_rest(part, rules.few)
        if few:
            behind[at] = few
        elif made_by_few(part, rules, built=built):
            behind[at] = 0
    return behind


def unlike_the_rest(values: Reals, threshold: int) -> int:
    """How many of the values differ from one that all others have, where these are fewer than
    `threshold`, else 0: a sum of such values counts those few rows."""
    usual = usual_value(values[: 2 * threshold + 1], threshold)
    if usual is None:
        return 0
    differing = int(np.count_nonzero(values != usual))
    return differing if differing < threshold else 0


def usual_value(some: Reals, threshold: int) -> float | None:
    """The one value that all but fewer than `threshold` of many can have, from any 2 * threshold +
    1 of them (or all, where they are fewer): then it is most of these. None: there is none."""
    if not len(some):
        return None
    middle = float(np.sort(some)[len(some) // 2])
    return middle if np.count_nonzero(some != middle) < threshold else None


def _names(arguments: Arguments) -> tuple[str, ...]:
    names = read.texts(arguments, "variables")
    if not names or len(set(names)) != len(names):
        raise read.bad("expected one variable or more, each once")
    return names


def _group(rows: Rows, by: str) -> npt.NDArray[np.int64]:
    """The group of each row, int64[n], -1 for none."""
    return rows.level(by).astype(np.int64) if by else np.zeros(rows.count, dtype=np.int64)
