"""A grouped aggregate over three nodes against plain DuckDB over the pooled rows, in one run.

    python benchmarks/query.py [--rows 100000 1000000 10000000] [--repeat N]

Both sides hold the rows in memory and use all cores of the machine: DuckDB one process over three
times the rows, Yumen one process a node. The two take turns, query by query. The fixed cost is the
same statement over the same federation with tables of no rows. What each side answers is compared:
counts and integer sums exactly, floats to 1e-9.

Before an answer leaves, each node keeps which rows are behind each cell (ADR 23). It makes these
sets when a grouping is asked for the first time, `first`; later questions by the same keys over the
same rows have them, whatever they compute.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import yumen
from rich.console import Console
from rich.table import Table

NODES = ("a", "b", "c")
STATEMENTS = {
    "count, sum, mean by two keys": (
        "SELECT region, kind, COUNT(*) AS n, SUM(amount) AS total, AVG(price) AS price "
        "FROM sales GROUP BY region, kind ORDER BY region, kind"
    ),
    "mean, deviation, share by band": (
        "SELECT CASE WHEN age < 40 THEN 'young' WHEN age < 65 THEN 'middle' ELSE 'old' END AS band,"
        " COUNT(*) AS n, AVG(price) AS price, STDDEV_SAMP(price) AS sd,"
        " AVG(CASE WHEN amount > 500 THEN 1 ELSE 0 END) AS large "
        "FROM sales GROUP BY band ORDER BY band"
    ),
}
SCHEMA = {
    "columns": [
        {"name": "region", "type": "integer", "domain": list(range(10)), "nullable": False},
        {"name": "kind", "type": "text", "domain": list("uvwxyz"), "nullable": False},
        {
            "name": "age",
            "type": "integer",
            "bounds": {"lower": 0, "upper": 120},
            "nullable": False,
        },
        {
            "name": "amount",
            "type": "integer",
            "bounds": {"lower": 0, "upper": 1000},
            "nullable": False,
        },
        {
            "name": "price",
            "type": "float",
            "bounds": {"lower": 0, "upper": 1000},
            "nullable": False,
        },
    ]
}
MAKE = """
    COPY (
        SELECT (hash(i, {seed}) % 10)::INTEGER AS region,
               chr((117 + hash(i, {seed}, 1) % 6)::INTEGER) AS kind,
               (18 + hash(i, {seed}, 2) % 80)::INTEGER AS age,
               (hash(i, {seed}, 3) % 1001)::INTEGER AS amount,
               (hash(i, {seed}, 4) % 1000000007) / 1000000007.0 * 1000 AS price
        FROM range({rows}) t(i)
    ) TO '{path}' (FORMAT parquet)
"""


def timed(step: Callable[[], object]) -> float:
    started = time.perf_counter()
    step()
    return (time.perf_counter() - started) * 1000


def same(left: list[tuple[object, ...]], right: list[tuple[object, ...]]) -> bool:
    """Equal tables; floats to 1e-9 relative."""
    if len(left) != len(right):
        return False
    for a, b in zip(left, right, strict=True):
        for x, y in zip(a, b, strict=True):
            if isinstance(x, float) and isinstance(y, float | int):
                if not math.isclose(x, y, rel_tol=1e-9):
                    return False
            elif x != y:
                return False
    return True


def measure(rows: int, repeat: int, folder: Path) -> list[tuple[str, float, float, float]]:
    """Per statement: median milliseconds of DuckDB and of Yumen, and of Yumen's first answer."""
    paths = {node: folder / f"{node}-{rows}.parquet" for node in NODES}
    pooled = duckdb.connect(config={"threads": os.cpu_count() or 1})
    for seed, path in enumerate(paths.values()):
        pooled.execute(MAKE.format(seed=seed, rows=rows, path=path))
    files = [str(path) for path in paths.values()]
    pooled.execute("CREATE TABLE sales AS SELECT * FROM read_parquet(?)", [files])
    found: list[tuple[str, float, float, float]] = []
    with yumen.local_federation(dict(paths), table="sales", schema=SCHEMA) as fed:
        for name, sql in STATEMENTS.items():
            began = time.perf_counter()
            asked = fed.query(sql, purpose="research")
            first = (time.perf_counter() - began) * 1000
            answer = asked.to_arrow().drop_columns(["_nodes"])
            ours = [tuple(row.values()) for row in answer.to_pylist()]
            if rows and not same(ours, pooled.execute(sql).fetchall()):
                raise SystemExit(f"the two sides differ on: {sql}")
            plain, federated = [], []
            for _ in range(repeat):
                plain.append(timed(lambda sql=sql: pooled.execute(sql).fetchall()))
                federated.append(timed(lambda sql=sql: fed.query(sql, purpose="research")))
            found.append((name, float(np.median(plain)), float(np.median(federated)), first))
    pooled.close()
    for path in paths.values():
        path.unlink()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--repeat", type=int, default=9)
    arguments = parser.parse_args()
    table = Table(title=f"Grouped aggregates on loopback, 3 nodes, {os.cpu_count()} cores, ms")
    for title in (
        "statement",
        "rows a node",
        "DuckDB pooled",
        "first",
        "Yumen",
        "ratio",
        "less fixed",
    ):
        table.add_column(title, justify="left" if title == "statement" else "right")
    with tempfile.TemporaryDirectory() as scratch:
        fixed = {n: y for n, _, y, _ in measure(0, arguments.repeat * 3, Path(scratch))}
        for name, cost in fixed.items():
            table.add_row(f"fixed cost: {name}", "0", "", "", f"{cost:.0f}", "", "")
        for rows in arguments.rows:
            for name, plain, ours, first in measure(rows, arguments.repeat, Path(scratch)):
                ratio, rest = ours / plain, (ours - fixed[name]) / plain
                table.add_row(
                    name,
                    f"{rows:,}",
                    f"{plain:.0f}",
                    f"{first:.0f}",
                    f"{ours:.0f}",
                    f"{ratio:.2f}",
                    f"{max(rest, 0):.2f}",
                )
    console = Console(width=100)
    console.print(table)
    console.print("to reach: ratio 1.5 at 10,000,000 rows a node, fixed cost 100 ms")


if __name__ == "__main__":
    main()
