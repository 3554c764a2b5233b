"""Sets of rows at one node, by the numbers of the rows. Pure.

A set is a roaring bitmap (Lemire et al., "Roaring bitmaps: implementation of an optimized software
library", 2018). One set has several forms in bytes, by how it came about, so its digest is over the
numbers themselves.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable
from functools import cached_property

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

Numbers = npt.NDArray[np.uint32]


class RowSet:
    """A set of rows that does not change."""

    def __init__(self, rows: BitMap) -> None:
        """`rows` belongs to the set from here on."""
        self.rows = rows

    @classmethod
    def of(cls, numbers: Numbers) -> RowSet:
        """From the numbers of its rows, uint32[n], in any order."""
        return cls(BitMap(array("I", numbers.tobytes())))  # much faster than from NumPy's array

    @classmethod
    def union(cls, sets: Iterable[RowSet]) -> RowSet:
        return cls(BitMap.union(*(entry.rows for entry in sets), BitMap()))

    def __len__(self) -> int:
        return self.size

    @cached_property
    def size(self) -> int:
        return len(self.rows)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the numbers, rising, as little-endian 32-bit integers: 32 bytes."""
        numbers = np.asarray(self.rows.to_array(), dtype="<u4")
        return hashlib.sha256(numbers.data).digest()


NO_ROWS = RowSet(BitMap())
