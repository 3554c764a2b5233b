"""Where a result draws itself. Matplotlib is an extra, loaded when a plot is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yumen_core.errors import CallError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def axes(ax: Axes | None) -> Axes:
    """`ax`, or new axes. Raises `CallError` (`argument`) where matplotlib is not installed."""
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot
    except ImportError:
        raise CallError(
            "argument",
            "expected matplotlib for a plot, got an installation without it",
            remedy="pip install 'yumen[plot]'",
        ) from None
    return pyplot.subplots(layout="constrained")[1]
