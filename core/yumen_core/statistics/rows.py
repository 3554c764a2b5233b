"""The rows a round is computed over, at one node."""

from __future__ import annotations

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
_T = TypeVar("_T")


@dataclass(frozen=True)
class Variable:
    """What is public of one variable: whether it has numbers (booleans count as 0 and 1), its
    levels in declared order where they are known beforehand, and the bounds of its numbers where
    the schema gives them.

    What must hold of all numbers, such as weights from 0, is checked against the bounds: a check of
    the rows themselves would tell, by its failure, of a single row.
    """

    name: str
    numeric: bool
    levels: tuple[DomainValue, ...] | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, variable: RowVariable) -> Variable:
        """What is public of a variable of a rows plan."""
        bounds = variable.expr.bounds
        low, high = (None, None) if bounds is None else (float(bounds.low), float(bounds.high))
        if variable.expr.kind is Kind.BOOLEAN:
            low, high = 0.0, 1.0
        return cls(variable.name, variable.numeric, variable.levels, low, high)


@dataclass(frozen=True)
class Rows:
    """One node's rows: by variable its numbers, float64[n] with NaN where missing, and its level
    codes, int32[n] with -1 where missing. A variable can have both."""

    count: int
    numbers: Mapping[str, Reals]
    codes: Mapping[str, Codes]
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

    def kept(self, key: object, make: Callable[[], _T]) -> _T:
        """`make()` for `key`, made once for these rows: rounds of a job share a design matrix."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]  # type: ignore[return-value]


def check_finite(name: str, values: Reals) -> None:
    """Raise `StateError` (`data_values`) where a value present is infinite. NaN means missing."""
    if np.isinf(values).any():
        raise StateError(
            "data_values",
            f"expected finite values of `{name}`, got one that is infinite",
            remedy=f"leave such rows out with where=, or transform `{name}` otherwise",
        )
