"""Whether a ready model can read a table as it is declared, before any node is asked."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from yumen_core.errors import CallError
from yumen_core.sql.schema import Column, ColumnType, TableSchema
from yumen_core.training.models import Category, Number, ReadyModel
from yumen_core.training.models.inputs import Level

_NUMBERS = (ColumnType.INTEGER, ColumnType.DECIMAL, ColumnType.FLOAT, ColumnType.BOOLEAN)
_SHOWN = 5


def check_model(model: ReadyModel, schema: TableSchema) -> None:
    """Refuse a model that no row of a table with this schema can serve.

    1. The table has each column, under the very name. 2. Numbers are read from columns of numbers
    or of true and false. 3. Of the levels and classes at least one can occur: by the column's type,
    its declared domain and its bounds. Raises `CallError` (`training`) that names the column.
    """
    for entry in (*model.inputs, model.target):
        column = _column(schema, entry.column)
        if isinstance(entry, Number):
            _check_numbers(column, f'models.Category("{column.name}", [...])')
        elif isinstance(entry, Category):
            _check_values(column, "levels", entry.levels)
        elif entry.classes is None:
            _check_numbers(column, "a target with classes, as of models.logistic")
        else:
            _check_values(column, "classes", entry.classes)


def check_initial(model: ReadyModel, initial: Mapping[str, Any]) -> None:
    """Refuse first weights that are not the model's arrays by name and shape. Raises `CallError`
    (`training`)."""
    wanted = {name: shape for name, _, shape in model.arrays}
    if set(initial) != set(wanted):
        raise _bad(
            f"expected `initial` with the arrays {_names(wanted)}, got {_names(initial)}",
            remedy="leave `initial` out, or change the values of models.initial(model)",
        )
    for name, shape in wanted.items():
        found = tuple(np.shape(initial[name]))
        if found != shape:
            raise _bad(
                f"expected the array `{name}` of `initial` in the shape {shape}, got {found}",
                remedy="give the arrays of a model with the same inputs and classes",
            )


def _column(schema: TableSchema, name: str) -> Column:
    found = schema.find(name)
    if found is not None and found.name == name:
        return found
    names = [column.name for column in schema.columns]
    near = [found.name] if found else difflib.get_close_matches(name, names, n=1)
    raise _bad(
        f"expected a column of `{schema.name}`, got `{name}`",
        remedy=f"the nearest name is `{near[0]}`" if near else "see fed.datasets()",
    )


def _check_numbers(column: Column, instead: str) -> None:
    if column.type not in _NUMBERS:
        raise _bad(
            f"expected numbers in the column `{column.name}`, got `{column.type}`",
            remedy=f"use {instead}, or leave the column out",
        )


def _check_values(column: Column, what: str, values: Sequence[Level]) -> None:
    if column.type is not ColumnType.TEXT and column.type not in _NUMBERS:
        raise _bad(
            f"expected a column of texts, numbers or true and false for the {what} of "
            f"`{column.name}`, got `{column.type}`",
            remedy="leave the column out",
        )
    if not any(_may_occur(column, value) for value in values):
        raise _bad(
            f"expected {what} that occur in the column `{column.name}`, which holds "
            f"{_held(column)}, got {_shown(values)}",
            remedy=f"give the {what} as the table declares them",
        )


def _may_occur(column: Column, value: Level) -> bool:
    if isinstance(value, str) != (column.type is ColumnType.TEXT):
        return False
    if column.domain is not None:
        return value in column.domain
    if isinstance(value, str):
        return True
    if column.type is ColumnType.BOOLEAN:
        return value in (0, 1)
    bounds = column.interval
    return bounds is None or bounds.low <= value <= bounds.high


def _held(column: Column) -> str:
    if column.domain is not None:
        return _shown(column.domain)
    bounds = column.interval
    if bounds is not None:
        return f"numbers from {float(bounds.low):g} to {float(bounds.high):g}"
    return {ColumnType.TEXT: "texts", ColumnType.BOOLEAN: "true and false"}.get(
        column.type, "numbers"
    )


def _shown(values: Sequence[Level]) -> str:
    shown = ", ".join(f"`{value}`" for value in values[:_SHOWN])
    return shown if len(values) <= _SHOWN else f"{shown} and {len(values) - _SHOWN} more"


def _names(found: Mapping[str, Any]) -> str:
    names = [f"`{name}`" for name in found]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) + more) or "none"


def _bad(message: str, *, remedy: str) -> CallError:
    return CallError("training", message, remedy=remedy)
