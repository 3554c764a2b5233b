"""A statement cannot fail at a node because of a row: the failure, which names the node, would tell
of that one row, below every threshold."""

from decimal import Decimal

import duckdb
import pytest
from yumen_core.errors import CallError
from yumen_core.sql import Column, ColumnType, TableSchema, local_cells, local_sql, parse

SCHEMA = TableSchema(
    "patients",
    (
        Column("id", ColumnType.INTEGER),
        Column("fee", ColumnType.DECIMAL, scale=2),
        Column("name", ColumnType.TEXT),
        Column("k", ColumnType.INTEGER, lower=Decimal(0), upper=Decimal(10)),
        Column("g", ColumnType.FLOAT, lower=Decimal(1), upper=Decimal(10)),
    ),
)
LARGEST = 2**63 - 1
EXACT = [
    "CASE WHEN name = 'Bob' THEN id ELSE 1.0000000000000000 END > 1",
    "CASE WHEN name = 'Bob' THEN id ELSE 1.0000000000000000000 END = id",
    "CASE WHEN name = 'Bob' THEN fee ELSE 1.000000000000000000 END > id",
    "CASE WHEN name = 'Bob' THEN k*0 ELSE 0.000000000000000000 END > 1",
    "CASE WHEN name = 'Bob' THEN id = fee ELSE TRUE END",
    "CASE WHEN name = 'Bob' THEN id ELSE fee END > CASE WHEN k = 1 THEN fee ELSE 1.00000 END",
    "CASE WHEN name = 'Bob' THEN id END = 1.00000",
]
FLOATS = [
    "1e0/((0.1e0 + 0.2e0 + k*0e0) - 0.30000000000000004e0)",
    "1e0/((g + 1e16) - 1e16)",
    "((1e16 + k*0e0 + 1e0) - 1e16 - 1e0) * 1e149 * 1e149",
    "1e0/(g*1e-110*1e-110*1e-110*1e110*1e110*1e110)",
]


@pytest.mark.parametrize("number", [LARGEST, -LARGEST - 1, 0])
@pytest.mark.parametrize("condition", EXACT)
def test_no_number_is_too_large_for_a_comparison(condition: str, number: int) -> None:
    for sql in (
        f"SELECT COUNT(*) FROM patients WHERE {condition}",
        f"SELECT SUM(CASE WHEN {condition} THEN 1 ELSE 0 END) FROM patients",
    ):
        plan = parse(sql, {"patients": SCHEMA})
        with duckdb.connect() as connection:
            connection.execute(
                "CREATE TABLE rows (id BIGINT, fee BIGINT, name VARCHAR, k TINYINT, g DOUBLE)"
            )
            connection.execute("INSERT INTO rows VALUES (?, ?, 'Bob', 1, 1)", [number, number])
            local_cells(plan, connection.execute(local_sql(plan, "rows")).fetchall())


@pytest.mark.parametrize("digits", [20, 30, 36])
def test_what_no_type_holds_is_refused(digits: int) -> None:
    literal = "1." + "0" * digits
    for condition in (f"CASE WHEN k = 1 THEN id ELSE {literal} END > 1", f"id = k + {literal}"):
        with pytest.raises(CallError, match="38 digits"):
            parse(f"SELECT COUNT(*) FROM patients WHERE {condition}", {"patients": SCHEMA})


@pytest.mark.parametrize("expression", FLOATS)
def test_rounding_cannot_reach_what_the_bounds_exclude(expression: str) -> None:
    sql = f"SELECT SUM(CASE WHEN name = 'Bob' THEN {expression} ELSE 1e0 END) FROM patients"
    with pytest.raises(CallError, match=r"may be 0|may exceed"):
        parse(sql, {"patients": SCHEMA})


@pytest.mark.parametrize("expression", ["k/g", "1/(g*g)", "(g + k)/(g + 1)", "k/(0 - g)"])
def test_divisors_that_keep_clear_of_zero_pass(expression: str) -> None:
    parse(f"SELECT COUNT(*) FROM patients WHERE {expression} > 1", {"patients": SCHEMA})
