"""Which rows of a node's table stand in each cell: SQL built from the plan, and what it gives.

With joins these are the rows of the plan's own table. The number of a row is its place in the
table as held (`rowid`, which no published column is called), so no plan can ask for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from yumen_core import canonical
from yumen_core.sql.expression import to_json
from yumen_core.sql.joined_rows import ROW, joined_rows
from yumen_core.sql.local import key_places
from yumen_core.sql.plan import Key, Plan
from yumen_core.sql.render import render, render_key
from yumen_core.sql.rows import RowsPlan
from yumen_core.sql.storage import identifier

Places = npt.NDArray[np.int64]


def row_sets_sql(plan: Plan | RowsPlan, relation: str, joined: Sequence[str] = ()) -> str:
    """DuckDB SQL: of each chosen row its keys as held, k0 and on, then its place, `place`."""
    where = "" if plan.where is None else f" WHERE {render(plan.where)}"
    if isinstance(plan, RowsPlan):
        return f"SELECT rowid AS place FROM {identifier(relation)}{where}"  # noqa: S608
    keys = [f"{render_key(key)} AS k{at}" for at, key in enumerate(plan.keys)]
    row = ROW if plan.joins else "rowid"
    source = joined_rows(plan, relation, joined, numbered=True)
    return f"SELECT {', '.join([*keys, f'{row} AS place'])} FROM {source}{where}"  # noqa: S608


def places_by_cell(
    plan: Plan | RowsPlan, fetched: Mapping[str, npt.NDArray[np.generic]]
) -> dict[int, Places]:
    """The places of the rows of each detail cell that has any, from what `fetchnumpy` gives. A row
    whose key is outside its domain is in none, as in `local_cells`."""
    places = np.asarray(fetched["place"], dtype=np.int64)
    if isinstance(plan, RowsPlan) or not plan.keys:
        return {0: places} if places.size else {}
    cells = np.zeros(places.size, dtype=np.int64)
    known = np.ones(places.size, dtype=np.bool_)
    for at, key in enumerate(plan.keys):
        codes = _codes(key, fetched[f"k{at}"])
        known &= codes >= 0
        cells = cells * key.positions + codes
    places, cells = places[known], cells[known]
    if not places.size:
        return {}
    narrow = cells.astype(np.uint16) if plan.layout.details <= 1 << 16 else cells
    order = np.argsort(narrow, kind="stable")  # a radix sort for 16 bits
    places, cells = places[order], cells[order]
    starts = np.flatnonzero(np.diff(cells, prepend=-1))
    ends = [*starts[1:].tolist(), places.size]
    return {
        int(cells[start]): places[start:end]
        for start, end in zip(starts.tolist(), ends, strict=True)
    }


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


def _codes(key: Key, column: npt.NDArray[np.generic]) -> Places:
    """Positions of a key, -1 outside its domain."""
    missing = np.zeros(column.shape, dtype=np.bool_)
    if isinstance(column, np.ma.MaskedArray):
        missing = np.ma.getmaskarray(column)
        column = column.filled(0)
    places = key_places(key)
    absent = places.pop(None, -1)
    held = np.array([int(str(value)) for value in places], dtype=np.int64)
    if not held.size:
        return np.full(column.shape, absent, dtype=np.int64)
    order = np.argsort(held)
    whole = np.asarray(column).astype(np.int64)
    found = np.searchsorted(held[order], whole).clip(0, len(held) - 1)
    positions = np.array(list(places.values()), dtype=np.int64)[order]
    codes: Places = np.where(held[order][found] == whole, positions[found], -1)
    return np.where(missing, absent, codes)
