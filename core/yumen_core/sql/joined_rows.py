"""A node's tables side by side: SQL of the rows that a plan with joins is computed over."""

from __future__ import annotations

from collections.abc import Sequence

from yumen_core.sql.plan import Join, Plan
from yumen_core.sql.render import held_name
from yumen_core.sql.storage import identifier

_ROWS = '" joined"'


def row_name(join: int) -> str:
    """The column that tells the rows of joined table number `join` (from 1) apart; NULL where none
    is met. No published column name starts with a space."""
    return f'" {join}"'


def place_name(source: int) -> str:
    """The column with the place of a row of table number `source` (0: the plan's own), where the
    tables stand joined; NULL where none is met."""
    return f'" row {source}"'


def joined_rows(plan: Plan, relation: str, joined: Sequence[str], *, numbered: bool = False) -> str:
    """What stands in FROM: the table `relation` itself, or a join with the tables `joined`, one
    for each of the plan's joins, with the columns that the plan reads (`held_name`), and where
    `numbered` with the places of the rows."""
    if not plan.joins:
        return identifier(relation)
    selected = [f"{_column(r.source, r.column.name)} AS {identifier(held_name(r))}"
                for r in plan.refs]  # fmt: skip
    if numbered:
        selected += [
            f"{row_name(at)}.rowid AS {place_name(at)}" for at in range(len(plan.joins) + 1)
        ]
    text = f"{identifier(relation)} AS {row_name(0)}"
    for at, (join, name) in enumerate(zip(plan.joins, joined, strict=True), start=1):
        selected.append(f"{_row(join, at)} AS {row_name(at)}")
        pairs = [
            f"{_column(before.source, before.column.name)} = {_column(at, column.name)}"
            for before, column in join.on
        ]
        word = "LEFT JOIN" if join.optional else "JOIN"
        text += f" {word} {identifier(name)} AS {row_name(at)} ON {' AND '.join(pairs)}"
    return f"(SELECT {', '.join(selected)} FROM {text}) AS {_ROWS}"  # noqa: S608


def _column(source: int, name: str) -> str:
    return f"{row_name(source)}.{identifier(name)}"


def _row(join: Join, at: int) -> str:
    """The joined row's key: one value, or a row of values."""
    names = [_column(at, column.name) for _, column in join.on]
    if len(names) == 1:
        return names[0]
    return f"CASE WHEN {names[0]} IS NOT NULL THEN row({', '.join(names)}) END"
