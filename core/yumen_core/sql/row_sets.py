"""Which rows of a node's table stand in each cell: SQL built from the plan, and what it gives.

With joins these are the rows of the plan's own table. The number of a row is its place in the
table as held (`rowid`, which no published column is called), so no plan can ask for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from yumen_core import canonical
from yumen_core.disclosure.row_set import Numbers
from yumen_core.errors import StateError
from yumen_core.sql.expression import to_json
from yumen_core.sql.joined_rows import joined_rows, place_name
from yumen_core.sql.local import key_places
from yumen_core.sql.plan import Key, Plan
from yumen_core.sql.render import render, render_key
from yumen_core.sql.row_parts import JUST_ROWS, RowPart
from yumen_core.sql.rows import RowsPlan
from yumen_core.sql.storage import identifier

Codes = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
_Reader = Callable[[npt.NDArray[np.generic]], Codes]
_BLOCK = 1 << 16
"""Rows that are sorted at a time: few enough for the processor's cache."""
_ROWS_A_CELL = 1 << 10
"""More of them where there are many cells, or the pieces are too many."""
_MOST_LOOKED_UP = 1 << 16


def tells_all_rows(plan: Plan | RowsPlan) -> bool:
    """Whether every row is chosen, each once and in the order held: the places go without
    saying."""
    return plan.where is None and not (isinstance(plan, Plan) and plan.joins)


def asks_rows(plan: Plan | RowsPlan, parts: Sequence[RowPart]) -> bool:
    """Whether the sets of `parts` take a question; else they are all rows of the plan's table."""
    keys = plan.keys if isinstance(plan, Plan) else ()
    return bool(keys) or not tells_all_rows(plan) or bool(_conditions(parts))


def row_sets_sql(
    plan: Plan | RowsPlan,
    relation: str,
    joined: Sequence[str] = (),
    parts: Sequence[RowPart] = (),
) -> str:
    """DuckDB SQL: of each chosen row its keys as whole numbers, k0 and on; its places in the tables
    that `parts` are of, p0 and on, without p0 where the plan `tells_all_rows`; and whether it
    fulfils the conditions of `parts`, b0 and on. With none of these there is nothing to ask
    (`ValueError`)."""
    where = "" if plan.where is None else f" WHERE {render(plan.where)}"
    keys = plan.keys if isinstance(plan, Plan) else ()
    selected = [f"{_filled(key)} AS k{at}" for at, key in enumerate(keys)]
    for source in sorted({0, *(part.source for part in parts)}):
        if source or not tells_all_rows(plan):
            place = place_name(source) if isinstance(plan, Plan) and plan.joins else "rowid"
            selected.append(f"coalesce(CAST({place} AS BIGINT), -1) AS p{source}")
    for at, condition in enumerate(_conditions(parts)):
        selected.append(f"CAST(coalesce({condition}, FALSE) AS UTINYINT) AS b{at}")
    if not selected:
        raise ValueError("expected a plan with keys, a choice of rows, or conditions")
    if isinstance(plan, Plan):
        source_sql = joined_rows(plan, relation, joined, numbered=True)
    else:
        source_sql = identifier(relation)
    return f"SELECT {', '.join(selected)} FROM {source_sql}{where}"  # noqa: S608


def numbers_by_cell(
    plan: Plan | RowsPlan,
    fetched: Mapping[str, npt.NDArray[np.generic]],
    numbers: Sequence[Numbers],
    parts: Sequence[RowPart] = (RowPart(0, 0, None, JUST_ROWS),),
) -> list[dict[int, Numbers]]:
    """For each of `parts` the numbers of the rows of each detail cell that has any, from the
    columns that `row_sets_sql` gives and the `numbers` of all rows of each table by their place,
    uint32[n]. A row whose key is outside its domain is in no cell, as in `local_cells`.

    Raises `StateError` ("data_source") where the database gave other rows than it holds.
    """
    keys = plan.keys if isinstance(plan, Plan) else ()
    size = next((column.size for column in fetched.values()), numbers[0].size)
    if tells_all_rows(plan) and size != numbers[0].size:
        raise StateError("data_source", "expected the keys of every row, got others")
    readers = [_reader(key, fetched[f"k{at}"].dtype) for at, key in enumerate(keys)]
    conditions = _conditions(parts)
    cells = plan.layout.details if isinstance(plan, Plan) else 1
    step = max(_BLOCK, cells * _ROWS_A_CELL)
    pieces: list[dict[int, list[Numbers]]] = [{} for _ in parts]
    for start in range(0, size, step):
        block = slice(start, start + step)
        codes, known = _codes(keys, readers, fetched, block, min(step, size - start))
        order, kind = _order(codes, cells) if keys else (None, np.dtype(np.int64))
        for part, found in zip(parts, pieces, strict=True):
            chosen = known
            if part.condition is not None:
                held = fetched[f"b{conditions.index(part.condition)}"][block] != 0
                chosen = chosen & held
            of = numbers[part.source]
            if not of.size:
                continue
            places = fetched.get(f"p{part.source}")
            if places is None:
                here = of[block]
            else:
                at = places[block].astype(np.int64)
                chosen = chosen & (at >= 0)
                here = of[np.maximum(at, 0)]
            for cell, piece in _split(codes, here, chosen, order, kind):
                found.setdefault(cell, []).append(piece)
    return [{cell: np.concatenate(found[cell]) for cell in sorted(found)} for found in pieces]


def _codes(
    keys: Sequence[Key],
    readers: Sequence[_Reader],
    fetched: Mapping[str, npt.NDArray[np.generic]],
    block: slice,
    size: int,
) -> tuple[Codes, Mask]:
    """The cells of a block of rows, and which rows have one."""
    codes = np.zeros(size, dtype=np.int64)
    known = np.ones(size, dtype=np.bool_)
    for at, (key, read) in enumerate(zip(keys, readers, strict=True)):
        positions = read(fetched[f"k{at}"][block])
        known &= positions >= 0
        codes *= key.positions
        codes += positions
    return codes, known


def _order(codes: Codes, cells: int) -> tuple[Codes, np.dtype[np.generic]]:
    """The rows of a block by cell; those of no cell anywhere."""
    kind = np.uint8 if cells <= 1 << 8 else np.uint16 if cells <= 1 << 16 else np.int64
    return np.argsort(codes.astype(kind), kind="stable"), np.dtype(kind)  # a radix sort


def _split(
    codes: Codes,
    numbers: Numbers,
    chosen: Mask,
    order: Codes | None,
    kind: np.dtype[np.generic],
) -> Iterator[tuple[int, Numbers]]:
    """The numbers of the chosen rows of each cell that occurs."""
    if order is None:
        if chosen.any():
            yield 0, numbers[chosen]
        return
    if not chosen.all():
        order = order[chosen[order]]
    if not order.size:
        return
    found, numbers = codes[order].astype(kind), numbers[order]
    starts = [0, *(np.flatnonzero(found[1:] != found[:-1]) + 1).tolist(), found.size]
    for start, end in pairwise(starts):
        yield int(found[start]), numbers[start:end]


def _conditions(parts: Sequence[RowPart]) -> list[str]:
    return list(dict.fromkeys(part.condition for part in parts if part.condition is not None))


def rows_key(plan: Plan | RowsPlan, versions: Mapping[str, bytes]) -> bytes:
    """SHA-256 that names the rows a plan chooses, whatever it computes of them: tables with the
    `versions` of their rows, joins and WHERE. 32 bytes."""
    joins = plan.to_json().get("joins", []) if isinstance(plan, Plan) else []
    return canonical.digest(
        {
            "table": plan.schema.digest.hex(),
            "where": None if plan.where is None else to_json(plan.where),
            "joins": joins,
            "versions": {
                name: versions.get(name, b"").hex() for name in (plan.table, *plan.joined)
            },
        }
    )


def cells_key(plan: Plan | RowsPlan) -> bytes:
    """SHA-256 that names which rows a plan puts into which detail cells, of tables as they are: 32
    bytes. The same for any part without a condition."""
    keys = plan.to_json()["keys"] if isinstance(plan, Plan) else []
    return canonical.digest({"rows": rows_key(plan, {}).hex(), "keys": keys})


def part_key(plan: Plan | RowsPlan, part: RowPart) -> bytes:
    """The same of one of its parts, whatever it tells of."""
    named = {"cells": cells_key(plan).hex(), "condition": part.condition, "source": part.source}
    return canonical.digest(named)


def _filled(key: Key) -> str:
    """A key without NULL: a number outside its domain stands in its place."""
    text = render_key(key)
    return f"coalesce({text}, {_absent(key)})" if key.nullable else text


def _absent(key: Key) -> int:
    held = [_whole(value) for value in key_places(key) if value is not None]
    if not held:
        return 0
    return max(held) + 1 if max(held) < (1 << 63) - 1 else min(held) - 1


def _reader(key: Key, kind: np.dtype[np.generic]) -> _Reader:
    """From a key's column, of integers of type `kind`, to positions; -1 outside its domain."""
    if kind.kind not in "iub":
        raise StateError("data_source", f"expected a key of whole numbers, got `{kind}`")
    places = {
        _absent(key) if value is None else _whole(value): at
        for value, at in key_places(key).items()
    }
    held = np.array(sorted(places), dtype=np.int64)
    positions = np.array([places[value] for value in held.tolist()], dtype=np.int64)
    low, high = int(held[0]), int(held[-1])
    if high - low >= _MOST_LOOKED_UP:
        return lambda column: _searched(column.astype(np.int64), held, positions)
    table = np.full(high - low + 1, -1, dtype=np.int64)
    table[held - low] = positions

    def looked_up(column: npt.NDArray[np.generic]) -> Codes:
        places = column.astype(np.int64)
        if places.min(initial=low) < low or places.max(initial=low) > high:
            return _searched(places, held, positions)
        return table[places - low]

    return looked_up


def _searched(
    column: npt.NDArray[np.int64],
    held: npt.NDArray[np.int64],
    positions: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    found = np.searchsorted(held, column).clip(0, held.size - 1)
    return np.where(held[found] == column, positions[found], -1)


def _whole(value: object) -> int:
    return int(str(value))
