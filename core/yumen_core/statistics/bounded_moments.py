"""Counts, sums and sums of squares of numbers within bounds that are signed: with privacy only.

Each number is clipped to its bounds at the node and put on a grid of 2**-20 of half their width, so
sums are of whole numbers: exact, in any order of the rows, and moved by one row by no more than the
grid's size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from yumen_core.canonical import Json
from yumen_core.disclosure import DisclosureRules
from yumen_core.errors import CallError
from yumen_core.privacy.noise import Summed
from yumen_core.statistics import arguments as read
from yumen_core.statistics.kinds import Arguments, Inputs, Local, Rule, Variables
from yumen_core.statistics.layout import Counts, Layout, Reals, Value, count
from yumen_core.statistics.rows import LARGEST, SMALLEST_SCALE, Rows, Variable

MAX_GROUPS = 10_000
MAX_VARIABLES = 100
GRID_BITS = 20
_ROW_BITS = 33
"""Of the most rows of a node: sums of grid numbers are then below 2**53, and floats hold them."""


@dataclass(frozen=True)
class Bounds:
    """What a number is clipped to."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        return self.low + (self.high - self.low) / 2

    @property
    def half(self) -> float:
        return (self.high - self.low) / 2

    def grid(self, numbers: Reals) -> Counts:
        """Numbers as whole steps of half / 2**GRID_BITS from the middle, int64."""
        with np.errstate(over="ignore"):
            unit = np.clip((numbers - self.middle) / self.half, -1.0, 1.0)
        return np.rint(unit * float(1 << GRID_BITS)).astype(np.int64)


class BoundedMoments:
    """`variables` lists [name, low, high], the bounds as decimal texts; `by` is a variable with
    levels or empty, `groups` their number (1 without).

    Per group (a cell) and variable, over its rows with a value: rows, sum and sum of squares of
    (x - middle) / half, x clipped to the bounds. Rows without `by` have no cell.
    """

    name = "bounded_moments"
    rule: Rule = Rule.WITHHOLD
    only_private = True

    def layout(self, arguments: Arguments, variables: Variables) -> Layout:
        read.only(arguments, "by", "groups", "variables")
        for name, _ in _variables(arguments):
            read.number_variable(variables, name)
        by = read.text(arguments, "by")
        groups = read.whole(arguments, "groups", 1, MAX_GROUPS)
        expected = len(read.level_variable(variables, by)) if by else 1
        if groups != expected:
            raise read.bad(f"expected {expected} groups, got {groups}")
        each = (
            count(),
            Value(0, GRID_BITS + _ROW_BITS + 1, True, -GRID_BITS),
            Value(0, 2 * GRID_BITS + _ROW_BITS, False, -2 * GRID_BITS),
        )
        return Layout(groups, ("rows",), each * len(_variables(arguments)))

    def moved(self, arguments: Arguments, layout: Layout) -> tuple[Summed, ...]:
        most = (1, 1 << GRID_BITS, 1 << (2 * GRID_BITS)) * len(_variables(arguments))
        return tuple(
            Summed(value.bits, value.signed, size)
            for value, size in zip(layout.values, most, strict=True)
        )

    def integers(self, rows: Rows, arguments: Arguments) -> list[list[int]]:
        by, groups = read.text(arguments, "by"), read.whole(arguments, "groups", 1, MAX_GROUPS)
        group = rows.level(by).astype(np.int64) if by else np.zeros(rows.count, dtype=np.int64)
        columns: list[list[int]] = []
        for name, bounds in _variables(arguments):
            numbers = rows.number(name)
            present = (group >= 0) & ~np.isnan(numbers)
            columns += _sums(bounds.grid(numbers[present]), group[present], groups)
        return [list(row) for row in zip(*columns, strict=True)]

    def compute(
        self, rows: Rows, arguments: Arguments, inputs: Inputs, rules: DisclosureRules
    ) -> Local:
        raise ValueError("expected privacy: these sums know no threshold")


def bounds_of(variable: Variable, name: str) -> Bounds:
    """The declared bounds of a variable. Raises `CallError` (`privacy`) for one without."""
    low, high = variable.low, variable.high
    if low is None or high is None:
        raise CallError(
            "privacy",
            f"expected declared bounds of `{name}` with privacy, got none",
            remedy="declare bounds of the column, or write one within known bounds, such as "
            "LEAST(GREATEST(x, 0), 100)",
        )
    _check(name, low, high)
    return Bounds(low, high)


def _check(name: str, low: float, high: float) -> None:
    if not (low >= -LARGEST and high <= LARGEST and high - low >= SMALLEST_SCALE):
        raise CallError(
            "privacy",
            f"expected rising bounds of `{name}` within {LARGEST:g} of 0 with privacy, got {low:g} "
            f"to {high:g}",
            remedy="declare other bounds of the column, or leave it out",
        )


def _variables(arguments: Arguments) -> list[tuple[str, Bounds]]:
    entries = arguments.get("variables")
    if not isinstance(entries, list | tuple) or not 1 <= len(entries) <= MAX_VARIABLES:
        raise read.bad(f"expected `variables` to be a list of 1 to {MAX_VARIABLES} variables")
    found = [_variable(entry) for entry in entries]
    if len({name for name, _ in found}) != len(found):
        raise read.bad("expected each variable once")
    return found


def _variable(entry: Json) -> tuple[str, Bounds]:
    match entry:
        case [str(name), str(low), str(high)] if max(len(low), len(high)) <= 40:
            try:
                bounds = Bounds(float(low), float(high))
            except ValueError:
                bounds = Bounds(math.nan, math.nan)
            _check(name, bounds.low, bounds.high)
            return name, bounds
    raise read.bad("expected a variable as its name and two bounds, decimal texts")


def _sums(steps: Counts, group: Counts, groups: int) -> list[list[int]]:
    """Rows, sums and sums of squares by group. Squares are summed in two halves, so that no float
    sum of whole numbers is beyond 2**53."""
    squares = steps * steps
    low, high = squares & ((1 << GRID_BITS) - 1), squares >> GRID_BITS

    def summed(values: Counts) -> list[int]:
        sums = np.bincount(group, weights=values.astype(np.float64), minlength=groups)
        return [int(one) for one in sums.tolist()]

    rows = [int(one) for one in np.bincount(group, minlength=groups).tolist()]
    whole = zip(summed(high), summed(low), strict=True)
    return [rows, summed(steps), [(a << GRID_BITS) + b for a, b in whole]]
