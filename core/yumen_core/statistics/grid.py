"""The grid of binary numbers: cells that halve, the same for every variable and every round.

The root holds every number and halves at 0; its halves [-2**64, 0) and [0, 2**64) take what lies
beyond them; every other cell [index * 2**exponent, (index + 1) * 2**exponent) halves in its middle.
A tree's edges are therefore exact doubles, and an edge belongs to one cell whatever asks for it:
rounds that look at the same rows through different trees meet the same cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from yumen_core.disclosure.rounds import CHAIN
from yumen_core.errors import CallError
from yumen_core.statistics.layout import Reals

WIDEST, NARROWEST = 64, -64
MAX_INDEX = 1 << 40
"""Of a cell's index: 12 halvings below it, edges are still exact doubles."""
MAX_DEPTH = 12


@dataclass(frozen=True)
class Cell:
    """[index, index + 1) in units of 2**exponent. Raises `CallError` (`argument`) beyond the
    grid."""

    exponent: int
    index: int

    def __post_init__(self) -> None:
        if not NARROWEST <= self.exponent <= WIDEST:
            raise _bad(f"a width of 2**{NARROWEST} to 2**{WIDEST}")
        most = min(MAX_INDEX, 1 << (WIDEST - self.exponent))
        if not -most <= self.index < most:
            raise _bad("a place within the grid")

    @property
    def low(self) -> float:
        return math.ldexp(self.index, self.exponent)

    @property
    def high(self) -> float:
        return math.ldexp(self.index + 1, self.exponent)


@dataclass(frozen=True)
class Splits:
    """The splits of a tree, CHAIN + 2**depth - 1 of them in the order of `split_keep`: the cell
    [low, high) of each and where it halves, float64[splits], and in which half the chain goes on,
    left or right, bool[splits, 2]. The outermost cells reach to infinity. The first split stands
    for all rows and is repeated until the chain has its length: its `at` is infinite."""

    low: Reals
    at: Reals
    high: Reals
    marks: npt.NDArray[np.bool_]


def splits(cell: Cell, depth: int) -> Splits:
    """The splits above `cell`, then those of `depth` levels from `cell` on."""
    path = [
        Cell(exponent, cell.index >> (exponent - cell.exponent))
        for exponent in range(WIDEST, cell.exponent - 1, -1)
    ]
    above = path[:-1]
    spare = CHAIN - 1 - len(above)
    low = [np.array([-np.inf] * (spare + 1) + [parent.low for parent in above])]
    at = [np.array([np.inf] * spare + [0.0] + [_middle(parent) for parent in above])]
    high = [np.array([np.inf] * (spare + 1) + [parent.high for parent in above])]
    for level in range(depth):
        places = np.arange(1 << level, dtype=np.float64) + float(cell.index << level)
        low.append(np.ldexp(places, cell.exponent - level))
        at.append(np.ldexp(2 * places + 1, cell.exponent - level - 1))
        high.append(np.ldexp(places + 1, cell.exponent - level))
    edge = math.ldexp(1.0, WIDEST)
    left, right = np.concatenate(low), np.concatenate(high)
    marks = np.zeros((len(left), 2), dtype=np.bool_)
    goes_right = [path[0].index == 0, *(part.index % 2 == 1 for part in path[1:])]
    marks[np.arange(spare, CHAIN), np.array(goes_right, dtype=np.int64)] = True
    return Splits(
        np.where(left <= -edge, -np.inf, left),
        np.concatenate(at),
        np.where(right >= edge, np.inf, right),
        marks,
    )


def covering(low: Fraction, high: Fraction) -> tuple[Cell, ...]:
    """The least cells that hold [low, high]: one, or one on either side of 0. Numbers beyond the
    grid are taken to its end."""
    most = Fraction(2) ** WIDEST
    low, high = (max(-most, min(x, most - 1)) for x in (low, high))
    if low < 0 <= high:
        # The largest number below 0 that a cell can end at is 0 itself: its index is -1.
        return (_negative(low), _holding(Fraction(0), high))
    return (_holding(low, high),)


def cell_at(low: float, width: float) -> Cell | None:
    """The cell [low, low + width), if it is one of the grid that can be asked for."""
    fraction, exponent = math.frexp(width)
    index = low / width
    if fraction != 0.5 or index != math.floor(index) or abs(index) >= MAX_INDEX:
        return None
    try:
        return Cell(exponent - 1, int(index))
    except CallError:
        return None


def read_cells(given: Sequence[Sequence[float]] | Reals) -> tuple[Cell, ...]:
    """Cells from rows of exponent and index. Raises `CallError` (`argument`) for any that is not
    on the grid."""
    found = []
    for exponent, index in np.asarray(given, dtype=np.float64).tolist():
        if exponent != math.floor(exponent) or index != math.floor(index):
            raise _bad("whole numbers")
        found.append(Cell(int(exponent), int(index)))
    return tuple(found)


def _middle(cell: Cell) -> float:
    return math.ldexp(2 * cell.index + 1, cell.exponent - 1)


def _negative(low: Fraction) -> Cell:
    exponent = next(k for k in range(NARROWEST, WIDEST + 1) if low >= -(Fraction(2) ** k))
    return Cell(exponent, -1)


def _holding(low: Fraction, high: Fraction) -> Cell:
    for exponent in range(NARROWEST, WIDEST):
        unit = Fraction(2) ** exponent
        first, last = low // unit, high // unit
        if first == last and -MAX_INDEX <= first < MAX_INDEX:
            return Cell(exponent, int(first))
    return Cell(WIDEST, -1 if low < 0 else 0)


def _bad(what: str) -> CallError:
    return CallError("argument", f"expected a cell of the grid with {what}, got another")
