"""What runs at each hospital, beside its own rows."""

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from heart_app import task

app = ClientApp()


@app.query()
def query(message: Message, context: Context) -> Message:
    """Means of the training rows' features, for a scale that all hospitals share."""
    train_rows, _ = task.load(str(context.node_config["data-path"]))
    metrics = MetricRecord({**task.moments(train_rows), "num-examples": len(train_rows)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Some steps of gradient descent from the model that arrived."""
    train_rows, _ = task.load(str(context.node_config["data-path"]))
    model = task.new_model()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    loss = task.train(
        model,
        task.tensors(train_rows, shared_scale(message)),
        steps=int(context.run_config["local-steps"]),
        lr=float(context.run_config["learning-rate"]),
    )
    metrics = MetricRecord({"train_loss": loss, "num-examples": len(train_rows)})
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
    return Message(content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """How the model that arrived does on the test rows."""
    _, test_rows = task.load(str(context.node_config["data-path"]))
    model = task.new_model()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    loss, accuracy = task.evaluate(model, task.tensors(test_rows, shared_scale(message)))
    metrics = MetricRecord(
        {"eval_loss": loss, "eval_acc": accuracy, "num-examples": len(test_rows)}
    )
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


def shared_scale(message: Message) -> task.Scale:
    """The scale that the server found before the first round."""
    config: ConfigRecord = message.content["config"]
    return task.Scale(np.array(config["means"]), np.array(config["deviations"]))
