"""Adds the rate to every weight, counts its rows, and remembers how often it was asked."""

import pyarrow.parquet as pq
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


def _rows(context: Context) -> int:
    return pq.read_table(str(context.node_config["data-path"])).num_rows


@app.train()
def train(message: Message, context: Context) -> Message:
    rate = float(context.run_config["rate"])
    arrays = message.content["arrays"]
    changed = {name: Array(array.numpy() + rate) for name, array in arrays.items()}
    asked = int(context.state.metric_records.get("asked", {}).get("times", 0)) + 1
    context.state["asked"] = MetricRecord({"times": asked})
    metrics = MetricRecord({"num-examples": _rows(context), "asked": asked, "loss": 0.25})
    reply = RecordDict({"arrays": ArrayRecord(changed), "metrics": metrics})
    return Message(reply, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    metrics = MetricRecord({"num-examples": _rows(context), "accuracy": 0.75})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
