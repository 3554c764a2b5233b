"""Dates and timestamps from CSV, Parquet and DuckDB files, and their declarations."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from yumen_core.errors import CallError
from yumen_core.sql import ColumnType
from yumen_node.datasets import Dataset, load_declaration
from yumen_node.datasets.quality import ColumnQuality

TABLE = """name: visits
source: {source}
columns:
  - name: day
    type: date
    bounds: {{lower: 1960-01-01, upper: "2024-12-31"}}
    map: {map}
  - name: at
    type: timestamp
    bounds: {{lower: 2020-01-01 06:00:00, upper: 2020-12-31}}
"""
CSV = "day,at\n"


def declared(folder: Path, source: str, mapping: str = "{}") -> Path:
    path = folder / "table.yaml"
    path.write_text(TABLE.format(source=source, map=mapping), encoding="utf-8")
    return path


def csv(folder: Path, *rows: str) -> Path:
    (folder / "rows.csv").write_text(CSV + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return declared(folder, '{type: csv, path: rows.csv, null_values: ["?"]}')


def held(dataset: Dataset) -> list[tuple[object, ...]]:
    return dataset._connection.execute('SELECT day, "at" FROM "rows 0"').fetchall()


def test_bounds_are_read_from_yaml_dates_and_from_text(tmp_path: Path) -> None:
    day, at = load_declaration(csv(tmp_path)).schema().columns
    assert (day.lower, day.upper) == (date(1960, 1, 1), date(2024, 12, 31))
    assert at.lower == datetime(2020, 1, 1, 6)
    # a bare date as upper bound of a timestamp takes in the whole day
    assert at.upper == datetime(2020, 12, 31, 23, 59, 59, 999_999)


READ = [
    ("2020-02-29,2020-02-29 08:30:15.25", date(2020, 2, 29),
     datetime(2020, 2, 29, 8, 30, 15, 250_000)),
    ("2020/2/9,2020-02-29T08:30", date(2020, 2, 9), datetime(2020, 2, 29, 8, 30)),
    (" 1960-01-01 ,2020-12-31 23:59:59.999999", date(1960, 1, 1),
     datetime(2020, 12, 31, 23, 59, 59, 999_999)),
    ("2020-02-29 00:00:00,2020-06-01", date(2020, 2, 29), datetime(2020, 6, 1)),
    ("?,2020-06-01T10:00:00+08:00", None, None),
    (",2020-06-01T10:00:00Z", None, datetime(2020, 6, 1, 10)),
    ("2020-06-01,2020-06-01 10:00:00-0330", date(2020, 6, 1), datetime(2020, 6, 1, 13, 30)),
]  # fmt: skip


@pytest.mark.parametrize(("row", "day", "at"), READ)
def test_texts_that_are_read(tmp_path: Path, row: str, day: date, at: datetime | None) -> None:
    wanted = at or datetime(2020, 6, 1, 2)  # ten o'clock at +08:00
    dataset = Dataset.open(load_declaration(csv(tmp_path, row)))
    assert held(dataset) == [(day, wanted)]
    dataset.close()


def test_faults_are_counted_as_of_other_types(tmp_path: Path) -> None:
    dataset = Dataset.open(
        load_declaration(
            csv(
                tmp_path,
                "2021-02-29,2020-06-01 25:00",  # no day, no hour
                "2020-02-29 08:30,2020-06-01 10",  # not midnight, no minutes
                "infinity,infinity",
                "12020-01-01,epoch",
                "44197,1593561600",
                "1959-12-31,2020-01-01 05:59:59.999999",  # out of bounds from here
                "2025-01-01,2021-01-01",
                "0000-00-00,yesterday",
            )
        )
    )
    assert dataset.quality.columns == (
        ColumnQuality("day", 0, 6, 2, 0),
        ColumnQuality("at", 0, 6, 2, 0),
    )
    assert held(dataset) == [(None, None)] * 8
    dataset.close()


def test_map_names_missing_dates(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(CSV + "0000-00-00,\nlate,\n")
    source = "{type: csv, path: rows.csv}"
    mapping = '{"0000-00-00": null, late: "2024-12-31"}'
    dataset = Dataset.open(load_declaration(declared(tmp_path, source, mapping)))
    assert held(dataset) == [(None, None), (date(2024, 12, 31), None)]
    assert dataset.quality.columns[0] == ColumnQuality("day", 1, 0, 0, 0)
    dataset.close()


MOMENT = datetime(2020, 6, 1, 10)
COLUMNS = [
    pa.array([MOMENT, None, datetime(2020, 1, 1)], pa.timestamp(unit, zone))
    for unit in ("s", "ms", "us", "ns")
    for zone in (None, "Asia/Shanghai")
]


@pytest.mark.parametrize("at", COLUMNS, ids=[str(column.type) for column in COLUMNS])
@pytest.mark.parametrize("kind", ["parquet", "duckdb"])
def test_typed_sources(tmp_path: Path, kind: str, at: pa.Array) -> None:
    days = pa.array([date(2020, 2, 29), date(1959, 12, 31), None], pa.date32())
    table = pa.table({"day": days, "at": at})
    source = f"{{type: {kind}, path: rows.{kind}}}"
    if kind == "parquet":
        pq.write_table(table, tmp_path / "rows.parquet")
    else:
        source = "{type: duckdb, path: rows.duckdb, table: t}"
        with duckdb.connect(str(tmp_path / "rows.duckdb")) as connection:
            connection.register("given", table)
            connection.execute("CREATE TABLE t AS SELECT * FROM given")
    dataset = Dataset.open(load_declaration(declared(tmp_path, source)))
    # midnight of New Year is before six o'clock, and counts in UTC where there is a zone
    assert held(dataset) == [(date(2020, 2, 29), MOMENT), (None, None), (None, None)]
    assert dataset.quality.columns == (
        ColumnQuality("day", 1, 0, 1, 0),
        ColumnQuality("at", 1, 0, 1, 0),
    )
    dataset.close()


def test_timestamps_at_midnight_are_dates_and_dates_are_timestamps(tmp_path: Path) -> None:
    table = pa.table(
        {
            "day": pa.array([datetime(2020, 2, 29), datetime(2020, 2, 29, 8)], pa.timestamp("ns")),
            "at": pa.array([date(2020, 2, 29), date(9999, 1, 1)], pa.date32()),
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    declaration = load_declaration(declared(tmp_path, "{type: parquet, path: rows.parquet}"))
    dataset = Dataset.open(declaration)
    assert held(dataset) == [(date(2020, 2, 29), datetime(2020, 2, 29)), (None, None)]
    assert [quality.mistyped for quality in dataset.quality.columns] == [1, 0]
    dataset.close()


FORMATS = [
    ("%d.%m.%Y", "29.02.2020", date(2020, 2, 29)),
    ("%Y%m%d", "20200229", date(2020, 2, 29)),
    ("%Y年%m月%d日", "2020年2月29日", date(2020, 2, 29)),
    ("%d %b %Y %I:%M %p", "29 Feb 2020 12:00 am", date(2020, 2, 29)),
    ("it's %m/%d/%Y", "it's 2/29/2020", date(2020, 2, 29)),
    ("%d.%m.%Y", "2020-02-29", None),
    ("%d.%m.%Y", "29.02.2021", None),
    ("%d.%m.%Y", "29.02.2020 08:30", None),
]


def with_format(path: Path, written: str) -> Path:
    text = path.read_text(encoding="utf-8")
    quoted = "'" + written.replace("'", "''") + "'"
    path.write_text(text.replace("    map:", f"    format: {quoted}\n    map:"), encoding="utf-8")
    return path


@pytest.mark.parametrize(("written", "text", "day"), FORMATS)
def test_dates_in_a_declared_format(
    tmp_path: Path, written: str, text: str, day: date | None
) -> None:
    dataset = Dataset.open(load_declaration(with_format(csv(tmp_path, f"{text},"), written)))
    assert held(dataset) == [(day, None)]
    assert dataset.quality.columns[0].mistyped == (day is None)
    dataset.close()


def test_whole_numbers_in_a_declared_format(tmp_path: Path) -> None:
    table = pa.table({"day": [20200229, 0, None], "at": pa.array([None] * 3, pa.date32())})
    pq.write_table(table, tmp_path / "rows.parquet")
    path = declared(tmp_path, "{type: parquet, path: rows.parquet}")
    dataset = Dataset.open(load_declaration(with_format(path, "%Y%m%d")))
    assert held(dataset) == [(date(2020, 2, 29), None), (None, None), (None, None)]
    dataset.close()


@pytest.mark.parametrize(
    "written", ["", "d.m.Y", "%d.%m", "%Y %z", "%c %Y", "%Y %", "%Y" + "x" * 60]
)
def test_bad_formats_are_refused(tmp_path: Path, written: str) -> None:
    path = with_format(csv(tmp_path), written)
    with pytest.raises(CallError) as caught:
        load_declaration(path)
    assert caught.value.message == (
        f"`{path}`: `columns.0.format`: expected directives such as `%d.%m.%Y`, "
        f"got `{written[:60]}`"
    )


def test_only_dates_have_a_format(tmp_path: Path) -> None:
    path = with_format(csv(tmp_path), "%Y")
    path.write_text(
        path.read_text().replace("type: date", "type: text").replace("bounds: {low", "x: {low")
    )
    path.write_text("\n".join(line for line in path.read_text().splitlines() if "x: {" not in line))
    with pytest.raises(CallError) as caught:
        load_declaration(path)
    assert caught.value.message.endswith(
        "`columns.0.format`: expected only for a `date` or `timestamp`, got `text`"
    )


def test_the_declaration_in_the_documents_loads(tmp_path: Path) -> None:
    document = (Path(__file__).parents[3] / "docs" / "dates.md").read_text(encoding="utf-8")
    columns = document.split("```yaml\n")[1].split("```")[0]
    path = tmp_path / "table.yaml"
    path.write_text("name: t\nsource: {type: csv, path: x.csv}\n" + columns, encoding="utf-8")
    born, seen = load_declaration(path).schema().columns
    assert born.upper == date(2024, 12, 31)
    assert seen.upper == datetime(2024, 12, 31, 23, 59, 59, 999_999)


BAD = [
    (
        "1960-01-01",
        "1960-01-01 08:00:00",
        "`columns.0` (`day`): expected a date such as 2020-01-31, got `1960-01-01 08:00:00`",
    ),
    (
        "1960-01-01",
        "2025-01-01",
        "`columns.0` (`day`): expected lower <= upper for column `day`, "
        "got `2025-01-01` and `2024-12-31`",
    ),
    (
        "2020-01-01 06:00:00",
        "2020-01-01T06:00:00Z",
        "`columns.1` (`at`): expected a timestamp such as 2020-01-31 08:30:00, without a zone, "
        "got `2020-01-01 06:00:00+00:00`",
    ),
    (
        "2020-01-01 06:00:00",
        "5",
        "`columns.1` (`at`): expected a timestamp such as 2020-01-31 08:30:00, without a zone, "
        "got `5`",
    ),
    (
        "1960-01-01",
        "[1]",
        "`columns.0.bounds.lower`: expected a valid integer, got `[1]`",
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), BAD)
def test_bad_bounds_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = csv(tmp_path)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(CallError) as caught:
        load_declaration(path)
    assert caught.value.message == f"`{path}`: {message}"


def test_the_types_have_these_names() -> None:
    assert [kind.value for kind in ColumnType if kind.temporal] == ["date", "timestamp"]
