"""Numbers of rows over refreshes, and the rows of each cell by them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import yaml
from pyroaring import BitMap
from yumen_core.errors import StateError
from yumen_core.sql import parse
from yumen_core.sql.row_sets import rows_key
from yumen_node.datasets import Dataset, load_declaration
from yumen_node.datasets.numbers import RowNumbers

COLUMNS = [
    {"name": "sex", "type": "text", "domain": ["f", "m"]},
    {"name": "age", "type": "integer", "bounds": {"lower": 0, "upper": 120}},
]
Row = tuple[str, int]
ROWS: list[Row] = [("f", 40), ("m", 50), ("f", 40), ("m", 60)]


def opened(folder: Path, rows: list[Row]) -> Dataset:
    (folder / "rows.csv").write_text(
        "sex,age\n" + "".join(f"{sex},{age}\n" for sex, age in rows), encoding="utf-8"
    )
    document = {
        "name": "t", "source": {"type": "csv", "path": "rows.csv"}, "columns": COLUMNS,
    }  # fmt: skip
    (folder / "t.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    numbers = RowNumbers(folder / "state", folder / "secrets")
    return Dataset.open_all([load_declaration(folder / "t.yaml")], row_numbers=numbers)["t"]


def sets(dataset: Dataset, sql: str = "SELECT sex, COUNT(*) FROM t GROUP BY sex") -> list[BitMap]:
    found = dataset.row_sets(parse(sql, {"t": dataset.schema}), timeout_s=20)
    return [found.rows.union(frozenset({cell})).rows for cell in range(2)]


CHANGES: list[tuple[str, list[Row], list[int], list[int]]] = [
    ("the same", ROWS, [0, 2], [1, 3]),
    ("another order", ROWS[::-1], [0, 2], [1, 3]),
    ("a row more", [("m", 70), *ROWS], [0, 2], [1, 3, 4]),
    ("one of two equal rows less", [ROWS[0], ROWS[1], ROWS[3]], [0], [1, 3]),
    ("a third equal row", [*ROWS, ("f", 40)], [0, 2, 4], [1, 3]),
    ("a value changed", [*ROWS[:3], ("m", 61)], [0, 2], [1, 4]),
    ("a row that moved to another cell", [*ROWS[:3], ("f", 60)], [0, 2, 4], [1]),
    ("no row", [], [], []),
]


@pytest.mark.parametrize(
    ("rows", "women", "men"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES]
)
def test_a_row_keeps_its_number_over_a_refresh(
    tmp_path: Path, rows: list[Row], women: list[int], men: list[int]
) -> None:
    before = opened(tmp_path, ROWS)
    after = opened(tmp_path, rows)
    assert sets(before) == [BitMap([0, 2]), BitMap([1, 3])]
    assert sets(after) == [BitMap(women), BitMap(men)]
    assert (before.version == after.version) is (sorted(rows) == sorted(ROWS))


def test_a_number_is_never_given_twice(tmp_path: Path) -> None:
    opened(tmp_path, ROWS)
    opened(tmp_path, [])
    assert sets(opened(tmp_path, [("m", 90)]))[1] == BitMap([4])
    assert sets(opened(tmp_path, ROWS)) == [BitMap([0, 2]), BitMap([1, 3])]


def test_another_key_is_no_fresh_start(tmp_path: Path) -> None:
    opened(tmp_path, ROWS)
    (tmp_path / "secrets" / "rows.key").unlink()
    with pytest.raises(StateError, match="the numbers of the rows of `t` have another key"):
        opened(tmp_path, ROWS)
    (tmp_path / "secrets" / "rows.key").write_bytes(b"short")
    (tmp_path / "secrets" / "rows.key").chmod(0o600)
    with pytest.raises(StateError, match=r"is damaged: expected 32 bytes"):
        opened(tmp_path, ROWS)


def test_a_damaged_file_of_numbers_is_no_fresh_start(tmp_path: Path) -> None:
    opened(tmp_path, ROWS)
    file = tmp_path / "state" / "row-numbers.sqlite"
    with sqlite3.connect(file) as database:
        database.execute("UPDATE numbers SET known = substr(known, 1, 25)")
    database.close()
    with pytest.raises(StateError, match="the numbers of the rows of `t` are damaged"):
        opened(tmp_path, ROWS)
    file.write_bytes(b"not a database, but as long as one might be" * 100)
    with pytest.raises(StateError, match="the numbers of the rows of `t` are damaged"):
        opened(tmp_path, ROWS)


def test_the_rows_asked_about_are_named_whatever_is_computed(tmp_path: Path) -> None:
    schema = opened(tmp_path, ROWS).schema

    def key(sql: str, version: bytes = b"1") -> bytes:
        return rows_key(parse(sql, {"t": schema}), {"t": version})

    base = key("SELECT COUNT(*) FROM t WHERE age > 30")
    assert key("SELECT sex, SUM(age) FROM t WHERE age > 30 GROUP BY sex") == base
    assert key("SELECT COUNT(*) FROM t WHERE age > 31") != base
    assert key("SELECT COUNT(*) FROM t") != base
    assert key("SELECT COUNT(*) FROM t WHERE age > 30", b"2") != base
