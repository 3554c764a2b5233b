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
from yumen_core.sql.joined_rows import ROW, joined_rows
from yumen_core.sql.local import key_places
from yumen_core.sql.plan import Key, Plan
from yumen_core.sql.render import render, render_key
from yumen_core.sql.rows import RowsPlan
from yumen_core.sql.storage import identifier

_BLOCK = 1 << 16
"""Rows that are sorted at a time: few enough for the processor's cache."""
_ROWS_A_CELL = 1 << 10
"""More of them where there are many cells, or the pieces are too many."""
_MOST_LOOKED_UP = 1 << 16


def tells_all_rows(plan: Plan | RowsPlan) -> bool:
    """Whether every row is chosen, each once and in the order held: the places go without
    saying."""
    return plan.where is None and not (isinstance(plan, Plan) and plan.joins)


def row_sets_sql(plan: Plan | RowsPlan, relation: str, joined: Sequence[str] = ()) -> str:
    """DuckDB SQL: of each chosen row its keys as whole numbers, k0 and on, then its place, `place`,
    unless the plan `tells_all_rows`. With neither keys nor places to tell there is nothing to
    ask (`ValueError`)."""
    where = "" if plan.where is None else f" WHERE {render(plan.where)}"
    keys = plan.keys if isinstance(plan, Plan) else ()
    selected = [f"{_filled(key)} AS k{at}" for at, key in enumerate(keys)]
    if not tells_all_rows(plan):
        row = ROW if isinstance(plan, Plan) and plan.joins else "rowid"
        selected.append(f"CAST({row} AS UINTEGER) AS place")
    if not selected:
        raise ValueError("expected a plan with keys or a choice of rows")
    if isinstance(plan, Plan):
        source = joined_rows(plan, relation, joined, numbered=True)
    else:
        source = identifier(relation)
    return f"SELECT {', '.join(selected)} FROM {source}{where}"  # noqa: S608


def numbers_by_cell(
    plan: Plan | RowsPlan,
    fetched: Mapping[str, npt.NDArray[np.generic]],
    numbers: Numbers,
) -> dict[int, Numbers]:
    """The numbers of the rows of each detail cell that has any, from the columns that
    `row_sets_sql` gives and the `numbers` of all rows by their place, uint32[n]. A row whose key is
    outside its domain is in no cell, as in `local_cells`.

    Raises `StateError` ("data_source") where the database gave other rows than it holds.
    """
    places = fetched.get("place")
    if places is not None:
        numbers = numbers[places]
    if isinstance(plan, RowsPlan) or not plan.keys:
        return {0: numbers} if numbers.size else {}
    columns = [fetched[f"k{at}"] for at in range(len(plan.keys))]
    if any(column.size != numbers.size for column in columns):
        raise StateError("data_source", "expected the keys of every row, got others")
    readers = [_reader(key, column.dtype) for key, column in zip(plan.keys, columns, strict=True)]
    cells = plan.layout.details
    step = max(_BLOCK, cells * _ROWS_A_CELL)
    pieces: dict[int, list[Numbers]] = {}
    for start in range(0, numbers.size, step):
        block = slice(start, start + step)
        codes = np.zeros(numbers[block].size, dtype=np.int64)
        known = np.ones(codes.size, dtype=np.bool_)
        for key, read, column in zip(plan.keys, readers, columns, strict=True):
            positions = read(column[block])
            known &= positions >= 0
            codes *= key.positions
            codes += positions
        chosen = numbers[block]
        if not known.all():
            codes, chosen = codes[known], chosen[known]
        for cell, piece in _split(codes, chosen, cells):
            pieces.setdefault(cell, []).append(piece)
    return {cell: np.concatenate(pieces[cell]) for cell in sorted(pieces)}


def _split(
    codes: npt.NDArray[np.int64], numbers: Numbers, cells: int
) -> Iterator[tuple[int, Numbers]]:
    """The numbers of each cell that occurs."""
    if not codes.size:
        return
    kind = np.uint8 if cells <= 1 << 8 else np.uint16 if cells <= 1 << 16 else np.int64
    narrow = codes.astype(kind)
    order = np.argsort(narrow, kind="stable")  # a radix sort of 8 or 16 bits
    found, numbers = narrow[order], numbers[order]
    starts = [0, *(np.flatnonzero(found[1:] != found[:-1]) + 1).tolist(), found.size]
    for start, end in pairwise(starts):
        yield int(found[start]), numbers[start:end]


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
    bytes."""
    keys = plan.to_json()["keys"] if isinstance(plan, Plan) else []
    return canonical.digest({"rows": rows_key(plan, {}).hex(), "keys": keys})


def _filled(key: Key) -> str:
    """A key without NULL: a number outside its domain stands in its place."""
    text = render_key(key)
    return f"coalesce({text}, {_absent(key)})" if key.nullable else text


def _absent(key: Key) -> int:
    held = [_whole(value) for value in key_places(key) if value is not None]
    if not held:
        return 0
    return max(held) + 1 if max(held) < (1 << 63) - 1 else min(held) - 1


def _reader(
    key: Key, kind: np.dtype[np.generic]
) -> Callable[[npt.NDArray[np.generic]], npt.NDArray[np.int64]]:
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

    def looked_up(column: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
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
