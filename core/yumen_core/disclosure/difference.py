"""Two releases that differ by a few rows: their difference tells of these rows. Pure.

A set of rows is a roaring bitmap of their numbers at one node (Lemire et al., "Roaring bitmaps:
implementation of an optimized software library", 2018).
"""

from __future__ import annotations

from collections.abc import Iterable

from pyroaring import BitMap


def too_close(old: BitMap, new: BitMap, k: int) -> bool:
    """Whether the sets differ, and by fewer than `k` rows on either side.

    The counts alone settle most: sets whose sizes differ by `k` or more are far apart.
    """
    old_rows, new_rows = len(old), len(new)
    if abs(old_rows - new_rows) >= k:
        return False
    common: int = old.intersection_cardinality(new)
    apart = max(old_rows, new_rows) - common
    return 0 < apart < k


def near_nodes(old: Iterable[str], new: Iterable[str], min_nodes: int) -> bool:
    """Whether the sets of nodes differ, and by fewer than `min_nodes` nodes in all."""
    return 0 < len(set(old) ^ set(new)) < min_nodes
