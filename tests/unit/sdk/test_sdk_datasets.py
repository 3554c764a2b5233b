from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import pytest
from yumen.datasets import Datasets, values_text
from yumen_core.errors import CallError
from yumen_core.identity.names import Identity, Role
from yumen_core.jobs.descriptor import NodeDescriptor, PublishedTable
from yumen_core.sql.schema import Column, ColumnType, Grade, TableSchema

AGE = Column(
    "age",
    ColumnType.INTEGER,
    lower=Decimal(0),
    upper=Decimal(120),
    unit="a",
    meaning="age at examination",
    nullable=False,
)
SEX = Column("sex", ColumnType.TEXT, domain=("Female", "Male"))
FIRST_EIGHT = "0, 1, 2, 3, 4, 5, 6, 7 and 2 more"
CHOL = Column("胆固醇", ColumnType.DECIMAL, 2, lower=Decimal("-2.50"), grade=Grade.IMPORTANT)


def node(
    name: str, tables: dict[str, tuple[Column, ...]], *, connected: bool = True, threshold: int = 10
) -> tuple[NodeDescriptor, bool]:
    published = {
        table: PublishedTable(TableSchema(table, columns), "patients", "general", threshold, 3)
        for table, columns in tables.items()
    }
    identity = Identity("h.example", name, Role.NODE, name)
    return NodeDescriptor(identity, b"", b"", "", published, 0, 1, "yumen/0"), connected


def test_tables_are_found_by_place_and_by_name() -> None:
    tables = Datasets.from_descriptors([node("a", {"heart": (AGE,), "census": (SEX,)})])
    assert tables.names == ["census", "heart"]
    assert len(tables) == 2
    assert tables[0] is tables["census"]
    assert "heart" in tables
    assert "lung" not in tables
    assert [d.name for d in tables] == ["census", "heart"]
    assert [d.name for d in tables[-1:]] == ["heart"]


def test_an_unknown_table_or_column_is_refused_by_name() -> None:
    tables = Datasets.from_descriptors([node("a", {"heart": (AGE,)})])
    with pytest.raises(CallError, match=r"expected a table of the federation \(`heart`\), got `l`"):
        tables["l"]
    with pytest.raises(CallError, match="expected a column of table `heart`, got `sex`"):
        tables["heart"].column("sex")
    assert tables["heart"].column("age") is AGE
    with pytest.raises(IndexError):
        tables[1]


def test_text_shows_columns_nodes_and_rules() -> None:
    tables = Datasets.from_descriptors(
        [node("a", {"heart": (AGE, SEX, CHOL)}), node("b", {"heart": (AGE, SEX, CHOL)})]
    )
    assert repr(tables).splitlines() == [
        "heart: patients",
        "column  type        unit  values        missing  meaning             grade",
        "──────  ──────────  ────  ────────────  ───────  ──────────────────  ─────────",
        "age     integer     a     0 to 120      never    age at examination  general",
        "sex     text              Female, Male                               general",
        "胆固醇  decimal(2)        -2.5 or more                               important",
        "",
        "2 nodes: a, b",
        "a value is released where 3 nodes stand behind it, each with 10 rows or more",
    ]


def test_empty_columns_and_a_single_grade_are_left_out() -> None:
    shown = repr(Datasets.from_descriptors([node("a", {"t": (SEX,)}, connected=False)]))
    assert shown.splitlines()[1] == "column  type  values"
    assert "every column is of grade general" in shown
    assert "1 node: a (not connected)" in shown


def test_the_schema_of_most_nodes_is_shown_and_the_others_are_named() -> None:
    renamed = Column("age", ColumnType.INTEGER, lower=Decimal(0), upper=Decimal(99))
    (heart,) = Datasets.from_descriptors(
        [
            node("a", {"heart": (renamed,)}, threshold=25),
            node("b", {"heart": (AGE, SEX)}),
            node("c", {"heart": (AGE, SEX)}),
            node("d", {"heart": (SEX, AGE)}),
        ]
    )
    assert heart.columns == (AGE, SEX)
    assert heart.conflicts == (
        "a lacks `sex`, declares `age` otherwise; d has the columns in another order"
    )
    assert (heart.nodes[0].node, heart.nodes[0].threshold) == (
        "spiffe://h.example/org/a/node/a",
        25,
    )
    assert "each with 25 rows or more" in repr(heart)
    assert "schemas differ: a lacks `sex`" in repr(heart)


def test_html_is_escaped_and_an_empty_catalogue_says_so() -> None:
    hostile = Column("x", ColumnType.TEXT, domain=("<b>",), unit="<b>", meaning="<b>")
    page = Datasets.from_descriptors([node("a", {"<b>": (hostile,)})])._repr_html_()
    assert "<b>" not in page
    assert page.count("&lt;b&gt;") == 4
    assert repr(Datasets([])) == "no table is published"
    assert "no table is published" in Datasets([])._repr_html_()


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (Column("x", ColumnType.INTEGER, domain=tuple(range(10))), FIRST_EIGHT),
        (Column("x", ColumnType.FLOAT), ""),
        (Column("x", ColumnType.FLOAT, upper=Decimal("1E+2")), "100 or less"),
        (
            Column("x", ColumnType.DATE, lower=date(1999, 1, 1), upper=date(2024, 12, 31)),
            "1999-01-01 to 2024-12-31",
        ),
        (Column("x", ColumnType.DATE, lower=date(1999, 1, 1)), "1999-01-01 or later"),
        (
            Column("x", ColumnType.TIMESTAMP, upper=datetime(2024, 12, 31, 23, 59)),
            "2024-12-31 23:59 or earlier",
        ),
        (Column("x", ColumnType.BOOLEAN, domain=(False, True)), "false, true"),
        (Column("x", ColumnType.FLOAT, lower=Decimal("-0.50"), upper=Decimal(7)), "-0.5 to 7"),
    ],
)
def test_values_in_words(column: Column, text: str) -> None:
    assert values_text(column) == text
