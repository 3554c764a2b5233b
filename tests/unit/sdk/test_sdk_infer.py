from __future__ import annotations

from datetime import date, time
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yumen.infer import as_declared, infer_declaration, infer_schema, readable_bounds
from yumen_core.errors import CallError, YumenError

Column = dict[str, object]


def inferred(**columns: object) -> Column:
    """The declaration of the one column in two nodes: `x=[values at a, values at b]`."""
    ((name, parts),) = columns.items()
    assert isinstance(parts, list)
    frames = {node: pd.DataFrame({name: part}) for node, part in zip("abcdef", parts, strict=False)}
    declared = infer_declaration("t", frames)["columns"]
    assert isinstance(declared, list)
    found: Column = declared[0]
    return found


def bounds(lower: str, upper: str) -> dict[str, str]:
    return {"lower": lower, "upper": upper}


FLOATS_WITH_GAPS = [63.0, float("nan"), 71.0]
MANY = list(range(85, 604))

CASES: list[tuple[str, list[object], Column]] = [
    ("a few integers", [[1, 2], [2, 3]], {"type": "integer", "domain": [1, 2, 3]}),
    ("many integers", [MANY, [90]], {"type": "integer", "bounds": bounds("80", "610")}),
    (
        "no decimals in integer bounds",
        [list(range(21)), [3]],
        {"type": "integer", "bounds": bounds("0", "20")},
    ),
    (
        "integers with gaps",
        [FLOATS_WITH_GAPS, [5.0, 6.0]],
        {"type": "integer", "domain": [5, 6, 63, 71], "nullable": True},
    ),
    (
        "gaps at one node only",
        [[63.0, None], [64, 65]],
        {"type": "integer", "domain": [63, 64, 65], "nullable": True},
    ),
    (
        "nullable integers",
        [pd.array([1, None], "Int64"), [2]],
        {"type": "integer", "domain": [1, 2], "nullable": True},
    ),
    (
        "whole floats without gaps",
        [[1.0, 2.0], [3.0]],
        {"type": "float", "bounds": bounds("1", "3")},
    ),
    ("fractions and integers", [[1, 2], [0.5]], {"type": "float", "bounds": bounds("0.5", "2")}),
    ("floats", [[0.0, 6.2], [3.14159]], {"type": "float", "bounds": bounds("0", "6.2")}),
    ("negative floats", [[-2.63], [3.148]], {"type": "float", "bounds": bounds("-2.7", "3.2")}),
    (
        "infinity is missing",
        [[0.5, np.inf], [1.5]],
        {"type": "float", "bounds": bounds("0.5", "1.5"), "nullable": True},
    ),
    ("one float", [[0.5], [0.5]], {"type": "float", "bounds": bounds("0.5", "0.51")}),
    ("only zero", [[0.0], [0.0]], {"type": "float", "bounds": bounds("0", "0.1")}),
    ("booleans", [[True, False], [True]], {"type": "boolean"}),
    ("booleans with gaps", [[True, None], [False]], {"type": "boolean", "nullable": True}),
    (
        "nullable booleans",
        [pd.array([True, None], "boolean"), [False]],
        {"type": "boolean", "nullable": True},
    ),
    ("text", [["Male", "Female"], ["Male"]], {"type": "text", "domain": ["Female", "Male"]}),
    (
        "text with gaps",
        [["甘肃", None], ["b"]],
        {"type": "text", "domain": ["b", "甘肃"], "nullable": True},
    ),
    (
        "pandas text",
        [pd.array(["x", None], "string"), ["y"]],
        {"type": "text", "domain": ["x", "y"], "nullable": True},
    ),
    (
        "categories",
        [pd.Categorical(["lo", "hi"]), ["lo"]],
        {"type": "text", "domain": ["hi", "lo"]},
    ),
    (
        "categories of integers",
        [pd.Categorical([3, 1]), [2]],
        {"type": "integer", "domain": [1, 2, 3]},
    ),
    (
        "many texts",
        [[f"t{i:03}" for i in range(60)], [f"u{i}" for i in range(41)]],
        {"type": "text"},
    ),
    (
        "a hundred texts",
        [[f"t{i:03}" for i in range(100)], ["t000"]],
        {"type": "text", "domain": [f"t{i:03}" for i in range(100)]},
    ),
    ("long text", [["x" * 257], ["y"]], {"type": "text"}),
    (
        "decimals",
        [[Decimal("1.25")], [Decimal("1310.5")]],
        {"type": "decimal", "scale": 2, "bounds": bounds("0", "1400")},
    ),
    (
        "decimals and integers",
        [[Decimal("1.25")], [3]],
        {"type": "decimal", "scale": 2, "bounds": bounds("1.2", "3")},
    ),
    (
        "nothing at one node",
        [[None, None], [4, 5]],
        {"type": "integer", "domain": [4, 5], "nullable": True},
    ),
    ("no rows at one node", [[], ["x"]], {"type": "text", "domain": ["x"]}),
    (
        "python dates",
        [[date(2020, 2, 29), None], [date(2019, 12, 5)]],
        {"type": "date", "bounds": bounds("2019-12-01", "2020-02-29"), "nullable": True},
    ),
    (
        "pandas midnights are dates",
        [[pd.Timestamp("1969-12-31")], [pd.Timestamp("2020-05-05")]],
        {"type": "date", "bounds": bounds("1969-01-01", "2020-12-31")},
    ),
    (
        "a time of day at one node",
        [[pd.Timestamp("2020-04-05 23:59:59.5")], ["2020-05-05"]],
        {
            "type": "timestamp",
            "bounds": bounds("2020-04-01T00:00:00", "2020-05-31T23:59:59.999999"),
        },
    ),
    (
        "zoned times count in UTC",
        [
            [pd.Timestamp("2020-01-01 00:30", tz="Asia/Shanghai")],
            [pd.Timestamp("2019-12-31 09:00")],
        ],
        {
            "type": "timestamp",
            "bounds": bounds("2019-12-01T00:00:00", "2019-12-31T23:59:59.999999"),
        },
    ),
    (
        "text that is dates",
        [["2020-02-29", None], ["1899-01-01"]],
        {"type": "date", "bounds": bounds("1899-01-01", "2020-12-31"), "nullable": True},
    ),
    (
        "text beside text that is a date",
        [["2020-02-29"], ["none"]],
        {"type": "text", "domain": ["2020-02-29", "none"]},
    ),
    ("no day of the calendar", [["2021-02-29"]] * 2, {"type": "text", "domain": ["2021-02-29"]}),
    (
        "no dates yet",
        [pd.array([None], "datetime64[ns]"), [1]],
        {"type": "integer", "domain": [1], "nullable": True},
    ),
]


@pytest.mark.parametrize(
    ("parts", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_types_domains_and_bounds(parts: list[object], expected: Column) -> None:
    assert inferred(x=parts) == {"name": "x", "nullable": False, **expected}


BAD: list[tuple[str, list[object], str]] = [
    (
        "text and numbers",
        [["?", "1"], [1, 2]],
        "one type: text at node `a` and whole numbers at node `b`",
    ),
    (
        "text and fractions later",
        [[None], [0.5], ["?"]],
        "one type: fractional numbers at node `b` and text at node `c`",
    ),
    (
        "booleans and numbers",
        [[True], [1]],
        "one type: true and false at node `a` and whole numbers at node `b`",
    ),
    (
        "mixed in one node",
        [[1, "a", None], [1]],
        "expected values of one type in column `x` at node `a`, got `int` and `str`",
    ),
    (
        "no value anywhere",
        [[None, None], [np.nan]],
        "expected a value in column `x` at one node at least, got none at `a`, `b`",
    ),
    (
        "dates and numbers",
        [[pd.Timestamp("2024-01-01")], [1]],
        "one type: dates at node `a` and whole numbers at node `b`",
    ),
    ("times of day", [[1], [time(8, 30)]], "a kind: `b`, got times or durations"),
    ("durations", [pd.array([5], "timedelta64[ns]"), [1]], "a kind: `a`, got times or durations"),
    (
        "a date that text at another node cannot join",
        [[date(2024, 1, 1)], ["unknown"]],
        "one type: dates at node `a` and text at node `b`",
    ),
    ("lists", [[[1, 2]], [[3]]], "a kind: `a`, got `list<item: int64>`"),
    ("bytes", [[b"x"], [b"y"]], "a kind: `a`, got `binary`"),
    (
        "too many decimals",
        [[Decimal("1e-19")], [Decimal(1)]],
        "expected at most 18 decimals in column `x`, got 19",
    ),
]


@pytest.mark.parametrize(("parts", "message"), [c[1:] for c in BAD], ids=[c[0] for c in BAD])
def test_what_cannot_be_declared_is_refused(parts: list[object], message: str) -> None:
    with pytest.raises(CallError) as caught:
        inferred(x=parts)
    said = message.replace("one type:", "expected one type in column `x`, got")
    said = said.replace(
        "a kind:", "expected numbers, text, booleans, dates or timestamps in column `x` at node"
    )
    assert caught.value.message == said


def test_columns_that_differ_between_nodes_are_refused() -> None:
    a, b = pd.DataFrame({"x": [1], "y": [1]}), pd.DataFrame({"x": [1]})
    said = "expected the same columns at every node, got `y` at node `{}` and not at node `{}`"
    for frames, where in (({"a": a, "b": b}, "ab"), ({"b": b, "a": a}, "ab")):
        with pytest.raises(CallError) as caught:
            infer_declaration("t", frames)
        assert caught.value.message == said.format(*where)


def test_the_order_of_columns_is_the_first_nodes() -> None:
    a, b = pd.DataFrame({"x": [1], "y": [1]}), pd.DataFrame({"y": [1], "x": [1]})
    columns = infer_declaration("t", {"a": a, "b": b})["columns"]
    assert [column["name"] for column in columns] == ["x", "y"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({1: [1]}), "expected column names that are text at node `a`, got `1`"),
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), "distinct names at node `a`, got `x` twice"),
        (pd.DataFrame(), "expected columns with distinct names at node `a`, got none"),
        (pd.DataFrame({"x": [1], "X": [1]}), "expected distinct column names in table `t`"),
        ([1, 2], "expected a path or a pandas frame for node `a`, got `list`"),
        ("data.xlsx", "expected a file that ends in .csv, .parquet, .pq, got `data.xlsx`"),
        ("none.csv", "expected a file for node `a`, found none at `none.csv`"),
    ],
)
def test_what_is_no_table_is_refused(frame: object, message: str) -> None:
    with pytest.raises(CallError, match=message.replace(".", r"\.")):
        infer_declaration("t", {"a": frame})  # type: ignore[dict-item]


def test_no_node_at_all_is_refused() -> None:
    with pytest.raises(CallError, match="expected the table of at least one node, got none"):
        infer_declaration("t", {})


def test_files_and_frames_agree(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"年龄": [63.0, np.nan], "sex": ["Male", "NA"], "st": [2.3, 1.5], "ok": [True, False]}
    )
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "b.parquet")
    declarations = [
        infer_declaration("t", {"n": source})
        for source in (frame, tmp_path / "a.csv", str(tmp_path / "b.parquet"))
    ]
    assert declarations[0] == declarations[1] == declarations[2]
    assert declarations[0]["columns"] == [
        {"name": "年龄", "type": "integer", "domain": [63], "nullable": True},
        {"name": "sex", "type": "text", "domain": ["Male", "NA"], "nullable": False},
        {"name": "st", "type": "float", "bounds": bounds("1.5", "2.3"), "nullable": False},
        {"name": "ok", "type": "boolean", "nullable": False},
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"x,y\n1,2,3\n4\n5,6,7,8\n"),
        ("a.csv", b""),
        ("a.csv", b"x\n\xff\xfe"),
        ("a.parquet", b"PAR1"),
    ],
)
def test_a_broken_file_is_refused_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CallError, match=f"could not read `.*{name}` of node `n` as"):
        infer_declaration("t", {"n": tmp_path / name})


@given(
    st.lists(st.decimals(-(10**12), 10**12, allow_nan=False, places=6), min_size=1, max_size=9),
    st.one_of(st.none(), st.just(0)),
)
def test_bounds_hold_every_value_and_are_short(values: list[Decimal], digits: int | None) -> None:
    lower, upper = readable_bounds(min(values), max(values), digits=digits)
    assert lower <= min(values)
    assert upper >= max(values)
    assert lower < upper
    span = max(values) - min(values) or abs(max(values)) or Decimal(1)
    assert upper - lower <= span * Decimal("1.2") + (2 if digits == 0 else 0)
    if digits == 0:
        assert lower == int(lower)


@given(
    st.lists(
        st.lists(
            st.one_of(
                st.none(), st.integers(-(2**70), 2**70), st.floats(), st.text(), st.booleans()
            ),
            max_size=6,
        ),
        min_size=1,
        max_size=3,
    )
)
def test_any_column_is_declared_or_refused_with_a_sentence(parts: list[list[object]]) -> None:
    frames = {str(i): pd.DataFrame({"x": pd.Series(p, dtype=object)}) for i, p in enumerate(parts)}
    try:
        declared = str(infer_declaration("t", frames))
    except YumenError as refusal:
        declared = refusal.message
    assert "'x'" in declared or "`x`" in declared


def test_integers_with_gaps_are_stored_as_integers() -> None:
    table = pa.table({"x": [63.0, None], "y": [1.5, 2.0]})
    assert as_declared(table, {"columns": [{"name": "y", "type": "integer"}]}) == table
    table = table.set_column(0, "x", pa.array([63.0, float("nan")]))
    schema = infer_declaration("t", {"a": table.to_pandas()})
    stored = as_declared(table, schema)
    assert stored["x"].type == pa.int64()
    assert stored["x"].to_pylist() == [63, None]
    assert stored["y"].type == pa.float64()


def test_the_widest_integers_keep_their_bounds_in_64_bits() -> None:
    values = [-(2**63), 2**63 - 1, *range(30)]
    (column,) = infer_schema("t", {"a": pa.table({"x": pa.array(values, pa.int64())})}).columns
    assert (column.lower, column.upper) == (-(2**63), 2**63 - 1)
