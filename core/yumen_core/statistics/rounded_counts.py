"""A node's part of a statistic's round with its counts rounded (`disclosure.rounding`). Pure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from yumen_core.disclosure.rounding import NO_ROUNDING, rounded_all
from yumen_core.statistics.kinds import Local, RoundKind
from yumen_core.statistics.layout import Layout, Value, count

_ROUNDED = frozenset({"bins", "counts_by", "moments", "moments_by", "pair_moments"})
"""Rounds that are counts, and sums over the rows that are counted. Of others, such as those of
models and quantiles, each step follows from exact counts."""
_WITHOUT_COUNTS = frozenset({"keys"})


def can_round(kind: RoundKind) -> bool:
    """Whether a round tells no exact count on a table that rounds."""
    return kind.name in _ROUNDED | _WITHOUT_COUNTS


def rounded_counts(kind: RoundKind, layout: Layout, local: Local, step: int) -> Local:
    """`local` with every count a multiple of `step`, and every other value as of the rounded rows
    of its support: those that a count among the values tells, or else the rows behind it."""
    if step == NO_ROUNDING or kind.name not in _ROUNDED:
        return local
    counted: dict[int, int] = {}
    for at, value in enumerate(layout.values):
        if _is_count(value):
            counted.setdefault(value.support, at)
    values = local.values.copy()
    for at, value in enumerate(layout.values):
        known = counted.get(value.support)
        rows = local.supports[:, value.support]
        if known is not None:
            rows = local.values[:, at if _is_count(value) else known].astype(np.int64)
        told = rounded_all(rows, step)
        if _is_count(value):
            values[:, at] = told
        else:
            values[:, at] = values[:, at] * told / np.maximum(rows, 1)
    return replace(local, values=values)


def _is_count(value: Value) -> bool:
    return value == count(value.support)
