"""A node's part of a statistic's round with its counts rounded (`disclosure.rounding`). Pure."""

from __future__ import annotations

import numpy as np

from yumen_core.disclosure.rounding import NO_ROUNDING, rounded_all
from yumen_core.statistics.kinds import Local, RoundKind

_ROUNDED = frozenset({"bins", "counts_by"})
"""Rounds that are counts alone. Sums of moments go out to many digits and would tell the count that
they were scaled by; of models and quantiles each step follows from exact counts."""
_WITHOUT_COUNTS = frozenset({"keys"})


def can_round(kind: RoundKind) -> bool:
    """Whether a round tells no exact count on a table that rounds."""
    return kind.name in _ROUNDED | _WITHOUT_COUNTS


def rounded_counts(kind: RoundKind, local: Local, step: int) -> Local:
    """`local` with every count a multiple of `step`. What rounds to no row counts as one row at
    most behind it."""
    if step == NO_ROUNDING or kind.name not in _ROUNDED:
        return local
    behind = np.where(
        rounded_all(local.supports, step) > 0, local.supports, np.minimum(local.supports, 1)
    )
    values = rounded_all(local.values.astype(np.int64), step).astype(np.float64)
    return Local(behind, values)
