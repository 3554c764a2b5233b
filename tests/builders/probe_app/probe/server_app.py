"""FedAvg from zeros."""

import numpy as np
from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    zeros = np.zeros(context.run_config["values"], dtype=np.float32)
    FedAvg().start(
        grid=grid,
        initial_arrays=ArrayRecord({"values": Array(zeros)}),
        num_rounds=context.run_config["num-server-rounds"],
    )
