from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pytest
from yumen.result import Exclusion, HeldBack, Result
from yumen_core.errors import CallError

NODES = tuple(f"spiffe://h.example/org/{n}/node/{n}" for n in ("a", "b", "c", "d"))


def result(table: pa.Table, **given: object) -> Result:
    settings: dict[str, object] = {
        "job_id": "0199b2f4-1111-7abc-8def-000000000001",
        "sql": "SELECT sex, AVG(chol) AS mean FROM heart GROUP BY sex",
        "purpose": "research",
        "participants": NODES,
        "elapsed_s": 0.184,
        **given,
    }
    return Result(table, **settings)  # type: ignore[arg-type]


SMALL = pa.table(
    {
        "sex": ["F", "M"],
        "n": pa.array([None, 2**60 + 1], pa.int64()),
        "mean": [None, 246.5821],
        "total": [Decimal("12.50"), Decimal("1400.25")],
        "_nodes": [3, 4],
    }
)
SMALL_NODES = pa.table(
    {"sex": [3, 4], "n": [0, 4], "mean": [3, 3], "total": [3, 3], "_nodes": [3, 4]}
)


def test_reads_as_rows_columns_and_length() -> None:
    answer = result(SMALL)
    assert len(answer) == 2
    assert answer.columns == ["sex", "n", "mean", "total", "_nodes"]
    assert [row["sex"] for row in answer] == ["F", "M"]
    assert answer.to_arrow() is SMALL


def test_pandas_keeps_a_large_integer_beside_a_missing_one() -> None:
    frame = result(SMALL).to_pandas()
    assert frame["n"].dtype == pd.Int64Dtype()
    assert frame["n"][1] == 2**60 + 1
    assert frame["n"].isna()[0]
    assert frame["total"][1] == Decimal("1400.25")
    assert frame["mean"].dtype == float


def test_pandas_keeps_a_boolean_key_beside_a_missing_one() -> None:
    frame = result(pa.table({"fbs": [True, None], "_nodes": [3, 3]})).to_pandas()
    assert frame["fbs"].dtype == pd.BooleanDtype()


def test_dates_are_dates_for_python_pandas_and_people() -> None:
    days = [date(1, 1, 1), None, date(2020, 2, 29)]
    hours = [datetime(2020, 1, 1), datetime(2020, 1, 1, 13, 30), None]
    table = pa.table({"day": days, "at": pa.array(hours, pa.timestamp("us")), "_nodes": [4, 4, 4]})
    answer = result(table)
    assert [row["day"] for row in answer] == days
    assert [row["at"] for row in answer] == hours
    frame = answer.to_pandas()
    assert [frame[name].dtype.kind for name in ("day", "at")] == ["M", "M"]
    assert frame["day"][2] == pd.Timestamp("2020-02-29")
    assert frame["day"].isna().tolist() == [False, True, False]
    shown = [line.split("  ") for line in repr(answer).splitlines()[2:5]]
    assert [[cell.strip() for cell in line if cell] for line in shown] == [
        ["0001-01-01", "2020-01-01 00:00", "4"],
        ["null", "2020-01-01 13:30", "4"],
        ["2020-02-29", "null", "4"],
    ]


def test_text_shows_the_table_the_nodes_and_what_was_held_back() -> None:
    answer = result(
        SMALL,
        measure_nodes=SMALL_NODES,
        excluded=(Exclusion("spiffe://h.example/org/lzu/node/east", f"denied (at {NODES[0]})"),),
        held_back=(HeldBack("n", 1),),
        empty_cells=2,
    )
    assert repr(answer).splitlines() == [
        "sex                    n         mean        total  _nodes",
        "───  ───────────────────  ───────────  ───────────  ──────",
        "F              held back     null        12.50           3",
        "M    1152921504606846977  246.582 [3]  1400.25 [3]       4",
        "",
        "[3] stands on 3 nodes, fewer than its row in `_nodes`",
        "4 nodes in: a, b, c, d",
        "1 node out: lzu/east (denied (at a))",
        "a row with fewer than 4 in `_nodes` leaves out the nodes with too few rows in its group",
        "held back, too few rows or nodes behind the value: n in 1 row",
        "2 groups without a row: no data, or too few rows or nodes behind it",
        "2 rows, 0.18 s, purpose research, job 0199b2f4-1111-7abc-8def-000000000001",
    ]


def test_a_lower_bound_is_said_under_the_table() -> None:
    bounded = result(pa.table({"n": [5], "_nodes": [4]}), notes=("n is a lower bound",))
    assert repr(bounded).splitlines()[-2] == "n is a lower bound"
    assert "n is a lower bound" in bounded._repr_html_()
    assert "lower bound" not in repr(result(pa.table({"n": [5], "_nodes": [4]})))


def test_nothing_is_left_out_where_every_node_stands_behind_every_row() -> None:
    full = pa.table({"n": [5], "_nodes": [4]})
    assert "leaves out" not in repr(result(full))
    assert "leaves out" in repr(result(pa.table({"n": [5, 6], "_nodes": [4, 3]})))


def test_a_missing_value_is_held_back_only_where_nobody_stands_behind_it() -> None:
    assert "held back" not in repr(result(SMALL)).split("\n\n")[0]
    assert "held back" in repr(result(SMALL, measure_nodes=SMALL_NODES)).split("\n\n")[0]


def test_no_row_says_why() -> None:
    nothing = SMALL.slice(0, 0)
    assert "no row fits the conditions" in repr(result(nothing))
    assert "1 group without a row" in repr(result(nothing, empty_cells=1))
    assert "no row fits" not in repr(result(nothing, empty_cells=1))


def test_html_escapes_names_values_and_reasons() -> None:
    hostile = "<img src=x onerror=alert(1)>"
    table = pa.table({hostile: [hostile], "_nodes": [3]})
    page = result(table, purpose=hostile, excluded=(Exclusion(hostile, hostile),))._repr_html_()
    assert "<img" not in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt;") == 5
    assert "<script" not in page
    assert "http" not in page


def test_text_obeys_no_control_character_from_a_value() -> None:
    shown = repr(result(pa.table({"sex": ["\x1b[2Jgone\u202e\nnext"], "_nodes": [3]})))
    assert "\\x1b[2Jgone\\u202e\\nnext" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    "other",
    [SMALL_NODES.slice(0, 1), SMALL_NODES.drop_columns(["n"])],
    ids=["fewer rows", "fewer columns"],
)
def test_node_counts_of_another_shape_are_refused(other: pa.Table) -> None:
    with pytest.raises(CallError, match="expected node counts for 2 rows of"):
        result(SMALL, measure_nodes=other)
