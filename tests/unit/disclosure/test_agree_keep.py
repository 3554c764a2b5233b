"""A cell is told where enough nodes have something there, and the same."""

from __future__ import annotations

import numpy as np
import pytest
from yumen_core.disclosure.rounds import agree_keep

SAME = [1, 1, 0]
OTHER = [1, 0, 1]
NONE = [0, 0, 0]


@pytest.mark.parametrize(
    ("nodes", "told"),
    [
        ([SAME, SAME, SAME], True),
        ([SAME, SAME, SAME, NONE], True),
        ([SAME, SAME, NONE], False),
        ([SAME, SAME, SAME, OTHER], False),
        ([SAME, OTHER, OTHER, OTHER], False),
        ([SAME, SAME, [1, 1, 1]], False),
        ([SAME, SAME, [1, 0, 0]], False),
    ],
)
def test_agreement(nodes: list[list[int]], told: bool) -> None:
    flags = np.array(nodes, dtype=np.uint8)[:, np.newaxis, :]
    totals = flags.sum(axis=0, dtype=np.uint8)
    for own, entry in zip(flags, nodes, strict=True):
        expected = told and bool(entry[0])
        assert agree_keep(totals, own, 3).tolist() == [[expected] * 3]
