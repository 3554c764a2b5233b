"""The secure sum of a million values from three nodes, beside CKKS with NVFlare's parameters.

    python benchmarks/secure_sum.py [--values 1000000] [--repetitions 7] [--workers 2]

Every repetition runs all suites in this process, their nodes taking turns, so that what else the
machine does weighs on all of them; the tables show medians, the ratios are medians over the
repetitions' own ratios. Node time is what one node spends from its vector to its bytes, and leaves
out CKKS's conversion of the vector to a list, which is shown apart: counting it would favour us.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import tenseal
from rich.console import Console
from rich.table import Table
from yumen_core.secret import Secret
from yumen_core.securesum import Adder, FixedPointCodec, MaskKey, binding
from yumen_core.securesum.bfv import BfvKeyPair, encrypt
from yumen_core.securesum.check import weighted_sum
from yumen_core.securesum.contribution import masked, open_sum, total_slots
from yumen_core.securesum.masks import net_mask
from yumen_core.securesum.parallel import EncryptionPool

NODES = ("alpha", "beta", "gamma")
CLIP = 1.0
NODE_TARGET, BYTES_TARGET = 4.0, 8.1

Vector = npt.NDArray[np.float32]


@dataclass
class Run:
    """One suite in one repetition: milliseconds by stage, the node's bytes, the largest error."""

    stages: dict[str, float] = field(default_factory=dict)
    size: int = 0
    error: float = 0.0

    @contextlib.contextmanager
    def stage(self, name: str, share: int = 1) -> Iterator[None]:
        """Time a stage; `share` nodes did it, one after the other, and one node's share counts."""
        start = time.perf_counter()
        yield
        self.stages[name] = self.stages.get(name, 0.0) + (time.perf_counter() - start) * 1e3 / share

    def total(self, names: tuple[str, ...]) -> float:
        return sum(self.stages.get(name, 0.0) for name in names)


BFV_NODE = ("encode", "tag and mask", "encrypt and serialise")
CKKS_NODE = ("encrypt", "serialise")


class BfvSuite:
    """Our suite, with the requester's keys and the three nodes' mask keys."""

    def __init__(self, values: int, pool: EncryptionPool | None) -> None:
        self._codec = FixedPointCodec(values, CLIP, len(NODES))
        self._keypair = BfvKeyPair.generate()
        self._mask_keys = {name: MaskKey.generate() for name in NODES}
        self._secret = Secret.generate()
        self._pool = pool

    def steps(self, vectors: dict[str, Vector]) -> Iterator[Run]:
        """One step for each node, then one for the requester; the last gives the whole run."""
        run = Run()
        public, count = self._keypair.public, len(NODES)
        bound = binding("benchmark", "sum", NODES)
        adder = Adder(public, total_slots(self._codec.slots))
        for name, vector in vectors.items():
            peers = {n: k.public_bytes for n, k in self._mask_keys.items() if n != name}
            with run.stage("encode", count):
                payload = self._codec.encode(vector)
            with run.stage("tag and mask", count):
                slots = masked(
                    payload,
                    mask_key=self._mask_keys[name],
                    own_name=name,
                    peers=peers,
                    job_secret=self._secret,
                    binding=bound,
                )
            with run.stage("encrypt and serialise", count):
                raw = self._pool.encrypt(slots, public) if self._pool else encrypt(slots, public)
            run.size = len(raw)
            with run.stage("add", count):
                adder.add(raw)
            yield run
        with run.stage("add", count):
            total = adder.result()
        with run.stage("decrypt and check"):
            sums = open_sum(
                total,
                keypair=self._keypair,
                job_secret=self._secret,
                binding=bound,
                payload_slots=self._codec.slots,
                contributions=count,
            )
        with run.stage("decode"):
            reals = self._codec.decode(sums, count)
        run.error = _largest_error(reals, vectors)
        allowed = count * self._codec.resolution / 2
        if run.error > allowed * (1 + 1e-9):
            raise SystemExit(f"bfv is off by {run.error}, more than its resolution {allowed}")
        yield run


def ckks_steps(context: Any, vectors: dict[str, Vector]) -> Iterator[Run]:
    """NVFlare 2.x: one symmetric CKKS key shared by all clients, no masks, lists to TenSEAL."""
    run, count = Run(), len(NODES)
    total: Any = None
    for vector in vectors.values():
        with run.stage("to a list", count):
            values = vector.tolist()
        # TenSEAL prints a warning about more than one block.
        with contextlib.redirect_stdout(io.StringIO()), run.stage("encrypt", count):
            sealed = tenseal.ckks_vector(context, values)
        with run.stage("serialise", count):
            raw = sealed.serialize()
        run.size = len(raw)
        with run.stage("add", count):
            arrived = tenseal.ckks_vector_from(context, raw)
            total = arrived if total is None else total + arrived
        yield run
    with run.stage("decrypt and check"):
        reals = np.array(total.decrypt())
    run.error = _largest_error(reals, vectors)
    if run.error > 1e-4:
        raise SystemExit(f"ckks is off by {run.error}")
    yield run


def _largest_error(reals: npt.NDArray[np.float64], vectors: dict[str, Vector]) -> float:
    truth = np.sum([vector.astype(np.float64) for vector in vectors.values()], axis=0)
    return float(np.abs(reals - truth).max())


def parts_table(values: int, repetitions: int) -> Table:
    """Stages that the suite runs together, timed by themselves."""
    codec = FixedPointCodec(values, CLIP, len(NODES))
    slots = codec.encode(np.zeros(values, dtype=np.float32))
    secret, bound = Secret.generate(), binding("benchmark", "parts", NODES)
    keys = {name: MaskKey.generate() for name in NODES}
    peers = {name: key.public_bytes for name, key in keys.items() if name != NODES[0]}
    parts: dict[str, Callable[[], object]] = {
        "mask for two peers": lambda: net_mask(
            keys[NODES[0]], NODES[0], peers, binding=bound, length=slots.size
        ),
        "check tag": lambda: weighted_sum(slots, job_secret=secret, binding=bound),
    }
    table = Table("part of a stage", "ms", title="Inside tag and mask")
    for name, part in parts.items():
        times = []
        for _ in range(repetitions):
            start = time.perf_counter()
            part()
            times.append((time.perf_counter() - start) * 1e3)
        table.add_row(name, f"{np.median(times):.1f}")
    return table


def stage_table(runs: dict[str, list[Run]], values: int) -> Table:
    """Medians of each stage, of the node's time and of the bytes, by suite."""
    table = Table("stage (ms)", *runs, title=f"Secure sum of {values:,} values, {len(NODES)} nodes")
    for column in table.columns[1:]:
        column.justify = "right"
    names = (
        *("to a list", "encode", "tag and mask", "encrypt", "serialise"),
        *("encrypt and serialise", "add", "decrypt and check", "decode"),
    )
    for name in names:
        cells = [
            f"{np.median(r.stages[name] for r in each):.1f}" if name in each[0].stages else "-"
            for each in runs.values()
        ]
        table.add_row("add, for a node" if name == "add" else name, *cells)
    table.add_section()
    table.add_row(
        "node time",
        *(f"{np.median(node_times(name, each)):.1f}" for name, each in runs.items()),
    )
    table.add_row("bytes a value", *(f"{each[0].size / values:.2f}" for each in runs.values()))
    table.add_row("largest error", *(f"{max(r.error for r in e):.1e}" for e in runs.values()))
    return table


def node_times(suite: str, runs: list[Run]) -> list[float]:
    """What one node spends in each repetition, ms."""
    return [run.total(CKKS_NODE if suite.startswith("ckks") else BFV_NODE) for run in runs]


def ratio_table(runs: dict[str, list[Run]], values: int) -> Table:
    """How many times faster and smaller than CKKS, against the targets."""
    table = Table("against ckks", "node time", "bytes a value", title="Ratios")
    theirs = node_times("ckks", runs["ckks"])
    for name, each in runs.items():
        if name == "ckks":
            continue
        ratios = [a / b for a, b in zip(theirs, node_times(name, each), strict=True)]
        table.add_row(
            name,
            f"{np.median(ratios):.2f}x faster ({min(ratios):.2f} to {max(ratios):.2f})",
            f"{runs['ckks'][0].size / each[0].size:.2f}x fewer ({each[0].size / values:.2f})",
        )
    table.add_row("target", f"{NODE_TARGET:.0f}x faster", f"{BYTES_TARGET} bytes")
    return table


def repetition(suites: dict[str, Callable[[], Iterator[Run]]]) -> dict[str, Run]:
    """One run of every suite, in turns of one node."""
    steps = list(zip(*(suite() for suite in suites.values()), strict=True))
    return dict(zip(suites, steps[-1], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--values", type=int, default=1_000_000)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    generator = np.random.default_rng(1)
    vectors = {
        name: generator.uniform(-CLIP, CLIP, options.values).astype(np.float32) for name in NODES
    }
    context = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS,
        poly_modulus_degree=8192,
        coeff_mod_bit_sizes=[60, 40, 40],
        encryption_type=tenseal.ENCRYPTION_TYPE.SYMMETRIC,
    )
    context.global_scale = 2**40
    shared = f"bfv, {options.workers} workers"
    with EncryptionPool(options.workers) as pool:
        plain, pooled = BfvSuite(options.values, None), BfvSuite(options.values, pool)
        suites: dict[str, Callable[[], Iterator[Run]]] = {
            "bfv": lambda: plain.steps(vectors),
            shared: lambda: pooled.steps(vectors),
            "ckks": lambda: ckks_steps(context, vectors),
        }
        repetition(suites)  # once unmeasured: contexts, workers, memory
        measured = [repetition(suites) for _ in range(options.repetitions)]
    runs = {name: [each[name] for each in measured] for name in suites}
    console = Console()
    console.print(
        f"Python {platform.python_version()}, NumPy {np.__version__}, "
        f"TenSEAL {tenseal.__version__}, {os.cpu_count()} processors, "
        f"medians of {options.repetitions} repetitions"
    )
    console.print(stage_table(runs, options.values))
    console.print(parts_table(options.values, options.repetitions))
    console.print(ratio_table(runs, options.values))


if __name__ == "__main__":
    main()
