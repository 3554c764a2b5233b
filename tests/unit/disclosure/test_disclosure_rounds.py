"""The release rules of rounds, against the true counts behind the flags."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen_core.disclosure import DisclosureRules
from yumen_core.disclosure.rounds import (
    CHAIN,
    partition_keep,
    require_keep,
    safe_splits,
    split_keep,
    whole_flags,
)
from yumen_core.errors import CallError, StateError
from yumen_core.statistics.grid import MAX_INDEX, NARROWEST, WIDEST, Cell, splits
from yumen_core.statistics.trees import TreeArguments, counted

RULES = DisclosureRules(threshold=10, min_nodes=3)
Counts = npt.NDArray[np.int64]


def heap_counts(leaves: Counts) -> Counts:
    """Counts of all cells of complete trees, [trees, leaves, supports] to [trees * cells, ...]."""
    levels = [leaves]
    while levels[0].shape[1] > 1:
        below = levels[0]
        levels.insert(0, below[:, 0::2] + below[:, 1::2])
    return np.concatenate(levels, axis=1).reshape(-1, leaves.shape[2])


def leaf_range(cell: int, depth: int) -> range:
    level = (cell + 1).bit_length() - 1
    width = 1 << (depth - level)
    first = (cell + 1 - (1 << level)) * width
    return range(first, first + width)


@st.composite
def tree_counts(draw: st.DrawFn) -> tuple[Counts, int]:
    """int64[nodes, trees, leaves, supports]: thin, empty and large cells in any mix."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    depth = draw(st.integers(0, 5))
    shape = (draw(st.integers(3, 5)), draw(st.integers(1, 3)), 1 << depth, draw(st.integers(1, 3)))
    kind = rng.choice(3, size=shape, p=rng.dirichlet([1, 1, 4]))
    few, many = rng.integers(1, 10, shape), rng.integers(10, 40, shape)
    found = np.select([kind == 0, kind == 1], [np.zeros(shape, dtype=np.int64), few], many)
    return found.astype(np.int64), depth


@settings(max_examples=80, deadline=None)
@given(tree_counts(), st.sampled_from([None, 1]))
def test_a_partition_covers_its_tree_with_safe_leaves(
    drawn: tuple[Counts, int], ends: int | None
) -> None:
    nodes, depth = drawn
    participants, trees, leaves, supports = nodes.shape
    counts = np.stack([heap_counts(own) for own in nodes])
    totals = np.sum([whole_flags(own, RULES) for own in counts], axis=0, dtype=np.uint8)
    keep = partition_keep(
        totals, participants=participants, min_nodes=3, trees=trees, end_supports=ends
    )
    assert keep.shape == (trees * (2 * leaves - 1), supports)
    assert (keep == keep[:, :1]).all()
    for tree, told in enumerate(keep[:, 0].reshape(trees, -1)):
        cells = np.flatnonzero(told).tolist()
        own = counts[:, tree * told.size : (tree + 1) * told.size]
        covered = sorted(place for cell in cells for place in leaf_range(cell, depth))
        root_safe = ((own[:, 0] >= 3) | (own[:, 0] == 0)).all()
        root_safe &= ((own[:, 0] >= 10).sum(axis=0) >= 3)[: ends or supports].all()
        assert covered == (list(range(leaves)) if root_safe and covered else [])
        for cell in cells:
            assert ((own[:, cell] == 0) | (own[:, cell] >= 3)).all()
            behind = (own[:, cell] >= 10).sum(axis=0)
            assert ((own[:, cell].sum(axis=0) == 0) | (behind >= 3)).all()
            places = leaf_range(cell, depth)
            if places.start == 0 or places.stop == leaves:
                assert (behind[: ends or supports] >= 3).all()


def test_a_partition_is_as_fine_as_it_can_be() -> None:
    leaves = np.full((3, 1, 8, 1), 12)
    counts = np.stack([heap_counts(own) for own in leaves])
    totals = np.sum([whole_flags(own, RULES) for own in counts], axis=0, dtype=np.uint8)
    keep = partition_keep(totals, participants=3, min_nodes=3, trees=1)
    assert np.flatnonzero(keep[:, 0]).tolist() == list(range(7, 15))
    leaves[1, 0, 5, 0] = 2  # a few rows at one node: that pair of leaves stays together
    counts = np.stack([heap_counts(own) for own in leaves])
    totals = np.sum([whole_flags(own, RULES) for own in counts], axis=0, dtype=np.uint8)
    keep = partition_keep(totals, participants=3, min_nodes=3, trees=1)
    assert np.flatnonzero(keep[:, 0]).tolist() == [5, 7, 8, 9, 10, 13, 14]


@pytest.mark.parametrize(("cells", "trees"), [(6, 1), (7, 2), (7, 0), (7, -1), (0, 1), (4, 2)])
def test_cells_that_are_no_trees_are_refused(cells: int, trees: int) -> None:
    with pytest.raises(CallError, match=f"expected {trees} complete binary trees, got {cells}"):
        partition_keep(
            np.zeros((cells, 3), dtype=np.uint8), participants=3, min_nodes=3, trees=trees
        )


@pytest.mark.parametrize("ends", [0, 2, -1])
def test_ends_beyond_the_supports_are_refused(ends: int) -> None:
    with pytest.raises(CallError, match=f"expected 1 to 1 supports at the ends, got {ends}"):
        partition_keep(
            np.zeros((7, 3), dtype=np.uint8),
            participants=3,
            min_nodes=3,
            trees=1,
            end_supports=ends,
        )


def test_require_names_the_first_support_with_few_rows() -> None:
    counts = [
        np.array([[12, 12], [0, 0]]),
        np.array([[12, 3], [0, 0]]),
        np.array([[12, 0], [0, 0]]),
    ]
    totals = np.sum([whole_flags(own, RULES) for own in counts], axis=0, dtype=np.uint8)
    with pytest.raises(StateError, match="expected no or not too few rows of `a` at each node"):
        require_keep(totals, participants=3, min_nodes=3, names=("a", "b"))
    with pytest.raises(StateError, match="expected no or not too few rows of `b`"):
        require_keep(totals[:1], participants=3, min_nodes=3, names=("a", "b"))


# Splits -------------------------------------------------------------------------------------------


def nodes_values(rng: np.random.Generator, groups: int) -> list[list[npt.NDArray[np.float64]]]:
    """Values by node and group: lumps, ties, gaps, outliers; some nodes lack a part of them."""
    centre, spread = rng.normal(0, 20), rng.exponential(8)
    ties = rng.choice(np.arange(-5, 20), rng.integers(1, 6))
    size = int(rng.choice([30, 100, 400]))
    nodes = []
    for _ in range(rng.integers(3, 6)):
        found = []
        for _ in range(groups):
            parts = [
                rng.normal(centre, spread, rng.integers(0, size)),
                rng.choice(ties, rng.integers(0, size)).astype(np.float64),
                rng.exponential(1000, rng.integers(0, size // 4)),
                rng.choice([1e30, -1e30, 0.1, 64.0, 5e-20], rng.integers(0, 4)),
            ]
            kept = [part for part in parts if rng.random() < 0.9]
            found.append(np.sort(np.concatenate([*kept, np.empty(0)])))
        nodes.append(found)
    return nodes


def hostile_cell(rng: np.random.Generator) -> Cell:
    exponent = int(rng.integers(-30, 12)) if rng.random() < 0.9 else int(rng.integers(-64, 65))
    most = min(MAX_INDEX, 1 << (WIDEST - exponent))
    if rng.random() < 0.8:
        index = int(np.floor(rng.normal(0, 40) * 2.0**-exponent))
    else:
        index = int(rng.integers(-3, 3))
    return Cell(exponent, max(-most, min(index, most - 1)))


def released(
    nodes: list[list[npt.NDArray[np.float64]]],
    cells: list[Cell],
    depth: int,
    liar: np.random.Generator | None = None,
) -> dict[float, npt.NDArray[np.float64]]:
    """The edges that a round tells, with the rows below them by group. The last node may lie."""
    groups = len(nodes[0])
    asked = TreeArguments(("x",), "g" if groups > 1 else "", groups, True, depth, (tuple(cells),))
    parts = [counted([own], asked, {}, RULES) for own in nodes]
    flags = [whole_flags(part.supports, RULES) for part in parts]
    if liar is not None:
        flags[-1] ^= (liar.random(flags[-1].shape) < 0.05).astype(np.uint8)
        flags[-1] |= np.uint8(liar.random() < 0.5)
    totals = np.sum(flags, axis=0, dtype=np.uint8)
    keep = split_keep(totals, flags[0], participants=len(nodes), min_nodes=3, trees=len(cells))[
        :, 0
    ]
    at = np.concatenate([splits(cell, depth).at for cell in cells])
    below = np.sum([part.values for part in parts], axis=0)
    return {float(edge): below[place] for place, edge in enumerate(at) if keep[place]}


def between(node: list[npt.NDArray[np.float64]], edges: list[float]) -> list[npt.NDArray[np.int64]]:
    ends = np.array([-np.inf, *edges, np.inf])
    return [np.diff(np.searchsorted(own, ends, side="left")) for own in node]


def attack(seed: int, groups: int, *, lies: bool = False) -> int:
    """Every round that a requester might ask of one job's rows; how many edges it had of them."""
    rng = np.random.default_rng(seed)
    nodes = nodes_values(rng, groups)
    found: dict[float, npt.NDArray[np.float64]] = {}
    for _ in range(6):
        cells = [hostile_cell(rng) for _ in range(4)]
        told = released(nodes, cells, int(rng.integers(1, 8)), rng if lies else None)
        for edge, below in told.items():
            found.setdefault(edge, below)
            assert (found[edge] == below).all()
    if np.inf in found:
        rows = [sum(len(node[group]) for node in nodes) for group in range(groups)]
        assert found.pop(np.inf).tolist() == rows
    edges = sorted(found)
    if not edges:
        return 0
    counts = np.array([between(node, edges) for node in nodes])
    honest = counts[:-1] if lies else counts
    assert ((honest == 0) | (honest >= 3)).all()
    below = np.cumsum(counts.sum(axis=0), axis=1)[:, :-1].T
    assert (np.array([found[edge] for edge in edges]) == below).all()
    if not lies:
        behind = (counts >= 10).sum(axis=0)
        assert ((counts.sum(axis=0) == 0) | (behind >= 3)).all()
        assert (behind[:, [0, -1]] >= 3).all()
    return len(edges)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_no_rounds_together_isolate_a_few_rows(seed: int, groups: int) -> None:
    attack(seed, groups)


def test_the_attack_meets_many_edges() -> None:
    """The property above would hold of nothing at all."""
    assert sum(attack(seed, 1) for seed in range(20)) > 100
    assert sum(attack(seed, 2) for seed in range(20)) > 20


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 2))
def test_a_lying_node_cannot_isolate_rows_of_the_others(seed: int, groups: int) -> None:
    attack(seed, groups, lies=True)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 2))
def test_safe_splits_follow_their_definition(seed: int, groups: int) -> None:
    rng = np.random.default_rng(seed)
    cell = hostile_cell(rng)
    edges = splits(cell, 4)
    filled = rng.random((1, len(edges.at), groups, 2)) < 0.6
    harmless = filled | (rng.random(filled.shape) < 0.9)
    first = np.flatnonzero(np.isfinite(edges.at))[0]
    found = safe_splits(harmless, filled, edges.marks[np.newaxis])[0]
    safe = {-np.inf: True, np.inf: True}
    for at in range(first, len(edges.at)):
        ends = safe[edges.low[at]], safe[edges.high[at]]
        halves = [
            harmless[0, at, :, side].all() and (filled[0, at, :, side].all() or ends[side])
            for side in (0, 1)
        ]
        safe[edges.at[at]] = all(halves)
        assert found[at] == all(halves), (cell, at)


def test_thin_rows_beside_a_coarse_split_do_not_block_the_rest() -> None:
    """Two outliers lie beyond 64: no split there, but all of the splits among the others."""
    rng = np.random.default_rng(5)
    nodes = [[np.sort(np.append(rng.uniform(0, 16, 400), [70.0, 900.0]))] for _ in range(3)]
    told = released(nodes, [Cell(10, 0)], 10)
    edges = sorted(edge for edge in told if np.isfinite(edge))
    assert edges[:15] == [float(edge) for edge in range(1, 16)]
    assert edges[-1] <= 16


def test_an_end_is_never_told() -> None:
    nodes = [[np.full(30, 5.0)] for _ in range(3)]
    told = released(nodes, [Cell(4, 0), Cell(3, 0), Cell(-10, 5 << 10)], 6)
    assert list(told) == [np.inf]
    nodes = [[np.repeat([5.0, 9.0], 30)] for _ in range(3)]
    told = released(nodes, [Cell(4, 0), Cell(-10, 5 << 10), Cell(-10, 9 << 10)], 6)
    edges = sorted(edge for edge in told if np.isfinite(edge))
    assert min(edges) > 5
    assert max(edges) <= 9
    assert 9.0 in edges


def test_a_node_flags_nothing_inside_a_cell_with_a_few_of_its_rows() -> None:
    values = np.sort(np.append(np.linspace(0, 7.99, 200), [12.0, 13.25]))
    asked = TreeArguments(("x",), "", 1, False, 8, ((Cell(4, 0),),))
    local = counted([[values]], asked, {}, RULES)
    edges = splits(Cell(4, 0), 8)
    inside = (edges.low >= 8) & (edges.high <= 16)
    assert inside.sum() == 127
    assert (local.supports[inside, :4] == 1).all()


@pytest.mark.parametrize(
    ("rows", "supports", "trees"),
    [(CHAIN + 1, 5, 1), (CHAIN + 1, 2, 1), (CHAIN, 6, 1), (CHAIN + 2, 6, 1), (CHAIN + 1, 6, 2)],
)
def test_splits_that_are_no_trees_are_refused(rows: int, supports: int, trees: int) -> None:
    totals = np.zeros((rows, 3 * supports), dtype=np.uint8)
    with pytest.raises(CallError, match=f"expected {trees} trees of splits, got {rows} of"):
        split_keep(totals, totals, participants=3, min_nodes=3, trees=trees)


def test_the_narrowest_cell_has_a_chain_that_fits() -> None:
    assert len(splits(Cell(NARROWEST, 3), 1).at) == CHAIN + 1


@pytest.mark.parametrize(
    ("rows", "whole"),
    [
        ((97, 81, 5), True),  # two with the threshold, one with not too few
        ((97, 81, 3), True),
        ((97, 81, 2), False),  # too few at a node
        ((97, 81, 0), False),  # two nodes are behind it
        ((97, 9, 9), False),  # whoever leaves the first out has few
        ((10, 10, 3, 0), True),
        ((10, 10, 10, 1), False),
        ((0, 0, 0), False),
    ],
)
def test_what_stands_behind_a_required_support(rows: tuple[int, ...], whole: bool) -> None:
    flags = [whole_flags(np.array([[count]]), RULES) for count in rows]
    totals = np.sum(flags, axis=0, dtype=np.uint8)
    if whole:
        assert require_keep(totals, participants=len(rows), min_nodes=3, names=("a",)).all()
        return
    with pytest.raises(StateError) as caught:
        require_keep(totals, participants=len(rows), min_nodes=3, names=("a",))
    assert caught.value.code == "too_few_rows"
