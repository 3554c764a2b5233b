"""Can four hospitals train as well apart as together? FLamby's Fed-Heart-Disease, as a Flower app.

    python examples/hospitals/train.py

`heart_app` is a Flower project, approved by its digest in all four nodes. Its server runs in this
process, its client in a sandbox at each hospital. No hospital sees another's rows or model: the
scale, the models and the test results leave as secure sums. The same model is then trained on the
pooled rows, which only an example can have.
"""

import sys
from pathlib import Path

import pandas as pd
import torch
import yaml
import yumen

HERE = Path(__file__).parent
APP = HERE / "heart_app"
sys.path.insert(0, str(APP))

from heart_app import task  # noqa: E402  (the app is a folder of its own, as Flower has it)

HOSPITALS = ("cleveland", "hungary", "switzerland", "long-beach")
STEPS = 50
LEARNING_RATE = 1.0


def schema() -> dict[str, object]:
    """The columns, which every hospital declares alike.

    The recipe takes the 0 that stands for a value not measured as a 0: without it, Switzerland
    would have no complete row.
    """
    declared = yaml.safe_load((HERE / "tables/cleveland.yaml").read_text())
    del declared["source"]
    for column in declared["columns"]:
        if column["name"] in ("chol", "trestbps"):
            column["bounds"]["lower"] = 0
    return dict(declared)


def pooled(files: dict[str, Path]) -> tuple[task.Patients, task.Patients]:
    """All hospitals' training rows and test rows, split at each hospital as its node splits."""
    parts = [task.split(pd.read_csv(path)) for path in files.values()]
    return task.join([part[0] for part in parts]), task.join([part[1] for part in parts])


def right_when_pooled(train: task.Patients, test: task.Patients) -> dict[str, int]:
    """Test rows told right by the same model on pooled rows: after as many steps, and at the end
    of the way, where the loss falls no more."""
    scale = task.scale(task.moments(train))
    right = {}
    for label, steps in ((f"pooled rows, {STEPS} steps", STEPS), ("pooled rows, converged", 5000)):
        model = task.new_model()
        task.train(model, task.tensors(train, scale), steps=steps, lr=LEARNING_RATE)
        _, accuracy = task.evaluate(model, task.tensors(test, scale))
        right[label] = round(accuracy * len(test))
    return right


def main() -> None:
    torch.set_num_threads(1)
    files = {name: HERE / f"data/{name}.csv" for name in HOSPITALS}
    with yumen.local_federation(files, table="heart", schema=schema(), approve=[APP]) as fed:
        result = fed.run(
            APP,
            table="heart",
            columns=task.COLUMNS,
            purpose="research",
            run_config={"num-server-rounds": STEPS, "learning-rate": LEARNING_RATE},
        )

    train, test = pooled(files)
    federated = result.metrics["evaluate_eval_acc"].iloc[-1]
    right = {"four hospitals": round(federated * len(test)), **right_when_pooled(train, test)}
    table = pd.DataFrame({"told right": right})
    table["accuracy"] = (table["told right"] / len(test)).map("{:.3f}".format)
    print(table.to_string())
    print(f"\n{len(train)} training rows, {len(test)} test rows")
    print(f"{STEPS} rounds of training and test in {result.elapsed_s:.1f} s")


if __name__ == "__main__":
    main()
