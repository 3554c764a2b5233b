"""The same rows from every form of file, or a folder of them; files that are something else."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
import yaml
from pyarrow import csv
from yumen_core.errors import StateError
from yumen_core.sql import LocalCells, parse
from yumen_node.datasets import Dataset, load_declaration

ROWS = pa.table(
    {
        "id": [1, 2, 3, 4, 5, 6],
        "性别": ["女", "男", "女", None, "男", "女"],
        "dose": [0.1, 2.5, None, 1e-7, 3.0, 99.0],
        "paid": ["1.25", "2.50", "0.05", "7.00", None, "12.5"],
        "seen": ["2020-01-31", "2021-02-28", "2022-12-01", None, "2020-02-29", "2023-06-30"],
        "note": ["a", "b, c", 'say "d"', "e\nf", "", "g"],
    }
)
COLUMNS: list[dict[str, object]] = [
    {"name": "id", "type": "integer", "bounds": {"lower": 1, "upper": 9}, "nullable": False},
    {"name": "性别", "type": "text", "domain": ["女", "男"]},
    {"name": "dose", "type": "float", "bounds": {"lower": 0, "upper": 10}},
    {"name": "paid", "type": "decimal", "scale": 2, "bounds": {"lower": 0, "upper": 100}},
    {"name": "seen", "type": "date", "bounds": {"lower": "2020-01-01", "upper": "2023-12-31"}},
    {"name": "note", "type": "text"},
]
SQL = (
    "SELECT 性别, COUNT(*) AS n, SUM(dose) AS d, SUM(paid) AS p, COUNT(note) AS t,"
    " SUM(CASE WHEN seen < '2021-01-01' THEN 1 ELSE 0 END) AS early FROM t GROUP BY 性别"
)


def to_csv(rows: pa.Table, file: Path) -> None:
    csv.write_csv(rows, file)


def to_arrow(rows: pa.Table, file: Path) -> None:
    feather.write_feather(rows, str(file), compression="zstd")


def to_stream(rows: pa.Table, file: Path) -> None:
    place = rows.column_names.index("性别")
    coded = rows.set_column(place, "性别", rows["性别"].combine_chunks().dictionary_encode())
    with pa.ipc.new_stream(str(file), coded.schema) as writer:
        writer.write_table(coded)


def to_parquet(rows: pa.Table, file: Path) -> None:
    pq.write_table(rows, file)


FORMS: dict[str, tuple[str, Callable[[pa.Table, Path], None]]] = {
    "rows.csv": ("csv", to_csv),
    "rows.parquet": ("parquet", to_parquet),
    "rows.feather": ("arrow", to_arrow),
    "rows.arrows": ("arrow", to_stream),
}


def to_sqlite(rows: pa.Table, file: Path) -> None:
    with sqlite3.connect(file) as database:
        names = ", ".join(f'"{name}"' for name in rows.column_names)
        database.execute(f'CREATE TABLE "my rows" ({names})')
        places = ", ".join("?" * rows.num_columns)
        values = [tuple(row.values()) for row in rows.to_pylist()]
        database.executemany(f'INSERT INTO "my rows" VALUES ({places})', values)
    database.close()


def to_duckdb(rows: pa.Table, file: Path) -> None:
    with duckdb.connect(str(file)) as database:
        database.register("given", rows)
        database.execute('CREATE TABLE "my rows" AS SELECT * FROM given')


def opened(folder: Path, kind: str, path: str, **source: object) -> Dataset:
    where = {"type": kind, "path": path, **source}
    document = {"name": "t", "source": where, "columns": COLUMNS}
    file = folder / "table.yaml"
    file.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    return Dataset.open(load_declaration(file))


def answer(dataset: Dataset) -> LocalCells:
    return dataset.cells(parse(SQL, {"t": dataset.schema}), timeout_s=20.0)


def same(one: LocalCells, other: LocalCells) -> bool:
    return one.values == other.values and (one.supports == other.supports).all()


@pytest.fixture
def expected(tmp_path: Path) -> Dataset:
    (tmp_path / "expected").mkdir()
    to_parquet(ROWS, tmp_path / "expected" / "rows.parquet")
    return opened(tmp_path / "expected", "parquet", "rows.parquet")


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_answer(tmp_path: Path, name: str, expected: Dataset) -> None:
    kind, write = FORMS[name]
    write(ROWS, tmp_path / name)
    found = opened(tmp_path, kind, name)
    assert same(answer(found), answer(expected))
    assert found.quality == expected.quality


@pytest.mark.parametrize(("kind", "write"), [("sqlite", to_sqlite), ("duckdb", to_duckdb)])
def test_a_table_in_a_file_gives_the_same_answer(
    tmp_path: Path, kind: str, write: Callable[[pa.Table, Path], None], expected: Dataset
) -> None:
    write(ROWS, tmp_path / "rows.db")
    found = opened(tmp_path, kind, "rows.db", table="my rows")
    assert same(answer(found), answer(expected))
    assert found.quality == expected.quality


@pytest.mark.parametrize("name", FORMS)
def test_a_folder_of_files_is_one_table(tmp_path: Path, name: str, expected: Dataset) -> None:
    kind, write = FORMS[name]
    folder = tmp_path / "months"
    folder.mkdir()
    suffix = Path(name).suffix
    write(ROWS.slice(0, 4), folder / f"b{suffix}")
    write(ROWS.slice(4).select(reversed(ROWS.column_names)), folder / f"a{suffix.upper()}")
    for other in (f".hidden{suffix}", f"_old{suffix}", "README"):
        (folder / other).write_text("no rows")
    found = opened(tmp_path, kind, "months")
    assert same(answer(found), answer(expected))
    assert found.quality == expected.quality


@pytest.mark.parametrize("name", FORMS)
def test_every_file_of_a_folder_has_every_column(tmp_path: Path, name: str) -> None:
    kind, write = FORMS[name]
    suffix = Path(name).suffix
    write(ROWS, tmp_path / f"a{suffix}")
    write(ROWS.drop_columns(["dose"]), tmp_path / f"b{suffix}")
    with pytest.raises(StateError) as caught:
        opened(tmp_path, kind, ".")
    assert caught.value.message == f"expected a column `dose` in `{tmp_path}/b{suffix}`, got none"


@pytest.mark.parametrize("kind", ["csv", "parquet", "arrow"])
def test_a_folder_without_a_file_of_its_type(tmp_path: Path, kind: str) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "notes.md").write_text("no rows")
    with pytest.raises(StateError) as caught:
        opened(tmp_path, kind, "rows")
    assert caught.value.message.startswith("expected files that end in .")
    assert caught.value.message.endswith(f" in the folder `{tmp_path}/rows`, got none")


@pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
def test_a_database_is_no_folder(tmp_path: Path, kind: str) -> None:
    with pytest.raises(StateError, match=r"expected the source `.*`, got no such file"):
        opened(tmp_path, kind, ".", table="t")


def test_a_view_of_sqlite_and_values_of_several_types(tmp_path: Path, expected: Dataset) -> None:
    texts = pa.table({name: ROWS[name].cast(pa.string()) for name in ROWS.column_names})
    to_sqlite(texts, tmp_path / "rows.db")  # numbers that were stored as text
    with sqlite3.connect(tmp_path / "rows.db") as database:
        database.execute('CREATE VIEW shown AS SELECT * FROM "my rows"')
    database.close()
    assert same(answer(opened(tmp_path, "sqlite", "rows.db", table="shown")), answer(expected))


def test_bytes_in_sqlite_are_refused_without_a_value(tmp_path: Path) -> None:
    to_sqlite(ROWS, tmp_path / "rows.db")
    with sqlite3.connect(tmp_path / "rows.db") as database:
        database.execute("UPDATE \"my rows\" SET note = x'736563726574' WHERE id = 3")
    database.close()
    with pytest.raises(StateError) as caught:
        opened(tmp_path, "sqlite", "rows.db", table="my rows")
    assert caught.value.message == (
        f"expected numbers or text in column `note` of `{tmp_path}/rows.db`, got bytes"
    )


def test_a_table_that_sqlite_lacks(tmp_path: Path) -> None:
    to_sqlite(ROWS, tmp_path / "rows.db")
    with pytest.raises(StateError, match=r"expected a table `other` in `.*rows.db`, got none"):
        opened(tmp_path, "sqlite", "rows.db", table="other")


@pytest.mark.parametrize(
    ("kind", "data", "more"),
    [
        ("arrow", b"ARROW1\x00\x00 no rows", {}),
        ("arrow", b"", {}),
        ("sqlite", b"SQLite format 3\x00 no rows", {"table": "t"}),
    ],
)
def test_files_that_are_not_what_they_say(
    tmp_path: Path, kind: str, data: bytes, more: dict[str, str]
) -> None:
    (tmp_path / "rows").write_bytes(data)
    with pytest.raises(StateError) as caught:
        opened(tmp_path, kind, "rows", **more)
    assert caught.value.message == f"expected `{tmp_path}/rows` to be readable as {kind}"


def test_a_source_is_only_read(tmp_path: Path) -> None:
    to_sqlite(ROWS, tmp_path / "rows.db")
    before = (tmp_path / "rows.db").read_bytes()
    opened(tmp_path, "sqlite", "rows.db", table="my rows").close()
    assert (tmp_path / "rows.db").read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["rows.db", "table.yaml"]
