"""What runs beside the requester: find the scale, then average the hospitals' models."""

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from heart_app import task

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    scale = task.scale(pooled_moments(grid))
    config = {"means": scale.means.tolist(), "deviations": scale.deviations.tolist()}
    FedAvg().start(
        grid=grid,
        initial_arrays=ArrayRecord(task.new_model().state_dict()),
        num_rounds=int(context.run_config["num-server-rounds"]),
        train_config=ConfigRecord(dict(config)),
        evaluate_config=ConfigRecord(dict(config)),
    )


def pooled_moments(grid: Grid) -> dict[str, float]:
    """Means over the training rows of all hospitals.

    Each reply counts by its rows, so that it does not matter whether every hospital answers for
    itself or one reply answers for all of them.
    """
    messages = [
        Message(RecordDict(), dst_node_id=node, message_type=MessageType.QUERY)
        for node in grid.get_node_ids()
    ]
    replies = [reply.content["metrics"] for reply in grid.send_and_receive(messages)]
    rows = sum(reply["num-examples"] for reply in replies)
    return {
        name: sum(reply[name] * reply["num-examples"] for reply in replies) / rows
        for name in (*task.FEATURES, *task.SQUARES)
    }
