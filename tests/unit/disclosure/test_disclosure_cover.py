"""A cell held back is never the difference of what is told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yumen_core.disclosure import DisclosureRules
from yumen_core.disclosure.cover import cover_lines
from yumen_core.disclosure.rounds import partition_keep, whole_flags

RULES = DisclosureRules(threshold=10, min_nodes=3)
counts = st.sampled_from([0, 0, 1, 2, 3, 9, 10, 11, 50])


def released(nodes: list[list[int]], lines: list[list[int]]) -> list[bool]:
    """Which cells are told: `nodes` are rows by node and cell."""
    cells = len(nodes[0])
    flags = [whole_flags(np.array(rows).reshape(-1, 1), RULES) for rows in nodes]
    totals = np.sum(flags, axis=0, dtype=np.uint8)
    keep = partition_keep(totals, participants=len(nodes), min_nodes=3, trees=cells)
    parts = [np.array(line) for line in lines]
    found: list[bool] = cover_lines(keep, totals, parts, min_nodes=3)[:, 0].tolist()
    return found


@pytest.mark.parametrize(
    ("nodes", "told"),
    [
        # 16 women at one node and 4 at another: the men are held back as well.
        ([[50, 16], [50, 4], [50, 0], [50, 0]], [False, False]),
        ([[50, 16], [50, 14], [50, 12], [50, 10]], [True, True]),
        ([[50, 0], [50, 0], [50, 0]], [True, False]),  # nobody is in it: nothing to cover
        ([[50, 16, 20], [50, 4, 20], [50, 0, 20]], [False, False, True]),
        ([[50, 1, 1], [50, 1, 1], [50, 1, 1]], [True, False, False]),
        ([[50, 20, 20], [50, 20, 0], [50, 0, 0]], [False, False, False]),
    ],
)
def test_a_lone_cell_is_covered(nodes: list[list[int]], told: list[bool]) -> None:
    assert released(nodes, [list(range(len(told)))]) == told


@given(st.lists(st.lists(counts, min_size=6, max_size=6), min_size=3, max_size=4))
def test_no_line_tells_its_hidden_cell(nodes: list[list[int]]) -> None:
    lines = [[0, 1, 2], [3, 4, 5], [0, 3], [1, 4], [2, 5]]
    told = released(nodes, lines)
    there = [sum(rows[cell] > 0 for rows in nodes) for cell in range(6)]
    for line in lines:
        hidden = [cell for cell in line if not told[cell] and there[cell]]
        if any(told[cell] for cell in line) and hidden:
            assert len(hidden) > 1
            assert max(there[cell] for cell in hidden) >= 3
