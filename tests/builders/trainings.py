"""Trainings as they are signed, for tests that care for their runs and not for their models."""

from typing import Any

from yumen_core.training.records import Action
from yumen_core.training.spec import BundleCode, TensorShape, TrainingSpec

CODE = BundleCode(b"c" * 32, "hearts")
TENSORS = (TensorShape("w", "float32", (2, 3)), TensorShape("b", "float64", ()))
SQL = 'SELECT "age", "sex" FROM "heart"'


def training(**changes: Any) -> TrainingSpec:
    fields: dict[str, Any] = {
        "program": CODE,
        "sql": SQL,
        "arrays": TENSORS,
        "metrics": ("loss",),
        "runs": {Action.TRAIN: 5, Action.EVALUATE: 5},
        "round_timeout_s": 60,
    }
    return TrainingSpec(**{**fields, **changes})
