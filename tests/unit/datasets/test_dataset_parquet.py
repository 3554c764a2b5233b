"""The rows of a training as a Parquet file."""

from __future__ import annotations

import stat
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders.tables import declared
from yumen_core.errors import StateError
from yumen_core.sql import parse_columns
from yumen_node.datasets import Dataset, load_declaration

COLUMNS = [
    {"name": "age", "type": "integer", "bounds": {"lower": 0, "upper": 120}},
    {"name": "dose", "type": "decimal", "scale": 2, "bounds": {"lower": 0, "upper": 100}},
    {"name": "height", "type": "float", "bounds": {"lower": 0, "upper": 3}},
    {"name": "smoker", "type": "boolean"},
    {"name": "sex", "type": "text", "domain": ["f", "m"]},
    {"name": "town", "type": "text"},
    {"name": "day", "type": "date"},
    {"name": "at", "type": "timestamp"},
]
FULL = {
    "age": 50,
    "dose": "1.25",
    "height": 1.5,
    "smoker": "true",
    "sex": "m",
    "town": "Łódź",
    "day": "2020-02-29",
    "at": "2020-02-29 08:30:00",
}
EMPTY = dict.fromkeys(FULL, "")
SELECT = 'SELECT "age", "dose", "height", "smoker", "sex", "town", "day", "at" FROM "t"'


@pytest.fixture
def table(tmp_path: Path) -> Dataset:
    rows = [FULL, EMPTY, {**FULL, "age": 20, "sex": "f"}]
    return Dataset.open(load_declaration(declared(tmp_path, "t", rows, COLUMNS)))


def written(table: Dataset, sql: str, file: Path) -> pa.Table:
    plan = parse_columns(sql, {"t": table.schema})
    rows = table.parquet(plan, file, timeout_s=10)
    read = pq.read_table(file)
    assert read.num_rows == rows
    return read


def test_columns_have_their_names_types_and_values(table: Dataset, tmp_path: Path) -> None:
    read = written(table, SELECT, tmp_path / "rows.parquet")
    assert {field.name: str(field.type) for field in read.schema} == {
        "age": "int64",
        "dose": "double",
        "height": "double",
        "smoker": "bool",
        "sex": "string",
        "town": "string",
        "day": "date32[day]",
        "at": "timestamp[us]",
    }
    first, second, third = read.to_pylist()
    assert first == {
        "age": 50,
        "dose": 1.25,
        "height": 1.5,
        "smoker": True,
        "sex": "m",
        "town": "Łódź",
        "day": date(2020, 2, 29),
        "at": datetime(2020, 2, 29, 8, 30),
    }
    assert second == dict.fromkeys(FULL, None)
    assert (third["age"], third["sex"]) == (20, "f")


def test_where_chooses_rows_by_columns_that_are_not_written(table: Dataset, tmp_path: Path) -> None:
    read = written(table, 'SELECT "age" FROM "t" WHERE "sex" = \'f\'', tmp_path / "r")
    assert read.to_pylist() == [{"age": 20}]


def test_no_row_is_an_empty_table_with_the_same_columns(table: Dataset, tmp_path: Path) -> None:
    read = written(table, SELECT + ' WHERE "age" > 100', tmp_path / "rows.parquet")
    assert (read.num_rows, len(read.schema)) == (0, 8)
    assert str(read.schema.field("sex").type) == "string"


def test_only_this_user_reads_it_and_an_older_one_is_replaced(
    table: Dataset, tmp_path: Path
) -> None:
    file = tmp_path / "rows.parquet"
    file.write_text("older")
    file.chmod(0o644)
    written(table, SELECT, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not list(tmp_path.glob("*.partial"))


def test_the_same_rows_are_the_same_bytes(table: Dataset, tmp_path: Path) -> None:
    for name in ("a", "b"):
        written(table, SELECT, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_plan_of_another_schema_is_refused(table: Dataset, tmp_path: Path) -> None:
    other = declared(tmp_path / "o", "t", [{"age": 1}], COLUMNS[:1])
    plan = parse_columns('SELECT "age" FROM "t"', {"t": load_declaration(other).schema()})
    with pytest.raises(StateError, match="expected a plan of the table `t` as held"):
        table.parquet(plan, tmp_path / "rows.parquet", timeout_s=10)
    assert not (tmp_path / "rows.parquet").exists()
