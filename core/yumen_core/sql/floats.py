"""Raw sums of floats around a centre: their SQL, and the exact rationals that they stand for.

A factor of a product may be an exact number beside a float. It is then held in its own units
(scaled by 10**scale), its sum stays exact, and only what is left beside its centre becomes a float.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from yumen_core.errors import StateError
from yumen_core.sql.expression import Expr, Kind
from yumen_core.sql.plan import SumKind
from yumen_core.sql.render import render

# Mean over deviation beyond which one pass is not trusted: 1e3 loses 3 of 16 digits.
_TRUSTED_RATIO = 1_000.0


@dataclass(frozen=True)
class Factor:
    """One side of a product over the rows of a pair: where it was centred, and its exact sum."""

    centre: Fraction
    count: int
    total: Fraction
    unit: Fraction

    @classmethod
    def of(cls, argument: Expr, raw: Sequence[object]) -> Factor:
        """From the raw moments of a cell, then the sum where that is exact."""
        unit = Fraction(1, 10**argument.scale)
        total = whole(raw[-1]) * unit
        if argument.kind is Kind.FLOAT:
            total = moment(SumKind.SUM, raw[:-1])
        return cls(finite(raw[0]) * unit, whole(raw[1]), total, unit)


def as_double(argument: Expr) -> str:
    """A number in its own units as a DOUBLE."""
    text = render(argument)
    return text if argument.kind is Kind.FLOAT else f"CAST({text} AS DOUBLE)"


def mean(argument: Expr) -> str:
    """A centre for `moved`: the mean, or near it."""
    text = render(argument)
    if argument.kind is Kind.FLOAT:
        return f"avg({text})"
    return f"CAST(round(avg({text})) AS HUGEINT)"


def centre(index: int) -> str:
    """The name of an argument's centre."""
    return f'" centre {index}"'


def moved(argument: Expr, index: int) -> str:
    """How far a value lies from its centre. Exact values are subtracted before they are rounded;
    HUGEINT holds the difference, as sums of 2**40 of them fit it."""
    text = render(argument)
    if argument.kind is Kind.FLOAT:
        return f"({text} - {centre(index)})"
    return f"CAST(CAST({text} AS HUGEINT) - {centre(index)} AS DOUBLE)"


def is_lossy(raw: Sequence[object]) -> bool:
    """Whether the mean is far above the deviation, by mean, count and variance of a cell."""
    middle, count, variance = raw
    if not isinstance(middle, float) or not isinstance(variance, float):
        return False
    # Where all values are one, the mean's rounding would differ between nodes.
    return whole(count) > 1 and middle * middle > _TRUSTED_RATIO**2 * variance


def moment(kind: SumKind, raw: Sequence[object]) -> Fraction:
    """A float argument's sum, or sum of squares: from mean, count and variance, or from centre,
    count and both sums around it."""
    middle, count = finite(raw[0]), whole(raw[1])
    apart, squares = Fraction(0), count * finite(raw[2])
    if len(raw) == 4:
        apart, squares = finite(raw[2]), finite(raw[3])
    if kind is SumKind.SUM:
        return count * middle + apart
    return squares + 2 * middle * apart + count * middle * middle


def products(first: Factor, second: Factor, joint: object, *, centred: bool) -> Fraction:
    """The sum of products from the covariance, or from the sum of products around the centres."""
    together = finite(joint) * first.unit * second.unit
    if not centred:
        if not first.count:
            return Fraction(0)
        return first.count * together + first.total * second.total / first.count
    shifted = first.centre * second.total + second.centre * first.total
    return together + shifted - first.count * first.centre * second.centre


def whole(value: object) -> int:
    """A whole number from the database. Raises `StateError` ("data_source")."""
    if value is None:
        return 0
    if not isinstance(value, int):
        raise StateError("data_source", "the database gave a sum that is no whole number")
    return value


def finite(value: object) -> Fraction:
    """A finite number from the database. Raises `StateError` ("data_source")."""
    if value is None:
        return Fraction(0)
    if isinstance(value, int):
        return Fraction(value)
    try:
        return Fraction(float(str(value)))
    except (ValueError, OverflowError):
        raise StateError("data_source", "the database gave a sum that is not finite") from None
