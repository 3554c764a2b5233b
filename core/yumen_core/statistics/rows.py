"""The rows a round is computed over, at one node."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from yumen_core.errors import StateError
from yumen_core.sql.expression import Kind
from yumen_core.sql.rows import RowVariable
from yumen_core.sql.schema import DomainValue
from yumen_core.statistics.layout import Reals

Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
_T = TypeVar("_T")

LARGEST = 1e13
"""Numbers farther from 0 count as missing in sums: 1e9 squares of such stay within 2**119."""
SMALLEST_SCALE = 1e-20
MAX_FLOAT = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class Variable:
    """What is public of one variable: whether it has numbers (booleans count as 0 and 1), its
    levels in declared order where they are known beforehand, and the bounds of its numbers where
    the schema gives them. A `textual` one has texts that nobody knows beforehand.

    What must hold of all numbers, such as weights from 0, is checked against the bounds: a check of
    the rows themselves would tell, by its failure, of a single row.
    """

    name: str
    numeric: bool
    levels: tuple[DomainValue, ...] | None = None
    low: float | None = None
    high: float | None = None
    textual: bool = False

    @classmethod
    def of(cls, variable: RowVariable) -> Variable:
        """What is public of a variable of a rows plan."""
        bounds = variable.expr.bounds
        low, high = (None, None) if bounds is None else (float(bounds.low), float(bounds.high))
        if variable.expr.kind is Kind.BOOLEAN:
            low, high = 0.0, 1.0
        if variable.textual:
            return cls(variable.name, False, textual=True)
        return cls(variable.name, variable.numeric, variable.levels, low, high)


@dataclass(frozen=True)
class Rows:
    """One node's rows: by variable its numbers, float64[n] with NaN where missing, and its level
    codes, int32[n] with -1 where missing. A variable can have both. Keys that nobody declared are
    `texts`, None where missing, and nothing else."""

    count: int
    numbers: Mapping[str, Reals]
    codes: Mapping[str, Codes]
    texts: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    built: frozenset[str] = frozenset()
    """Variables that the requester's expression makes (`sql.row_groups.is_built`): one that has one
    value, or all but the same in few rows, is refused or held back as if it were those few."""
    _kept: dict[object, object] = field(default_factory=dict, repr=False, compare=False)

    def number(self, name: str) -> Reals:
        return self.numbers[name]

    def level(self, name: str) -> Codes:
        return self.codes[name]

    def complete(self, names: Sequence[str]) -> npt.NDArray[np.bool_]:
        """The rows in which none of the variables is missing, bool[n]. A variable that has numbers
        is missing where its number is NaN, another where its level is."""
        present = np.ones(self.count, dtype=np.bool_)
        for name in names:
            if name in self.numbers:
                present &= ~np.isnan(self.numbers[name])
            else:
                present &= self.codes[name] >= 0
        return present

    def digest(self) -> bytes:
        """SHA-256 over all of it, by variable: 32 bytes."""
        whole = hashlib.sha256(self.count.to_bytes(8, "big"))
        for kind in (self.numbers, self.codes):
            for name in sorted(kind):
                whole.update(hashlib.sha256(name.encode()).digest())
                whole.update(np.ascontiguousarray(kind[name]).view(np.uint8).data)
        return whole.digest()

    def kept(self, key: object, make: Callable[[], _T]) -> _T:
        """`make()` for `key`, made once for these rows: rounds of a job share a design matrix."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]  # type: ignore[return-value]


def check_groups(names: Sequence[str], counts: Sequence[int | None], threshold: int) -> None:
    """Raise `StateError` (`too_few_rows`) where a subgroup that the statement builds inside one of
    the variables `names` has fewer than `threshold` rows (ADR 5). None is one that is excused. No
    rows count as few: the refusal would tell apart none and one, for any row (ADR 15)."""
    for name, count in zip(names, counts, strict=True):
        if count is not None and count < threshold:
            raise StateError(
                "too_few_rows",
                f"expected the table's threshold of rows in each branch and term of `{name}`, and "
                "in none of its branches, got fewer",
                remedy="use a condition or a column by itself, merge branches, or end with ELSE",
            )


def usable(name: str, present: Mask, fit: Mask, threshold: int, *, wanted: str = "") -> Mask:
    """The rows of `present` that are also `fit`, bool[n]; the others count as missing.

    A failure over a few rows would tell of them, as often as it is asked with another expression
    (ADR 15). So there is one only where `threshold` rows or more are unfit: `StateError`
    (`data_values`), which names `name` and what was `wanted`.
    """
    if np.count_nonzero(present & ~fit) >= threshold:
        raise StateError(
            "data_values",
            f"expected {wanted or f'numbers within {LARGEST:g} of 0'} in `{name}`, got others in "
            "the table's threshold of rows or more",
            remedy="leave such rows out with where=, or use another expression",
        )
    return present & fit


def usable_numbers(rows: Rows, name: str, threshold: int, *, most: float = LARGEST) -> Reals:
    """The variable's numbers, float64[n], with NaN in place of those beyond `most`: at once for all
    rounds of a job. Raises as `usable`."""

    def made() -> Reals:
        numbers = rows.number(name)
        with np.errstate(invalid="ignore"):
            fit = np.abs(numbers) <= most
        present = ~np.isnan(numbers)
        if np.array_equal(fit, present):
            return numbers
        wanted = "" if most == LARGEST else "finite numbers"
        kept: Reals = np.where(
            usable(name, present, fit, threshold, wanted=wanted), numbers, np.nan
        )
        return kept

    return rows.kept(("usable", name, threshold, most), made)


def check_units(centres: Reals, scales: Reals | None = None) -> None:
    """Refuse centres and scales with which a sum over usable rows could be beyond its range. That
    follows from these alone: a sum too large would tell of the rows. Raises `StateError`
    (`data_values`)."""
    if not (np.abs(centres) <= LARGEST).all():
        raise StateError(
            "data_values",
            f"expected centres within {LARGEST:g} of 0, got another",
            remedy="rescale the column",
        )
    if scales is not None and not ((scales >= SMALLEST_SCALE) & (scales <= LARGEST)).all():
        raise StateError(
            "data_values",
            f"expected scales from {SMALLEST_SCALE:g} to {LARGEST:g}, got another",
            remedy="rescale the column",
        )
