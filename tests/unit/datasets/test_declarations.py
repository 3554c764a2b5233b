"""The YAML form of a table: what is read, and how faults are told."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from yumen_core.errors import CallError
from yumen_core.sql import Column, ColumnType, Grade
from yumen_node.datasets import OutOfBounds, load_declaration

GOOD = """\
name: heart
meaning: patients examined
source:
  type: csv
  path: data/heart.csv
columns:
  - name: sex
    type: text
    domain: [female, male]
    grade: important
  - name: chol
    type: decimal
    scale: 1
    unit: mg/dl
    bounds: {lower: 60, upper: "700.5"}
    nullable: false
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "heart.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_declaration_gives_the_published_schema(tmp_path: Path) -> None:
    found = load_declaration(write(tmp_path, GOOD))
    assert found.schema().columns == (
        Column("sex", ColumnType.TEXT, domain=("female", "male"), grade=Grade.IMPORTANT),
        Column(
            "chol",
            ColumnType.DECIMAL,
            1,
            lower=Decimal(60),
            upper=Decimal("700.5"),
            unit="mg/dl",
            nullable=False,
        ),
    )
    assert found.grade is Grade.IMPORTANT
    assert found.source.path == tmp_path.resolve() / "data" / "heart.csv"
    assert (found.disclosure.threshold, found.disclosure.min_nodes) == (10, 3)
    assert found.out_of_bounds is OutOfBounds.MISSING


FAULTS = [
    (
        "type: csv",
        "type: excel",
        "`source.type`: expected `csv`, `parquet`, `arrow`, `duckdb` or `sqlite`, got `excel`",
    ),
    ("path: data/heart.csv", "pfad: x", "`source.path`: expected a value, got none"),
    (
        "meaning: patients",
        "colour: red\nmeaning: patients",
        "`colour`: expected only known keys, got an unknown one; known are: `columns`, "
        "`disclosure`, `key`, `meaning`, `name`, `out_of_bounds`, `privacy`, `source`",
    ),
    (
        "    scale: 1",
        "    scala: 1",
        "`columns.1.scala`: expected only known keys, got an unknown one; near it: `scale`",
    ),
    (
        "{lower: 60,",
        "{from: 60,",
        "`columns.1.bounds.from`: expected only known keys, got an unknown one; "
        "known are: `lower`, `upper`",
    ),
    (
        "columns:",
        "disclosure: {treshold: 12}\ncolumns:",
        "`disclosure.treshold`: expected only known keys, got an unknown one; near it: `threshold`",
    ),
    (
        "type: decimal",
        "type: number",
        "`columns.1.type`: expected `integer`, `decimal`, `float`, "
        "`boolean`, `text`, `date` or `timestamp`, got `number`",
    ),
    (
        "nullable: false",
        "nullable: maybe",
        "`columns.1.nullable`: expected a valid boolean, got `maybe`",
    ),
    (
        "scale: 1",
        "scale: 40",
        "`columns.1` (`chol`): expected a scale from 0 to 18 for column `chol`, got `40`",
    ),
    (
        "lower: 60",
        "lower: 60.55",
        "`columns.1` (`chol`): expected bounds of column `chol` with at most "
        "1 decimals, got `60.55`",
    ),
    (
        "lower: 60",
        "lower: 800",
        "`columns.1` (`chol`): expected lower <= upper for column `chol`, got `800` and `700.5`",
    ),
    ("lower: 60", "lower: many", "`columns.1` (`chol`): expected a decimal number, got `many`"),
    (
        "lower: 60",
        "lower: 2020-01-31",
        "`columns.1` (`chol`): expected a decimal number, got `2020-01-31`",
    ),
    (
        "[female, male]",
        "[female, no]",
        "`columns.0` (`sex`): expected domain values of type `text` for column `sex`",
    ),
    (
        "[female, male]",
        "[female, female]",
        "`columns.0` (`sex`): expected distinct domain values for column `sex`",
    ),
    (
        "name: chol",
        "name: SEX",
        "expected distinct column names in table `heart`, got `sex` and `SEX`",
    ),
    (
        "columns:",
        "disclosure: {threshold: 2}\ncolumns:",
        "`disclosure.threshold`: expected greater than or equal to 3, got `2`",
    ),
    (
        "columns:",
        "disclosure: {min_nodes: 2}\ncolumns:",
        "`disclosure.min_nodes`: expected greater than or equal to 3, got `2`",
    ),
    *(
        (
            "columns:",
            f"privacy: {{epsilon: 1, delta: {given}}}\ncolumns:",
            f"expected a delta such as `1e-6`, got `{shown}`",
        )
        for given, shown in (
            ("tiny", "tiny"),
            ("0.0015", "1.5e-3"),
            ("2e-06", "2e-6"),
            (".nan", "NaN"),
        )
    ),
    (
        "columns:",
        "out_of_bounds: clip\ncolumns:",
        "`out_of_bounds`: expected `missing` or `drop_row`, got `clip`",
    ),
    (
        "type: csv",
        "type: csv\n  table: x",
        "`source.table`: expected no table for a source of type `csv`",
    ),
    ("type: csv", "type: duckdb", "`source.table`: expected a table for a source of type `duckdb`"),
    (
        "type: csv",
        "type: parquet\n  encoding: utf8",
        "`source.encoding`: expected only for a source of type `csv`",
    ),
    (
        "unit: mg/dl",
        "unit: mg/dl\n    unit: mmol",
        "expected YAML, got the key `unit` twice at line 15",
    ),
    (
        "meaning: patients examined",
        "meaning: !!python/object:os.system x",
        "expected YAML, got could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/object:os.system' at line 2",
    ),
    (
        "[female, male]",
        "&a [female, male]\n    map: *a",
        "expected YAML, got an alias, which is not allowed at line 10",
    ),
]


@pytest.mark.parametrize(("old", "new", "text"), FAULTS, ids=[fault[1][:30] for fault in FAULTS])
def test_a_fault_names_file_key_expected_and_got(
    tmp_path: Path, old: str, new: str, text: str
) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(CallError) as caught:
        load_declaration(path)
    assert caught.value.code == "table_declaration"
    assert caught.value.message == f"`{path}`: {text}"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"[1, 2]", "expected a mapping with `name`, `source` and `columns`"),
        (b"", "expected a mapping with `name`, `source` and `columns`"),
        (b"name: \xff", "expected YAML in UTF-8"),
        (b"a: " + b"[" * 20_000, "expected YAML in UTF-8"),
    ],
)
def test_a_file_that_is_no_declaration(tmp_path: Path, data: bytes, text: str) -> None:
    path = tmp_path / "t.yaml"
    path.write_bytes(data)
    with pytest.raises(CallError) as caught:
        load_declaration(path)
    assert caught.value.message == f"`{path}`: {text}"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CallError, match="got No such file or directory"):
        load_declaration(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    "path", sorted(Path("examples/hospitals/tables").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_example_loads(path: Path) -> None:
    assert load_declaration(path).name == "heart"
