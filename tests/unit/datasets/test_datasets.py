"""Loading a source and answering plans over it."""

from __future__ import annotations

import threading
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from yumen_core.errors import StateError
from yumen_core.sql import LocalCells, parse
from yumen_node.datasets import Dataset, load_declaration
from yumen_node.datasets.quality import ColumnQuality

COLUMNS: list[dict[str, object]] = [
    {"name": "性别", "source_name": "sex", "type": "text", "domain": ["女", "男"],
     "map": {0: "女", 1: "男", 9: None}},
    {"name": "age", "type": "integer", "bounds": {"lower": 0, "upper": 120}, "nullable": False},
    {"name": "cost", "type": "decimal", "scale": 2, "bounds": {"lower": 0, "upper": "999.99"}},
    {"name": "bmi", "type": "float", "bounds": {"lower": 10, "upper": 60.5}},
    {"name": "smoker", "type": "boolean"},
    {"name": "stage", "type": "integer", "domain": [1, 2, 3]},
    {"name": "note", "type": "text"},
]  # fmt: skip
CSV = """sex,age,cost,bmi,smoker,stage,note,ignored
0,40,1.50,20.5,yes,1,a,x
1,63.0,2.345,?,0,2,"b, c",x
 1 ,50,5000,70,maybe,7,,x
9,,1,20,true,1,a,x
2,51.5,1,20,true,1,a,x
"""


def declare(folder: Path, source: dict[str, object], **changes: object) -> Path:
    document = {"name": "病人", "source": source, "columns": COLUMNS, **changes}
    path = folder / "table.yaml"
    path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    return path


def csv_table(folder: Path, text: str = CSV, **changes: object) -> Path:
    (folder / "rows.csv").write_text(text, encoding="utf-8")
    return declare(folder, {"type": "csv", "path": "rows.csv", "null_values": ["?"]}, **changes)


def ask(dataset: Dataset, sql: str, timeout_s: float = 20.0) -> LocalCells:
    return dataset.cells(parse(sql, {"病人": dataset.schema}), timeout_s=timeout_s)


def test_every_fault_of_a_row_is_counted_once_and_becomes_missing(tmp_path: Path) -> None:
    dataset = Dataset.open(load_declaration(csv_table(tmp_path)))
    report = dataset.quality
    # the two rows without an age are no rows of the table: age is not nullable
    assert (report.rows_read, report.rows_kept) == (5, 3)
    assert report.columns == (
        ColumnQuality("性别", 1, 0, 0, 1),
        ColumnQuality("age", 1, 1, 0, 0),
        ColumnQuality("cost", 0, 0, 1, 0),
        ColumnQuality("bmi", 1, 0, 1, 0),
        ColumnQuality("smoker", 0, 1, 0, 0),
        ColumnQuality("stage", 0, 0, 0, 1),
        ColumnQuality("note", 1, 0, 0, 0),
    )
    cells = ask(dataset, "SELECT 性别, COUNT(*), SUM(age), SUM(cost) FROM 病人 GROUP BY 性别")
    assert cells.supports[:, 0].tolist() == [1, 2, 0]
    # 2.345 is rounded to the scale, half away from zero; 5000 was out of bounds
    assert cells.values == [[1, 40, 150], [2, 113, 235], [0, 0, 0]]
    dataset.close()


def test_drop_row_drops_rows_with_unusable_values_only(tmp_path: Path) -> None:
    dataset = Dataset.open(load_declaration(csv_table(tmp_path, out_of_bounds="drop_row")))
    assert (dataset.quality.rows_read, dataset.quality.rows_kept) == (5, 2)
    dataset.close()


def test_the_report_reads_as_a_table(tmp_path: Path) -> None:
    dataset = Dataset.open(load_declaration(csv_table(tmp_path)))
    lines = dataset.quality.text().splitlines()
    assert lines[0] == "5 rows read, 3 kept"
    assert " ".join(lines[1].split()) == "column missing mistyped out of bounds out of domain"
    assert lines[3].split() == ["age", "1", "1", "0", "0"]
    dataset.close()


ROWS = pa.table(
    {
        "sex": pa.array([0, 1, None], pa.int8()),
        "age": pa.array([40, 130, 63], pa.int32()),
        "cost": pa.array([Decimal("1.50"), Decimal("2.34"), None], pa.decimal128(10, 2)),
        "bmi": pa.array([20.5, float("nan"), float("inf")]),
        "smoker": pa.array([True, None, False]),
        "stage": pa.array([1.0, 2.5, 9.0]),
        "note": pa.array(["a", "é", ""]),
    }
)


@pytest.fixture(params=["parquet", "duckdb"])
def typed_table(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "parquet":
        pq.write_table(ROWS, tmp_path / "rows.parquet")
        return declare(tmp_path, {"type": "parquet", "path": "rows.parquet"})
    with duckdb.connect(str(tmp_path / "rows.duckdb")) as connection:
        connection.register("given", ROWS)
        connection.execute('CREATE TABLE "my rows" AS SELECT * FROM given')
    return declare(tmp_path, {"type": "duckdb", "path": "rows.duckdb", "table": "my rows"})


def test_typed_sources_load_by_the_same_rules(typed_table: Path) -> None:
    dataset = Dataset.open(load_declaration(typed_table))
    assert (dataset.quality.rows_read, dataset.quality.rows_kept) == (3, 2)
    assert dataset.quality.columns == (
        ColumnQuality("性别", 1, 0, 0, 0),
        ColumnQuality("age", 0, 0, 1, 0),
        ColumnQuality("cost", 1, 0, 0, 0),
        ColumnQuality("bmi", 1, 1, 0, 0),
        ColumnQuality("smoker", 1, 0, 0, 0),
        ColumnQuality("stage", 0, 1, 0, 1),
        ColumnQuality("note", 1, 0, 0, 0),
    )
    cells = ask(dataset, "SELECT smoker, COUNT(*), SUM(age) FROM 病人 GROUP BY smoker")
    assert cells.values == [[1, 63], [1, 40], [0, 0]]
    dataset.close()


def test_text_is_held_in_unicode_nfc(tmp_path: Path) -> None:
    dataset = Dataset.open(
        load_declaration(
            csv_table(tmp_path, "sex,age,cost,bmi,smoker,stage,note\n0,4,1,,,,e\u0301\n")
        )
    )
    cells = ask(dataset, "SELECT COUNT(*) FROM 病人 WHERE note = 'é' AND note LIKE '_'")
    assert cells.values == [[1]]
    dataset.close()


@pytest.mark.parametrize("text", ["sex,age,cost,bmi,smoker,stage,note\n"])
@pytest.mark.parametrize("group", ["", " GROUP BY 性别", " GROUP BY smoker, stage"])
def test_an_empty_table_has_empty_cells(tmp_path: Path, text: str, group: str) -> None:
    dataset = Dataset.open(load_declaration(csv_table(tmp_path, text)))
    for measures in ("COUNT(*), SUM(cost)", "STDDEV_SAMP(bmi)", "AVG(bmi), COUNT(note)"):
        cells = ask(dataset, f"SELECT {measures} FROM 病人{group}")
        assert not cells.supports.any()
        assert not any(any(row) for row in cells.values)
    dataset.close()


def test_other_encodings_and_delimiters(tmp_path: Path) -> None:
    text = "sex;age;cost;bmi;smoker;stage;note\n1;40;1;20;否;1;兰州\n"
    (tmp_path / "rows.csv").write_bytes(text.encode("gb18030"))
    source = {"type": "csv", "path": "rows.csv", "delimiter": ";", "encoding": "gb18030"}
    dataset = Dataset.open(load_declaration(declare(tmp_path, source)))
    assert ask(dataset, "SELECT COUNT(*) FROM 病人 WHERE note = '兰州'").values == [[1]]
    dataset.close()


def _missing(folder: Path) -> Path:
    return declare(folder, {"type": "csv", "path": "absent.csv"})


def _no_column(folder: Path) -> Path:
    return csv_table(folder, CSV.replace("bmi", "mass"))


def _two_columns(folder: Path) -> Path:
    return csv_table(folder, CSV.replace("ignored", "bmi"))


def _ragged(folder: Path) -> Path:
    return csv_table(folder, CSV + "secret-value,1\n")


def _nothing(folder: Path) -> Path:
    return csv_table(folder, "")


def _no_text(folder: Path) -> Path:
    path = csv_table(folder)
    (folder / "rows.csv").write_bytes(CSV.encode() + b"1,\xff\xfe,1,1,1,1,1,1\n")
    return path


def _no_parquet(folder: Path) -> Path:
    (folder / "rows.parquet").write_bytes(b"PAR1 no parquet")
    return declare(folder, {"type": "parquet", "path": "rows.parquet"})


def _no_duckdb_table(folder: Path) -> Path:
    duckdb.connect(str(folder / "rows.duckdb")).close()
    return declare(folder, {"type": "duckdb", "path": "rows.duckdb", "table": "t"})


def _no_encoding(folder: Path) -> Path:
    (folder / "rows.csv").write_text(CSV)
    return declare(folder, {"type": "csv", "path": "rows.csv", "encoding": "klingon"})


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (_missing, "expected the source `{}/absent.csv`, got no such file"),
        (_no_column, "expected a column `bmi` in `{}/rows.csv`, got none"),
        (_two_columns, "expected a column `bmi` in `{}/rows.csv`, got several"),
        (_ragged, "expected `{}/rows.csv` to be readable as csv"),
        (_nothing, "expected `{}/rows.csv` to be readable as csv"),
        (_no_text, "expected `{}/rows.csv` to be readable as csv"),
        (_no_encoding, "expected `{}/rows.csv` to be readable as csv"),
        (_no_parquet, "expected `{}/rows.parquet` to be readable as parquet"),
        (_no_duckdb_table, "expected `{}/rows.duckdb` to be readable as duckdb"),
    ],
)
def test_a_bad_source_is_named_without_its_values(tmp_path: Path, make: object, text: str) -> None:
    assert callable(make)
    declaration = load_declaration(make(tmp_path))
    with pytest.raises(StateError) as caught:
        Dataset.open(declaration)
    assert caught.value.code == "data_source"
    assert caught.value.message == text.format(tmp_path.resolve())


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/*')",
        "COPY rows TO '/tmp/stolen.csv'",
        "ATTACH '/tmp/stolen.duckdb' AS stolen",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SET temp_directory = '/tmp'",
        "SELECT * FROM csv_rows",
    ],
)
def test_the_database_is_locked_after_loading(tmp_path: Path, statement: str) -> None:
    dataset = Dataset.open(load_declaration(csv_table(tmp_path)))
    with pytest.raises(duckdb.Error):
        dataset._connection.cursor().execute(statement)
    dataset.close()


def test_a_query_beyond_its_time_ends(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "rows.duckdb")) as connection:
        connection.execute(
            "CREATE TABLE t AS SELECT i AS n, repeat('ab', 30) || i AS note FROM range(500000) r(i)"
        )
    columns = [
        {"name": "n", "type": "integer", "bounds": {"lower": 0, "upper": 10_000_000}},
        {"name": "note", "type": "text"},
    ]
    source = {"type": "duckdb", "path": "rows.duckdb", "table": "t"}
    dataset = Dataset.open(load_declaration(declare(tmp_path, source, columns=columns)))
    slow = " OR ".join(f"note LIKE '%a%b%{i}%x'" for i in range(40))
    with pytest.raises(StateError) as caught:
        ask(dataset, f"SELECT COUNT(*) FROM 病人 WHERE {slow}", timeout_s=0.02)
    assert caught.value.code == "deadline"
    assert caught.value.message == "expected the query to end within 0.02 s"
    # the dataset still answers
    assert ask(dataset, "SELECT COUNT(*) FROM 病人").values == [[500_000]]
    dataset.close()


def test_a_plan_of_another_schema_is_refused(tmp_path: Path) -> None:
    dataset = Dataset.open(load_declaration(csv_table(tmp_path)))
    (tmp_path / "other").mkdir()
    other = load_declaration(csv_table(tmp_path / "other", columns=COLUMNS[:2])).schema()
    with pytest.raises(StateError) as caught:
        dataset.cells(parse("SELECT COUNT(*) FROM 病人", {"病人": other}), timeout_s=1)
    assert caught.value.message == "expected a plan of the table `病人` as held"
    dataset.close()


def test_threads_share_a_dataset(tmp_path: Path) -> None:
    dataset = Dataset.open(load_declaration(csv_table(tmp_path)))
    answers: list[object] = []

    def work() -> None:
        for _ in range(5):
            answers.append(ask(dataset, "SELECT COUNT(*), SUM(age) FROM 病人").values)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [[[3, 153]]] * 20
    dataset.close()
