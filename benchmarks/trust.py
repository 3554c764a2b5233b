"""What the promises cost: decisions, the log, the differencing guard, and noise.

    python benchmarks/trust.py [--repeat N] [--rows N] [--entries N] [--sets N]

Each figure is a median. An append is measured in turns with a bare write and fsync of the same
bytes to the same folder, so that the disk's own time is beside it; a query with noise in turns with
the same one without, over one federation of real processes. The store of released sets is opened in
a process of its own, whose memory is asked before and after. What the guard's parts take comes from
`guard.py` beside this file.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import guard
import numpy as np
import pandas as pd
import yumen
from pyroaring import BitMap
from rich.console import Console
from rich.table import Table
from yumen_core.clock import SystemClock
from yumen_core.disclosure.difference import too_close
from yumen_core.disclosure.row_set import RowSet
from yumen_core.identity.names import Identity, Role
from yumen_core.log import Act, Entry, Signer, TileLog, verify_directory
from yumen_core.log.member import PUBLISH_DELAY_S
from yumen_core.policy import PolicyBundle, PolicyRequest, Purpose, Purposes
from yumen_node.released import Guarded, Leaving, ReleasedSets
from yumen_node.released_log import told_of

FEDERATION = "gansu.example"
POLICIES = 100
BATCH = 1000
QUERY_CELLS = 20
NODES = ("a", "b", "c")
SCHEMA = {
    "columns": [
        {"name": "region", "type": "integer", "domain": list(range(10)), "nullable": False},
        {
            "name": "amount",
            "type": "integer",
            "bounds": {"lower": 0, "upper": 1000},
            "nullable": False,
        },
    ]
}
SQL = "SELECT region, COUNT(*) AS n, SUM(amount) AS total FROM sales GROUP BY region"


def timed(step: Callable[[], object]) -> float:
    """Milliseconds."""
    started = time.perf_counter()
    step()
    return (time.perf_counter() - started) * 1000


def policy_bundle() -> PolicyBundle:
    """As many permits, each for a table and a purpose of its own."""
    text = "\n".join(
        f'@id("p{at}") @reason_code("purpose") @basis("agreement {at}") @remedy("ask otherwise") '
        f'permit (principal, action == Yumen::Action::"query", resource == Yumen::Table::"t{at}") '
        f'when {{ principal.federation == "{FEDERATION}" && context.purpose == "purpose{at}" '
        f"&& context.participants >= 3 }};"
        for at in range(POLICIES)
    )
    purposes = Purposes(tuple(Purpose(f"purpose{at}", "study") for at in range(POLICIES)))
    return PolicyBundle.from_text({"own.cedar": text}, purposes=purposes)


def request(at: int) -> PolicyRequest:
    now_ms = SystemClock().now_ms()
    return PolicyRequest(
        requester=Identity(FEDERATION, "lzu", Role.USER, "li"),
        decider=Identity(FEDERATION, "cleveland", Role.NODE, "heart"),
        table=f"t{at}",
        table_grade="general",
        purpose=f"purpose{at}",
        columns={"sex": "general", "age": "general"},
        aggregates=frozenset({"count", "avg"}),
        participants=3,
        min_nodes=3,
        threshold=10,
        suite="bfv",
        now_ms=now_ms,
        expires_at_ms=now_ms + 600_000,
    )


def decision_ms(repeat: int) -> tuple[float, float]:
    """The median of an acceptance, and the 90th percentile."""
    bundle = policy_bundle()
    requests = [request(at) for at in range(POLICIES)]
    if not all(bundle.decide(one).allowed for one in requests):
        raise SystemExit("a policy refuses what it permits")
    found = [timed(partial(bundle.decide, one)) for _ in range(repeat) for one in requests]
    return float(np.median(found)), float(np.percentile(found, 90))


def entry() -> bytes:
    return Entry(
        SystemClock().now_ms(),
        Act.DECISION,
        {"job": "0" * 26, "requester": f"spiffe://{FEDERATION}/org/lzu/user/li"},
        {"spec": bytes(32), "policies": bytes(32)},
        {"accepted": True, "denials": [], "sql": SQL},
    ).encode()


def append_ms(folder: Path, many: int) -> tuple[float, float, float]:
    """Medians of an append, of one bare write with fsync of the same bytes, and of the two such
    writes that an append makes."""
    data, log = entry(), opened_log(folder / "append")
    descriptor = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT, 0o600)
    appends, ones, twos = [], [], []

    def bare() -> None:
        os.write(descriptor, data)
        os.fsync(descriptor)

    try:
        for _ in range(many):
            appends.append(timed(lambda: log.append(data)))
            ones.append(timed(bare))
            twos.append(ones[-1] + timed(bare))
    finally:
        os.close(descriptor)
        log.close()
    return float(np.median(appends)), float(np.median(ones)), float(np.median(twos))


def log_s(folder: Path, entries: int) -> tuple[float, float]:
    """Seconds to verify a log, and to find that no entry of it tells of a released set: the most
    that a node reads as it starts."""
    directory = folder / "whole"
    with opened_log(directory) as log:
        for _ in range(entries // BATCH):
            log.append_many([entry() for _ in range(BATCH)])
        key, size = log.verifier_key, log.size
        searched = timed(lambda: told_of(log)) / 1000
    seconds = timed(lambda: verify_directory(directory / "log", key)) / 1000
    if verify_directory(directory / "log", key).size != size:
        raise SystemExit("the log that was verified is not whole")
    return seconds, searched


def opened_log(directory: Path) -> TileLog:
    signer = Signer.generate(f"{FEDERATION}/bench")
    return TileLog.open(
        directory / "log",
        signer,
        origin=signer.name,
        guard=directory / "guard",
        clock=SystemClock(),
        publish_delay_s=PUBLISH_DELAY_S,
    )


def guard_us(rows: int, cells: int = 200) -> dict[str, float]:
    """Microseconds for each earlier cell whose size is near to the new one's: what sizes alone
    settle is not among them. By the kind of the sets."""
    rng = np.random.default_rng(1)
    half = np.arange(rows // 2, dtype=np.uint32)
    kinds: dict[str, tuple[BitMap, list[BitMap]]] = {}
    whole = BitMap(half)
    kinds["rows in order"] = whole, [BitMap(half + np.uint32(at + 1)) for at in range(cells)]
    scattered = [
        BitMap(rng.choice(rows, size=rows // 2, replace=False).astype(np.uint32))
        for _ in range(cells // 10)
    ]
    kinds["half of all rows, at random"] = scattered[0], scattered[1:] * 10
    thin = [
        BitMap(rng.choice(rows, size=rows // 100, replace=False).astype(np.uint32))
        for _ in range(cells // 10)
    ]
    kinds["a hundredth, at random"] = thin[0], thin[1:] * 10

    def look(new: BitMap, old: list[BitMap]) -> None:
        for one in old:
            too_close(one, new, 10)

    return {
        name: timed(partial(look, new, old)) * 1000 / len(old) for name, (new, old) in kinds.items()
    }


class _NoEntries:
    """A log that is as new as the store."""

    origin = "bench"
    size = 0

    def entries(self, start: int = 0, end: int | None = None) -> list[bytes]:
        return []


def store_figures(folder: Path, rows: int, sets: int) -> tuple[float, float, float]:
    """A store of so many sets of 2,000 rows and more: seconds to open and compare it and to read
    what it keeps in memory, the MiB of that, and the milliseconds of one new query of QUERY_CELLS
    cells."""
    draw = np.random.default_rng(5)
    store = ReleasedSets(folder, "a")
    store.compare(_NoEntries())
    for at in range(0, sets, BATCH):
        drawn = [
            RowSet.of(np.unique(draw.integers(0, rows, 2_000 + n)).astype(np.uint32))
            for n in range(min(BATCH, sets - at))
        ]
        asked = Guarded(str(at), "t", 1, 3, str(at).encode())
        store.record(asked, [Leaving(one, NODES) for one in drawn], NODES)
    store.close()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_opened_store, (folder, rows))


def _opened_store(folder: Path, rows: int) -> tuple[float, float, float]:
    draw = np.random.default_rng(6)
    cells = np.array_split(draw.permutation(rows)[: 2_500 * QUERY_CELLS], QUERY_CELLS)
    fresh = [RowSet.of(np.sort(cell).astype(np.uint32)) for cell in cells]
    before = _resident_mib()
    began = time.perf_counter()
    store = ReleasedSets(folder, "a")
    store.compare(_NoEntries())
    asked = Guarded("new", "t", 10, 3, b"new")
    store.is_near(asked, fresh[0], NODES)
    opened = time.perf_counter() - began
    grown = _resident_mib() - before

    def query() -> None:
        for cell in fresh:
            store.is_near(asked, cell, NODES)
        store.record(asked, [Leaving(cell, NODES) for cell in fresh], NODES)

    spent = timed(query)
    store.close()
    return opened, grown, spent


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def noise_ms(rows: int, repeat: int) -> tuple[float, float]:
    """Medians of a query without and with noise, of all nodes, in turns."""
    rng = np.random.default_rng(3)
    frames = {
        node: pd.DataFrame(
            {"region": rng.integers(0, 10, rows), "amount": rng.integers(0, 1001, rows)}
        )
        for node in NODES
    }
    privacy = {"epsilon": 20.0, "project_epsilon": 20.0}
    plain, private = [], []
    with yumen.local_federation(frames, table="sales", schema=SCHEMA, privacy=privacy) as fed:
        for turn in range(repeat + 1):
            first = timed(lambda: fed.query(SQL, purpose="research"))
            second = timed(
                lambda: fed.query(SQL, purpose="research", privacy=yumen.DP(epsilon=0.5))
            )
            if turn:  # the first of each loads what is loaded once
                plain.append(first)
                private.append(second)
    return float(np.median(plain)), float(np.median(private))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--sets", type=int, default=10_000)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    table = Table(title=f"What trust costs, {os.cpu_count()} cores, load {load:.1f} at the start")
    for title in ("what", "found", "to reach"):
        table.add_column(title, justify="left" if title == "what" else "right")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        median, ninth = decision_ms(arguments.repeat)
        append, bare, two = append_ms(folder, 200)
        verified, searched = log_s(folder, arguments.entries)
        opened, grown, spent = store_figures(folder / "sets", arguments.rows, arguments.sets)
    table.add_row(f"a decision with {POLICIES} policies", f"{median:.2f} ms", "0.5 ms")
    table.add_row("  90 % below", f"{ninth:.2f} ms", "")
    table.add_row("an append, durable", f"{append:.2f} ms", "")
    table.add_row("  one bare fsync of the same bytes", f"{bare:.2f} ms", "")
    table.add_row("  two, as many as an append makes", f"{two:.2f} ms", "")
    table.add_row("  an append beyond one", f"{append - bare:.2f} ms", "0.5 ms")
    table.add_row("  an append beyond two", f"{max(append - two, 0):.2f} ms", "")
    table.add_row(f"{arguments.entries:,} entries verified", f"{verified:.2f} s", "2 s")
    table.add_row("  searched at a start for what left, at worst", f"{searched:.2f} s", "")
    table.add_row(f"{arguments.sets:,} released sets, opened", f"{opened:.2f} s", "")
    table.add_row("  memory", f"{grown:.0f} MiB", "")
    table.add_row(f"  a new query of {QUERY_CELLS} cells", f"{spent:.1f} ms", "")
    for kind, found in guard_us(arguments.rows).items():
        name = f"the guard, an earlier cell, {arguments.rows:,} rows: {kind}"
        table.add_row(name, f"{found:.1f} µs", "50 µs")
    for rows in (1_000, arguments.rows):
        plain, private = noise_ms(rows, arguments.repeat)
        table.add_row(f"a query, {rows:,} rows a node", f"{plain:.0f} ms", "")
        table.add_row("  the same with noise", f"{private:.0f} ms", "")
        table.add_row("  ratio", f"{private / plain:.2f}", "1.2")
    console = Console(width=100)
    console.print(table)
    guard.measure(console, rows=arguments.rows, sets=arguments.sets)


if __name__ == "__main__":
    main()
