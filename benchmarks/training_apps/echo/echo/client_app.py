"""Adds one to each value, so that the mean can be told from what was sent."""

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    arrays = {
        name: Array(array.numpy() + np.float32(1))
        for name, array in message.content["arrays"].items()
    }
    content = RecordDict(
        {"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": 100})}
    )
    return Message(content=content, reply_to=message)
