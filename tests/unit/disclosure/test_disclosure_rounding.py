"""Counts in steps, and sums as of so many rows."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yumen_core.disclosure.rounding import rescaled, rounded, rounded_all, within
from yumen_core.errors import CallError

COUNTS = st.integers(0, 1 << 40)
STEPS = st.integers(1, 1_000)


@given(COUNTS, STEPS)
def test_a_count_becomes_the_nearest_multiple(count: int, step: int) -> None:
    told = rounded(count, step)
    assert told % step == 0
    assert 2 * abs(told - count) <= step
    assert told == round(Fraction(count, step)) * step  # of two the even one
    assert rounded_all(np.array([[count]]), step).tolist() == [[told]]


@given(st.integers(-(1 << 60), 1 << 60), st.integers(1, 1 << 32), STEPS)
def test_a_mean_keeps_its_value(total: int, count: int, step: int) -> None:
    told, rows = rescaled(total, count, step), rounded(count, step)
    if rows == 0:
        assert told == 0
        return
    assert abs(Fraction(told, rows) - Fraction(total, count)) <= Fraction(1, 2 * rows)


@given(st.integers(-(1 << 70), 1 << 70), st.integers(2, 64), st.booleans(), STEPS)
def test_nothing_goes_beyond_its_width(total: int, bits: int, signed: bool, step: int) -> None:
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
    told = within(total, bits, signed)
    assert low <= told < high
    assert told == total or not low <= total < high
    if total >= 0:
        assert within(rounded(total, step), bits, signed, step=step) % step == 0


def test_what_is_no_count_is_refused() -> None:
    with pytest.raises(CallError, match="expected a count from 0, got `-1`"):
        rounded(-1, 5)
    assert rescaled(17, 0, 5) == 0
    assert [rounded(n, 5) for n in (0, 2, 3, 7, 8, 10)] == [0, 0, 5, 5, 10, 10]
    assert [rounded(n, 10) for n in (5, 15, 25)] == [0, 20, 20]
