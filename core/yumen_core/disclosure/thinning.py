"""Cells whose sums a few values make up are dealt with as those of too few rows. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from yumen_core.disclosure.dominance import Dominance, Number, needed
from yumen_core.disclosure.margins import Margins, margin_flags
from yumen_core.disclosure.rules import Counts, DisclosureRules


@dataclass(frozen=True)
class Magnitude:
    """One summed quantity in every cell that has any: its greatest absolute values, falling, and
    the sum of all. It lies behind the values of `supports`."""

    supports: frozenset[int]
    cells: Mapping[int, tuple[Sequence[Number], Number]]


def thinned(
    supports: Counts,
    magnitudes: Sequence[Magnitude],
    rules: Sequence[Dominance],
    threshold: int,
    margins: Margins | None = None,
) -> Counts:
    """`supports`, int64[cells, supports], with one row at most in place of the rows behind a sum
    that fails one of `rules`: it is then dealt with as any other below the threshold.

    Of a margin, what none of this node's given cells below covers must pass as well (`margins`).
    """
    found = supports.copy()
    for magnitude in magnitudes:
        for cell, (tops, total) in magnitude.cells.items():
            if any(rule.fails(tops, total) for rule in rules):
                _thin(found, cell, magnitude, threshold)
    if margins is not None and magnitudes:
        _thin_rests(found, magnitudes, rules, threshold, margins)
    return found


def _thin(supports: Counts, cell: int, magnitude: Magnitude, threshold: int) -> None:
    """What is below the threshold stays as it is: it may be enough together with others."""
    for support in magnitude.supports:
        if supports[cell, support] >= threshold:
            supports[cell, support] = min(1, threshold - 1)


_Rest = dict[int, tuple[Sequence[Number], Number]]


def _thin_rests(
    supports: Counts,
    magnitudes: Sequence[Magnitude],
    rules: Sequence[Dominance],
    threshold: int,
    margins: Margins,
) -> None:
    limits, width = DisclosureRules(threshold), supports.shape[1]
    many = needed(rules)
    # By magnitude and one of its supports: what cells of a level leave to the next.
    left: list[tuple[Magnitude, int, _Rest]] = []
    for start, stop, fold in margins.levels():
        given = margin_flags(supports, limits, margins)[:, :width]
        if not start:
            left = [
                (m, at, {cell: m.cells[cell] for cell in m.cells
                         if cell < stop and not given[cell, at]})
                for m in magnitudes for at in sorted(m.supports)
            ]  # fmt: skip
            before = 0
            continue
        rests = [(m, at, _folded(rest, before, start, fold, many)) for m, at, rest in left]
        for magnitude, at, rest in rests:
            for cell, (tops, total) in rest.items():
                if given[cell, at] and any(rule.fails(tops, total) for rule in rules):
                    _thin(supports, cell, magnitude, threshold)
        given = margin_flags(supports, limits, margins)[:, :width]
        left = [
            (m, at, {cell: rest[cell] for cell in rest if not given[cell, at]})
            for m, at, rest in rests
        ]
        before = start


def _folded(rest: _Rest, before: int, start: int, fold: int, many: int) -> _Rest:
    """What the cells of the level from `before` leave, by the cell of the level from `start`."""
    found: _Rest = {}
    for cell, (tops, total) in rest.items():
        margin = start + (cell - before) // fold
        others, sum_of_others = found.get(margin, ((), 0))
        found[margin] = merged(tops, others, many), total + sum_of_others
    return found


def merged(one: Sequence[Number], other: Sequence[Number], many: int) -> list[Number]:
    """The `many` greatest of both, falling."""
    return heapq.nlargest(many, [*one, *other])
