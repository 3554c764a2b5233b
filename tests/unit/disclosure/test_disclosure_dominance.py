"""Dominance: the rules against their own words, unions, and margins from which a cell follows."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen_core.disclosure import DisclosureRules, margin_flags
from yumen_core.disclosure.dominance import Dominance, is_dominated, needed
from yumen_core.disclosure.margins import Margins
from yumen_core.disclosure.thinning import Magnitude, merged, thinned
from yumen_core.errors import CallError

RULES = st.builds(
    Dominance, st.integers(1, 4), st.sampled_from([0, 40, 85, 99]), st.sampled_from([0, 10, 100])
)
SIZES = st.lists(st.sampled_from([0, 1, 2, 3, 5, 9, 50, 51, 1000]), min_size=1, max_size=12)


def fails(sizes: list[int], rule: Dominance) -> bool:
    """What the rules say, word by word and in fractions."""
    falling = sorted(map(abs, sizes), reverse=True)
    total = sum(falling)
    if not total:
        return False
    share = Fraction(sum(falling[: rule.top]), total)
    if rule.percent and share > Fraction(rule.percent, 100):
        return True
    rest = sum(falling[2:])
    return bool(rule.p_percent) and rest < Fraction(rule.p_percent, 100) * falling[0]


def test_the_defaults_and_their_edges() -> None:
    rule = Dominance()
    assert (rule.top, rule.percent, rule.p_percent, rule.on) == (2, 85, 10, True)
    assert not rule.fails([60, 25], 100)  # 85 % is allowed
    assert rule.fails([60, 26], 100)
    only_p = Dominance(2, 0, 10)
    assert not only_p.fails([100, 80], 190)  # 10 are left, 10 % of 100
    assert only_p.fails([100, 80], 189)
    assert rule.fails([5], 5)
    assert rule.fails([float("inf")] * 2, float("inf"))
    assert not rule.fails([], 0)
    assert not rule.fails([0, 0], 0)
    assert not Dominance(2, 0, 0).on


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Dominance(0), "expected the 1 to 10 greatest values, got `0`"),
        (lambda: Dominance(11), "expected the 1 to 10 greatest values, got `11`"),
        (lambda: Dominance(2, 100, 10), "expected shares below 100 %, got `100` and `10`"),
        (lambda: Dominance(2, 85, -1), "expected shares below 100 %, got `85` and `-1`"),
    ],
)
def test_numbers_out_of_range(make: object, text: str) -> None:
    with pytest.raises(CallError) as caught:
        make()  # type: ignore[operator]
    assert (caught.value.code, caught.value.message) == ("argument", text)


@settings(max_examples=300, deadline=None)
@given(SIZES, RULES, st.lists(st.sampled_from([-1, 1]), min_size=12, max_size=12))
def test_a_cell_fails_as_the_rules_say(sizes: list[int], rule: Dominance, signs: list[int]) -> None:
    signed = [size * sign for size, sign in zip(sizes, signs, strict=False)]
    tops = sorted(sizes, reverse=True)[: needed([rule])]
    assert rule.fails(tops, sum(sizes)) == fails(sizes, rule)
    if not set(signed) <= {0, 1}:
        assert is_dominated(np.array(signed, dtype=np.float64), [rule]) == fails(sizes, rule)


@settings(max_examples=300, deadline=None)
@given(SIZES, SIZES, RULES)
def test_a_union_of_cells_that_pass_passes(
    one: list[int], other: list[int], rule: Dominance
) -> None:
    if not fails(one, rule) and not fails(other, rule):
        assert not fails(one + other, rule)


@given(SIZES, SIZES, st.integers(1, 5))
def test_the_greatest_of_two_cells(one: list[int], other: list[int], many: int) -> None:
    tops = [sorted(sizes, reverse=True)[:many] for sizes in (one, other)]
    assert merged(*tops, many) == sorted(one + other, reverse=True)[:many]


def test_counts_are_no_magnitudes_and_no_rules_pass_all() -> None:
    rule = [Dominance()]
    assert not is_dominated(np.array([1.0, 0.0, 0.0]), rule)
    assert is_dominated(np.array([2.0, 0.0, 0.0]), rule)
    assert not is_dominated(np.array([2.0, 0.0, 0.0]), [])
    assert not is_dominated(np.array([]), rule)
    assert is_dominated(np.array([-50.0, 1.0, 1.0, 1.0]), rule)
    assert is_dominated(np.array([7.0, 6.0, 5.0, 0.1]), [Dominance(), Dominance(3, 85, 0)])


def test_one_row_at_most_stands_behind_a_cell_that_fails() -> None:
    supports = np.array([[40, 30], [40, 30], [40, 2]])
    tops = {0: ([90, 1], 100), 1: ([9, 9], 100), 2: ([90, 1], 100)}
    found = thinned(supports, [Magnitude(frozenset({1}), tops)], [Dominance()], 10)
    assert found.tolist() == [[40, 1], [40, 30], [40, 2]]
    assert supports[0, 1] == 30


def joined(cells: list[list[int]]) -> list[int]:
    return [size for cell in cells for size in cell]


CELLS = st.lists(st.lists(st.sampled_from([1, 2, 3, 30, 400]), max_size=8), min_size=6, max_size=6)


@settings(max_examples=300, deadline=None)
@given(CELLS)
def test_no_released_cells_of_a_rollup_tell_a_dominated_sum(details: list[list[int]]) -> None:
    """At one node: every released sum less the released sums right below it passes, so that what
    sums and differences of released cells tell is made of sums that pass."""
    rule, threshold = Dominance(), 3
    margins = Margins(6, (3, 2), frozenset({0}), frozenset({0}))
    cells = [*details, joined(details[:3]), joined(details[3:]), joined(details)]
    supports = np.array([[len(cell)] for cell in cells])
    peaks = {
        at: (sorted(cell, reverse=True)[:2], sum(cell)) for at, cell in enumerate(cells) if cell
    }
    magnitude = Magnitude(frozenset({0}), peaks)
    found = thinned(supports, [magnitude], [rule], threshold, margins)
    flags = margin_flags(found, DisclosureRules(threshold), margins)
    told = flags[:, 0] == 1
    for at in range(6):
        assert not told[at] or (len(details[at]) >= threshold and not fails(details[at], rule))
    below = {6: [0, 1, 2], 7: [3, 4, 5], 8: [6, 7]}

    def covered(cell: int) -> set[int]:
        """The detail cells that released cells strictly below a margin cover."""
        out: set[int] = set()
        for under in below.get(cell, []):
            whole = {under} if under < 6 else set(below[under])
            out |= whole if told[under] else covered(under)
        return out

    for margin in (6, 7, 8):
        whole = set(below[margin]) if margin < 8 else set(range(6))
        rest = joined([details[at] for at in whole - covered(margin)])
        if told[margin] and rest:
            assert len(rest) >= threshold
            assert not fails(rest, rule)
