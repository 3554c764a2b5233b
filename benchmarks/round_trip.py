"""The round trip of an empty job on loopback, step by step, beside the bare link under it.

    python benchmarks/round_trip.py [--repeat N]

An empty job is a whole query over tables without rows: signed, decided and logged at the
coordinator and three nodes, a support round, an encrypted sum, decrypted and verified. Beside it,
in the same run: a dry run (decisions only), and one unary call over the same mTLS channel, which is
what the machine and gRPC cost by themselves.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import yumen
from rich.console import Console
from rich.table import Table

TARGET_MS = 50.0
SQL = "SELECT COUNT(*) AS n FROM empty"


def timed(step: Callable[[], object], repeat: int) -> list[float]:
    """Milliseconds of each of `repeat` runs, after two unmeasured ones."""
    step()
    step()
    times = []
    for _ in range(repeat):
        started = time.perf_counter()
        step()
        times.append((time.perf_counter() - started) * 1000)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=40)
    repeat = parser.parse_args().repeat
    frame = pd.DataFrame({"x": pd.Series([], dtype="int64")})
    schema = {"columns": [{"name": "x", "type": "integer", "bounds": {"lower": 0, "upper": 1}}]}
    with yumen.local_federation(
        {"a": frame, "b": frame, "c": frame}, table="empty", schema=schema
    ) as fed:
        rows = [
            ("one unary call (list jobs)", timed(lambda: fed.jobs(limit=1), repeat)),
            ("catalogue, 3 descriptors verified", timed(fed.datasets, repeat)),
            (
                "dry run: 4 decisions, 4 logs",
                timed(lambda: fed.check(SQL, purpose="research"), repeat),
            ),
            ("empty job", timed(lambda: fed.query(SQL, purpose="research"), repeat)),
        ]
    base = np.median(rows[0][1])
    table = Table(title="Round trip on loopback, 3 nodes, mTLS, separate processes")
    for name in ("step", "median ms", "p90 ms", "x one call", "to reach"):
        table.add_column(name, justify="left" if name == "step" else "right")
    for name, times in rows:
        median = np.median(times)
        p90 = np.quantile(times, 0.9)
        target = f"{TARGET_MS:.0f} ms" if name == "empty job" else ""
        table.add_row(name, f"{median:.1f}", f"{p90:.1f}", f"{median / base:.1f}", target)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
