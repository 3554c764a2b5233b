"""A NumPyClient behind a `client_fn`, as apps were written before messages."""

from flwr.app import Context
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp


class Client(NumPyClient):
    def fit(self, parameters, config):
        return [values + float(config["step"]) for values in parameters], 7, {"loss": 0.5}

    def evaluate(self, parameters, config):
        return float(sum(values.sum() for values in parameters)), 7, {"accuracy": 0.25}


def client_fn(context: Context):
    assert context.node_config["num-partitions"] == 1
    return Client().to_client()


app = ClientApp(client_fn=client_fn)
