"""The columns that a ready model reads, and how each becomes numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from yumen_core.canonical import Json
from yumen_core.training.models.form import (
    MAX_TEXT_CHARS,
    Form,
    bad,
    check_real,
    real_json,
    short,
)

MAX_COLUMN_CHARS = 128
MAX_LEVELS = 8_192
MAX_CLASSES = 1_000
_LARGEST = 1e300
_SMALLEST = 1e-300

Level = bool | int | str


@dataclass(frozen=True)
class Number:
    """A column of numbers, used as `(value - center) / scale`; true counts as 1, false as 0."""

    column: str
    center: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        _check_column(self.column)
        check_real("center", self.center, -_LARGEST, _LARGEST)
        check_real("scale", self.scale, _SMALLEST, _LARGEST)

    @property
    def width(self) -> int:
        """How many inputs of the network it becomes."""
        return 1

    def to_json(self) -> Json:
        """The name alone where nothing is moved or scaled: an image has thousands."""
        if self.center == 0 and self.scale == 1:
            return self.column
        return {
            "center": real_json(self.center),
            "column": self.column,
            "scale": real_json(self.scale),
        }


@dataclass(frozen=True)
class Category:
    """A column with one of `levels` in each row: one input a level, 1 where the row has it and 0
    elsewhere (or an embedding, in a tabular net). `drop_first` leaves out the first level, which
    all zeros then stand for."""

    column: str
    levels: Sequence[Level]
    drop_first: bool = False

    def __post_init__(self) -> None:
        _check_column(self.column)
        object.__setattr__(self, "levels", _plain(self.levels))
        _check_levels(self.column, self.levels, MAX_LEVELS)
        if not isinstance(self.drop_first, bool):
            raise bad(f"expected `drop_first` true or false, got `{short(self.drop_first)}`")

    @property
    def width(self) -> int:
        return len(self.levels) - self.drop_first

    def to_json(self) -> Json:
        return {"column": self.column, "drop_first": self.drop_first, "levels": list(self.levels)}


Input = Number | Category


@dataclass(frozen=True)
class Target:
    """The column to predict: one of `classes`, or a number where `classes` is None, learned as
    `(value - center) / scale`."""

    column: str
    classes: Sequence[Level] | None = None
    center: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        _check_column(self.column)
        if self.classes is not None:
            object.__setattr__(self, "classes", _plain(self.classes))
        check_real("center", self.center, -_LARGEST, _LARGEST)
        check_real("scale", self.scale, _SMALLEST, _LARGEST)
        if self.classes is not None:
            _check_levels(self.column, self.classes, MAX_CLASSES)
            if (self.center, self.scale) != (0, 1):
                raise bad(f"expected no center or scale of the classes in `{self.column}`")

    @property
    def outputs(self) -> int:
        """Numbers that the network answers for a row: one for a number or for two classes (the
        logit of the second), else one a class."""
        return 1 if self.classes is None or len(self.classes) == 2 else len(self.classes)

    def to_json(self) -> Json:
        return {
            "center": real_json(self.center),
            "classes": None if self.classes is None else list(self.classes),
            "column": self.column,
            "scale": real_json(self.scale),
        }


def read_input(document: object) -> Input:
    """Raises `CallError` (`training`)."""
    if isinstance(document, str):
        return Number(document)
    if isinstance(document, dict) and "levels" in document:
        form = Form(document, "a category", ("column", "drop_first", "levels"))
        levels = tuple(form.entries("levels", MAX_LEVELS))
        return Category(form.text("column"), levels, form.flag("drop_first"))
    form = Form(document, "a number", ("center", "column", "scale"))
    found = Number(form.text("column"), form.real("center"), form.real("scale"))
    if found.to_json() == found.column:
        raise bad("expected a column of numbers as they are by its name alone")
    return found


def read_target(document: object) -> Target:
    """Raises `CallError` (`training`)."""
    form = Form(document, "a target", ("center", "classes", "column", "scale"))
    absent = form.raw("classes") is None
    classes = None if absent else tuple(form.entries("classes", MAX_CLASSES))
    return Target(form.text("column"), classes, form.real("center"), form.real("scale"))


def _check_column(column: object) -> None:
    if (
        not isinstance(column, str)
        or not 0 < len(column) <= MAX_COLUMN_CHARS
        or not column.isprintable()
    ):
        raise bad(
            f"expected a column's name of 1 to {MAX_COLUMN_CHARS} characters, got `{short(column)}`"
        )


def _plain(levels: object) -> object:
    """A list as a tuple, and numpy's scalars as Python's; anything else as it is."""
    if isinstance(levels, str | bytes) or not isinstance(levels, Iterable):
        return levels
    return tuple(v.item() if isinstance(v, np.generic) else v for v in levels)


def _check_levels(column: str, levels: object, most: int) -> None:
    if not isinstance(levels, tuple) or not 2 <= len(levels) <= most:
        raise bad(f"expected 2 to {most} values of `{column}`, got `{short(levels)}`")
    for level in levels:
        right = isinstance(level, bool | int | str)
        if (
            not right
            or (isinstance(level, str) and len(level) > MAX_TEXT_CHARS)
            or (isinstance(level, int) and not -(1 << 63) <= level < 1 << 63)
        ):
            raise bad(
                f"expected values of `{column}` that are texts of at most {MAX_TEXT_CHARS} "
                f"characters, integers, true or false, got `{short(level)}`"
            )
    # True is 1 and false is 0, in Python as in a column of booleans.
    if len(set(levels)) != len(levels):
        raise bad(f"expected distinct values of `{column}`, got one twice")
