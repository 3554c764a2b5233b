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

SUMMED = 1.5 * UNIT
"""Of a sum of products over rows, as a share of their sizes: one rounding at the end, and those of
the smaller slices' products in a block, whose m rows leave no more than 2 m sqrt(m) 2**-_BITS."""

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
_MOST_CHUNKS = 16  # of _TERMS rows in a block
_APART = 24  # floats between lines, for lengths that are powers of 2
_BLOCK_VALUES = 1 << 17  # of a block of lines: 1 MiB
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

    @property
    def exact(self) -> tuple[Reals, Reals]:
        """The sum as two floats."""
        return self._sum, self._lost


def rows_at_once(size: int) -> int:
    """The rows of a block of `size` lines: whole chunks of _TERMS, which a core's cache holds in a
    few copies."""
    return min(max(_BLOCK_VALUES // (size * _TERMS), 1), _MOST_CHUNKS) * _TERMS


def room_of(size: int, rows: int) -> Reals:
    """float64[size, rows] whose lines do not all begin at the same place of a core's cache."""
    return np.empty((size, rows + _APART))[:, :rows]


class Slices:
    """Lines of a block of rows, float64[p, m], each split into the _BITS below its greatest size
    and the rest, `low`, which is 2**-_BITS as large: their sum is exact.

    `high` is 0 beyond the rows, to whole chunks of _TERMS. A block takes the room of the one
    before, for fresh memory costs more than the sums.
    """

    def __init__(self, size: int, rows: int) -> None:
        width = -(-rows // _TERMS) * _TERMS
        self._high, self._low = room_of(size, width), room_of(size, width)
        self.lines: Reals = self._high[:, :0]
        self.high: Reals = self.lines
        self.low: Reals = self.lines
        self._exponents = np.zeros(size, dtype=np.int_)

    def take(self, lines: Reals) -> Slices:
        """This, of `lines` of no more rows than there is room for."""
        self.lines, m = lines, lines.shape[1]
        self.high = self._high[:, : -(-m // _TERMS) * _TERMS]
        self.low = self._low[:, :m]
        high, sizes = self.high[:, :m], np.zeros(len(lines))
        if m:
            sizes = np.maximum(lines.max(axis=1), -lines.min(axis=1))
        _, self._exponents = np.frexp(sizes)
        # Added to 1.5 * 2**52 grains a number is rounded to whole grains.
        above = np.ldexp(1.5, self._exponents + (52 - _BITS))[:, np.newaxis]
        np.add(lines, above, out=high)
        np.subtract(high, above, out=high)
        np.subtract(lines, high, out=self.low)
        self.high[:, m:] = 0.0
        return self

    def chunks(self) -> Reals:
        """`high` by chunks, float64[chunks, p, _TERMS]."""
        found: Reals = self.high.reshape(len(self.high), -1, _TERMS).transpose(1, 0, 2)
        return found

    def combined(self, coefficients: Reals, into: tuple[Reals, Reals] | None = None) -> Reals:
        """coefficients.T @ lines, as `combined` says; in the first of two rooms, if given, each
        float64[q, rows] for at least as many rows."""
        p, m = self.lines.shape
        q = coefficients.shape[1]
        found, more = (each[:, :m] for each in into or (np.empty((q, m)), np.empty((q, m))))
        powers = np.ldexp(1.0, self._exponents)
        sliced = Slices(q, p).take(coefficients.T * powers)
        high, low = sliced.high[:, :p] / powers, sliced.low / powers
        np.matmul(high, self.low, out=found)
        found += np.matmul(low, self.lines, out=more)
        found += np.matmul(high, self.high[:, :m], out=more)
        return found


class Products:
    """Sums over rows of the products of lines, block by block: float64[p, q].

    Products of high slices are exact, also summed over a chunk, and what is large cancels in them
    without loss; the others are 2**-_BITS as large.
    """

    def __init__(self, p: int, q: int) -> None:
        self._shape = (p, q)
        self._high: dict[int, Total] = {}
        self._low = Total(p, q)
        self._copy = np.empty((p, 0))

    def add(self, left: Slices, right: Slices) -> None:
        """left @ right.T, of as many rows."""
        m = left.lines.shape[1]
        self._add_high(left.chunks() @ right.chunks().transpose(0, 2, 1))
        self._low.add(left.high[:, :m] @ right.low.T + left.low @ right.lines.T)

    def add_square(self, lines: Slices) -> None:
        """lines @ lines.T, which ends the use of its slices: with `u` = high + lines, what the high
        ones leave is half of u @ low.T and of its transpose."""
        p, width = lines.high.shape
        if self._copy.shape[1] < width:
            self._copy = room_of(p, width)
        other = self._copy[:, :width]  # numpy takes a slower way to a matrix times itself
        np.copyto(other, lines.high)
        other = other.reshape(p, -1, _TERMS).transpose(1, 2, 0)
        self._add_high(lines.chunks() @ other)
        u = lines.high[:, : lines.lines.shape[1]]
        u += lines.lines
        half = u @ lines.low.T
        self._low.add(0.5 * (half + half.T))

    def _add_high(self, products: Reals) -> None:
        """Of each chunk, float64[chunks, p, q]: added up by their place, which loses nothing."""
        count = len(products)
        if count not in self._high:
            self._high[count] = Total(count, *self._shape)
        self._high[count].add(products)

    @property
    def value(self) -> Reals:
        found = Total(*self._shape)
        chunks = [part for total in self._high.values() for part in total.exact]
        for products in (*(each for part in chunks for each in part), *self._low.exact):
            found.add(products)
        return found.value


def product(left: Reals, right: Reals, products: Products | None = None) -> Reals:
    """left @ right.T, float64[p, q], of float64[p, m] and float64[q, m], added to `products`."""
    found = Products(len(left), len(right)) if products is None else products
    step = rows_at_once(len(left))
    lines, others = Slices(len(left), step), Slices(len(right), step)
    for start in range(0, left.shape[1], step):
        some = slice(start, start + step)
        if right is left:
            found.add_square(lines.take(left[:, some]))
        else:
            found.add(lines.take(left[:, some]), others.take(right[:, some]))
    return found.value


def combined(coefficients: Reals, columns: Reals) -> Reals:
    """coefficients.T @ columns, float64[q, m], for float64[p, q] and float64[p, m], p up to _TERMS:
    of each value, off by a rounding of its own and by what `unsliced` bounds.

    The columns are brought to one size by powers of 2 first, so that slices of all are alike.
    """
    return Slices(*columns.shape).take(columns).combined(coefficients)


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
    """Weighted sums over rows, block by block: of the products of columns, of 1, and of columns,
    where they are to be `centred`."""

    def __init__(self, size: int, *, centred: bool) -> None:
        self._products, self._sums = Products(size, size), Products(size, 1)
        rows = rows_at_once(size)
        self._room, self._weights = room_of(size, rows), Slices(1, rows)
        self._root, self._centred = Slices(size, rows), centred
        self.weight = 0.0

    def add(self, columns: Slices, weights: Reals) -> None:
        """`columns` are float64[p, m], `weights` float64[m] from 0."""
        root = np.multiply(columns.lines, np.sqrt(weights), out=self._room[:, : len(weights)])
        self._products.add_square(self._root.take(root))
        if self._centred:
            self._sums.add(columns, self._weights.take(weights[np.newaxis]))
        self.weight += float(weights.sum())

    @property
    def products(self) -> Reals:
        return self._products.value

    @property
    def mean(self) -> Reals:
        """Of each column, float64[p]."""
        return self._sums.value[:, 0] / self.weight

    def around(self) -> Reals:
        """The products, around the weighted means if they are to be: float64[p, p]."""
        found = self.products
        return found - self.weight * np.outer(self.mean, self.mean) if self._centred else found


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
    float64[p], of columns Z of which rounding may move any row by `moved`, float64[p], and, unless
    their plain `length` is known, by UNIT of its own value; over `rows` rows, with `bend`, `weight`
    and `response` as there."""

    def __init__(
        self,
        beta: Reals,
        moved: Reals,
        rows: int,
        *,
        length: Reals | None,
        bend: float,
        weight: float,
        response: float,
    ) -> None:
        self._beta, self._moved, self._unit = np.abs(beta), moved, UNIT if length is None else 0.0
        self._rows, self._bend, self._weight, self._response = rows, bend, weight, response
        self._length, self._columns = length, np.zeros(len(beta))
        self._predictor = np.zeros(2)
        self._bent, self._information, self._score = 0.0, 0.0, 0.0

    def add(self, columns: Reals, eta: Reals, terms: Terms) -> None:
        """`columns` are rows of Z, float64[p, m], `eta`, float64[m], their predictors."""
        bent = terms.information
        if terms.observed is not bent:
            bent = np.maximum(bent, terms.observed)
        if self._length is None:
            self._columns += np.einsum("pm,pm->p", columns, columns)
        squares = np.square(eta)
        self._predictor += float(squares @ bent), float(squares.sum())
        self._bent += float(bent.sum())
        self._information += float(terms.information.sum())
        self._score += float(terms.score @ terms.score)

    def sizes(self, *grams: Gram) -> Sizes:
        """What bounds the sums over the rows added so far, whose `grams` are under the information
        and under the observed one. No row is beyond a column's length."""
        squares = np.sum([np.diag(gram.products) for gram in grams], axis=0)
        length = np.sqrt(np.maximum(squares, 0.0))
        plain_length = np.sqrt(self._columns) if self._length is None else self._length
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
