"""A network that reads digits, trained over five offices whose digits differ.

    python examples/digits/train.py

A ready model needs no approval: its code is the nodes' own. The same network is then trained on the
pooled rows, which only an example can have, and both read the test digits of all offices.
"""

import numpy as np
import pandas as pd
import torch
import yumen
from data import PIXELS, SCHEMA, SIDE, digits
from flwr.serverapp.strategy import FedAvg
from yumen import models

ROUNDS = 30
POOLED_EPOCHS = 30
BATCH = 32
RATE, MOMENTUM = 0.05, 0.9


def network() -> models.ReadyModel:
    """Two convolutions and a layer of 64; in a round each office makes five passes."""
    return models.cnn(
        PIXELS,
        "digit",
        shape=(1, SIDE, SIDE),
        classes=10,
        scale=16,
        epochs=5,
        batch_size=BATCH,
        learning_rate=RATE,
        momentum=MOMENTUM,
    )


def trained_on(rows: pd.DataFrame, model: models.ReadyModel) -> dict[str, torch.Tensor]:
    """The weights that PyTorch alone learns from `rows`, from the same start."""
    module = models.module(model, models.initial(model))
    images = torch.tensor(rows[PIXELS].to_numpy(dtype=np.float32) / 16)
    meant = torch.tensor(rows["digit"].to_numpy(dtype=np.int64))
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE, momentum=MOMENTUM)
    generator = torch.Generator().manual_seed(0)
    module.train()
    for _ in range(POOLED_EPOCHS):
        for batch in torch.randperm(len(rows), generator=generator).split(BATCH):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(images[batch]), meant[batch]).backward()
            optimizer.step()
    return module.state_dict()


def read_right(
    model: models.ReadyModel, state: dict[str, torch.Tensor], rows: pd.DataFrame
) -> float:
    """The share of the digits that the network reads as they were meant."""
    return float((models.predict(model, state, rows) == rows["digit"]).mean())


def main() -> None:
    torch.set_num_threads(1)
    offices, model = digits(), network()
    with yumen.local_federation(offices, table="digits", schema=SCHEMA) as fed:
        result = fed.train(
            model,
            strategy=FedAvg(fraction_evaluate=0.0),
            table="digits",
            columns=[*PIXELS, "digit"],
            where="part = 'train'",
            purpose="research",
            rounds=ROUNDS,
        )

    rows = pd.concat(offices.values())
    train, test = rows[rows["part"] == "train"], rows[rows["part"] == "test"]
    apart = read_right(model, result.state_dict(), test)
    pooled = read_right(model, trained_on(train, model), test)
    counts = pd.DataFrame({name: own["digit"].value_counts() for name, own in offices.items()})
    print(counts.fillna(0).astype(int).T.to_string(), "\n")
    table = pd.Series({"five offices": apart, "pooled rows": pooled}, name="read right")
    print(table.map("{:.2%}".format).to_string())
    print(f"\n{len(train)} training rows, {len(test)} test rows")
    print(f"{ROUNDS} rounds in {result.elapsed_s:.1f} s")


if __name__ == "__main__":
    main()
