"""FedAvg from zeros; writes when each round ended, and how far the last mean is from the truth."""

import itertools
import json
import time
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    settings = context.run_config
    rounds, layers = settings["rounds"], settings["layers"]
    ends: list[float] = []

    def note(server_round: int, arrays: ArrayRecord) -> None:
        ends.append(time.perf_counter())

    zeros = np.zeros(settings["values"] // layers, dtype=np.float32)
    result = FedAvg(
        fraction_evaluate=0.0,
        min_train_nodes=settings["nodes"],
        min_available_nodes=settings["nodes"],
    ).start(
        grid=grid,
        initial_arrays=ArrayRecord({f"layer{n}": Array(zeros) for n in range(layers)}),
        num_rounds=rounds,
        timeout=600,
        evaluate_fn=note,
    )
    error = max(float(np.abs(array.numpy() - rounds).max()) for array in result.arrays.values())
    seconds = [after - before for before, after in itertools.pairwise(ends)]
    # Renamed when whole: a reader that waits for it finds all of it.
    report = Path(settings["report"])
    part = report.with_suffix(".part")
    part.write_text(json.dumps({"seconds": seconds, "error": error}), encoding="utf-8")
    part.rename(report)
