"""The partial likelihood of Cox's model over one node's rows, and what both sides sum ties by.

Source: D. R. Cox, "Regression models and life-tables", JRSS B 34 (1972); B. Efron, "The efficiency
of Cox's likelihood function for censored data", JASA 72 (1977), for tied times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from yumen_core.statistics.layout import Counts, Reals

TIES = ("efron", "breslow")
_LEAST = -300.0
Whole = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TieSums:
    """For each event time, sums over its events l = 0..d-1 of powers of 1 / phi and f, where f is
    l / d (0 with Breslow's rule) and phi the risk left, S0 - f * E0; each float64[times].

    `log` sums log(phi), `inverse` 1 / phi, `tied` f / phi, `square` 1 / phi**2, `cross` f / phi**2
    and `tied_square` f**2 / phi**2.
    """

    log: Reals
    inverse: Reals
    tied: Reals
    square: Reals
    cross: Reals
    tied_square: Reals


def tie_sums(deaths: Counts, risk: Reals, tied: Reals, ties: str) -> TieSums:
    """`deaths` events at each time (one or more), S0 = `risk` over the rows at risk and E0 = `tied`
    over the events themselves. Where a risk is not positive the sums are not finite."""
    starts = np.cumsum(deaths) - deaths
    which = np.repeat(np.arange(len(deaths)), deaths)
    share = (np.arange(len(which)) - starts[which]) / deaths[which]
    if ties == "breslow":
        share = np.zeros_like(share)
    with np.errstate(all="ignore"):
        left = risk[which] - share * tied[which]
        inverse = 1.0 / left
        parts = (
            np.log(left),
            inverse,
            share * inverse,
            inverse**2,
            share * inverse**2,
            (share * inverse) ** 2,
        )
        return TieSums(*(np.add.reduceat(part, starts) for part in parts))


def squared_terms(sums: TieSums, first: Reals, first_tied: Reals) -> Reals:
    """What is subtracted from the second moments in the information, float64[p, p]: the sum of
    (S1 - f E1)(S1 - f E1)' / phi**2, of S1 = `first` and E1 = `first_tied`, float64[times, p]."""
    mixed = first.T @ (sums.cross[:, None] * first_tied)
    found: Reals = (
        first.T @ (sums.square[:, None] * first)
        - mixed
        - mixed.T
        + first_tied.T @ (sums.tied_square[:, None] * first_tied)
    )
    return found


@dataclass(frozen=True)
class Stratum:
    """One stratum's rows by falling duration: the design `x`, float64[n, p], which of the rows are
    `events`, their numbers int64[events], `deaths` at each distinct event time, int64[times], and
    `at_risk`, how many of the rows are at risk then, int64[times]."""

    x: Reals
    events: Whole
    deaths: Counts
    at_risk: Counts


@dataclass(frozen=True)
class Terms:
    """Sums over events: the log partial likelihood, its gradient float64[p], the information (less
    its second derivatives) float64[p, p], and the events expected of each row, float64[n]."""

    log_likelihood: float
    gradient: Reals
    information: Reals
    expected: Reals


def strata_of(x: Reals, durations: Reals, events: Mask, codes: Whole) -> list[Stratum]:
    """The strata that have an event, each sorted once. O(n log n)."""
    order = np.lexsort((-durations, codes))
    bounds = np.flatnonzero(np.diff(codes[order])) + 1
    parts = np.split(order, bounds)
    return [_stratum(x, durations, events, part) for part in parts if events[part].any()]


def partial_likelihood(strata: list[Stratum], beta: Reals, ties: str) -> Terms:
    """The terms over all strata at the coefficients `beta`, float64[p]: O(n p**2) time, O(n p)
    memory. A row's risk counts as exp(_LEAST) of the highest at least, so terms are finite."""
    p = len(beta)
    value, gradient, information = 0.0, np.zeros(p), np.zeros((p, p))
    expected = [np.empty(0)]
    for stratum in strata:
        terms = _terms(stratum, beta, ties)
        value += terms.log_likelihood
        gradient += terms.gradient
        information += terms.information
        expected.append(terms.expected)
    return Terms(value, gradient, information, np.concatenate(expected))


def effective_rows(weights: Reals) -> float:
    """How many rows of equal weight would spread as much (Kish, "Survey Sampling", 1965): between
    1, where one row has all the weight, and the number of rows."""
    with np.errstate(all="ignore"):
        return float(weights.sum() ** 2 / (weights**2).sum())


def concordant_pairs(
    durations: Reals, events: Mask, codes: Whole, risk: Reals
) -> tuple[int, int, int]:
    """Pairs within a stratum in which the row with the earlier event has the higher risk, pairs of
    equal risk, and all pairs that can be compared (Harrell et al., Statistics in Medicine 15, 1996;
    an event comes before a censoring at the same time, two events at one time are not compared).

    O(n log(n)**2) and vectorised: pairs are found at the highest bit in which their times differ.
    """
    ranks = _ranks(risk)
    moments = 2 * np.unique(durations, return_inverse=True)[1].astype(np.int64) + ~events
    width = int(ranks.max(initial=0)) + 1
    high = int(moments.max(initial=0)) + 1
    concordant = tied = comparable = 0
    for bit in range(high.bit_length()):
        block = (codes * (high >> (bit + 1)) + codes + (moments >> (bit + 1))) * width
        late = (moments >> bit & 1).astype(np.bool_)
        first = events & ~late
        after = np.sort((block + ranks)[late])
        start = np.searchsorted(after, block[first])
        below = np.searchsorted(after, (block + ranks)[first])
        equal = np.searchsorted(after, (block + ranks)[first], side="right")
        end = np.searchsorted(after, block[first] + width)
        concordant += int((below - start).sum())
        tied += int((equal - below).sum())
        comparable += int((end - start).sum())
    return concordant, tied, comparable


def _ranks(risk: Reals) -> Whole:
    """Dense ranks, int64[n]; risks that differ by rounding alone share one."""
    spread = float(np.abs(risk).max(initial=0.0)) or 1.0
    return np.unique(np.round(risk / spread, 12), return_inverse=True)[1].astype(np.int64)


def _stratum(x: Reals, durations: Reals, events: Mask, rows: Whole) -> Stratum:
    falling = -durations[rows]
    happened = np.flatnonzero(events[rows])
    times, deaths = np.unique(falling[happened], return_counts=True)
    at_risk = np.searchsorted(falling, times, side="right")
    return Stratum(
        np.asfortranarray(x[rows]), happened, deaths.astype(np.int64), at_risk.astype(np.int64)
    )


def _terms(stratum: Stratum, beta: Reals, ties: str) -> Terms:
    x, happened, last = stratum.x, stratum.events, stratum.at_risk - 1
    starts = np.cumsum(stratum.deaths) - stratum.deaths
    with np.errstate(all="ignore"):
        eta = x @ beta
        eta = np.maximum(eta - eta.max(), _LEAST)  # no risk set is without a risk
        weights = np.exp(eta)
        risk = np.cumsum(weights)[last]
        tied = np.add.reduceat(weights[happened], starts)
        sums = tie_sums(stratum.deaths, risk, tied, ties)
        first = np.empty((len(last), x.shape[1]))
        first_tied = np.empty_like(first)
        for at, column in _columns(x):
            weighted = weights * column
            first[:, at] = np.cumsum(weighted)[last]
            first_tied[:, at] = np.add.reduceat(weighted[happened], starts)
        added = np.zeros(len(weights))
        added[last] = sums.inverse
        expected = weights * np.cumsum(added[::-1])[::-1]
        expected[happened] -= weights[happened] * np.repeat(sums.tied, stratum.deaths)
        gradient = x[happened].sum(axis=0) - (sums.inverse @ first - sums.tied @ first_tied)
        second = x.T @ (expected[:, None] * x)
        information = second - squared_terms(sums, first, first_tied)
        value = float(eta[happened].sum() - sums.log.sum())
    return Terms(value, gradient, information, expected)


def _columns(x: Reals) -> Iterator[tuple[int, Reals]]:
    for at in range(x.shape[1]):
        yield at, x[:, at]
