"""Interval arithmetic over rationals: what values an expression can take.

Bounds are closed and outward-correct for exact types. The arithmetic here is real; `operators`
widens what floats compute, so that the bounds hold for doubles too. An unbounded interval is
`None`, not a value of this class.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Interval:
    """All rationals from `low` to `high`, both included."""

    low: Fraction
    high: Fraction

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("expected low <= high")

    @classmethod
    def point(cls, value: Fraction | int) -> Interval:
        return cls(Fraction(value), Fraction(value))

    @property
    def magnitude(self) -> Fraction:
        """The largest absolute value in the interval."""
        return max(abs(self.low), abs(self.high))

    @property
    def contains_zero(self) -> bool:
        return self.low <= 0 <= self.high

    def __neg__(self) -> Interval:
        return Interval(-self.high, -self.low)

    def __add__(self, other: Interval) -> Interval:
        return Interval(self.low + other.low, self.high + other.high)

    def __sub__(self, other: Interval) -> Interval:
        return self + -other

    def __mul__(self, other: Interval) -> Interval:
        corners = [a * b for a in (self.low, self.high) for b in (other.low, other.high)]
        return Interval(min(corners), max(corners))

    def __truediv__(self, other: Interval) -> Interval:
        """Raises `ZeroDivisionError` when `other` contains 0."""
        if other.contains_zero:
            raise ZeroDivisionError("the divisor's interval contains 0")
        return self * Interval(1 / other.high, 1 / other.low)

    def __abs__(self) -> Interval:
        if self.contains_zero:
            return Interval(Fraction(0), self.magnitude)
        return self if self.low > 0 else -self

    def hull(self, other: Interval) -> Interval:
        """The smallest interval that holds both."""
        return Interval(min(self.low, other.low), max(self.high, other.high))
