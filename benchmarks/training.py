"""Rounds of a federated training on this machine: their time, their hiding, their memory.

    python benchmarks/training.py [--part rounds|plain|suites|large] [--rounds N] [...]

rounds  An empty round (an echo app, FedAvg, no evaluation) on Yumen beside the very same project
        on Flower's own SuperLink and SuperNodes. Yumen has three nodes, since a secure sum takes
        three, with mTLS, logs and sandboxes; Flower has two (`--flower-nodes`), without TLS.
plain   A secure round beside the same round with the hiding taken out, in turns.
suites  The suites' node time and bytes beside CKKS with NVFlare's parameters (see secure_sum.py).
large   A model of 25M values: the time of a round, and the most memory each process held.

Times are taken by the ServerApp, from the end of a round to the end of the next. Each part is a
process of its own, so that one's memory and caches are not another's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import yumen
from rich.console import Console
from rich.table import Table
from training_apps.flower_engine import FlowerEngine
from training_apps.peaks import Peaks
from training_apps.plain import PROGRAM as PLAIN_PROGRAM
from training_apps.plain import read_plain
from yumen._processes import PROGRAM, Child
from yumen._stack import Stack
from yumen.federation import Federation, connect

APP = Path(__file__).with_name("training_apps") / "echo"
NODES = ("a", "b", "c")
WARM_UPS = 3
TARGETS_MS = {1_000: 50.0, 1_000_000: 300.0}
MOST_PLAIN = 1.3
MOST_MB = 2_000.0
PLAIN_VALUES, LARGE_VALUES, LARGE_LAYERS = 1_000_000, 25_000_000, 25
ROWS = 100


class _Stack(Stack):
    """A federation whose nodes run another program."""

    node_program: Sequence[str] = PROGRAM

    def _spawn(self, name: str, file: str, args: Any) -> Child:
        program = self.node_program if file.startswith("node-") else PROGRAM
        log = self.root / "logs" / f"{file}.log"
        child = Child.spawn(args, name=name, stderr=log, program=program)
        self.children.append(child)
        return child


class _PlainStack(_Stack):
    node_program = PLAIN_PROGRAM


class Bench:
    """A running federation that trains the echo app."""

    def __init__(self, stack: Stack, fed: Federation, folder: Path) -> None:
        self._fed = fed
        self._folder = folder
        self.processes = {child.name: child.pid for child in stack.children}

    def run(
        self, values: int, rounds: int, *, layers: int = 1, suite: str = "stream"
    ) -> list[float]:
        """Seconds of each round; the mean is checked."""
        report = self._folder / f"report-{time.monotonic_ns()}.json"
        self._fed.run(
            APP,
            table="rows",
            columns=["x"],
            purpose="research",
            suite=suite,
            run_config=settings(values, rounds, len(NODES), layers) | {"report": str(report)},
            folder=report.with_suffix(".kept"),
        )
        return checked(json.loads(report.read_text(encoding="utf-8")), "Yumen")


def settings(values: int, rounds: int, nodes: int, layers: int = 1) -> dict[str, Any]:
    return {"values": values, "rounds": rounds, "nodes": nodes, "layers": layers}


def checked(report: Mapping[str, Any], who: str) -> list[float]:
    """The seconds of each round, where the mean is what it has to be."""
    if report["error"] > 1e-3:
        raise SystemExit(f"the mean of {who} is off by {report['error']}")
    seconds: list[float] = report["seconds"]
    return seconds


@contextlib.contextmanager
def federation(kind: type[Stack] = _Stack) -> Iterator[Bench]:
    """Three nodes, each with a few rows; everything ends with the block."""
    frame = pd.DataFrame({"x": np.arange(ROWS) % 10})
    prepared = yumen.local_federation(dict.fromkeys(NODES, frame), table="rows", approve=[APP])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        root = Path(scratch)
        stack = kind.start(root, prepared._prepare(root))
        try:
            fed = connect(stack.coordinator_address, identity=stack.user_directory)
            with contextlib.closing(fed):
                yield Bench(stack, fed, root)
        finally:
            stack.stop()


def table_of(title: str, *columns: str) -> Table:
    """The first column holds words, the others numbers."""
    table = Table(title=title)
    for name in columns:
        table.add_column(name, justify="left" if name == columns[0] else "right")
    return table


def part_rounds(options: argparse.Namespace, console: Console) -> None:
    table = table_of(
        f"An empty round, {len(NODES)} nodes at Yumen, {options.flower_nodes} at Flower",
        *("float32 values", "Yumen, ms", "90 % below", "Flower, ms", "90 % below", "ratio"),
        "to reach",
    )
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        for values, target in TARGETS_MS.items():
            with federation() as bench:
                bench.run(values, WARM_UPS)  # what is loaded once
                ours = bench.run(values, WARM_UPS + options.rounds)[WARM_UPS:]
            cells = ["-", "-", "-"]
            if options.flower_rounds:
                theirs = flower_rounds(values, options, Path(scratch) / str(values))
                ratio = np.median(theirs) / np.median(ours)
                cells = [*milliseconds(theirs), f"{ratio:.0f}x faster"]
            table.add_row(f"{values:,}", *milliseconds(ours), *cells, f"{target:.0f} ms")
    console.print(table)


def flower_rounds(values: int, options: argparse.Namespace, folder: Path) -> list[float]:
    folder.mkdir()
    with FlowerEngine(folder, options.flower_nodes) as engine:
        asked = settings(values, WARM_UPS + options.flower_rounds, options.flower_nodes)
        timeout_s = 60.0 + 30 * asked["rounds"]
        return checked(engine.run(APP, asked, timeout_s=timeout_s), "Flower")[WARM_UPS:]


def milliseconds(seconds: Sequence[float] | npt.NDArray[np.float64]) -> list[str]:
    """Median, and what 90 % are below."""
    return [f"{np.median(seconds) * 1e3:,.0f}", f"{np.quantile(seconds, 0.9) * 1e3:,.0f}"]


def part_plain(options: argparse.Namespace, console: Console) -> None:
    """Both federations run; they train in turns of a few rounds."""
    seconds: dict[str, list[list[float]]] = {"secure": [], "plain": []}
    with federation(_PlainStack) as plain, federation() as secure:

        def turn(rounds: int) -> None:
            seconds["secure"].append(secure.run(PLAIN_VALUES, WARM_UPS + rounds)[WARM_UPS:])
            with read_plain():
                seconds["plain"].append(plain.run(PLAIN_VALUES, WARM_UPS + rounds)[WARM_UPS:])

        turn(1)
        for each in seconds.values():
            each.clear()
        for _ in range(options.turns):
            turn(options.turn_rounds)
    ratios = [
        np.median(hidden) / np.median(bare)
        for hidden, bare in zip(seconds["secure"], seconds["plain"], strict=True)
    ]
    table = table_of(
        f"A round of {PLAIN_VALUES:,} values, {len(NODES)} nodes, {options.turns} turns of "
        f"{options.turn_rounds} rounds",
        *("updates", "median ms", "90 % below", "ratio", "to reach"),
    )
    table.add_row("plain", *milliseconds(np.concatenate(seconds["plain"])))
    table.add_row(
        "secure (`stream`)",
        *milliseconds(np.concatenate(seconds["secure"])),
        f"{np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        f"{MOST_PLAIN}",
    )
    console.print(table)


def part_suites(options: argparse.Namespace, console: Console) -> None:
    import secure_sum
    import tenseal
    from yumen_core.securesum import Suite

    values = options.values
    generator = np.random.default_rng(1)
    vectors = {
        name: generator.uniform(-secure_sum.CLIP, secure_sum.CLIP, values).astype(np.float32)
        for name in secure_sum.NODES
    }
    context = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS,
        poly_modulus_degree=8192,
        coeff_mod_bit_sizes=[60, 40, 40],
        encryption_type=tenseal.ENCRYPTION_TYPE.SYMMETRIC,
    )
    context.global_scale = 2**40
    stream = secure_sum.OurSuite(values, Suite.STREAM)
    bfv = secure_sum.OurSuite(values, Suite.BFV)
    suites: dict[str, Callable[[], Iterator[secure_sum.Run]]] = {
        "stream": lambda: stream.steps(vectors),
        "bfv": lambda: bfv.steps(vectors),
        "ckks": lambda: secure_sum.ckks_steps(context, vectors),
    }
    secure_sum.repetition(suites)  # once unmeasured: contexts, memory
    measured = [secure_sum.repetition(suites) for _ in range(options.repetitions)]
    runs = {name: [each[name] for each in measured] for name in suites}
    table = table_of(
        f"What a node spends on {values:,} values, medians of {options.repetitions}",
        *("suite", "node time, ms", "bytes a value"),
    )
    for name, each in runs.items():
        times = secure_sum.node_times(name, each)
        table.add_row(name, f"{np.median(times):.1f}", f"{each[0].size / values:.2f}")
    console.print(table)
    console.print(secure_sum.ratio_table(runs, values))


def part_large(options: argparse.Namespace, console: Console) -> None:
    table = table_of(
        f"A round of {LARGE_VALUES:,} values ({LARGE_VALUES * 4 / 1e6:.0f} MB), {len(NODES)} nodes",
        *("", *options.suites),
    )
    seconds, peaks = {}, {}
    for suite in options.suites:
        with federation() as bench, Peaks(bench.processes) as watched:
            seconds[suite] = bench.run(
                LARGE_VALUES, options.large_rounds, layers=LARGE_LAYERS, suite=suite
            )
        peaks[suite] = watched.megabytes
    later = {suite: each[1:] or each for suite, each in seconds.items()}
    table.add_row("first round, s", *(f"{each[0]:.1f}" for each in seconds.values()))
    table.add_row("later rounds, s", *(f"{np.median(each):.1f}" for each in later.values()))
    table.add_section()
    for role in sorted({role for each in peaks.values() for role in each}):
        cells = [f"{each[role]:,.0f}" if role in each else "-" for each in peaks.values()]
        table.add_row(f"{role}, MB", *cells)
    table.add_section()
    most = [f"{max(each.values()):,.0f}" for each in peaks.values()]
    table.add_row(f"most of a process, MB (to reach: {MOST_MB:,.0f})", *most)
    console.print(table)


PARTS: dict[str, Callable[[argparse.Namespace, Console], None]] = {
    "rounds": part_rounds,
    "plain": part_plain,
    "suites": part_suites,
    "large": part_large,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--part", choices=(*PARTS, "all"), default="all")
    parser.add_argument("--rounds", type=int, default=30, help="measured rounds of Yumen")
    parser.add_argument("--flower-rounds", type=int, default=10, help="0 leaves Flower out")
    parser.add_argument("--flower-nodes", type=int, default=2)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--turn-rounds", type=int, default=5)
    parser.add_argument("--values", type=int, default=1_000_000, help="values of part suites")
    parser.add_argument("--repetitions", type=int, default=7, help="repetitions of part suites")
    parser.add_argument("--large-rounds", type=int, default=3)
    parser.add_argument("--suites", nargs="+", default=["stream"], help="suites of part large")
    options = parser.parse_args()
    if options.part == "all":
        for part in PARTS:
            command = [sys.executable, __file__, *sys.argv[1:], "--part", part]
            subprocess.run(command, check=True)
        return
    import flwr.common.logger  # sets its level itself

    logging.getLogger(flwr.common.logger.LOGGER_NAME).setLevel(logging.ERROR)
    console = Console(width=100)
    PARTS[options.part](options, console)
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    console.print(f"{os.cpu_count()} processors, load averages at the end {load}")


if __name__ == "__main__":
    main()
