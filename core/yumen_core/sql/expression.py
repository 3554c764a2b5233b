"""Typed expressions: the only form in which a requester's statement goes on.

A tree of `ColumnRef`, `Constant` and `Apply` is evaluated per row at a node; a tree of `KeyRef`,
`MeasureRef`, `Constant` and `Apply` per released row at the requester. Trees are built by
`operators`, which checks types; they hold no text of the statement but literals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from yumen_core.canonical import Json
from yumen_core.sql.interval import Interval
from yumen_core.sql.schema import Column


class Kind(StrEnum):
    """Types of values. `null` is the type of a bare NULL, which goes with any other."""

    INTEGER = "integer"
    DECIMAL = "decimal"
    FLOAT = "float"
    BOOLEAN = "boolean"
    TEXT = "text"
    DATE = "date"
    TIMESTAMP = "timestamp"
    NULL = "null"

    @property
    def exact(self) -> bool:
        return self in (Kind.INTEGER, Kind.DECIMAL)

    @property
    def numeric(self) -> bool:
        return self.exact or self is Kind.FLOAT

    @property
    def temporal(self) -> bool:
        return self in (Kind.DATE, Kind.TIMESTAMP)


class Op(StrEnum):
    """Operators of `Apply`. CASE has the arguments condition, value, ..., otherwise; the operators
    with a unit or part of the calendar have its name, a text, as the first."""

    ADD = "+"
    SUB = "-"
    MUL = "*"
    DIV = "/"
    NEG = "neg"
    ABS = "abs"
    EQ = "="
    NE = "<>"
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    AND = "and"
    OR = "or"
    NOT = "not"
    IS_NULL = "is null"
    IN = "in"
    LIKE = "like"
    CASE = "case"
    EXTRACT = "extract"
    DATE_TRUNC = "date_trunc"
    DATE_DIFF = "date_diff"
    DATE_ADD = "date_add"
    TO_DATE = "to date"
    TO_TIMESTAMP = "to timestamp"


COMPARISONS = (Op.EQ, Op.NE, Op.LT, Op.LE, Op.GT, Op.GE)
TEMPORAL = (Op.EXTRACT, Op.DATE_TRUNC, Op.DATE_DIFF, Op.DATE_ADD, Op.TO_DATE, Op.TO_TIMESTAMP)


@dataclass(frozen=True)
class Expr:
    """What every expression states: its type, its bounds (None: unbounded), whether NULL occurs.

    `scale` counts decimal digits (`decimal` only, else 0). Exact values are carried as integers
    scaled by 10**scale, dates and timestamps, in bounds and constants too, as the whole numbers of
    `temporal`.
    """

    kind: Kind
    scale: int
    bounds: Interval | None
    nullable: bool

    @property
    def size(self) -> int:
        """How many nodes the tree has, written out: a part that stands twice counts twice."""
        return 1

    @property
    def depth(self) -> int:
        """How many levels the tree has."""
        return 1


@dataclass(frozen=True)
class ColumnRef(Expr):
    """A column of the base table (`source` 0) or of joined table number `source`."""

    column: Column
    source: int = 0


@dataclass(frozen=True)
class Constant(Expr):
    """A literal: `value` is an int (scaled by 10**scale, or days, or microseconds), a float, a
    bool, a text, or None."""

    value: int | float | bool | str | None


@dataclass(frozen=True)
class Apply(Expr):
    op: Op
    args: tuple[Expr, ...]

    @cached_property
    def size(self) -> int:
        return 1 + sum(arg.size for arg in self.args)

    @cached_property
    def depth(self) -> int:
        return 1 + max((arg.depth for arg in self.args), default=0)


@dataclass(frozen=True)
class KeyRef(Expr):
    """The value of group key number `index` (from 0); counted on from the number of keys, whether
    the row is a margin that leaves that key out (0 or 1)."""

    index: int


@dataclass(frozen=True)
class MeasureRef(Expr):
    """The value of measure number `index` (from 0)."""

    index: int


def walk(expr: Expr) -> Iterator[Expr]:
    """`expr` and every expression under it, parents first."""
    pending = [expr]
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, Apply):
            pending.extend(reversed(node.args))


def branches(case: Apply) -> Iterator[tuple[Expr, Expr]]:
    """The (condition, value) pairs of a CASE; its last argument is the ELSE."""
    return zip(case.args[:-1:2], case.args[1:-1:2], strict=True)


def to_json(expr: Expr) -> Json:
    """The structure of `expr`. Types and bounds follow from it and the schema."""
    match expr:
        case ColumnRef(column=column, source=source):
            return ["column", column.name, source] if source else ["column", column.name]
        case Constant(value=float() as value):
            return ["float", value.hex()]
        case Constant(kind=kind, scale=scale, value=value):
            assert not isinstance(value, float)
            return ["constant", kind.value, scale, value]
        case KeyRef(index=index):
            return ["key", index]
        case MeasureRef(index=index):
            return ["measure", index]
        case Apply(op=op, args=args):
            return [op.value, *(to_json(arg) for arg in args)]
    raise TypeError(f"no JSON form of {type(expr).__name__}")
