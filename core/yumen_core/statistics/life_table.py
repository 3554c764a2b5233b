"""Life tables: how many rows leave in each cell of time, and how many of them with the event.

Enough for the estimator of Kaplan and Meier and for the log-rank test: the rows at risk follow
from the rows that leave.
"""

from __future__ import annotations

import numpy as np

from yumen_core.disclosure import DisclosureRules
from yumen_core.statistics import arguments as read
from yumen_core.statistics.kinds import Arguments, Inputs, Local, Rule, Variables
from yumen_core.statistics.layout import Counts, Layout, Reals, count, real
from yumen_core.statistics.rows import Rows
from yumen_core.statistics.survival import check_times, read_times
from yumen_core.statistics.time_grid import parse_grid, summed

MAX_GROUPS = 200


def logrank_terms(removed: Counts, observed: Counts) -> tuple[Reals, Reals]:
    """From the rows that leave and the events at each time, int64[times, groups]: the events
    expected of each group if all survive alike, float64[groups], and the covariance of observed
    less expected events, float64[groups, groups] (a hypergeometric draw at each time)."""
    happened = observed.sum(axis=1)
    seen = happened > 0
    deaths = happened[seen].astype(np.float64)
    at_risk = np.cumsum(removed[::-1], axis=0)[::-1][seen].astype(np.float64)
    total = at_risk.sum(axis=1)
    share = at_risk / total[:, None]
    scale = deaths * (total - deaths) / np.maximum(total - 1.0, 1.0)  # 0 for a draw from one row
    covariance = np.diag(scale @ share) - share.T @ (scale[:, None] * share)
    return deaths @ share, covariance


class LogrankNodes:
    """The log-rank test with the nodes as strata: one cell; values, for each level of `by`, rows,
    observed and expected events, then the upper triangle of the covariance. Exact times are used,
    and only totals over all of a node's times leave it."""

    name = "logrank_nodes"
    rule: Rule = Rule.REQUIRE

    def layout(self, arguments: Arguments, variables: Variables) -> Layout:
        read.only(arguments, "by", "duration", "event", "groups")
        check_times(variables, read.text(arguments, "duration"), read.text(arguments, "event"))
        by = read.text(arguments, "by")
        names = tuple(f"{by}[{level}]" for level in read.level_variable(variables, by))
        groups = read.whole(arguments, "groups", 2, MAX_GROUPS)
        if groups != len(names):
            raise read.bad(f"expected `groups` to be {len(names)}, got {groups}")
        each = [value for at in range(groups) for value in (count(at), count(at), real(at))]
        pairs = [real(at) for at in range(groups) for _ in range(at, groups)]
        return Layout(1, (*names, "events"), (*each, *pairs))

    def compute(
        self, rows: Rows, arguments: Arguments, inputs: Inputs, rules: DisclosureRules
    ) -> Local:
        by, groups = read.text(arguments, "by"), read.whole(arguments, "groups", 2, MAX_GROUPS)
        duration, event = read.text(arguments, "duration"), read.text(arguments, "event")
        times = read_times(rows, duration, event, rules, (by,))
        code = rows.level(by)[times.chosen].astype(np.int64)
        known = code >= 0
        moments, place = np.unique(times.durations, return_inverse=True)
        place = place * groups + code
        size = len(moments) * groups
        left = np.bincount(place[known], minlength=size).reshape(-1, groups)
        happened = np.bincount(place[known & times.events], minlength=size).reshape(-1, groups)
        expected, covariance = logrank_terms(left.astype(np.int64), happened.astype(np.int64))
        held, observed = left.sum(axis=0), happened.sum(axis=0)
        supports = np.array([*held, observed.sum()], dtype=np.int64)
        each = np.stack([held, observed, expected], axis=1).reshape(-1)
        values = np.concatenate([each, covariance[np.triu_indices(groups)]])
        return Local(supports.reshape(1, -1), values.reshape(1, -1))


class LifeTable:
    """One tree over time (`time_grid`), one support for each level of `by` (one in all where `by`
    is empty): in every leaf each group has no rows at a node or enough of them. The values are,
    for each group, the rows that leave in the cell and the events among them.
    """

    name = "life_table"
    rule: Rule = Rule.PARTITION

    def layout(self, arguments: Arguments, variables: Variables) -> Layout:
        read.only(arguments, "by", "duration", "event", "groups", "resolution", "start", "steps")
        check_times(variables, read.text(arguments, "duration"), read.text(arguments, "event"))
        by = read.text(arguments, "by")
        supports: tuple[str, ...] = ("rows",)
        if by:
            supports = tuple(f"{by}[{level}]" for level in read.level_variable(variables, by))
        if read.whole(arguments, "groups", 1, MAX_GROUPS) != len(supports):
            raise read.bad(f"expected `groups` to be {len(supports)}")
        values = tuple(count(at) for at in range(len(supports)) for _ in range(2))
        return Layout(parse_grid(arguments).cells, supports, values)

    def compute(
        self, rows: Rows, arguments: Arguments, inputs: Inputs, rules: DisclosureRules
    ) -> Local:
        by, grid = read.text(arguments, "by"), parse_grid(arguments)
        groups = read.whole(arguments, "groups", 1, MAX_GROUPS)
        duration, event = read.text(arguments, "duration"), read.text(arguments, "event")
        times = read_times(rows, duration, event, rules, (by,) if by else ())
        place = grid.leaves_of(times.durations) * groups
        known = np.ones(len(place), dtype=np.bool_)
        if by:
            code = rows.level(by)[times.chosen].astype(np.int64)
            known = code >= 0
            place += code
        size = grid.leaves * groups
        left = np.bincount(place[known], minlength=size).reshape(grid.leaves, groups)
        ended = known & times.events & grid.within(times.durations)
        happened = np.bincount(place[ended], minlength=size).reshape(grid.leaves, groups)
        values = summed(np.stack([left, happened], axis=2).astype(np.float64))
        supports = summed(left.astype(np.int64))
        return Local(supports, values.reshape(grid.cells, 2 * groups))
