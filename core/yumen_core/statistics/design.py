"""The design matrix of a model: from signed columns to numbers, at one node.

A column is a product of factors over one row: a variable's number, a function of it, or whether a
variable is at a level. A column without factors is the intercept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from yumen_core.canonical import Json

FUNCTIONS = ("identity", "log", "log2", "log10", "log1p", "exp", "sqrt")


@dataclass(frozen=True)
class Factor:
    """`function` of the variable's number; or, where `level` is given, 1 at that level (a position
    among the variable's levels) and 0 elsewhere."""

    variable: str
    function: str = "identity"
    level: int | None = None

    def to_json(self) -> Json:
        return [self.variable, self.function, self.level]


@dataclass(frozen=True)
class DesignColumn:
    """`name` is what tables and messages call it, as statsmodels would."""

    name: str
    factors: tuple[Factor, ...]

    def to_json(self) -> Json:
        return [self.name, [factor.to_json() for factor in self.factors]]


@dataclass(frozen=True)
class Design:
    columns: Sequence[DesignColumn]

    def to_json(self) -> Json:
        return [column.to_json() for column in self.columns]
