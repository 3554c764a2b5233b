"""The index of a frame given as a node's rows: kept, dropped or refused, never lost."""

from __future__ import annotations

import pandas as pd
import pytest
from yumen._tables import read_table
from yumen_core.errors import CallError

FRAME = pd.DataFrame({"age": [31, 42, 53]})


@pytest.mark.parametrize(
    "frame",
    [FRAME, FRAME.iloc[[2, 0]], FRAME.iloc[:0], FRAME.set_axis([7, 7, 9])],
)
def test_row_numbers_are_no_column(frame: pd.DataFrame) -> None:
    table = read_table("a", frame)
    assert table.column_names == ["age"]
    assert table.column("age").to_pylist() == frame["age"].tolist()


def test_a_named_index_becomes_columns() -> None:
    indexed = FRAME.assign(site=["x", "y", "z"], year=2020).set_index(["site", "year"])
    table = read_table("a", indexed)
    assert table.column_names == ["site", "year", "age"]
    assert table.column("site").to_pylist() == ["x", "y", "z"]
    assert "site" in indexed.index.names  # the caller's own frame stays as it was


UNNAMED = (
    "expected an index with names that are text, or none, at node `a`, got labels without a name; "
    "name it with `frame.rename_axis`, or write `frame.reset_index(drop=True)`"
)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME.set_axis(["x", "y", "z"]), UNNAMED),
        (FRAME.set_axis(pd.date_range("2020-01-01", periods=3)), UNNAMED),
        (FRAME.set_axis(pd.MultiIndex.from_product([[1], [1, 2, 3]])), UNNAMED),
        (FRAME.rename_axis(3), UNNAMED.replace("without a name", "with another")),
        (
            FRAME.set_index("age", drop=False),
            "expected columns with distinct names at node `a`, got `age` as an index too; write "
            "`frame.reset_index(drop=True)`",
        ),
    ],
)
def test_labels_that_would_be_lost_are_refused(frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(CallError) as caught:
        read_table("a", frame)
    assert str(caught.value) == message
