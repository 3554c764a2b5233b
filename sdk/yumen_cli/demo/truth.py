"""The pooled truth: what the answer must be, by pandas from the four CSV files alone.

It shares no code with the federation. The rules are the tables' published ones: a cholesterol
outside 60 to 700 was not measured; a hospital stands behind a value only where 10 rows or more do
(10 measured for a mean); a value is released where three hospitals stand behind it. What a hospital
lets go must not differ by fewer than 10 patients from what it let go before, group by group and all
together: otherwise these follow by subtraction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from yumen_cli.demo.questions import Question

THRESHOLD = 10
MIN_NODES = 3
CHOL_BOUNDS = (60, 700)


@dataclass(frozen=True)
class Value:
    """One value of one group: None where it is held back; `nodes` stand behind it."""

    value: float | None
    nodes: int


@dataclass(frozen=True)
class HeldCell:
    """A hospital's cell that does not leave it, and why."""

    hospital: str
    group: str
    measure: str
    reason: str


class LetGo:
    """The groups of patients that each hospital let go, question after question."""

    def __init__(self) -> None:
        self._sets: dict[str, list[frozenset[object]]] = {}

    def apart(self, hospital: str, patients: frozenset[object]) -> int:
        """How many patients, fewer than the threshold, would follow by subtraction; 0 for none."""
        known = self._sets.get(hospital, [])
        sides = (max(len(patients - old), len(old - patients)) for old in known)
        return min((side for side in sides if 0 < side < THRESHOLD), default=0)

    def add(self, hospital: str, patients: frozenset[object]) -> None:
        self._sets.setdefault(hospital, []).append(patients)


@dataclass(frozen=True)
class Truth:
    """What one question must return: released groups in order, their values by measure."""

    groups: Mapping[str, Mapping[str, Value]]
    held_cells: tuple[HeldCell, ...]
    held_values: tuple[HeldCell, ...]


def read(files: Mapping[str, Path]) -> dict[str, pd.DataFrame]:
    """Each hospital's patients with the columns the questions need, cholesterol cleaned."""
    frames = {}
    for name, path in files.items():
        frame = pd.read_csv(path, usecols=["age", "sex", "chol", "num"])
        frame["chol"] = frame["chol"].where(frame["chol"].between(*CHOL_BOUNDS))
        frame["age_band"] = frame["age"].map(_age_band)
        frames[name] = frame
    return frames


def compute(
    question: Question, frames: Mapping[str, pd.DataFrame], let_go: LetGo | None = None
) -> Truth:
    """The released answer to `question`, and every cell that is held back; what is let go is
    added to `let_go`, of the questions before."""
    let_go = LetGo() if let_go is None else let_go
    near = {name: _near(frame, question.key, name, let_go) for name, frame in frames.items()}
    alone = {name: frozenset[object]() for name in frames}
    groups: dict[str, dict[str, Value]] = {}
    held_cells: list[HeldCell] = []
    held_values: list[HeldCell] = []
    for group in _groups(question, frames):
        parts = {name: frame[frame[question.key] == group] for name, frame in frames.items()}
        behind = _behind(group, parts, near, held_cells)
        if why := _why_held("patients", behind):
            held_values.append(HeldCell("", group, "patients", why))
            continue
        for name in behind["patients"]:
            let_go.add(name, frozenset(parts[name].index))
            alone[name] |= frozenset(parts[name].index)
        groups[group] = {}
        for measure, names in behind.items():
            enough = not (why := _why_held(measure, behind))
            pooled = pd.concat([parts[name] for name in names]) if enough else None
            value = None if pooled is None else _measure(measure, pooled)
            groups[group][measure] = Value(value, len(names) if enough else 0)
            # The deviation stands on the same rows as the mean: one word for both.
            if not enough and measure != "sd_chol":
                held_values.append(HeldCell("", group, measure, why))
    for name, patients in alone.items():
        let_go.add(name, patients)
    return Truth(groups, tuple(held_cells), tuple(held_values))


def _groups(question: Question, frames: Mapping[str, pd.DataFrame]) -> list[str]:
    return sorted({str(label) for frame in frames.values() for label in frame[question.key]})


def _near(frame: pd.DataFrame, key: str, hospital: str, let_go: LetGo) -> dict[str, int]:
    """The groups that a hospital keeps because of what it let go before, and how many patients
    would follow: each for itself, and then the smallest until all together are safe."""
    cells = {
        str(label): frozenset(part.index)
        for label, part in frame.groupby(key, sort=True)
        if len(part) >= THRESHOLD
    }
    near = {label: apart for label in cells if (apart := let_go.apart(hospital, cells[label]))}
    left = sorted((label for label in cells if label not in near), key=lambda la: -len(cells[la]))
    while left and (
        apart := let_go.apart(hospital, frozenset().union(*(cells[label] for label in left)))
    ):
        near[left.pop()] = apart
    return near


def _behind(
    group: str,
    parts: Mapping[str, pd.DataFrame],
    near: Mapping[str, Mapping[str, int]],
    held: list[HeldCell],
) -> dict[str, list[str]]:
    """The hospitals behind each measure of `group`; what falls short is added to `held`."""
    behind: dict[str, list[str]] = {
        "patients": [],
        "mean_chol": [],
        "sd_chol": [],
        "mean_disease": [],
    }
    for name, part in parts.items():
        if len(part) < THRESHOLD:
            held.append(HeldCell(name, group, "patients", f"{len(part)} patients"))
            continue
        if apart := near[name].get(group):
            held.append(HeldCell(name, group, "patients", f"{apart} would follow by subtraction"))
            continue
        behind["patients"].append(name)
        measured = int(part["chol"].count())
        if measured >= THRESHOLD:
            behind["mean_chol"].append(name)
            behind["sd_chol"].append(name)
        else:
            held.append(HeldCell(name, group, "mean_chol", f"{measured} with cholesterol measured"))
        behind["mean_disease"].append(name)  # graded in every patient
    return behind


def _measure(measure: str, pooled: pd.DataFrame) -> float:
    match measure:
        case "patients":
            return float(len(pooled))
        case "mean_chol":
            return float(pooled["chol"].mean())
        case "sd_chol":
            return float(pooled["chol"].std(ddof=1))
        case _:
            return float(pooled["num"].mean())


def _why_held(measure: str, behind: Mapping[str, list[str]]) -> str:
    """Why the total is not released; empty where it is."""
    names = behind[measure]
    if len(names) < MIN_NODES:
        verb = "stands" if len(names) < 2 else "stand"
        return f"only {', '.join(names) or 'no hospital'} {verb} behind it, {MIN_NODES} must"
    return ""


def _age_band(age: int) -> str:
    if age < 50:
        return "<50"
    return "50-59" if age < 60 else "60+"
