"""The requester's part: from summed integers to the table of the result.

Rows appear for cells with a released row count behind them; a measure whose support was held back
is NULL, and so is an output that combines measures behind which not the same nodes stand. HAVING,
ORDER BY and LIMIT apply to what was released.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import TYPE_CHECKING

from yumen_core.errors import CallError
from yumen_core.sql.describe import name_of
from yumen_core.sql.evaluate import Cell, evaluate, to_float
from yumen_core.sql.expression import Apply, Expr, Kind, Op
from yumen_core.sql.layout import leaves, measures_in
from yumen_core.sql.moments import of_one, of_pair
from yumen_core.sql.operators import EXACT_LIMIT
from yumen_core.sql.pairs import SQUARES
from yumen_core.sql.plan import Function, Measure, Ordering, Output, Plan, SumKind
from yumen_core.sql.select import NODES_COLUMN

if TYPE_CHECKING:
    import pyarrow as pa

_INT64 = 1 << 63
MAX_CONTRIBUTIONS = 255
_NORMAL_95 = 1.959963984540054


@dataclass(frozen=True)
class Answer:
    """A finished query.

    `table` has the outputs in order, then `_nodes` (int64: nodes behind the row). `nodes` has the
    shape of `table` and counts the nodes behind each value, 0 where it was held back. `held_back`
    maps an output to the number of its values that were, where any was. `empty_cells` counts the
    cells without a row: empty everywhere, or held back. `notes` say what a reader of the values
    must know: which counts are lower bounds. `errors`, of totals with noise, has a column for each
    output: half the width of its 95% interval, None where it is no number.
    """

    table: pa.Table
    nodes: pa.Table
    held_back: Mapping[str, int]
    empty_cells: int
    notes: tuple[str, ...] = ()
    errors: pa.Table | None = None


@dataclass(frozen=True)
class _Row:
    nodes: int
    keys: tuple[Cell, ...]
    measures: tuple[Cell, ...]
    behind: tuple[int | None, ...]
    cell: int = 0


def finish(
    plan: Plan,
    nodes: Sequence[Sequence[int]],
    totals: Sequence[Sequence[int]],
    deviations: Sequence[float] = (),
) -> Answer:
    """Compute the result.

    `nodes` has shape [cells][supports]: how many nodes stand behind a support, 0 where it was held
    back. `totals` has shape [cells][values]: the layout's integers, summed over those nodes.
    `deviations`, where these carry noise, has the noise's deviation for each value.
    Raises `CallError`: "argument" for other shapes, "sql_type" where an exact output exceeds 38
    digits.
    """
    _check_shape(plan, nodes, totals)
    rows = [
        _row(plan, cell, [int(count) for count in nodes[cell]], totals[cell])
        for cell in range(plan.layout.cells)
        if nodes[cell][0] > 0
    ]
    kept = [row for row in rows if plan.having is None or _value(plan.having, row) is True]
    for entry in reversed(plan.order):
        kept = _sorted(kept, entry)
    last = None if plan.limit is None else plan.offset + plan.limit
    kept = kept[plan.offset : last]
    behind = {
        output.name: [_nodes_behind(output.expr, row) for row in kept] for output in plan.outputs
    }
    return Answer(
        table=_table(plan.outputs, kept),
        nodes=_counts({**behind, NODES_COLUMN: [row.nodes for row in kept]}),
        held_back={name: counts.count(0) for name, counts in behind.items() if 0 in counts},
        empty_cells=plan.layout.cells - len(rows),
        notes=_notes(plan, rows),
        errors=_errors(plan, kept, totals, deviations) if deviations else None,
    )


def _errors(
    plan: Plan, rows: Sequence[_Row], totals: Sequence[Sequence[int]], deviations: Sequence[float]
) -> pa.Table:
    """Half the width of the 95% interval of each output, float64, by the delta method: the change
    of the output with each value's noise, by differences of one deviation each way."""
    import pyarrow as pa

    columns: dict[str, list[float | None]] = {output.name: [] for output in plan.outputs}
    for row in rows:
        moved = [_moved(plan, row, totals[row.cell], at, d) for at, d in enumerate(deviations)]
        for output in plan.outputs:
            columns[output.name].append(_error(output.expr, row, moved))
    return pa.table({name: pa.array(found, pa.float64()) for name, found in columns.items()})


def _moved(
    plan: Plan, row: _Row, totals: Sequence[int], at: int, deviation: float
) -> tuple[_Row, _Row]:
    step = max(1, round(deviation))
    nodes = [row.nodes] * plan.layout.supports
    up, down = list(totals), list(totals)
    up[at], down[at] = up[at] + step, down[at] - step
    return _row(plan, row.cell, nodes, up), _row(plan, row.cell, nodes, down)


def _error(expr: Expr, row: _Row, moved: Sequence[tuple[_Row, _Row]]) -> float | None:
    if not expr.kind.numeric or not any(measures_in(leaf) for leaf in leaves(expr)):
        return None
    squares = 0.0
    for pair in moved:
        ends = [_value(expr, end) for end in pair]
        if any(end is None or isinstance(end, str) for end in ends):
            return None
        high, low = (float(end) for end in ends)  # type: ignore[arg-type]
        squares += ((high - low) / 2) ** 2
    return _NORMAL_95 * math.sqrt(squares) if math.isfinite(squares) else None


def _check_shape(
    plan: Plan, nodes: Sequence[Sequence[int]], totals: Sequence[Sequence[int]]
) -> None:
    layout = plan.layout
    for what, rows, width in (
        ("node counts", nodes, layout.supports),
        ("totals", totals, len(layout.values)),
    ):
        if len(rows) != layout.cells or any(len(row) != width for row in rows):
            raise CallError("argument", f"expected {what} for {layout.cells} cells of {width}")


def _row(plan: Plan, cell: int, nodes: Sequence[int], totals: Sequence[int]) -> _Row:
    keys = _keys(plan, cell)
    values: list[Cell] = []
    behind: list[int | None] = []
    for measure in plan.measures:
        if measure.function is Function.COUNT_DISTINCT:
            behind.append(nodes[0])
            values.append(sum(nodes[support] > 0 for support in measure.supports))
            continue
        count = _common(nodes[support] for support in measure.supports)
        behind.append(count)
        values.append(_measure(plan, measure, totals) if count else None)
    return _Row(nodes[0], keys, tuple(values), tuple(behind), cell)


def _keys(plan: Plan, cell: int) -> tuple[Cell, ...]:
    """The values of the keys, NULL for those that a margin leaves out; then, of each key, 1 where
    it is left out (GROUPING)."""
    size, left_out = plan.layout.details, 0
    while cell >= size:
        cell, size = cell - size, size // plan.layout.folds[left_out]
        left_out += 1
    shown = len(plan.keys) - left_out
    keys: list[Cell] = []
    for key in reversed(plan.keys[:shown]):
        cell, position = divmod(cell, key.positions)
        keys.append(key.value(position))
    return (*reversed(keys), *[None] * left_out, *[0] * shown, *[1] * left_out)


def _notes(plan: Plan, rows: Sequence[_Row]) -> tuple[str, ...]:
    """Of each COUNT(DISTINCT) that leaves out a value of its domain: that it may be too low."""
    notes = []
    for index, measure in enumerate(plan.measures):
        size = len(measure.supports)
        if measure.function is Function.COUNT_DISTINCT and any(
            row.measures[index] != size for row in rows
        ):
            argument = plan.arguments[measure.arguments[0]]
            name = name_of(argument, plan.keys, ())
            notes.append(
                f"COUNT(DISTINCT {name}) is a lower bound: of the {size} values in the domain it "
                "counts those with rows and nodes enough behind them"
            )
    return tuple(notes)


def _common(counts: Iterable[int | None]) -> int | None:
    """The one number of nodes behind several supports, or None where they differ.

    Supports that one output combines are either one or nested in support 0, so that equal numbers
    mean the same nodes.
    """
    distinct = set(counts)
    return distinct.pop() if len(distinct) == 1 else None


def _measure(plan: Plan, measure: Measure, totals: Sequence[int]) -> Cell:
    quantities = [_quantity(plan, value, totals[value]) for value in measure.values]
    match measure.function:
        case Function.COUNT:
            return int(quantities[0])
        case Function.SUM:
            total, kind = quantities[0], plan.arguments[measure.arguments[0]].kind
            if kind is Kind.FLOAT:
                return to_float(total)
            return int(total) if kind is Kind.INTEGER else total
        case Function.AVG:
            count, total = quantities
            return to_float(total / count) if count >= 1 else None
    resolutions = [_resolution(plan, value) for value in measure.values]
    if measure.function in SQUARES:
        return of_pair(measure.function, quantities, resolutions)
    return of_one(measure.function, quantities, resolutions)


def _quantity(plan: Plan, index: int, total: int) -> Fraction:
    value = plan.layout.values[index]
    return Fraction(int(total), 10**value.scale) * Fraction(2) ** value.exponent


def _resolution(plan: Plan, index: int) -> Fraction:
    """How far rounding to fixed point can move a float's total; 0 for exact values."""
    value = plan.layout.values[index]
    rounded = value.argument is not None and plan.arguments[value.argument].kind is Kind.FLOAT
    if not rounded or value.kind is SumKind.COUNT:
        return Fraction(0)
    return MAX_CONTRIBUTIONS * _addends(plan) * Fraction(2) ** value.exponent


def _addends(plan: Plan) -> int:
    """How many rounded sums of one node a cell adds up at most."""
    return plan.layout.details if plan.layout.folds else 1


def _nodes_behind(expr: Expr, row: _Row) -> int:
    """How many nodes stand behind an output, 0 where a part of it was held back."""
    counts = [row.nodes]
    for leaf in leaves(expr):
        used = measures_in(leaf)
        if used:
            counts.append(_common(row.behind[index] for index in used) or 0)
    return min(counts)


def _held_back(expr: Expr, row: _Row) -> bool:
    return _nodes_behind(expr, row) == 0


def _value(expr: Expr, row: _Row) -> Cell:
    """An output's value; a part that was held back counts as NULL."""
    if not _held_back(expr, row):
        return evaluate(expr, row.keys, row.measures)
    if isinstance(expr, Apply) and expr.op in (Op.AND, Op.OR, Op.NOT, Op.CASE):
        blanked = [
            None if _mixed(expr, index, row) else value for index, value in enumerate(row.measures)
        ]
        return evaluate(expr, row.keys, blanked)
    return None


def _mixed(expr: Expr, index: int, row: _Row) -> bool:
    """Whether a measure stands in a part of `expr` that was held back."""
    return any(index in measures_in(leaf) and _held_back(leaf, row) for leaf in leaves(expr))


def _sorted(rows: list[_Row], entry: Ordering) -> list[_Row]:
    """Stable; NaN is the greatest number, as in DuckDB."""
    keyed = [(_value(entry.expr, row), row) for row in rows]
    absent = [row for value, row in keyed if value is None]
    present = [(value, row) for value, row in keyed if value is not None]
    present.sort(key=lambda pair: _sort_key(pair[0]), reverse=entry.descending)
    ordered = [row for _, row in present]
    return absent + ordered if entry.nulls_first else ordered + absent


def _sort_key(value: Cell) -> tuple[bool, Cell]:
    if isinstance(value, float) and math.isnan(value):
        return True, 0
    return False, value


def _table(outputs: Sequence[Output], rows: Sequence[_Row]) -> pa.Table:
    import pyarrow as pa  # heavy, and needed by requesters only

    arrays, names = [], []
    for output in outputs:
        values = [_value(output.expr, row) for row in rows]
        arrays.append(_array(output, values))
        names.append(output.name)
    arrays.append(pa.array([row.nodes for row in rows], type=pa.int64()))
    return pa.Table.from_arrays(arrays, names=[*names, NODES_COLUMN])


def _counts(columns: Mapping[str, list[int]]) -> pa.Table:
    import pyarrow as pa

    arrays = [pa.array(counts, type=pa.int64()) for counts in columns.values()]
    return pa.Table.from_arrays(arrays, names=list(columns))


def _array(output: Output, values: list[Cell]) -> pa.Array:
    import pyarrow as pa

    expr = output.expr
    if expr.kind is Kind.TEXT:
        return pa.array(values, type=pa.string())
    if expr.kind is Kind.BOOLEAN:
        return pa.array(values, type=pa.bool_())
    if expr.kind is Kind.FLOAT:
        return pa.array(values, type=pa.float64())
    if expr.kind is Kind.DATE:
        return pa.array(values, type=pa.int32()).view(pa.date32())
    if expr.kind is Kind.TIMESTAMP:
        return pa.array(values, type=pa.int64()).view(pa.timestamp("us"))
    whole = [None if value is None else _scaled(output, value) for value in values]
    small = all(value is None or -_INT64 <= value < _INT64 for value in whole)
    if expr.kind is Kind.INTEGER and small:
        return pa.array(whole, type=pa.int64())
    decimals = [None if value is None else _decimal(value, expr.scale) for value in whole]
    return pa.array(decimals, type=pa.decimal128(38, expr.scale))


def _scaled(output: Output, value: Cell) -> int:
    assert isinstance(value, int | Fraction)
    scaled = int(value * 10**output.expr.scale)
    if abs(scaled) >= EXACT_LIMIT:
        raise CallError("sql_type", f"output `{output.name}` needs more than 38 digits")
    return scaled


def _decimal(value: int, scale: int) -> Decimal:
    with localcontext() as context:
        context.prec = 40
        return Decimal(value).scaleb(-scale)
