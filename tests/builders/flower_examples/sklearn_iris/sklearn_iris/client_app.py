"""The client: fits and tests on its own rows."""

import warnings

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from sklearn.metrics import log_loss

from sklearn_iris.task import (
    UNIQUE_LABELS,
    create_model,
    get_model_params,
    load_data,
    set_model_params,
)

app = ClientApp()


def received_model(msg: Message, context: Context):
    model = create_model(context.run_config["inverse-strength"], context.run_config["local-epochs"])
    set_model_params(model, msg.content["arrays"].to_numpy_ndarrays())
    return model


@app.train()
def train(msg: Message, context: Context):
    """Fit on from the coefficients that arrived."""
    model = received_model(msg, context)
    x, y, _, _ = load_data(context.node_config["data-path"])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a few iterations do not converge
        model.fit(x, y)

    metrics = {
        "num-examples": len(x),
        "train_logloss": log_loss(y, model.predict_proba(x), labels=UNIQUE_LABELS),
        "train_accuracy": model.score(x, y),
    }
    content = RecordDict(
        {"arrays": ArrayRecord(get_model_params(model)), "metrics": MetricRecord(metrics)}
    )
    return Message(content=content, reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context):
    """Test the coefficients that arrived."""
    model = received_model(msg, context)
    _, _, x, y = load_data(context.node_config["data-path"])

    metrics = {
        "num-examples": len(x),
        "test_logloss": log_loss(y, model.predict_proba(x), labels=UNIQUE_LABELS),
        "accuracy": model.score(x, y),
    }
    return Message(content=RecordDict({"metrics": MetricRecord(metrics)}), reply_to=msg)
