"""From a table's rows to the numbers that a ready model takes.

A `ValueError` says which column does not fit and never quotes a value: its text may be logged. At
a node no value decides whether there is an error, which would be a question about single rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow
import pyarrow.compute

from yumen_core.training.models.architecture import Embedding
from yumen_core.training.models.inputs import Category, Level, Number, Target
from yumen_core.training.models.learning import Holdout
from yumen_core.training.models.ready import ReadyModel
from yumen_core.training.records import Values

Rows = npt.NDArray[np.int64]
"""Numbers of rows, counted from 0."""


@dataclass(frozen=True)
class Examples:
    """Complete rows. `numbers` (n, width) in the model's type; `levels` (n, categories) the index
    of each row's level, whether embedded or one-hot; `target` (n,) the index of the class, or the
    scaled number, or None where only predictions are wanted; `complete` (rows of the table,) which
    were used."""

    numbers: Values
    levels: Values
    target: Values | None
    complete: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.numbers)


def read_examples(model: ReadyModel, table: pyarrow.Table, *, target: bool = True) -> Examples:
    """The rows of `table` that have a usable value in every column used.

    A value outside the levels or classes counts as missing, and so does a number that is not finite
    or leaves the range of the model's type. Raises `ValueError` for a column that is absent or of a
    type that the model cannot read; without `target`, where the rows are the caller's own, also for
    a value that is there and not usable.
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
    read = _read(model, found)
    usable = np.ones(int(complete.sum()), dtype=np.bool_)
    for entry, values in zip(columns, read, strict=True):
        good = np.isfinite(values) if values.dtype.kind == "f" else values >= 0
        if not target and not good.all():
            raise ValueError(f"expected values of `{entry}` that the model can use, got another")
        usable &= good
    complete[np.flatnonzero(complete)] = usable
    if not usable.all():
        read = [values[usable] for values in read]
    answers = read.pop() if target else None
    return Examples(*_inputs(model, read, int(usable.sum())), answers, complete)


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


def _read(model: ReadyModel, found: dict[str, pyarrow.Array]) -> list[Values]:
    """Each column in `found`, the inputs in order: scaled numbers, or codes of levels."""
    read = []
    for entry in (*model.inputs, model.target):
        if entry.column not in found:
            continue
        column = found[entry.column]
        match entry:
            case Category(name, known):
                read.append(_codes(name, column, known, "levels"))
            case Target(name, classes) if classes is not None:
                read.append(_codes(name, column, classes, "classes"))
            case Number(name, center, scale) | Target(name, _, center, scale):
                read.append(_scaled(name, column, center, scale, model.dtype))
    return read


def _inputs(model: ReadyModel, read: Sequence[Values], rows: int) -> tuple[Values, Values]:
    """The numbers and levels of `Examples` from each input's values."""
    embedded = isinstance(model.architecture, Embedding)
    numbers = np.zeros((rows, model.width), dtype=model.dtype)
    levels = [v for entry, v in zip(model.inputs, read, strict=True) if isinstance(entry, Category)]
    at = 0
    for entry, values in zip(model.inputs, read, strict=True):
        if isinstance(entry, Number):
            numbers[:, at] = values
        elif embedded:
            continue
        else:
            codes = values - entry.drop_first
            present = np.flatnonzero(codes >= 0)
            numbers[present, at + codes[present]] = 1
        at += entry.width
    return numbers, np.stack(levels, axis=1) if levels else np.zeros((rows, 0), np.int64)


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
    return scaled


def _codes(name: str, column: pyarrow.Array, known: Sequence[Level], what: str) -> Values:
    """The index in `known` of each value, -1 for another value. A whole number matches in any type
    of number."""
    kind = column.type
    if _is_text(kind):
        # As bytes: a text that is not UTF-8 would fail where it is decoded.
        column = column.cast(pyarrow.large_binary())
        index: dict[object, int] = {
            level.encode(errors="surrogatepass"): code
            for code, level in enumerate(known)
            if isinstance(level, str)
        }
        right = bool(index)
    else:
        index = {level: code for code, level in enumerate(known) if not isinstance(level, str)}
        right = bool(index) and (_is_number(kind) or pyarrow.types.is_boolean(kind))
    if not right and not pyarrow.types.is_null(kind):
        raise ValueError(
            f"expected the {what} of `{name}` that the model names, got a column of another type"
        )
    encoded = column.dictionary_encode()
    codes = [index.get(value, -1) for value in encoded.dictionary.to_pylist()]
    found: Values = np.array(codes, dtype=np.int64)[encoded.indices.to_numpy()]
    return found


def _is_text(kind: pyarrow.DataType) -> bool:
    types = pyarrow.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _is_number(kind: pyarrow.DataType) -> bool:
    types = pyarrow.types
    return bool(
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_null(kind)
    )
