"""A node's part of a query: SQL built from the plan alone, and its rows as integers per cell.

`local_sql` groups by the keys as they are held and leaves the numbering of cells to `local_cells`:
per group instead of per row. Sums of exact values are exact.

A float argument whose variance or covariance is asked comes as count, mean and (co)variance in one
pass (Welford's updates, which lose about mean/deviation * 2**-53). `needs_centring` tells from the
rows whether some cell's mean lies so far above its deviation that this could show; then the node
asks again with `centred=True`, which sums around each cell's mean (two passes; Chan, Golub and
LeVeque, "Algorithms for computing the sample variance", 1983). Both are shifted back in rationals,
which cancel nothing (`floats`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from yumen_core.errors import StateError
from yumen_core.sql import operators
from yumen_core.sql.expression import Apply, ColumnRef, Constant, Expr, Kind, Op
from yumen_core.sql.floats import (
    Factor,
    as_double,
    centre,
    finite,
    is_lossy,
    mean,
    moment,
    moved,
    products,
    whole,
)
from yumen_core.sql.grouping import is_by_value
from yumen_core.sql.joined_rows import joined_rows, row_name
from yumen_core.sql.peaks import peaks_of
from yumen_core.sql.plan import Behind, Key, Layout, Plan, SumKind, Value
from yumen_core.sql.render import render, render_key

# No published column name starts with a space.
_CENTRE_TABLE = '" centres"'


@dataclass(frozen=True)
class LocalCells:
    """What one node has in each cell.

    `supports`: int64 of shape [cells, supports], rows behind each support. `values`: one list per
    cell of one integer per value of the layout.
    """

    supports: npt.NDArray[np.int64]
    values: list[list[int]]


def local_sql(
    plan: Plan,
    relation: str,
    joined: Sequence[str] = (),
    *,
    centred: bool = False,
    peaks: bool = False,
) -> str:
    """DuckDB SQL over the table `relation` and one of `joined` for each of the plan's joins, all
    held as `storage` says.

    One row per group that occurs: the keys as held, then the raw sums that `local_cells` reads
    (with the same `centred`), and with `peaks` what `dominated` reads beside them.
    """
    query = _Query(plan, centred)
    if peaks:
        query.add_peaks()
    keys = [render_key(key) for key in plan.keys]
    source = joined_rows(plan, relation, joined)
    where = "" if plan.where is None else f" WHERE {render(plan.where)}"
    group = ""
    if keys:
        group = " GROUP BY " + ", ".join(str(at) for at in range(1, len(keys) + 1))
    selected = ", ".join([*keys, *query.columns])
    if not (centred and query.spread):
        return f"SELECT {selected} FROM {source}{where}{group}"  # noqa: S608
    told = [_join_key(plan, at) for at in range(len(keys))]
    means = [f"{mean(plan.arguments[index])} AS {centre(index)}" for index in query.spread]
    names = [f"{text} AS {_joined(at)}" for at, text in enumerate(told)]
    inner = f"SELECT {', '.join([*names, *means])} FROM {source}{where}{group}"  # noqa: S608
    on = " AND ".join(f"{text} = {_joined(at)}" for at, text in enumerate(told)) or "TRUE"
    return (
        f"WITH {_CENTRE_TABLE} AS MATERIALIZED ({inner}) "  # noqa: S608
        f"SELECT {selected} FROM {source} JOIN {_CENTRE_TABLE} ON {on}{where}{group}"
    )


def needs_centring(plan: Plan, rows: Iterable[Sequence[object]]) -> bool:
    """Whether rows of `local_sql(plan, relation)` lost too much: ask again with `centred=True`."""
    query = _Query(plan, centred=False)
    return bool(query.spread) and any(query.is_lossy(row[len(plan.keys) :]) for row in rows)


def local_cells(
    plan: Plan, rows: Iterable[Sequence[object]], *, centred: bool = False
) -> LocalCells:
    """The cells from the rows of `local_sql`.

    Raises `StateError` ("data_source") where a sum exceeds what the schema's bounds allow.
    """
    query = _Query(plan, centred)
    cells = plan.layout.cells
    parts = np.zeros((cells, len(query.counted)), dtype=np.int64)
    values = [[0] * len(plan.layout.values) for _ in range(cells)]
    numbering = _Numbering(plan)
    for row in rows:
        cell = numbering.cell(row[: len(plan.keys)])
        if cell is None:
            continue
        raw = row[len(plan.keys) :]
        parts[cell] = query.parts(raw)
        values[cell] = query.values(raw)
    _fold(plan.layout, parts, values)
    return LocalCells(query.supports(parts), values)


def peak_columns(plan: Plan, *, centred: bool = False) -> list[tuple[int, int]]:
    """Where a row of `local_sql` with `peaks` has, behind its keys, the greatest absolute value and
    the total of each of the plan's `peaks_of`."""
    return _Query(plan, centred).add_peaks()


def numbering(plan: Plan) -> Callable[[Sequence[object]], int | None]:
    """From keys as held to the number of the cell; None where a key is outside its domain."""
    return _Numbering(plan).cell


def _fold(layout: Layout, parts: npt.NDArray[np.int64], values: list[list[int]]) -> None:
    """Add up the margins, each level from the level before. Distinct rows of a joined table would
    not add up: no plan has both."""
    start, size = 0, layout.details
    for fold in layout.folds:
        after = start + size
        for at in range(size):
            cell, margin = start + at, after + at // fold
            parts[margin] += parts[cell]
            values[margin] = [a + b for a, b in zip(values[margin], values[cell], strict=True)]
        start, size = after, size // fold


def key_places(key: Key) -> dict[object, int]:
    """The position of each value of a key as `render_key` gives it; NULL (None) comes last."""
    held: Iterable[object] = range(len(key.domain))
    if is_by_value(key.expr):
        held = key.domain
    elif isinstance(key.expr, ColumnRef) and key.expr.kind is Kind.BOOLEAN:
        held = [int(value) for value in key.domain]
    places: dict[object, int] = {value: at for at, value in enumerate(held)}
    if key.nullable:
        places[None] = len(key.domain)
    return places


class _Numbering:
    """From keys as held to the number of the cell; None where a key is outside its domain."""

    def __init__(self, plan: Plan) -> None:
        self._places = [key_places(key) for key in plan.keys]
        self._sizes = [key.positions for key in plan.keys]

    def cell(self, held: Sequence[object]) -> int | None:
        number = 0
        for value, places, size in zip(held, self._places, self._sizes, strict=True):
            place = places.get(value)
            if place is None:
                return None
            number = number * size + place
        return number


class _Query:
    """The raw sums of a plan, each once, and what they mean."""

    def __init__(self, plan: Plan, centred: bool) -> None:
        self._plan = plan
        self._centred = centred
        self.columns: list[str] = []
        self.spread = _spread(plan)
        self._rows = self._column("count(*)")
        self._supports = [
            [unit for part in (None, *support.parts) for unit in self._units(part)]
            for support in plan.layout.support_parts
        ]
        self.counted = sorted({at for units in self._supports for unit in units for at in unit})
        self._sources = [self._sources_of(value) for value in plan.layout.values]

    def add_peaks(self) -> list[tuple[int, int]]:
        """Ask for the plan's peaks as well, behind all else: the columns of each."""
        return [
            (self._column(f"max({peak.size})"), self._column(peak.total))
            for peak in peaks_of(self._plan)
        ]

    def is_lossy(self, raw: Sequence[object]) -> bool:
        """Whether some mean is far above its deviation (one pass, not centred)."""
        for argument in self.spread:
            if is_lossy([raw[at] for at in self._spread_columns(argument)]):
                return True
        return False

    def parts(self, raw: Sequence[object]) -> list[int]:
        """The counts that supports are made of (`counted`), from one row of raw sums."""
        return [whole(raw[at]) for at in self.counted]

    def supports(self, parts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Rows behind each support, int64[cells, supports], from the parts of each cell."""
        places = {column: at for at, column in enumerate(self.counted)}
        least = [
            np.min([parts[:, [places[at] for at in unit]].sum(axis=1) for unit in units], axis=0)
            for units in self._supports
        ]
        return np.stack(least, axis=1)

    def values(self, raw: Sequence[object]) -> list[int]:
        """The layout's integers, from one row of raw sums."""
        return [
            self._value(value, [raw[at] for at in sources])
            for value, sources in zip(self._plan.layout.values, self._sources, strict=True)
        ]

    def _value(self, value: Value, raw: Sequence[object]) -> int:
        if self._is_exact(value):
            number = whole(raw[0])
        else:
            number = round(self._rational(value, raw) / Fraction(2) ** value.exponent)
        low, bits = (-(1 << value.bits - 1), value.bits - 1) if value.signed else (0, value.bits)
        if not low <= number < 1 << bits:
            raise StateError("data_source", "a sum is beyond what the table's bounds allow")
        return number

    def _is_exact(self, value: Value) -> bool:
        if value.argument is None or value.kind is SumKind.COUNT:
            return True
        if value.kind is SumKind.PRODUCTS:
            return False
        return self._plan.arguments[value.argument].kind is not Kind.FLOAT

    def _rational(self, value: Value, raw: Sequence[object]) -> Fraction:
        if len(raw) == 1:
            return finite(raw[0])
        if value.other is None:
            return moment(value.kind, raw)
        width = (len(raw) - 1) // 2
        assert value.argument is not None
        first, second = (self._plan.arguments[at] for at in (value.argument, value.other))
        return products(
            Factor.of(first, raw[:width]),
            Factor.of(second, raw[width:-1]),
            raw[-1],
            centred=self._centred,
        )

    def _column(self, text: str) -> int:
        if text not in self.columns:
            self.columns.append(text)
        return self.columns.index(text)

    def _units(self, part: tuple[int, Behind] | None) -> Iterator[list[int]]:
        """What is counted for a part of a support, each as columns to add up: the rows, and the
        rows of each joined table among them, each of these once. Without a part, of the cell."""
        condition = "TRUE"
        if part is None:
            yield [self._rows]
        else:
            argument, behind = self._plan.arguments[part[0]], part[1]
            count = _count if behind is Behind.NOT_NULL else _count_not_zero
            yield [self._column(count(argument))]
            condition = present(argument, behind)
        for at, join in enumerate(self._plan.joins, start=1):
            met = row_name(at)
            unit = [self._column(f"count(DISTINCT {met}) FILTER (WHERE {condition})")]
            if join.optional:  # a row that meets none stands for itself
                alone = f"count(*) FILTER (WHERE {condition} AND {met} IS NULL)"
                unit.append(self._column(alone))
            yield unit

    def _sources_of(self, value: Value) -> list[int]:
        if value.argument is None:
            return [self._rows]
        argument = self._plan.arguments[value.argument]
        if value.kind is SumKind.COUNT:
            return [self._column(_count(argument))]
        if value.other is not None:
            factors = (value.argument, value.other)
            columns = [at for index in factors for at in self._factor_columns(index)]
            return [*columns, self._column(self._joint(*factors))]
        if value.argument in self.spread and argument.kind is Kind.FLOAT:
            return self._spread_columns(value.argument)
        if argument.kind is Kind.FLOAT:
            return [self._column(f"fsum({render(argument)})")]
        if value.kind is SumKind.SQUARES:
            squared = operators.arithmetic(Op.MUL, argument, argument)
            return [self._column(f"sum({render(squared)})")]
        return [self._column(_sum(argument))]

    def _spread_columns(self, index: int) -> list[int]:
        """Mean, count and variance; or centre, count and both sums around it."""
        argument = self._plan.arguments[index]
        if not self._centred:
            text = as_double(argument)
            texts = [f"avg({text})", _count(argument), f"var_pop({text})"]
        else:
            apart = moved(argument, index)
            texts = [f"any_value({centre(index)})", _count(argument), f"sum({apart})"]
            texts.append(f"sum({apart} * {apart})")
        return [self._column(entry) for entry in texts]

    def _factor_columns(self, index: int) -> list[int]:
        """A factor's moments, and its sum where that is exact."""
        argument = self._plan.arguments[index]
        # A float's place is filled, so that both factors have one width.
        exact = _count(argument) if argument.kind is Kind.FLOAT else _sum(argument)
        return [*self._spread_columns(index), self._column(exact)]

    def _joint(self, first: int, second: int) -> str:
        """Covariance; or the sum of products around the centres."""
        one, other = self._plan.arguments[first], self._plan.arguments[second]
        if self._centred:
            return f"sum({moved(one, first)} * {moved(other, second)})"
        return f"covar_pop({as_double(one)}, {as_double(other)})"


def _spread(plan: Plan) -> list[int]:
    """The arguments whose spread is measured in floats: squared floats, factors of products."""
    found: set[int] = set()
    for value in plan.layout.values:
        if value.argument is None:
            continue
        if value.other is not None:
            found |= {value.argument, value.other}
        elif value.kind is SumKind.SQUARES and plan.arguments[value.argument].kind is Kind.FLOAT:
            found.add(value.argument)
    return sorted(found)


def _count(argument: Expr) -> str:
    if not argument.nullable:
        return "count(*)"
    chosen = _choice(argument)
    if chosen is not None and chosen[2] is None:
        return f"sum({chosen[0]})"
    return f"count({render(argument)})"


def _count_not_zero(argument: Expr) -> str:
    chosen = _choice(argument)
    if chosen is not None:
        return f"sum({chosen[0]})"
    return f"sum({present(argument, Behind.NOT_ZERO)})"


def present(argument: Expr, behind: Behind) -> str:
    """The condition under which a row stands behind an argument."""
    if behind is Behind.NOT_NULL:
        return f"({render(argument)} IS NOT NULL)"
    zero = Constant(Kind.INTEGER, 0, None, False, 0)
    return render(operators.compare(Op.NE, argument, zero))


def _sum(argument: Expr) -> str:
    chosen = _choice(argument)
    if chosen is not None and chosen[1] == 1 and argument.kind is Kind.INTEGER:
        return f"sum({chosen[0]})"
    return f"sum({render(argument)})"


def _choice(argument: Expr) -> tuple[str, object, object] | None:
    """Condition, value and ELSE of CASE WHEN condition THEN value ELSE 0 or NULL END, the value a
    literal that is not 0: such sums are counts."""
    if not isinstance(argument, Apply) or argument.op is not Op.CASE or len(argument.args) != 3:
        return None
    when, value, otherwise = argument.args
    if not (isinstance(value, Constant) and isinstance(otherwise, Constant)):
        return None
    if not value.value or otherwise.value not in (0, None):
        return None
    return render(when), value.value, otherwise.value


def _joined(at: int) -> str:
    return f'" key {at}"'


def _join_key(plan: Plan, at: int) -> str:
    """A key that joins: NULL becomes a number that no value of the domain has."""
    key = plan.keys[at]
    text = render_key(key)
    if not key.nullable:
        return text
    absent = len(key.domain)
    if is_by_value(key.expr):
        absent = max(int(value) for value in key.domain) + 1
    return f"coalesce(CAST({text} AS HUGEINT), {absent})"
