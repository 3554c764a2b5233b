"""What a caller gives as a node's table (frame, CSV file, Parquet file) as one Arrow table."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from yumen_core.errors import CallError

if TYPE_CHECKING:
    import pandas as pd

    Source = str | os.PathLike[str] | pd.DataFrame

FILE_TYPES: Mapping[str, str] = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet"}


def file_type(path: Path) -> str:
    """`csv` or `parquet`. Raises `CallError` (`argument`) for another ending."""
    try:
        return FILE_TYPES[path.suffix.lower()]
    except KeyError:
        raise CallError(
            "argument",
            f"expected a file that ends in {', '.join(FILE_TYPES)}, got `{path.name}`",
            remedy="read it with pandas and give the frame",
        ) from None


def read_table(node: str, source: Source) -> pa.Table:
    """The rows of `source`, dictionary-encoded columns decoded.

    In a CSV file an empty field is missing, and nothing else is: the word `NA` is text, as it is
    to a node. Raises `CallError` (`argument`) that names the node and the column or the file.
    """
    if isinstance(source, str | os.PathLike):
        table = _read_file(node, Path(source))
    else:
        table = _from_frame(node, source)
    names = table.column_names
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or not names:
        got = f"`{repeated[0]}` twice" if repeated else "none"
        raise CallError(
            "argument", f"expected columns with distinct names at node `{node}`, got {got}"
        )
    for place, column in enumerate(table.columns):
        if pa.types.is_dictionary(column.type):
            plain = column.cast(column.type.value_type)
            table = table.set_column(place, names[place], plain)
    return table


def _read_file(node: str, path: Path) -> pa.Table:
    import pandas as pd
    import pyarrow.parquet as pq

    kind = file_type(path)
    if not path.is_file():
        raise CallError("argument", f"expected a file for node `{node}`, found none at `{path}`")
    try:
        if kind == "parquet":
            return pq.read_table(path)
        frame = pd.read_csv(
            path, keep_default_na=False, na_values=[""], low_memory=False, encoding="utf-8-sig"
        )
    except (OSError, ValueError, pa.ArrowException) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        raise CallError(
            "argument", f"could not read `{path}` of node `{node}` as {kind}: {first[:200]}"
        ) from None
    return _from_frame(node, frame)


def _from_frame(node: str, frame: pd.DataFrame) -> pa.Table:
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise CallError(
            "argument",
            f"expected a path or a pandas frame for node `{node}`, got `{type(frame).__name__}`",
        )
    frame = _with_index(node, frame)
    columns, names = [], []
    for place, name in enumerate(frame.columns):
        if not isinstance(name, str):
            raise CallError(
                "argument", f"expected column names that are text at node `{node}`, got `{name}`"
            )
        try:
            columns.append(pa.array(frame.iloc[:, place], from_pandas=True))
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            raise CallError(
                "argument",
                f"expected values of one type in column `{name}` at node `{node}`, "
                f"got {_kinds(frame.iloc[:, place].dropna())}",
                remedy="convert the column to one type, or leave it out",
            ) from None
        names.append(name)
    return pa.Table.from_arrays(columns, names=names)


def _with_index(node: str, frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with a named index as columns. Whole numbers without a name count rows, also where
    some were left out, and are dropped; other labels without a name are refused: they would be
    lost."""
    import pandas as pd

    index = frame.index
    if all(name is None for name in index.names):
        if index.nlevels == 1 and (len(index) == 0 or pd.api.types.is_integer_dtype(index.dtype)):
            return frame
    elif all(isinstance(name, str) for name in index.names):
        taken = [f"`{name}`" for name in index.names if name in frame.columns]
        if not taken:
            return frame.reset_index()
        raise CallError(
            "argument",
            f"expected columns with distinct names at node `{node}`, got {taken[0]} "
            "as an index too",
            remedy="write `frame.reset_index(drop=True)`",
        )
    named = any(name is not None for name in index.names)
    raise CallError(
        "argument",
        f"expected an index with names that are text, or none, at node `{node}`, got labels "
        f"{'with another' if named else 'without a name'}",
        remedy="name it with `frame.rename_axis`, or write `frame.reset_index(drop=True)`",
    )


def _kinds(values: Iterable[object]) -> str:
    kinds = sorted({type(value).__name__ for value in values})
    return " and ".join(f"`{kind}`" for kind in kinds[:4]) or "none"
