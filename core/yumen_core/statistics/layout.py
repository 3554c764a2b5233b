"""The shape of one round's contribution, public to all parties: it follows from the signed job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from yumen_core.errors import CallError, StateError

Reals = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

MAX_VALUES = 400_000


@dataclass(frozen=True)
class Value:
    """One summed value of a cell: an integer of at most `bits` bits, sign included; the quantity
    is integer * 2**exponent. `support` numbers `Layout.supports`."""

    support: int
    bits: int
    signed: bool
    exponent: int


def count(support: int = 0) -> Value:
    """Rows: whole numbers below 2**40."""
    return Value(support, 40, False, 0)


def real(support: int = 0) -> Value:
    """Any sum of reals: within 2**119 (6.6e35), in steps of 2**-120 (7.5e-37)."""
    return Value(support, 240, True, -120)


def wide_real(support: int = 0, bits: int = 640) -> Value:
    """A sum of reals in units that the requester chose: within 2**519 (1.7e156), in steps of
    2**-120."""
    return Value(support, bits, True, -120)


def short_real(support: int = 0) -> Value:
    """A sum of scaled reals: within 2**59 (5.7e17), in steps of 2**-60 (8.7e-19)."""
    return Value(support, 120, True, -60)


@dataclass(frozen=True)
class Layout:
    """What a node contributes to a round: for each of `cells`, one quantity per value.

    `supports` names the sets of rows behind the values, for messages; support 0 is the cell's own
    rows. `inputs` gives the shapes of the arrays that the requester sends for the round; a first
    round has none. Under the rule `partition` the cells are `trees` complete binary trees,
    and only the first `end_supports` supports (all, if None) must have rows at a tree's ends.
    `lines` lists cells whose sum may be known besides: none of a line is held back alone.
    """

    cells: int
    supports: tuple[str, ...]
    values: tuple[Value, ...]
    inputs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    trees: int = 1
    end_supports: int | None = None
    lines: tuple[npt.NDArray[np.int64], ...] = ()

    def __post_init__(self) -> None:
        if self.cells < 1 or not self.supports or not self.values:
            raise CallError("statistic", "expected a round with cells, supports and values")
        size = self.cells * (len(self.supports) + len(self.values))
        if size > MAX_VALUES:
            raise CallError(
                "statistic", f"expected at most {MAX_VALUES} values in a round, got {size}"
            )


def to_integers(layout: Layout, values: Reals) -> list[list[int]]:
    """The integers of quantities float64[cells, values], rounded to the values' steps.

    Raises `StateError` (`data_source`) for a quantity that is not finite or beyond its range.
    """
    if values.shape != (layout.cells, len(layout.values)):
        raise ValueError(f"a round computed the shape {values.shape}")
    if not np.isfinite(values).all():
        raise StateError("data_source", "expected finite sums, got one that is not")
    columns: list[list[int]] = []
    for value, column in zip(layout.values, values.T, strict=True):
        whole = [_rounded(x, value.exponent) for x in column.tolist()]
        low = -(1 << (value.bits - 1)) if value.signed else 0
        high = 1 << (value.bits - 1 if value.signed else value.bits)
        if min(whole) < low or max(whole) >= high:
            raise StateError(
                "data_source", "expected sums within the round's range, got one beyond"
            )
        columns.append(whole)
    return [list(row) for row in zip(*columns, strict=True)]


def from_integers(layout: Layout, totals: Sequence[Sequence[int]]) -> Reals:
    """The quantities behind summed integers, float64[cells, values], correctly rounded."""
    rows = [
        [
            total * 2**value.exponent if value.exponent >= 0 else total / 2**-value.exponent
            for value, total in zip(layout.values, row, strict=True)
        ]
        for row in totals
    ]
    return np.array(rows, dtype=np.float64).reshape(layout.cells, len(layout.values))


def _rounded(x: float, exponent: int) -> int:
    """x / 2**exponent to the nearest integer: exact where the step divides x."""
    numerator, denominator = x.as_integer_ratio()  # the denominator is a power of two
    shift = -exponent - (denominator.bit_length() - 1)
    if shift >= 0:
        return numerator << shift
    return (numerator + (1 << (-shift - 1))) >> -shift
