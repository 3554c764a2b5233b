"""What keeps the rounding of double precision from picking rows of a model.

A number added to 2**53 is rounded by whether it is above an edge. With a transform or coefficients
that add rows to something large, and take that off again, a sum would be that of the extreme rows
alone, the others lost in rounding; and so would a long sum, that swallows what is small. Therefore

1. products that a requester's numbers are in are computed in slices without rounding and added
   (`product`; Ozaki, Ogita, Oishi and Rump, "Error-free transformations of matrix multiplication",
   2012), and sums over rows lose nothing on the way (`Total`);
2. a node bounds what rounding can have done still to each sum (`Sizes`), and gives the sum in steps
   of the threshold times that bound (`coarse`).

A sum as given is then the exact one of all rows to about a step, whatever rounding did to which:
what could not be computed of a row is not told, and nothing more is lost. The bounds are of whole
sums, by Cauchy's and Minkowski's inequalities; they rest on sums over all rows, never on a greatest
value, so that a step tells of no row either. What rounds a row by a share of its own value (to
standardise it, say) is not counted: it loses no row beside another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yumen_core.statistics.families import Terms
from yumen_core.statistics.layout import Reals

UNIT = 2.0**-53
"""The relative error of one operation."""

SUMMED = UNIT
"""Of a sum of products over rows, as a share of their sizes: one rounding at the end."""

PAIRED = 64 * UNIT
"""The same of numpy's sum in pairs, of terms that took a few operations each: 16 for its innermost
sums, less than 30 for its halvings, the rest for the terms."""

MOST_TRANSFORM = 1e12
"""Of an entry of the transform, so that sums stay within a round's range whatever the rows. A fit
keeps it below 1e11: columns nearer to dependence count as dependent, by the SDK's INDEPENDENT."""

FAR = 1e3
"""A centre is within FAR of the node's own deviations from its own mean, a scale within a factor
FAR of the deviation: nodes in one unit are, and a row loses no more than FAR UNIT of a deviation
where it is standardised."""

MOST_ERROR = 1e-3
"""Of the linear predictor, as plain double precision would have it: UNIT times the sizes of what it
sums. Coefficients beyond are no fit, and bounds of first order would be none there. A fit is below
1e-6, and in the worst design that counts as independent below 1e-4."""

_BITS = 22
"""Of a slice: products of two have 44 bits, and sums of 2**9 of these the 53 of a float."""

_TERMS = 1 << 9
_LEAST = 1e-300
_ADDED = 1.0  # to the predictor, at its own size: the last rounding; an offset's is a row's own


class Total:
    """A running sum of arrays of one shape, float64, that loses nothing beyond its last rounding
    (Knuth's two-sum; Ogita, Rump and Oishi, "Accurate sum and dot product", 2005)."""

    def __init__(self, *shape: int) -> None:
        self._sum, self._lost = np.zeros(shape), np.zeros(shape)

    def add(self, terms: Reals) -> None:
        total = self._sum + terms
        back = total - self._sum
        self._lost += (self._sum - (total - back)) + (terms - back)
        self._sum = total

    @property
    def value(self) -> Reals:
        found: Reals = self._sum + self._lost
        return found


def product(left: Reals, right: Reals, total: Total | None = None) -> Reals:
    """left @ right.T, float64[p, q], of float64[p, m] and float64[q, m], added to any `total`.

    Each line is split into the _BITS below its greatest size and the rest. Products of the former
    are exact, and what is large cancels in them without loss; the others are 2**-_BITS as large.
    """
    found = Total(len(left), len(right)) if total is None else total
    for start in range(0, left.shape[1], _TERMS):
        some = slice(start, start + _TERMS)
        high, low = _slices(left[:, some])
        if right is left:
            mixed = high @ low.T
            found.add(high @ high.T)
            found.add(mixed + mixed.T + low @ low.T)
        else:
            other_high, other_low = _slices(right[:, some])
            found.add(high @ other_high.T)
            found.add(high @ other_low.T + low @ right[:, some].T)
    return found.value


def combined(coefficients: Reals, columns: Reals) -> Reals:
    """coefficients.T @ columns, float64[q, m], for float64[p, q] and float64[p, m], p below _TERMS:
    of each value, off by a rounding of its own and by what `unsliced` bounds.

    The columns are brought to one size by powers of 2 first, so that slices of all are alike.
    """
    _, exponents = np.frexp(np.abs(columns).max(axis=1, initial=0.0))
    powers = np.ldexp(1.0, exponents)[:, np.newaxis]
    left, right = (coefficients * powers).T, (columns / powers).T
    high, low = _slices(left)
    other_high, other_low = _slices(right)
    found: Reals = high @ other_high.T + (high @ other_low.T + low @ right.T)
    return found


def unsliced(coefficients: Reals, sizes: Reals) -> Reals:
    """What `combined` loses at most of any row, float64[q], beyond the rounding of its own value,
    for columns within `sizes`, float64[p].

    Of the smaller slices' products, p + 3 roundings of sums of 2 p products within 2**-_BITS of the
    greatest term, itself within 4 times its size by the powers of 2.
    """
    p = len(sizes)
    greatest = np.max(np.abs(coefficients) * sizes[:, np.newaxis], axis=0, initial=0.0)
    found: Reals = (p + 3) * UNIT * 2 * p * 2.0**-_BITS * 4 * greatest
    return found


class Gram:
    """Weighted sums over rows, block by block: of the products of columns, of columns, of 1."""

    def __init__(self, size: int) -> None:
        self._products, self._sums = Total(size, size), Total(size, 1)
        self.weight = 0.0

    def add(self, columns: Reals, weights: Reals) -> None:
        """`columns` are float64[p, m], `weights` float64[m] from 0."""
        root = columns * np.sqrt(weights)
        product(root, root, self._products)
        product(columns, weights[np.newaxis], self._sums)
        self.weight += float(weights.sum())

    @property
    def products(self) -> Reals:
        return self._products.value

    @property
    def mean(self) -> Reals:
        """Of each column, float64[p]."""
        return self._sums.value[:, 0] / self.weight

    def around(self, mean: bool) -> Reals:
        """The products, around the weighted means if `mean` says so: float64[p, p]."""
        found = self.products
        return found - self.weight * np.outer(self.mean, self.mean) if mean else found


@dataclass(frozen=True)
class Sizes:
    """What bounds the rounding of a model's sums at some coefficients: sums over all rows.

    `error` and `length`, float64[p], are of the columns Z: the roots of sums of squares, of what
    rounding did to each row, and of the rows; both weighted by the rows' information, and
    `plain_error` and `plain_length` not. `predictor_error` and `plain_predictor_error` are those
    of the linear predictor. `weight` is the sum of the rows' information or of their weights,
    whichever is less; `rows` their number. `score` is the root of the sum of the squared scores,
    `response` that of the response (or 1 where that is more) with its weights: a score is a
    difference of terms of that size. `bend` is what a unit of the predictor changes a row's
    information by, as a share: nothing in least squares, at most 1 with links of log and logit,
    2 mu with `inverse`, where the predictor's errors here are weighted by mu.
    """

    bend: float
    error: Reals
    length: Reals
    plain_error: Reals
    plain_length: Reals
    predictor_error: float
    plain_predictor_error: float
    weight: float
    rows: int
    score: float
    response: float

    @property
    def of_predictor(self) -> float:
        """The predictor's error at a typical row."""
        return self.predictor_error / float(np.sqrt(max(self.weight, _LEAST)))

    @property
    def of_weights(self) -> float:
        """What it makes of the rows' information, as a share."""
        return self.bend * self.of_predictor

    def of_score(self) -> Reals:
        """Bounds for the score, float64[p]: the columns' errors beside the scores; the scores',
        which are information times the predictor's, beside the columns; and as differences."""
        return (
            self.score * self.plain_error
            + self.predictor_error * (self.length + self.error)
            + SUMMED * (self.score + self.response) * self.plain_length
        )

    def of_gram(self) -> Reals:
        """Bounds for the information, float64[p, p]."""
        return crossed(self.error, self.length, SUMMED + self.of_weights)

    def of_sums(self, deviance: float, pearson: float, information: float) -> Reals:
        """Bounds for `glm.FIT_SUMS`. The deviance moves by twice the score times the predictor's
        error, Pearson's score^2 / information by that and with the information. Beside least
        squares a row's deviance is a difference of terms up to 30 times its response."""
        terms = 0.0 if self.bend == 0.0 else PAIRED * self.response * float(np.sqrt(self.rows))
        off = self.predictor_error
        moved = 2.0 * self.score * self.plain_predictor_error + off**2
        turned = 2.0 * float(np.sqrt(pearson)) * off + off**2 + 2.0 * self.of_weights * pearson
        return np.array(
            [
                PAIRED * deviance + moved + terms,
                PAIRED * pearson + turned + terms,
                (PAIRED + self.of_weights) * information,
            ]
        )


class Sizing:
    """Adds up, block by block, what `Sizes` holds of a model with the coefficients `beta`,
    float64[p], of columns Z of which rounding may move any row by `moved`, float64[p], and by UNIT
    of its own value if `rounded`; over `rows` rows, with `bend`, `weight` and `response` as
    there."""

    def __init__(
        self,
        beta: Reals,
        moved: Reals,
        rows: int,
        *,
        rounded: bool,
        bend: float,
        weight: float,
        response: float,
    ) -> None:
        self._beta, self._moved, self._unit = np.abs(beta), moved, UNIT if rounded else 0.0
        self._rows, self._bend, self._weight, self._response = rows, bend, weight, response
        self._columns, self._predictor = np.zeros((len(beta), 2)), np.zeros(2)
        self._bent, self._information, self._score = 0.0, 0.0, 0.0

    def add(self, columns: Reals, eta: Reals, terms: Terms) -> None:
        """`columns` are rows of Z, float64[p, m], `eta`, float64[m], their predictors."""
        bent = np.maximum(terms.information, terms.observed)
        each = np.column_stack([bent, np.ones_like(bent)])
        self._columns += np.square(columns) @ each
        self._predictor += np.square(eta) @ each
        self._bent += float(bent.sum())
        self._information += float(terms.information.sum())
        self._score += float(terms.score @ terms.score)

    def sizes(self) -> Sizes:
        """What bounds the sums over the rows added so far. No row is beyond a column's length."""
        length, plain_length = np.sqrt(self._columns.T)
        off = float(unsliced(self._beta[:, np.newaxis], plain_length)[0] + self._beta @ self._moved)
        predictors = np.sqrt(self._predictor).tolist()
        errors, predictor_errors = [], []
        for roots, weight, predictor in zip(
            (length, plain_length), (self._bent, float(self._rows)), predictors, strict=True
        ):
            errors.append(np.sqrt(weight) * self._moved + self._unit * roots)
            predictor_errors.append(
                float(np.sqrt(weight) * off + self._unit * (self._beta @ roots))
                + _ADDED * UNIT * predictor
            )
        return Sizes(
            bend=self._bend,
            error=errors[0],
            length=length,
            plain_error=errors[1],
            plain_length=plain_length,
            predictor_error=predictor_errors[0],
            plain_predictor_error=predictor_errors[1],
            weight=min(self._information, self._weight),
            rows=self._rows,
            score=float(np.sqrt(self._score)),
            response=self._response,
        )


def crossed(error: Reals, length: Reals, share: float) -> Reals:
    """Bounds for the products of columns of these lengths and errors, of which `share` is lost
    besides: float64[p, p]."""
    mixed = np.outer(error, length)
    found: Reals = mixed + mixed.T + np.outer(error, error) + share * np.outer(length, length)
    return found


def coarse(values: Reals, bounds: Reals, threshold: int) -> Reals:
    """`values` in whole steps of the threshold times their `bounds`, to the nearest power of 2: a
    step tells of the sums behind it no more than their size."""
    steps = np.exp2(np.rint(np.log2(threshold * np.maximum(bounds, _LEAST))))
    found: Reals = np.rint(values / steps) * steps
    return found


def _slices(lines: Reals) -> tuple[Reals, Reals]:
    """The _BITS of each line below its greatest size, and the rest: their sum is exact."""
    _, exponents = np.frexp(np.abs(lines).max(axis=1, initial=0.0))
    # Added to 1.5 * 2**52 grains a number is rounded to whole grains.
    above = np.ldexp(1.5, exponents + (52 - _BITS))[:, np.newaxis]
    high = (lines + above) - above
    return high, lines - high
