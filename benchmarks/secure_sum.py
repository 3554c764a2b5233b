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
from yumen_core.securesum import FixedPointCodec, MaskKey, Slots, Suite, adder, binding
from yumen_core.securesum.bfv import BfvKeyPair, encrypt
from yumen_core.securesum.check import weighted_sum
from yumen_core.securesum.contribution import contribute, masked, open_sum
from yumen_core.securesum.keystream import combine_words
from yumen_core.securesum.masks import net_mask, word_streams
from yumen_core.securesum.parallel import EncryptionPool
from yumen_core.securesum.suite import total_slots

NODES = ("alpha", "beta", "gamma")
CLIP = 1.0
TARGETS = {"bfv": (4.0, 8.1), "stream": (100.0, 2.7)}  # times faster, bytes a value

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


OUR_NODE = ("encode", "tag and mask", "encrypt and serialise", "tag, mask, pad, frame")
CKKS_NODE = ("encrypt", "serialise")


class OurSuite:
    """One of our suites, with the requester's keys and the three nodes' mask and pad keys."""

    def __init__(self, values: int, suite: Suite, pool: EncryptionPool | None = None) -> None:
        self._suite = suite
        self._codec = FixedPointCodec(values, CLIP, len(NODES), suite=suite)
        self._keypair = BfvKeyPair.generate()
        self._mask_keys = {name: MaskKey.generate() for name in NODES}
        self._pad_keys = {name: Secret.generate() for name in NODES}
        self._secret = Secret.generate()
        self._pool = pool
        self._bound = binding("benchmark", "sum", NODES)

    def steps(self, vectors: dict[str, Vector]) -> Iterator[Run]:
        """One step for each node, then one for the requester; the last gives the whole run."""
        run, count = Run(), len(NODES)
        blind = adder(self._suite, self._keypair.public, total_slots(self._codec.slots))
        for name, vector in vectors.items():
            with run.stage("encode", count):
                payload = self._codec.encode(vector)
            raw = self._hidden(run, name, payload)
            run.size = len(raw)
            with run.stage("add", count):
                blind.add(raw)
            yield run
        with run.stage("add", count):
            total = blind.result()
        with run.stage("open and check"):
            sums = open_sum(
                total,
                suite=self._suite,
                keypair=self._keypair,
                pad_keys=self._pad_keys,
                job_secret=self._secret,
                binding=self._bound,
                payload_slots=self._codec.slots,
                contributions=count,
            )
        with run.stage("decode"):
            reals = self._codec.decode(sums, count)
        run.error = _largest_error(reals, vectors)
        allowed = count * self._codec.resolution / 2
        if run.error > allowed * (1 + 1e-9):
            raise SystemExit(f"{self._suite} is off by {run.error}, more than {allowed}")
        yield run

    def _hidden(self, run: Run, name: str, payload: Slots) -> bytes:
        """The node's contribution."""
        peers = {n: k.public_bytes for n, k in self._mask_keys.items() if n != name}
        if self._suite is Suite.STREAM:
            with run.stage("tag, mask, pad, frame", len(NODES)):
                return contribute(
                    payload,
                    suite=self._suite,
                    pad_key=self._pad_keys[name],
                    mask_key=self._mask_keys[name],
                    own_name=name,
                    peers=peers,
                    job_secret=self._secret,
                    binding=self._bound,
                )
        with run.stage("tag and mask", len(NODES)):
            slots = masked(
                payload,
                mask_key=self._mask_keys[name],
                own_name=name,
                peers=peers,
                job_secret=self._secret,
                binding=self._bound,
            )
        with run.stage("encrypt and serialise", len(NODES)):
            public = self._keypair.public
            return self._pool.encrypt(slots, public) if self._pool else encrypt(slots, public)


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
    with run.stage("open and check"):
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
    zeros = np.zeros(values, dtype=np.float32)
    slots, words = (
        FixedPointCodec(values, CLIP, len(NODES), suite=suite).encode(zeros) for suite in Suite
    )
    secret, bound = Secret.generate(), binding("benchmark", "parts", NODES)
    keys = {name: MaskKey.generate() for name in NODES}
    peers = {name: key.public_bytes for name, key in keys.items() if name != NODES[0]}
    parts: dict[str, Callable[[], object]] = {
        "bfv: mask for two peers": lambda: net_mask(
            keys[NODES[0]], NODES[0], peers, binding=bound, length=slots.size
        ),
        "bfv: check tag": lambda: weighted_sum(slots, job_secret=secret, binding=bound),
        "stream: mask for two peers": lambda: combine_words(
            words, word_streams(keys[NODES[0]], NODES[0], peers, binding=bound)
        ),
        "stream: check tag": lambda: weighted_sum(words, job_secret=secret, binding=bound),
    }
    table = Table("part of a stage", "ms", title="Inside tag, mask")
    for name, part in parts.items():
        times = []
        for _ in range(repetitions):
            start = time.perf_counter()
            part()
            times.append((time.perf_counter() - start) * 1e3)
        table.add_row(name, f"{np.median(times):.2f}")
    return table


def stage_table(runs: dict[str, list[Run]], values: int) -> Table:
    """Medians of each stage, of the node's time and of the bytes, by suite."""
    table = Table("stage (ms)", *runs, title=f"Secure sum of {values:,} values, {len(NODES)} nodes")
    for column in table.columns[1:]:
        column.justify = "right"
    names = (
        *("to a list", "encode", "tag and mask", "encrypt", "serialise"),
        *("encrypt and serialise", "tag, mask, pad, frame", "add", "open and check", "decode"),
    )
    for name in names:
        cells = [
            f"{np.median([r.stages[name] for r in each]):.1f}" if name in each[0].stages else "-"
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
    return [run.total(CKKS_NODE if suite == "ckks" else OUR_NODE) for run in runs]


def ratio_table(runs: dict[str, list[Run]], values: int) -> Table:
    """How many times faster and smaller than CKKS, against the targets."""
    table = Table("against ckks", "node time", "bytes a value", "to reach", title="Ratios")
    theirs = node_times("ckks", runs["ckks"])
    for name, each in runs.items():
        if name == "ckks":
            continue
        ratios = [a / b for a, b in zip(theirs, node_times(name, each), strict=True)]
        faster, size = TARGETS[name.split(",")[0]]
        table.add_row(
            name,
            f"{np.median(ratios):.2f}x faster ({min(ratios):.2f} to {max(ratios):.2f})",
            f"{runs['ckks'][0].size / each[0].size:.2f}x fewer ({each[0].size / values:.2f})",
            f"{faster:.0f}x faster, {size} bytes",
        )
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
        plain, pooled, stream = (
            OurSuite(options.values, Suite.BFV),
            OurSuite(options.values, Suite.BFV, pool),
            OurSuite(options.values, Suite.STREAM),
        )
        suites: dict[str, Callable[[], Iterator[Run]]] = {
            "bfv": lambda: plain.steps(vectors),
            shared: lambda: pooled.steps(vectors),
            "stream": lambda: stream.steps(vectors),
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
