"""Rows, model and training, by the recipe of FLamby's Fed-Heart-Disease.

Source: Ogier du Terrail et al., FLamby (NeurIPS 2022), dataset `fed_heart_disease`: `slope`, `ca`
and `thal` are dropped, then rows with a missing value; chest pain and electrocardiogram become
indicators without their first level; each hospital splits its rows 66 to 34 with seed 43, and the
model is one linear layer with a sigmoid. The split depends on the order of the rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import train_test_split

COLUMNS = (
    *("age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalch", "exang", "oldpeak"),
    "num",
)
MEASURED = ("age", "trestbps", "chol", "thalch", "oldpeak")
SQUARES = (
    *("age squared", "trestbps squared", "chol squared", "thalch squared", "oldpeak squared"),
)
INDICATORS = (
    *("male", "fbs", "exang"),
    *("atypical angina", "non-anginal", "asymptomatic"),
    *("st-t abnormality", "lv hypertrophy"),
)
FEATURES = MEASURED + INDICATORS


@dataclass(frozen=True)
class Patients:
    """Features float64[rows, 13] in the order of `FEATURES`, and disease as 0 or 1."""

    features: np.ndarray
    disease: np.ndarray

    def __len__(self) -> int:
        return len(self.disease)


@dataclass(frozen=True)
class Scale:
    """Means and standard deviations of the 13 features over the training rows of all hospitals."""

    means: np.ndarray
    deviations: np.ndarray


def join(parts: Sequence[Patients]) -> Patients:
    """The rows of all parts, in order."""
    features = np.concatenate([part.features for part in parts])
    return Patients(features, np.concatenate([part.disease for part in parts]))


def load(path: str) -> tuple[Patients, Patients]:
    """The hospital's training and test rows from its Parquet file."""
    return split(pd.read_parquet(path))


def split(rows: pd.DataFrame) -> tuple[Patients, Patients]:
    """Training and test rows, each in the order of `rows`."""
    complete = rows[list(COLUMNS)].dropna()
    disease = (complete["num"].astype(int) > 0).to_numpy(dtype=np.int64)
    features = encode(complete)
    counts = np.bincount(disease, minlength=2)
    train, test = train_test_split(
        np.arange(len(complete)),
        train_size=0.66,
        test_size=0.34,
        random_state=43,
        # One class has too few rows in Switzerland to be split by.
        stratify=disease if (counts > 2).all() else None,
    )
    train, test = np.sort(train), np.sort(test)
    return Patients(features[train], disease[train]), Patients(features[test], disease[test])


def encode(rows: pd.DataFrame) -> np.ndarray:
    """The rows' features, float64[rows, 13]."""
    measured = [rows[name].to_numpy(dtype=np.float64) for name in MEASURED]
    indicators = [
        rows["sex"] == "Male",
        rows["fbs"].astype(bool),
        rows["exang"].astype(bool),
        *(rows["cp"] == level for level in INDICATORS[3:6]),
        *(rows["restecg"] == level for level in INDICATORS[6:]),
    ]
    return np.column_stack([*measured, *(column.to_numpy(np.float64) for column in indicators)])


def moments(patients: Patients) -> dict[str, float]:
    """Means of all features, and of the squares of those that are not indicators."""
    squares = (patients.features[:, : len(MEASURED)] ** 2).mean(axis=0)
    found = dict(zip(FEATURES, patients.features.mean(axis=0), strict=True))
    return {
        name: float(v) for name, v in (found | dict(zip(SQUARES, squares, strict=True))).items()
    }


def scale(found: dict[str, float]) -> Scale:
    """The scale that the `moments` of all training rows say."""
    means = np.array([found[name] for name in FEATURES])
    # The square of an indicator is the indicator.
    squares = np.array([found[name] for name in (*SQUARES, *INDICATORS)])
    return Scale(means, np.sqrt(squares - means**2))


def tensors(patients: Patients, by: Scale) -> tuple[torch.Tensor, torch.Tensor]:
    """Standardised features float32[rows, 13] and disease float32[rows, 1]."""
    scaled = (patients.features - by.means) / by.deviations
    target = patients.disease[:, None]
    return torch.tensor(scaled, dtype=torch.float32), torch.tensor(target, dtype=torch.float32)


def new_model() -> torch.nn.Linear:
    """The model before training: all zeros."""
    model = torch.nn.Linear(len(FEATURES), 1)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    return model


def train(
    model: torch.nn.Linear, data: tuple[torch.Tensor, torch.Tensor], *, steps: int, lr: float
) -> float:
    """Train in place with `steps` steps of gradient descent over all rows; the last loss.

    One step at every hospital, averaged by their rows, is one step over the pooled rows: the mean
    of the gradients, each weighted by its rows, is the gradient of the mean loss.
    """
    features, target = data
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    loss = torch.tensor(0.0)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(features), target)
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def evaluate(
    model: torch.nn.Linear, data: tuple[torch.Tensor, torch.Tensor]
) -> tuple[float, float]:
    """Loss, and the part of the rows whose disease is told right."""
    features, target = data
    with torch.no_grad():
        logits = model(features)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
        right = (logits > 0) == (target > 0.5)
    return float(loss), float(right.double().mean())
