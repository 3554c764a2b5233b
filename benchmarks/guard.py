"""What the differencing guard costs a node, over a table of a million rows.

    python benchmarks/guard.py [--rows N] [--sets N]

Earlier cells are drawn at random, the worst case for a bitmap. `far` are of another size, as most
are; `near` have a size within the threshold of the new one, so that rows must be compared. The
store is asked with all its sets far, and with as many near as it keeps in memory.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml
from pyroaring import BitMap
from rich.console import Console
from rich.table import Table
from yumen_core.disclosure.difference import too_close
from yumen_core.disclosure.row_set import RowSet
from yumen_core.sql import Plan, parse
from yumen_node.datasets import Dataset, load_declaration
from yumen_node.datasets.cell_sets import KeptSets
from yumen_node.datasets.numbers import RowNumbers
from yumen_node.released import Guarded, Leaving, ReleasedSets

THRESHOLD = 10
TARGET_S = 50e-6
NODES = ("a", "b", "c")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--sets", type=int, default=10_000)
    options = parser.parse_args()
    measure(Console(), rows=options.rows, sets=options.sets)


def measure(console: Console, *, rows: int = 1_000_000, sets: int = 10_000) -> None:
    """Print what each part takes."""
    table = Table(title=f"the guard over {rows:,} rows")
    table.add_column("what")
    table.add_column("time", justify="right")
    with tempfile.TemporaryDirectory() as name:
        for what, seconds in [
            *_comparisons(rows),
            *_row_sets(Path(name) / "table", rows),
            *_store(Path(name) / "store", rows, sets),
        ]:
            table.add_row(what, _told(seconds))
    console.print(table)
    console.print(f"target: {_told(TARGET_S)} for each earlier cell")


def _comparisons(rows: int) -> list[tuple[str, float]]:
    draw = np.random.default_rng(1)
    members = draw.permutation(rows)[: rows // 2]
    new = BitMap(np.sort(members).astype(np.uint32))
    far = BitMap(np.sort(members[THRESHOLD:]).astype(np.uint32))
    near = BitMap(np.sort(members[1:]).astype(np.uint32))
    return [
        ("one earlier cell, count far", _each(lambda: too_close(far, new, THRESHOLD), 10_000)),
        ("one earlier cell, count near", _each(lambda: too_close(near, new, THRESHOLD), 500)),
    ]


def _row_sets(folder: Path, rows: int) -> list[tuple[str, float]]:
    folder.mkdir()
    draw = np.random.default_rng(2)
    kinds, ages = draw.integers(0, 20, rows), draw.integers(0, 120, rows)
    with (folder / "rows.csv").open("w", encoding="utf-8") as file:
        file.write("kind,age,amount\n")
        file.writelines(f"{k},{a},{n}\n" for n, (k, a) in enumerate(zip(kinds, ages, strict=True)))
    columns: list[dict[str, object]] = [
        {"name": "kind", "type": "integer", "domain": list(range(20)), "nullable": False},
        {"name": "age", "type": "integer", "bounds": {"lower": 0, "upper": 120}},
        {"name": "amount", "type": "integer", "bounds": {"lower": 0, "upper": rows}},
    ]
    document = {"name": "t", "source": {"type": "csv", "path": "rows.csv"}, "columns": columns}
    (folder / "t.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    declared = load_declaration(folder / "t.yaml")
    numbers = RowNumbers(folder / "state", folder / "secrets")
    bare = _once(lambda: Dataset.open_all([declared])["t"].close())
    first = _once(lambda: Dataset.open_all([declared], row_numbers=numbers)["t"].close())
    again = _once(lambda: Dataset.open_all([declared], row_numbers=numbers)["t"].close())
    dataset = Dataset.open_all([declared], row_numbers=numbers)["t"]
    found = [("numbering, first load", first - bare), ("numbering, a refresh", again - bare)]
    for what, sql in {
        "by 20 kinds": "SELECT kind, COUNT(*), AVG(amount) FROM t GROUP BY kind",
        "all rows": "SELECT COUNT(*), AVG(amount) FROM t",
    }.items():
        plan = parse(sql, {"t": dataset.schema})
        found.append(
            (f"the answer {what}", _best(lambda p=plan: dataset.cells(p, timeout_s=60)))  # type: ignore[misc]
        )
        made, kept = _row_sets_of(dataset, plan)
        found.append((f"its rows {what}, first", made))
        found.append((f"its rows {what}, again", kept))
    dataset.close()
    return found


def _row_sets_of(dataset: Dataset, plan: Plan) -> tuple[float, float]:
    """Making the sets of a plan's cells with their digests, and having them again."""

    def sets() -> None:
        found = dataset.row_sets(plan, timeout_s=60)
        for _, _, held in found:
            for rows in (*held.all(plan.layout).values(), held.union(frozenset(held.details))):
                assert rows.digest

    def first() -> None:
        dataset._sets = KeptSets()
        sets()

    return _best(first), _best(sets)


def _store(folder: Path, rows: int, sets: int) -> list[tuple[str, float]]:
    """Sets of 2 000 rows and more, all `THRESHOLD` rows apart in size; then 200 of one size."""
    draw = np.random.default_rng(3)
    store = ReleasedSets(folder, "a")
    drawn = [
        _set(np.unique(draw.integers(0, rows, 2_000 + THRESHOLD * (at % 500))))
        for at in range(sets)
    ]
    leaving = [Leaving(rows, NODES) for rows in drawn]
    took = _once(lambda: store.record(Guarded("1", "t", 1, 3, b"a"), leaving, NODES))
    store.close()
    asked = Guarded("2", "t", THRESHOLD, 3, b"a")
    store = ReleasedSets(folder, "a")
    far = _set(np.arange(rows // 2))
    first = _once(lambda: store.is_near(asked, far, NODES))
    after = _each(lambda: store.is_near(asked, far, NODES), 100)
    half = draw.permutation(rows)[: rows // 2]
    close = [_set(draw.permutation(rows)[: rows // 2]) for _ in range(20)]
    store.record(Guarded("3", "t", 1, 3, b"b"), [Leaving(s, NODES) for s in close], NODES)
    new = _set(half)
    store.is_near(asked, new, NODES)
    near = _each(lambda: store.is_near(asked, new, NODES), 20)
    store.close()
    return [
        (f"record, each of {sets:,} sets", took / sets),
        (f"open the store of {sets:,} sets", first),
        ("a new cell, all of another size", after),
        ("a new cell of half the rows, 20 of its size", near),
    ]


def _set(numbers: npt.NDArray[np.int64]) -> RowSet:
    return RowSet.of(np.sort(numbers).astype(np.uint32))


def _once(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _best(act: Callable[[], object], times: int = 3) -> float:
    return min(_once(act) for _ in range(times))


def _each(act: Callable[[], object], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        act()
    return (time.perf_counter() - began) / times


def _told(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:,.1f} µs"
    return f"{seconds * 1e3:,.1f} ms"


if __name__ == "__main__":
    main()
