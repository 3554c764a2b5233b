"""The server, by the interface that Flower had before messages."""

from flwr.common import Context, Metrics, ndarrays_to_parameters
from flwr.server import ServerApp, ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg

from legacy_iris.task import Net, get_weights


def weighted_average(metrics: list[tuple[int, Metrics]]) -> Metrics:
    """The clients' accuracies, each counted by its rows."""
    accuracies = [rows * m["accuracy"] for rows, m in metrics]
    return {"accuracy": sum(accuracies) / sum(rows for rows, _ in metrics)}


def server_fn(context: Context):
    """Strategy and rounds of a run."""
    lr = context.run_config["learning-rate"]
    strategy = FedAvg(
        fraction_fit=context.run_config["fraction-fit"],
        fraction_evaluate=1.0,
        min_available_clients=2,
        on_fit_config_fn=lambda _: {"lr": lr},
        evaluate_metrics_aggregation_fn=weighted_average,
        initial_parameters=ndarrays_to_parameters(get_weights(Net())),
    )
    config = ServerConfig(num_rounds=context.run_config["num-server-rounds"])
    return ServerAppComponents(strategy=strategy, config=config)


app = ServerApp(server_fn=server_fn)
