"""Which of a node's rows an action may use.

A requester names levels and classes, so a level that one person has would be a cell of one row. The
rows left out leave no trace but the count: an error would say yes or no about them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from yumen_core.disclosure.rules import FEW
from yumen_core.training.models.rows import Examples, Rows
from yumen_core.training.records import Values


def counted(examples: Examples, rows: Rows, *, by_class: bool, threshold: int) -> Rows:
    """Those of `rows` (what one action uses, so after the holdout) that count, ascending.

    1. Rows go whose level of any category fewer than `threshold` of the rows have, and
    2. with `by_class`, rows whose class fewer than FEW of them have, or `threshold` where that is
       lower: many nodes' rows stand in the class (ADR 15);
    3. again until no row goes, since each row that goes makes other levels rarer;
    4. none count where fewer than `threshold` are left.

    Raises `ValueError` for a threshold below 1: a setting that is absent must not mean none.
    """
    if threshold < 1:
        raise ValueError(f"expected a threshold from 1, got {threshold}")
    if by_class and examples.target is None:
        raise ValueError("expected rows with a target, got none")
    while True:
        keep = np.ones(len(rows), dtype=np.bool_)
        for levels in examples.levels.T:
            keep &= _shared(levels[rows], threshold)
        if by_class and examples.target is not None:
            keep &= _shared(examples.target[rows], min(FEW, threshold))
        if keep.all():
            return rows if len(rows) >= threshold else rows[:0]
        rows = rows[keep]


def _shared(codes: Values, fewest: int) -> npt.NDArray[np.bool_]:
    """Where a row's code is that of `fewest` rows or more."""
    enough: npt.NDArray[np.bool_] = np.bincount(codes)[codes] >= fewest
    return enough
