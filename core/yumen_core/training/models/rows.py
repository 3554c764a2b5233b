"""From a table's rows to the numbers that a ready model takes.

A `ValueError` says which column does not fit and never quotes a value: its text may be logged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow
import pyarrow.compute

from yumen_core.training.models.architecture import Embedding
from yumen_core.training.models.inputs import Category, Level, Number
from yumen_core.training.models.learning import Holdout
from yumen_core.training.models.ready import ReadyModel
from yumen_core.training.records import Values

Rows = npt.NDArray[np.int64]
"""Numbers of rows, counted from 0."""


@dataclass(frozen=True)
class Examples:
    """Complete rows. `numbers` (n, width) in the model's type; `levels` (n, categories) the index
    of each row's level, for embeddings; `target` (n,) the index of the class, or the scaled number,
    or None where only predictions are wanted; `complete` (rows of the table,) which were used."""

    numbers: Values
    levels: Values
    target: Values | None
    complete: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.numbers)


def read_examples(model: ReadyModel, table: pyarrow.Table, *, target: bool = True) -> Examples:
    """The rows of `table` that have a value in every column used.

    Raises `ValueError` for a column that is missing or of a wrong type, a value outside the levels
    or classes, and a number that is not finite or leaves the range of the model's type.
    """
    columns = model.columns if target else model.columns[:-1]
    found = {name: _column(table, name) for name in columns}
    complete = np.ones(table.num_rows, dtype=np.bool_)
    for column in found.values():
        if column.null_count:
            complete &= column.is_valid().to_numpy(zero_copy_only=False)
    if not complete.all():
        mask = pyarrow.array(complete)
        found = {name: column.filter(mask) for name, column in found.items()}
    numbers, levels = _inputs(model, found, int(complete.sum()))
    return Examples(numbers, levels, _target(model, found) if target else None, complete)


def split(examples: Examples, classes: int | None, holdout: Holdout) -> tuple[Rows, Rows]:
    """Rows to train on and rows to evaluate with, both ascending; the same for the same table.

    Of n rows (of a class, by class), floor(n * fraction + 1/2) are kept, the first in a permutation
    by PCG64 of the seed. With no fraction all rows serve for both.
    """
    rows = np.arange(len(examples))
    if holdout.fraction == 0:
        return rows, rows
    generator = np.random.Generator(np.random.PCG64(holdout.seed))
    groups: Iterable[Rows] = [rows]
    if holdout.by_class and classes is not None and examples.target is not None:
        groups = [np.flatnonzero(examples.target == code) for code in range(classes)]
    kept = np.zeros(len(examples), dtype=np.bool_)
    for group in groups:
        count = int(len(group) * holdout.fraction + 0.5)
        kept[generator.permutation(group)[:count]] = True
    return rows[~kept], rows[kept]


def _inputs(model: ReadyModel, found: dict[str, pyarrow.Array], rows: int) -> tuple[Values, Values]:
    embedded = isinstance(model.architecture, Embedding)
    numbers = np.zeros((rows, model.width), dtype=model.dtype)
    levels: list[Values] = []
    at = 0
    for entry in model.inputs:
        match entry:
            case Number(name, center, scale):
                numbers[:, at] = _scaled(name, found[name], center, scale, model.dtype)
                at += 1
            case Category(name, known) if embedded:
                levels.append(_codes(name, found[name], known, "levels"))
            case Category(name, known, drop_first):
                codes = _codes(name, found[name], known, "levels") - drop_first
                present = np.flatnonzero(codes >= 0)
                numbers[present, at + codes[present]] = 1
                at += entry.width
    return numbers, np.stack(levels, axis=1) if levels else np.zeros((rows, 0), np.int64)


def _target(model: ReadyModel, found: dict[str, pyarrow.Array]) -> Values:
    target = model.target
    column = found[target.column]
    if target.classes is None:
        return _scaled(target.column, column, target.center, target.scale, model.dtype)
    return _codes(target.column, column, target.classes, "classes")


def _column(table: pyarrow.Table, name: str) -> pyarrow.Array:
    if table.column_names.count(name) != 1:
        raise ValueError(f"expected the column `{name}` once, got a table without it")
    column = table.column(name).combine_chunks()
    if isinstance(column, pyarrow.ChunkedArray):  # no chunk, or more than one array can hold
        column = pyarrow.concat_arrays(column.chunks or [pyarrow.array([], column.type)])
    return column.dictionary_decode() if pyarrow.types.is_dictionary(column.type) else column


def _scaled(name: str, column: pyarrow.Array, center: float, scale: float, dtype: str) -> Values:
    kind = column.type
    if pyarrow.types.is_boolean(kind):
        column = column.cast(pyarrow.uint8())
    elif not _is_number(kind):
        raise ValueError(f"expected numbers in `{name}`, got a column of another type")
    values = column.cast(pyarrow.float64(), safe=False).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled: Values = ((values - center) / scale).astype(dtype)
    if not np.isfinite(scaled).all():
        raise ValueError(f"expected finite numbers in `{name}`, got one that is not")
    return scaled


def _codes(name: str, column: pyarrow.Array, known: Sequence[Level], what: str) -> Values:
    """The index in `known` of each value. A whole number matches in any type of number."""
    if pyarrow.types.is_nested(column.type):
        raise ValueError(f"expected the {what} of `{name}` that the model names, got lists")
    encoded = column.dictionary_encode()
    index: dict[object, int] = {level: code for code, level in enumerate(known)}
    codes = [index.get(value, -1) for value in encoded.dictionary.to_pylist()]
    if -1 in codes:
        raise ValueError(f"expected the {what} of `{name}` that the model names, got another value")
    found: Values = np.array(codes, dtype=np.int64)[encoded.indices.to_numpy()]
    return found


def _is_number(kind: pyarrow.DataType) -> bool:
    types = pyarrow.types
    return bool(
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_null(kind)
    )
