"""Families of generalised linear models, row by row: deviance, score and information.

McCullagh and Nelder, "Generalized Linear Models" (2nd ed. 1989), chapter 2; the linear predictor is
`eta`, the mean `mu`. Predictors are bounded (`_MOST`), so that a step that goes too far gives a
large deviance, which the requester halves, and not an overflow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from yumen_core.errors import CallError
from yumen_core.statistics.layout import Reals
from yumen_core.statistics.rows import LARGEST, Mask

_SMALLEST = 1e-200  # above 0: what is divided by a mean stays so
_MOST = 40.0  # exp(40) = 2.4e17: sums of 1e9 such rows stay within a round's range


class Terms(NamedTuple):
    """Of each row, without weights: the deviance, its score (d log-likelihood / d eta), Fisher's
    information, and the observed information (the same but for a link that is not canonical)."""

    deviance: Reals
    score: Reals
    information: Reals
    observed: Reals


@dataclass(frozen=True)
class Family:
    """`terms(y, eta)` as in `Terms`, with the scale of the response set to 1. `fits(y)` marks the
    rows whose response the family has, `wanted` says which these are, and `least` and `most` are
    what a response's declared bounds must be within. `saturated` gives each row's log-likelihood at
    mu = y, so far as it does not depend on the dispersion. `discrete` families have dispersion 1;
    with a `canonical` link the observed information is the expected one."""

    name: str
    link: str
    discrete: bool
    terms: Callable[[Reals, Reals], Terms]
    fits: Callable[[Reals], Mask]
    wanted: str
    least: float
    most: float | None
    saturated: Callable[[Reals, Reals], Reals]
    canonical: bool = True


def family_of(name: str, link: str) -> Family:
    """Raises `CallError` (`statistic`) for a pair that is not known."""
    found = FAMILIES.get((name, link))
    if found is None:
        known = "; ".join(f"{family} with {by}" for family, by in FAMILIES)
        raise CallError(
            "statistic", f"expected a family with a link among {known}, got {name} with {link}"
        )
    return found


def pearson(terms: Terms) -> Reals:
    """Of each row, Pearson's (y - mu)^2 / V(mu), within bounds: score^2 / information, which holds
    for every family and link."""
    with np.errstate(all="ignore"):
        found = np.square(terms.score) / terms.information
    return np.nan_to_num(np.minimum(found, np.exp(_MOST)), nan=0.0)


def log_gamma(x: Reals) -> Reals:
    """log of the gamma function for x > 0, to 1e-14: Stirling's series from 10 up (Abramowitz and
    Stegun 6.1.41), the recurrence below."""
    x = np.array(x, dtype=np.float64)
    shift = np.zeros_like(x)
    for _ in range(10):
        small = x < 10.0
        if not small.any():
            break
        shift[small] -= np.log(x[small])
        x[small] += 1.0
    inverse = 1.0 / x
    square = inverse * inverse
    series = inverse * (
        1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188)))
    )
    found: Reals = (x - 0.5) * np.log(x) - x + 0.5 * np.log(2 * np.pi) + series + shift
    return found


def _gaussian(y: Reals, eta: Reals) -> Terms:
    score = y - eta
    ones = np.ones_like(eta)
    return Terms(score * score, score, ones, ones)


def _logit(y: Reals, eta: Reals) -> Terms:
    tail = np.exp(-np.abs(eta))
    rest = 1.0 / (1.0 + tail)
    mu = np.where(eta >= 0, rest, tail * rest)
    information = tail * rest * rest
    deviance = 2.0 * (np.log1p(tail) + np.maximum(eta, 0.0) - y * eta)
    return Terms(deviance, y - mu, information, information)


def _poisson(y: Reals, eta: Reals) -> Terms:
    eta = np.clip(eta, -_MOST, _MOST)
    mu = np.exp(eta)
    deviance = 2.0 * (_y_log_y(y) - y * eta - (y - mu))
    return Terms(deviance, y - mu, mu, mu)


def _gamma_log(y: Reals, eta: Reals) -> Terms:
    eta = np.clip(eta, -_MOST, _MOST)
    ratio = y * np.exp(-eta)
    score = ratio - 1.0
    with np.errstate(divide="ignore"):  # y / mu can underflow far from the solution
        deviance = 2.0 * (score - (np.log(y) - eta))
    return Terms(deviance, score, np.ones_like(eta), ratio)


def _gamma_inverse(y: Reals, eta: Reals) -> Terms:
    # The response is scaled by its mean, so means beyond e^40 times that are of no use.
    eta = np.clip(eta, np.exp(-_MOST / 2), np.exp(_MOST / 2))
    mu = 1.0 / eta
    ratio = y * eta
    information = mu * mu
    return Terms(2.0 * (ratio - 1.0 - np.log(ratio)), mu - y, information, information)


def _y_log_y(y: Reals) -> Reals:
    logs = np.zeros_like(y)
    np.log(y, out=logs, where=y > 0)
    return y * logs


def _any_real(y: Reals) -> Mask:
    found: Mask = np.abs(y) <= LARGEST
    return found


def _zero_or_one(y: Reals) -> Mask:
    found: Mask = (y == 0) | (y == 1)
    return found


def _counts(y: Reals) -> Mask:
    return (y >= 0) & (y <= LARGEST)


def _positive(y: Reals) -> Mask:
    return (y >= _SMALLEST) & (y <= LARGEST)


def _none(y: Reals, weights: Reals) -> Reals:
    return np.zeros_like(y)


def _half_log_weight(y: Reals, weights: Reals) -> Reals:
    found: Reals = 0.5 * np.log(weights)
    return found


def _saturated_poisson(y: Reals, weights: Reals) -> Reals:
    return weights * (_y_log_y(y) - y - log_gamma(y + 1.0))


def _minus_log(y: Reals, weights: Reals) -> Reals:
    return -np.log(y)


_REAL = (_any_real, f"numbers within {LARGEST:g} of 0", -np.inf, None)
_BINARY = (_zero_or_one, "0 or 1", 0.0, 1.0)
_COUNT = (_counts, f"counts from 0 to {LARGEST:g}", 0.0, None)
_ABOVE = (_positive, f"numbers above 0, up to {LARGEST:g},", 0.0, None)

FAMILIES: Mapping[tuple[str, str], Family] = {
    (entry.name, entry.link): entry
    for entry in (
        Family("gaussian", "identity", False, _gaussian, *_REAL, _half_log_weight),
        Family("binomial", "logit", True, _logit, *_BINARY, _none),
        Family("poisson", "log", True, _poisson, *_COUNT, _saturated_poisson),
        Family("gamma", "log", False, _gamma_log, *_ABOVE, _minus_log, False),
        Family("gamma", "inverse", False, _gamma_inverse, *_ABOVE, _minus_log),
    )
}
