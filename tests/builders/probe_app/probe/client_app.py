"""Adds one to every value; where `mode` says so, from round `from-round` on and only where the node
has `at-rows` rows (0: at every node), it does something wrong instead."""

import os
import time

import numpy as np
import pyarrow.parquet as pq
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    table = pq.read_table(context.node_config["data-path"])
    rows = table.num_rows
    settings, round_ = context.run_config, message.content["config"]["server-round"]
    here = settings["at-rows"] in (0, rows) and round_ >= settings["from-round"]
    mode = settings["mode"] if here else "good"
    if mode == "slow":
        time.sleep(settings["seconds"])
    values = message.content["arrays"]["values"].numpy() + np.float32(1)
    if mode == "nan":
        values[0] = np.nan
    elif mode == "huge":
        values[0] = 1e30
    elif mode == "shape":
        values = np.concatenate([values, values])
    elif mode == "raise":
        raise ValueError(f"a row says {table.to_pylist()[0]}")
    elif mode == "exit":
        os._exit(3)
    elif mode == "forever":
        while True:
            pass
    metrics = {"num-examples": rows, "train_loss": 1.0 / round_}
    if mode == "metric":
        metrics["train_loss"] = float("nan")
    content = RecordDict(
        {"arrays": ArrayRecord({"values": Array(values)}), "metrics": MetricRecord(metrics)}
    )
    return Message(content=content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    rows = pq.read_table(context.node_config["data-path"]).num_rows
    level = float(message.content["arrays"]["values"].numpy().mean())
    metrics = MetricRecord({"num-examples": rows, "eval_loss": level})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=message)
