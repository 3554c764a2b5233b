"""What stands in FROM: rows of the base table, each once, under names of the statement's choice.

A name stands for an expression over the base rows. Reading a statement puts that expression where
the name stands, so that the plan of a nested statement is the plan of the flat one: bounds, domains
and subgroups are judged on what a node will compute, not on how it was written.
"""

from __future__ import annotations

from dataclasses import dataclass

from yumen_core.sql import operators
from yumen_core.sql.expression import Apply, Expr, Op
from yumen_core.sql.plan import Join
from yumen_core.sql.schema import TableSchema


@dataclass(frozen=True)
class Named:
    """A column of something in FROM: `expr` is over the base rows."""

    name: str
    expr: Expr


@dataclass(frozen=True)
class Part:
    """One entry of FROM. `title` is how messages call it, `qualifier` how the statement does.

    `merged` are the columns, in lower case, that USING made one with those of an entry before: a
    bare name means that one.
    """

    qualifier: str
    title: str
    columns: tuple[Named, ...]
    merged: frozenset[str] = frozenset()

    def find(self, name: str) -> Named | None:
        """The column of that name, without regard to case, as SQL reads names."""
        folded = name.casefold()
        return next((c for c in self.columns if c.name.casefold() == folded), None)


@dataclass(frozen=True)
class Scope:
    """What a SELECT reads: its entries of FROM, and which base rows are among its rows."""

    schema: TableSchema
    parts: tuple[Part, ...]
    where: Expr | None = None
    joins: tuple[Join, ...] = ()

    def knows(self, qualifier: str) -> bool:
        return bool(self.named(qualifier))

    def named(self, qualifier: str | None) -> tuple[Part, ...]:
        """The entries that `qualifier` calls; all for None."""
        if qualifier is None:
            return self.parts
        folded = qualifier.casefold()
        return tuple(part for part in self.parts if part.qualifier.casefold() == folded)

    def find(self, name: str, qualifier: str | None) -> list[tuple[Part, Named]]:
        """Every column that the name can mean, with its entry of FROM."""
        folded = name.casefold()
        return [
            (part, column)
            for part in self.named(qualifier)
            if (column := part.find(name)) is not None
            and (qualifier is not None or folded not in part.merged)
        ]

    def starred(self, qualifier: str | None) -> list[Named]:
        """The columns that * stands for, or those of one entry."""
        return [
            column
            for part in self.named(qualifier)
            for column in part.columns
            if qualifier is not None or column.name.casefold() not in part.merged
        ]

    @property
    def qualifiers(self) -> str:
        return " and ".join(part.title.removeprefix("table ") for part in self.parts)


def table_scope(schema: TableSchema, qualifier: str) -> Scope:
    """A published table under a name."""
    columns = tuple(Named(c.name, operators.column_ref(c)) for c in schema.columns)
    return Scope(schema, (Part(qualifier, f"table `{schema.name}`", columns),))


def both(first: Expr | None, second: Expr | None) -> Expr | None:
    """One condition of two, either of which may be absent; a chain of ANDs stays one."""
    terms = [term for entry in (first, second) if entry is not None for term in _terms(entry)]
    if len(terms) < 2:
        return terms[0] if terms else None
    return operators.connect(Op.AND, terms)


def _terms(condition: Expr) -> tuple[Expr, ...]:
    if isinstance(condition, Apply) and condition.op is Op.AND:
        return condition.args
    return (condition,)
