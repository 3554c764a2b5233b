"""The server: averages coefficients."""

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from sklearn_iris.task import create_model, get_model_params, set_model_params

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run FedAvg for the rounds of the run's configuration."""
    num_rounds: int = context.run_config["num-server-rounds"]
    model = create_model(context.run_config["inverse-strength"], context.run_config["local-epochs"])
    strategy = FedAvg(fraction_train=1.0, fraction_evaluate=1.0)
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(get_model_params(model)),
        num_rounds=num_rounds,
    )
    set_model_params(model, result.arrays.to_numpy_ndarrays())
    print(f"intercepts after {num_rounds} rounds: {model.intercept_.round(3)}")
