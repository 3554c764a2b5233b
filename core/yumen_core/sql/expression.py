"""Typed expressions: the only form in which a requester's statement goes on.

A tree of `ColumnRef`, `Constant` and `Apply` is evaluated per row at a node; a tree of `KeyRef`,
`MeasureRef`, `Constant` and `Apply` per released row at the requester. Trees are built by
`operators`, which checks types; they hold no text of the statement but literals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

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
    NULL = "null"

    @property
    def exact(self) -> bool:
        return self in (Kind.INTEGER, Kind.DECIMAL)

    @property
    def numeric(self) -> bool:
        return self.exact or self is Kind.FLOAT


class Op(StrEnum):
    """Operators of `Apply`. CASE has the arguments condition, value, ..., otherwise."""

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


COMPARISONS = (Op.EQ, Op.NE, Op.LT, Op.LE, Op.GT, Op.GE)


@dataclass(frozen=True)
class Expr:
    """What every expression states: its type, its bounds (None: unbounded), whether NULL occurs.

    `scale` counts decimal digits (`decimal` only, else 0). Exact values are carried as integers
    scaled by 10**scale.
    """

    kind: Kind
    scale: int
    bounds: Interval | None
    nullable: bool


@dataclass(frozen=True)
class ColumnRef(Expr):
    column: Column


@dataclass(frozen=True)
class Constant(Expr):
    """A literal: `value` is an int scaled by 10**scale, a float, a bool, a text, or None."""

    value: int | float | bool | str | None


@dataclass(frozen=True)
class Apply(Expr):
    op: Op
    args: tuple[Expr, ...]


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
        case ColumnRef(column=column):
            return ["column", column.name]
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
