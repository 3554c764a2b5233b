"""A table declaration inferred from data that the caller may see whole, for local federations.

What it declares is published: a domain lists every value that occurs, and bounds tell the smallest
and largest value roughly. An institution writes its declaration by hand instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext
from enum import StrEnum
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from yumen_core.errors import CallError
from yumen_core.sql.schema import (
    MAX_SCALE,
    MAX_VALUE_CHARS,
    Column,
    ColumnType,
    DomainValue,
    TableSchema,
    bound_text,
)

from yumen import _moments
from yumen._tables import read_table

if TYPE_CHECKING:
    from yumen._tables import Source

MAX_TEXT_DOMAIN = 100
MAX_INTEGER_DOMAIN = 20
_EXACT_FLOAT = 2.0**53
_INTEGER_LIMIT = Decimal(1 << 63)


class _Kind(StrEnum):
    """What one node's column holds. The words stand in messages."""

    EMPTY = "no value"
    BOOLEAN = "true and false"
    INTEGER = "whole numbers"
    WHOLE = "whole numbers as floats, some missing"
    FLOAT = "fractional numbers"
    DECIMAL = "decimal numbers"
    TEXT = "text"
    DATE = "dates"
    TIMESTAMP = "dates with times"


_MOMENTS = frozenset({_Kind.DATE, _Kind.TIMESTAMP})
_NUMBERS = frozenset({_Kind.INTEGER, _Kind.WHOLE, _Kind.FLOAT, _Kind.DECIMAL})


@dataclass(frozen=True)
class _Part:
    """One node's column, its missing values dropped. `text` is what dates were read from, if
    from text: beside a node whose text is no date, they are text."""

    node: str
    kind: _Kind
    values: pa.ChunkedArray
    missing: bool
    text: pa.ChunkedArray | None = None


def infer_declaration(name: str, frames: Mapping[str, Source]) -> dict[str, object]:
    """The declaration that all nodes share, without a source.

    Parameters: `name` of the table; `frames` maps each node to a pandas frame or to the path of a
    CSV or Parquet file.

    Returns a dict for YAML: `name` and `columns`, each with `name`, `type`, `nullable` and, where
    it applies, `scale`, `domain` or `bounds`. Integers with at most 20 distinct values over all
    nodes and texts with at most 100 get their domain, other numbers bounds that are rounded
    outward. Floats that are whole numbers with some missing, as pandas reads integers with gaps,
    become integers. Timestamps that are all midnights become dates; so does text that is all dates
    such as 2020-01-31. Bounds of dates and timestamps are whole months, or whole years where they
    span ten years; times with a zone count in UTC.

    Raises `CallError` (`argument`, `table_declaration`) naming column and node: columns that
    differ between nodes, values of mixed or unsupported types, a column without any value.
    """
    if not frames:
        raise CallError("argument", "expected the table of at least one node, got none")
    schema = infer_schema(name, {node: read_table(node, source) for node, source in frames.items()})
    return {"name": name, "columns": [_declared(column) for column in schema.columns]}


def infer_schema(name: str, tables: Mapping[str, pa.Table]) -> TableSchema:
    """As `infer_declaration`, from Arrow tables."""
    _check_same_columns(tables)
    first = next(iter(tables.values()))
    columns = [
        _column(column, [_part(node, column, table[column]) for node, table in tables.items()])
        for column in first.column_names
    ]
    return TableSchema(name, tuple(columns))


def _check_same_columns(tables: Mapping[str, pa.Table]) -> None:
    (first, table), *others = tables.items()
    expected = set(table.column_names)
    for node, other in others:
        got = set(other.column_names)
        for column, has, lacks in (
            *((c, first, node) for c in sorted(expected - got)),
            *((c, node, first) for c in sorted(got - expected)),
        ):
            raise CallError(
                "argument",
                f"expected the same columns at every node, got `{column}` at node `{has}` "
                f"and not at node `{lacks}`",
                remedy="give every node the same columns",
            )


def _part(node: str, column: str, values: pa.ChunkedArray) -> _Part:
    missing = values.null_count > 0
    values = values.drop_null()
    if pa.types.is_floating(values.type):
        values = values.cast(pa.float64())
        finite = values.filter(pc.is_finite(values))
        missing = missing or len(finite) < len(values)
        values = finite
    moments = _moments.read(values)
    if moments is not None:
        kind = _Kind.DATE if _moments.are_midnights(moments) else _Kind.TIMESTAMP
        text = None if pa.types.is_temporal(values.type) else values
        return _Part(node, kind, moments, missing, text)
    return _Part(node, _kind(node, column, values, missing), values, missing)


def _kind(node: str, column: str, values: pa.ChunkedArray, missing: bool) -> _Kind:
    kind = values.type
    if len(values) == 0:
        return _Kind.EMPTY
    if pa.types.is_boolean(kind):
        return _Kind.BOOLEAN
    if pa.types.is_integer(kind):
        return _Kind.INTEGER
    if pa.types.is_floating(kind):
        return _Kind.WHOLE if missing and _is_whole(values) else _Kind.FLOAT
    if pa.types.is_decimal(kind):
        return _Kind.DECIMAL
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view():
        return _Kind.TEXT
    temporal = pa.types.is_temporal(kind)
    raise CallError(
        "argument",
        f"expected numbers, text, booleans, dates or timestamps in column `{column}` at node "
        f"`{node}`, got {'times or durations' if temporal else f'`{kind}`'}",
        remedy="turn it into a number, such as minutes, or into text, or leave it out",
    )


def _is_whole(values: pa.ChunkedArray) -> bool:
    whole = pc.and_(pc.equal(values, pc.floor(values)), pc.less_equal(pc.abs(values), _EXACT_FLOAT))
    return bool(pc.all(whole).as_py())


def _column(name: str, parts: Sequence[_Part]) -> Column:
    parts = _settled(parts)
    kind = _common_kind(name, parts)
    nullable = any(part.missing for part in parts)
    parts = [part for part in parts if part.kind is not _Kind.EMPTY]
    match kind:
        case _Kind.BOOLEAN:
            return Column(name, ColumnType.BOOLEAN, nullable=nullable)
        case _Kind.TEXT:
            return Column(name, ColumnType.TEXT, domain=_text_domain(parts), nullable=nullable)
        case _Kind.DATE | _Kind.TIMESTAMP:
            return _moments.column(
                name, [part.values for part in parts], kind is _Kind.DATE, nullable
            )
        case _Kind.INTEGER:
            return _integer_column(name, parts, nullable)
        case _Kind.DECIMAL:
            scale = _scale(name, parts)
            lower, upper = readable_bounds(*_extremes(parts), digits=scale)
            return Column(
                name, ColumnType.DECIMAL, scale, lower=lower, upper=upper, nullable=nullable
            )
        case _:
            lower, upper = readable_bounds(*_extremes(parts))
            return Column(name, ColumnType.FLOAT, lower=lower, upper=upper, nullable=nullable)


def _settled(parts: Sequence[_Part]) -> list[_Part]:
    """`parts` with dates that were read from text as text again, where another node's are none."""
    if all(part.kind is not _Kind.TEXT for part in parts):
        return list(parts)
    return [
        part if part.text is None else replace(part, kind=_Kind.TEXT, values=part.text, text=None)
        for part in parts
    ]


def _common_kind(column: str, parts: Sequence[_Part]) -> _Kind:
    """The one kind of a column: integers give way to decimals, both to fractions, dates to
    timestamps."""
    full = [part for part in parts if part.kind is not _Kind.EMPTY]
    if not full:
        nodes = ", ".join(f"`{part.node}`" for part in parts)
        raise CallError(
            "argument",
            f"expected a value in column `{column}` at one node at least, got none at {nodes}",
            remedy="leave the column out, or give a `schema` that states its type",
        )
    kinds = {part.kind for part in full}
    if kinds <= _NUMBERS:
        if _Kind.FLOAT in kinds:
            mixed = kinds & {_Kind.INTEGER, _Kind.WHOLE}
            whole = all(_is_whole(part.values) for part in full if part.kind is _Kind.FLOAT)
            return _Kind.INTEGER if mixed and whole and _Kind.DECIMAL not in kinds else _Kind.FLOAT
        return _Kind.DECIMAL if _Kind.DECIMAL in kinds else _Kind.INTEGER
    if kinds == _MOMENTS:
        return _Kind.TIMESTAMP
    for part in full[1:]:
        same = part.kind is full[0].kind or {part.kind, full[0].kind} <= _NUMBERS
        if not same:
            raise CallError(
                "argument",
                f"expected one type in column `{column}`, got {full[0].kind} at node "
                f"`{full[0].node}` and {part.kind} at node `{part.node}`",
                remedy="convert the column, or give a `schema` that states its type",
            )
    return full[0].kind


def _text_domain(parts: Sequence[_Part]) -> tuple[DomainValue, ...] | None:
    values: set[str] = set()
    for part in parts:
        values.update(pc.unique(part.values).to_pylist())
        if len(values) > MAX_TEXT_DOMAIN:
            return None
    if any(len(value) > MAX_VALUE_CHARS for value in values):
        return None  # long free text, no category
    return tuple(sorted(values))


def _integer_column(name: str, parts: Sequence[_Part], nullable: bool) -> Column:
    values: set[int] = set()
    for part in parts:
        values.update(int(value) for value in pc.unique(part.values).to_pylist())
        if len(values) > MAX_INTEGER_DOMAIN:
            lower, upper = readable_bounds(*_extremes(parts), digits=0)
            lower, upper = max(lower, -_INTEGER_LIMIT), min(upper, _INTEGER_LIMIT - 1)
            return Column(name, ColumnType.INTEGER, lower=lower, upper=upper, nullable=nullable)
    return Column(name, ColumnType.INTEGER, domain=tuple(sorted(values)), nullable=nullable)


def _scale(column: str, parts: Sequence[_Part]) -> int:
    scales = [part.values.type.scale for part in parts if pa.types.is_decimal(part.values.type)]
    scale = int(max(0, *scales))
    if scale > MAX_SCALE:
        raise CallError(
            "argument",
            f"expected at most {MAX_SCALE} decimals in column `{column}`, got {scale}",
            remedy="round the column, or turn it into floats",
        )
    return scale


def _extremes(parts: Sequence[_Part]) -> tuple[Decimal, Decimal]:
    both = [pc.min_max(part.values).as_py() for part in parts]
    # repr gives a float's shortest text, so 0.1 stays 0.1 and not its 55 binary digits.
    return (
        min(Decimal(str(pair["min"])) for pair in both),
        max(Decimal(str(pair["max"])) for pair in both),
    )


def readable_bounds(
    least: Decimal, most: Decimal, *, digits: int | None = None
) -> tuple[Decimal, Decimal]:
    """Bounds around `least` and `most`, rounded outward to a hundredth to a tenth of their span.

    `digits` is the most decimals a bound may have. 85 and 603 give 80 and 610; 0 and 6.2 give 0
    and 6.2; a column with one value gets bounds around that value.
    """
    with localcontext() as context:
        context.prec = 400
        span = most - least or abs(most) or Decimal(1)
        power = span.adjusted() - 1
        if digits is not None:
            power = max(power, -digits)
        step = Decimal(1).scaleb(power)
        lower = (least / step).to_integral_value(ROUND_FLOOR) * step
        upper = (most / step).to_integral_value(ROUND_CEILING) * step
        return lower, upper if upper > lower else upper + step


def _declared(column: Column) -> dict[str, object]:
    declared: dict[str, object] = {"name": column.name, "type": column.type.value}
    if column.type is ColumnType.DECIMAL:
        declared["scale"] = column.scale
    if column.domain is not None:
        declared["domain"] = list(column.domain)
    if column.lower is not None and column.upper is not None:
        declared["bounds"] = {
            "lower": bound_text(column.lower),
            "upper": bound_text(column.upper),
        }
    declared["nullable"] = column.nullable
    return declared


def as_declared(table: pa.Table, declaration: Mapping[str, object]) -> pa.Table:
    """`table` with the columns that `declaration` calls integer as integers where they are whole:
    pandas holds integers with gaps as floats. Other columns stay as they are."""
    columns = declaration.get("columns")
    declared = columns if isinstance(columns, Sequence) else ()
    integers = {
        str(column.get("source_name") or column.get("name"))
        for column in declared
        if isinstance(column, Mapping) and column.get("type") == ColumnType.INTEGER.value
    }
    for place, name in enumerate(table.column_names):
        column = table.column(place)
        if name not in integers or not pa.types.is_floating(column.type):
            continue
        present = pc.if_else(pc.is_finite(column), column, None)
        if _is_whole(present.drop_null()):
            table = table.set_column(place, name, present.cast(pa.int64()))
    return table
