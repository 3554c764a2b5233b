"""Ready models against the table that is declared, before any job."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from yumen import models
from yumen.training.fitting import check_initial, check_model
from yumen_core.errors import CallError
from yumen_core.sql.schema import Column, ColumnType, TableSchema

HEART = TableSchema(
    "heart",
    (
        Column("age", ColumnType.INTEGER),
        Column("sex", ColumnType.TEXT, domain=("Female", "Male")),
        Column("note", ColumnType.TEXT),
        Column("angina", ColumnType.BOOLEAN),
        Column("seen", ColumnType.DATE),
        Column("num", ColumnType.INTEGER, domain=(0, 1, 2, 3, 4)),
    ),
)


@pytest.mark.parametrize(
    "model",
    [
        models.logistic(["age", "angina"], "num", classes=[0, 1, 9]),
        models.logistic([models.Category("sex", ["Male", "other"])], "angina", classes=2),
        models.linear([models.Category("note", ["x", "y"])], "age"),
        models.logistic(["age"], "angina", classes=[False, True]),
    ],
)
def test_models_that_rows_can_serve(model: models.ReadyModel) -> None:
    check_model(model, HEART)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (models.linear(["sex"], "age"), "expected numbers in the column `sex`, got `text`"),
        (models.linear(["seen"], "age"), "expected numbers in the column `seen`, got `date`"),
        (models.linear(["age"], "note"), "expected numbers in the column `note`, got `text`"),
        (models.linear(["aeg"], "num"), "expected a column of `heart`, got `aeg`"),
        (models.linear(["Age"], "num"), "expected a column of `heart`, got `Age`"),
        (
            models.linear([models.Category("sex", ["M", "F"])], "age"),
            "expected levels that occur in the column `sex`, which holds `Female`, `Male`, got "
            "`M`, `F`",
        ),
        (
            models.logistic(["age"], "num", classes=[7, 8]),
            "expected classes that occur in the column `num`, which holds `0`, `1`, `2`, `3`, "
            "`4`, got `7`, `8`",
        ),
        (
            models.logistic(["age"], "note"),
            "expected classes that occur in the column `note`, which holds texts, got `0`, `1`",
        ),
        (
            models.logistic(["age"], "seen"),
            "expected a column of texts, numbers or true and false for the classes of `seen`, got "
            "`date`",
        ),
    ],
)
def test_models_that_no_row_can_serve(model: models.ReadyModel, message: str) -> None:
    with pytest.raises(CallError) as caught:
        check_model(model, HEART)
    assert (caught.value.code, caught.value.message) == ("training", message)


def test_the_nearest_column_is_told() -> None:
    for name in ("aeg", "Age"):
        with pytest.raises(CallError) as caught:
            check_model(models.linear([name], "num"), HEART)
        assert caught.value.remedy == "the nearest name is `age`"


@pytest.mark.parametrize(
    ("initial", "message"),
    [
        (
            {"w": np.zeros((1, 1))},
            "expected `initial` with the arrays `weight`, `bias`, got `w`",
        ),
        ({}, "expected `initial` with the arrays `weight`, `bias`, got none"),
        (
            {"weight": np.zeros((1, 2)), "bias": np.zeros(1)},
            "expected the array `weight` of `initial` in the shape (1, 1), got (1, 2)",
        ),
    ],
)
def test_first_weights_of_another_model(initial: dict[str, Any], message: str) -> None:
    model = models.linear(["age"], "num")
    check_initial(model, {"bias": np.zeros(1), "weight": np.zeros((1, 1))})
    with pytest.raises(CallError) as caught:
        check_initial(model, initial)
    assert (caught.value.code, caught.value.message) == ("training", message)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("lr", "the nearest is `learning_rate`"),
        ("epoch", "the nearest is `epochs`"),
        ("zzz", "use one of these"),
    ],
)
def test_a_setting_that_no_model_has(name: str, remedy: str) -> None:
    with pytest.raises(CallError) as caught:
        models.logistic(["age"], "num", **{name: 0.1})
    assert caught.value.message.startswith("expected a setting of the model (batch_size, ")
    assert caught.value.message.endswith(f"), got `{name}`")
    assert caught.value.remedy == remedy
