"""Model and rows."""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
UNIQUE_LABELS = [0, 1, 2]


def create_model(inverse_strength: float, local_epochs: int) -> LogisticRegression:
    """A model that goes on from its coefficients, which start as zeros."""
    model = LogisticRegression(
        C=inverse_strength,
        max_iter=local_epochs,
        warm_start=True,  # a fit must not forget the coefficients that arrived
    )
    model.classes_ = np.array(UNIQUE_LABELS)
    set_model_params(
        model, [np.zeros((len(UNIQUE_LABELS), len(FEATURES))), np.zeros(len(UNIQUE_LABELS))]
    )
    return model


def get_model_params(model: LogisticRegression) -> list[np.ndarray]:
    return [model.coef_, model.intercept_]


def set_model_params(model: LogisticRegression, params: list[np.ndarray]) -> None:
    # What arrives may be read-only, and the solver writes in place.
    model.coef_, model.intercept_ = (np.array(values) for values in params)


def load_data(path):
    """This node's rows: four fifths to train, one fifth to test."""
    rows = pd.read_parquet(path)
    x, y = rows[FEATURES].to_numpy(), rows["species"].to_numpy()
    cut = int(0.8 * len(rows))
    return x[:cut], y[:cut], x[cut:], y[cut:]
