"""The pooled truth: what the answer must be, by pandas from the four CSV files alone.

It shares no code with the federation. The rules are the tables' published ones: a cholesterol
outside 60 to 700 was not measured; a hospital stands behind a value only where 10 rows or more do
(10 measured for a mean; for a share, 10 patients that it counts); a value is released where three
hospitals stand behind it, and a share only where the same hospitals stand behind its two counts.
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
        frame["diseased"] = frame["num"] > 0
        frame["age_band"] = frame["age"].map(_age_band)
        frames[name] = frame
    return frames


def compute(question: Question, frames: Mapping[str, pd.DataFrame]) -> Truth:
    """The released answer to `question`, and every cell that is held back."""
    groups: dict[str, dict[str, Value]] = {}
    held_cells: list[HeldCell] = []
    held_values: list[HeldCell] = []
    for group in _groups(question, frames):
        parts = {name: frame[frame[question.key] == group] for name, frame in frames.items()}
        behind = _behind(group, parts, held_cells)
        if why := _why_held("patients", behind):
            held_values.append(HeldCell("", group, "patients", why))
            continue
        groups[group] = {}
        for measure, names in behind.items():
            enough = not (why := _why_held(measure, behind))
            pooled = pd.concat([parts[name] for name in names]) if enough else None
            value = None if pooled is None else _measure(measure, pooled)
            groups[group][measure] = Value(value, len(names) if enough else 0)
            # The deviation stands on the same rows as the mean: one word for both.
            if not enough and measure != "sd_chol":
                held_values.append(HeldCell("", group, measure, why))
    return Truth(groups, tuple(held_cells), tuple(held_values))


def _groups(question: Question, frames: Mapping[str, pd.DataFrame]) -> list[str]:
    return sorted({str(label) for frame in frames.values() for label in frame[question.key]})


def _behind(
    group: str, parts: Mapping[str, pd.DataFrame], held: list[HeldCell]
) -> dict[str, list[str]]:
    """The hospitals behind each measure of `group`; what falls short is added to `held`."""
    behind: dict[str, list[str]] = {
        "patients": [],
        "mean_chol": [],
        "sd_chol": [],
        "disease_share": [],
    }
    for name, part in parts.items():
        if len(part) < THRESHOLD:
            held.append(HeldCell(name, group, "patients", f"{len(part)} patients"))
            continue
        behind["patients"].append(name)
        measured = int(part["chol"].count())
        diseased = int(part["diseased"].sum())
        if measured >= THRESHOLD:
            behind["mean_chol"].append(name)
            behind["sd_chol"].append(name)
        else:
            held.append(HeldCell(name, group, "mean_chol", f"{measured} with cholesterol measured"))
        if diseased >= THRESHOLD:
            behind["disease_share"].append(name)
        else:
            held.append(HeldCell(name, group, "disease_share", f"{diseased} with disease"))
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
            return float(pooled["diseased"].mean())


def _why_held(measure: str, behind: Mapping[str, list[str]]) -> str:
    """Why the total is not released; empty where it is."""
    names = behind[measure]
    if len(names) < MIN_NODES:
        verb = "stands" if len(names) < 2 else "stand"
        return f"only {', '.join(names) or 'no hospital'} {verb} behind it, {MIN_NODES} must"
    if measure == "disease_share" and names != behind["patients"]:
        return "other hospitals stand behind the diseased than behind all patients"
    return ""


def _age_band(age: int) -> str:
    if age < 50:
        return "<50"
    return "50-59" if age < 60 else "60+"
