"""Designs that are nearly collinear, and designs that are: seen from their pooled Gram matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from yumen_core.errors import CallError
from yumen_core.statistics.layout import Reals

WELL_CONDITIONED = 1e-8
"""The least eigenvalue of a Gram matrix of unit diagonal at which a solution keeps 8 digits."""

INDEPENDENT = 1e-11
"""A column's distance from the span of the others, as a share of its length, below which it counts
as their linear combination."""

_NOISE = 1e-13  # above the steps of nodes' sums (`rounding.coarse`) of columns of a length
_SHARE = 1e-6


def least_eigenvalue(gram: Reals) -> float:
    """Of `gram`, float64[p, p], scaled to a unit diagonal."""
    return float(np.linalg.eigvalsh(_correlation(gram)[0])[0])


def orthogonaliser(gram: Reals) -> Reals:
    """T, float64[p, p], for which the columns of Z T are nearly orthonormal, where Z'Z is `gram`.

    The inverse Cholesky factor; of a matrix that rounding could make indefinite, that of the matrix
    shifted (Fukaya, Kannan, Nakatsukasa, Yamamoto and Yanagisawa, "Shifted Cholesky QR", 2020).
    """
    correlation, lengths = _correlation(gram)
    p = len(gram)
    least = float(np.linalg.eigvalsh(correlation)[0])
    if least < 10 * p * _NOISE:
        # A column that is rounding alone is no longer than the steps of its products.
        correlation = correlation + max(p * _NOISE, -2.0 * least) * np.eye(p)
    factor = np.linalg.cholesky(correlation)
    found: Reals = np.linalg.solve(factor, np.diag(1.0 / lengths)).T
    return found


def check_independent(transform: Reals, gram: Reals, names: Sequence[str]) -> None:
    """Refuse a design with a column in the span of the others.

    `gram` is that of the standardised columns and `transform` makes them orthonormal, so that the
    distance of column j from the others is 1 / |row j of the transform|. Raises `CallError`
    (`formula`) that names the column and those it depends on.
    """
    lengths = np.sqrt(np.diag(gram))
    distances = 1.0 / np.linalg.norm(transform, axis=1)
    if (distances > INDEPENDENT * lengths).all():
        return
    raise collinear(gram, names)


def collinear(gram: Reals, names: Sequence[str]) -> CallError:
    """The refusal that names the first column in the span of those before it."""
    correlation, _ = _correlation(gram)
    residuals, shares = [], []
    for at in range(1, len(names)):
        before, column = correlation[:at, :at], correlation[:at, at]
        share = np.linalg.lstsq(before, column, rcond=_NOISE)[0]
        residuals.append(1.0 - float(share @ (2 * column - before @ share)))
        shares.append(share)
    worst = (
        int(np.argmax(np.array(residuals) < 1e-9))
        if min(residuals) < 1e-9
        else int(np.argmin(residuals))
    )
    others = [
        f"`{name}`"
        for name, share in zip(names, shares[worst], strict=False)
        if abs(share) > _SHARE
    ]
    return CallError(
        "formula",
        f"expected independent columns, got `{names[worst + 1]}`, a linear combination of "
        f"{', '.join(others) or 'the others'}",
        remedy=f"leave out `{names[worst + 1]}`",
    )


def _correlation(gram: Reals) -> tuple[Reals, Reals]:
    """The matrix scaled to a unit diagonal, and the roots of its diagonal."""
    lengths = np.sqrt(np.diag(gram))
    lengths = np.where(lengths > 0, lengths, 1.0)
    return gram / np.outer(lengths, lengths), lengths
