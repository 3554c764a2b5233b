"""Which sets of rows an answer tells of: the rows of its cells, and those behind each of its sums.

`SUM(pay)` less `SUM(CASE WHEN age < 101 THEN pay END)` is the pay of those of 101, though both are
over the same cell. So each support of a plan has sets of its own, of each table that its rows come
from. Two sets tell of their difference only where they tell of the same thing, which their labels
say: the columns that are summed, and ROWS where rows are counted that the requester chose. Beside
COUNT(*) a sum over the rows that have a value tells how many lack one, and no value: a column by
itself, or a sum of columns, has no ROWS.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from yumen_core.sql.expression import TEMPORAL, Apply, ColumnRef, Expr, Op, walk
from yumen_core.sql.local import present
from yumen_core.sql.plan import Behind, Plan
from yumen_core.sql.rows import RowsPlan, built_groups

Label = frozenset[str]
ROWS = ""
JUST_ROWS: Label = frozenset({ROWS})
_COMPUTED = {Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.NEG, Op.ABS, *TEMPORAL}


@dataclass(frozen=True)
class RowPart:
    """The rows of table number `source` (0: the plan's own) in a cell that fulfil `condition`, SQL,
    or all of them; they stand behind `support`, and tell of `label`."""

    support: int
    source: int
    condition: str | None
    label: Label


def row_parts(plan: Plan | RowsPlan) -> tuple[RowPart, ...]:
    """The parts of a plan, first the rows of its cells; of a statistic those of the groups that it
    builds, whose supports are all 0."""
    if isinstance(plan, RowsPlan):
        built = [part for _, part in built_groups(plan) if is_chosen(part[0])]
        groups = (RowPart(0, 0, present(*part), JUST_ROWS) for part in built)
        return (RowPart(0, 0, None, JUST_ROWS), *dict.fromkeys(groups))
    whole: set[str] = {ROWS}
    parts: dict[RowPart, None] = {}
    for support in range(plan.layout.supports):
        arguments = _summed(plan, support)
        if support and not arguments:
            continue  # of COUNT(DISTINCT): it tells which values there are, by the threshold
        conditions, chosen = _conditions(plan, support)
        if not conditions:
            whole.update(columns_of(plan, arguments))
        label = columns_of(plan, arguments) | (JUST_ROWS if chosen else frozenset())
        parts.update(
            dict.fromkeys(RowPart(support, 0, condition, label) for condition in conditions)
        )
        for source in range(1, len(plan.joins) + 1):
            told = columns_of(plan, arguments, source)
            if told:
                told |= JUST_ROWS if chosen else frozenset()
                wanted: list[str | None] = [*conditions] or [None]
                joined = (RowPart(support, source, condition, told) for condition in wanted)
                parts.update(dict.fromkeys(joined))
    return (RowPart(0, 0, None, frozenset(whole)), *parts)


def meets(one: Label, other: Label) -> bool:
    """Whether two sets tell of the same thing."""
    return not one.isdisjoint(other)


def is_chosen(expr: Expr) -> bool:
    """Whether the requester chooses rows inside an expression, by a CASE or a comparison."""
    return any(isinstance(node, Apply) and node.op not in _COMPUTED for node in walk(expr))


def columns_of(plan: Plan, arguments: Iterable[Expr], source: int | None = None) -> Label:
    """The columns that expressions read, as table.column; of one source, or of all."""
    schemas = (plan.schema, *(join.schema for join in plan.joins))
    return frozenset(
        f"{schemas[node.source].name}.{node.column.name}"
        for argument in arguments
        for node in walk(argument)
        if isinstance(node, ColumnRef) and source in (None, node.source)
    )


def _summed(plan: Plan, support: int) -> list[Expr]:
    numbers = {
        index
        for value in plan.layout.values
        if value.support == support
        for index in (value.argument, value.other)
        if index is not None
    }
    return [plan.arguments[index] for index in sorted(numbers)]


def _conditions(plan: Plan, support: int) -> tuple[list[str], bool]:
    """SQL of the conditions that rows behind a support fulfil, one at least; and whether any is of
    the requester's choice. None where these are the rows of the cell."""
    found: dict[str, None] = {}
    chosen = False
    for index, behind in plan.layout.support_parts[support].parts:
        argument = plan.arguments[index]
        if is_chosen(argument):
            chosen = True
            found[present(argument, behind)] = None
        elif argument.nullable:
            found[present(argument, Behind.NOT_NULL)] = None
    return list(found), chosen
