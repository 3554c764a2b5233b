"""Published schemas: what may be published, and bytes of another party."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sql_tables import PEOPLE
from yumen_core.errors import CallError, PeerError
from yumen_core.sql import Column, ColumnType, Grade, TableSchema, storage_type
from yumen_core.sql.schema import decimal_text, parse_decimal

INTEGER, DECIMAL, FLOAT = ColumnType.INTEGER, ColumnType.DECIMAL, ColumnType.FLOAT
TEXT, BOOLEAN = ColumnType.TEXT, ColumnType.BOOLEAN


def test_bytes_are_canonical_and_come_back() -> None:
    data = PEOPLE.to_bytes()
    assert TableSchema.from_bytes(data) == PEOPLE
    assert PEOPLE.digest == hashlib.sha256(data).digest()
    assert "兰州".encode() in data


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20))
def test_bounds_keep_every_digit(bound: Decimal) -> None:
    text = decimal_text(bound)
    assert parse_decimal(text) == bound
    assert decimal_text(parse_decimal(text)) == text
    assert "E" not in text


BAD_COLUMNS: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "expected a column name without space around it, got ``"),
    ({"name": " x"}, "expected a column name without space around it, got ` x`"),
    ({"name": "x" * 129}, "expected a column name of at most 128 characters, got 129"),
    ({"name": "x\u202ey"}, "expected a column name without control characters"),
    ({"name": "e\u0301"}, "expected a column name in Unicode NFC, got `e\u0301`"),
    ({"scale": 2}, "expected a scale from 0 to 0 for column `x`, got `2`"),
    ({"type": DECIMAL, "scale": 19}, "expected a scale from 0 to 18 for column `x`, got `19`"),
    ({"lower": Decimal("0.5")}, "expected bounds of column `x` with at most 0 decimals, got `0.5`"),
    ({"lower": Decimal("NaN")}, "expected finite bounds for column `x`, got `NaN`"),
    (
        {"upper": Decimal(2**63)},
        f"expected bounds of column `x` within 64 bits, got `{2**63}`",
    ),
    (
        {"type": DECIMAL, "scale": 18, "upper": Decimal(10)},
        "expected bounds of column `x` within 18 digits, got `10`",
    ),
    (
        {"type": FLOAT, "upper": Decimal("1e301")},
        "expected bounds of column `x` within 1e300, got `1E+301`",
    ),
    (
        {"lower": Decimal(2), "upper": Decimal(1)},
        "expected lower <= upper for column `x`, got `2` and `1`",
    ),
    ({"type": TEXT, "lower": Decimal(1)}, "expected no bounds for column `x` of type `text`"),
    (
        {"domain": (1,), "lower": Decimal(1)},
        "expected a domain or bounds for column `x`, got both",
    ),
    ({"domain": ()}, "expected 1 to 10000 domain values for column `x`, got 0"),
    (
        {"domain": tuple(range(10_001))},
        "expected 1 to 10000 domain values for column `x`, got 10001",
    ),
    ({"domain": (1, True)}, "expected domain values of type `integer` for column `x`"),
    ({"domain": (1, 1)}, "expected distinct domain values for column `x`"),
    (
        {"type": FLOAT, "domain": (1,)},
        "expected bounds for column `x` of type `float`, got a domain",
    ),
    (
        {"type": TEXT, "domain": ("a" * 257,)},
        "expected a domain value of column `x` of at most 256 characters, got 257",
    ),
]


@pytest.mark.parametrize(("change", "message"), BAD_COLUMNS)
def test_bad_columns(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CallError) as caught:
        Column(**{"name": "x", "type": INTEGER, **change})
    assert (caught.value.code, caught.value.message) == ("table_declaration", message)


def test_column_names_differ_without_regard_to_case() -> None:
    with pytest.raises(CallError, match="expected distinct column names in table `t`"):
        TableSchema("t", (Column("straße", TEXT), Column("STRASSE", TEXT)))
    with pytest.raises(CallError, match="expected distinct column names"):
        TableSchema("t", (Column("a", TEXT), Column("a", TEXT)))


def altered(**changes: object) -> bytes:
    document = json.loads(PEOPLE.to_bytes())
    document["columns"][0].update(changes)
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


BAD_BYTES = [
    (b"", "expected a table schema in JSON"),
    (b"\xff", "expected a table schema in JSON"),
    (b"[" * 100_000, "expected a table schema in JSON"),
    (b"[]", "expected a table schema with the keys `columns`, `name`"),
    (PEOPLE.to_bytes() + b" ", "expected a table schema in canonical JSON"),
    (
        PEOPLE.to_bytes().replace(b'"unit":""', b'"unit":"","unit":""', 1),
        "expected a table schema in canonical JSON",
    ),
    (b" " * ((4 << 20) + 1), "expected a table schema of at most 4194304 bytes, got 4194305"),
    (altered(scale=True), "expected another type for `scale` of a column"),
    (altered(scale="1"), "expected another type for `scale` of a column"),
    (altered(domain=[1.5]), "expected domain values that are text, integers or booleans"),
    (altered(domain=[[]]), "expected domain values that are text, integers or booleans"),
    (altered(lower=5), "expected another type for `lower` of a column"),
    (
        altered(type="time"),
        "expected a column type among `integer`, `decimal`, `float`, `boolean`, `text`, `date`, "
        "`timestamp`, got `time`",
    ),
    (altered(grade="top"), "expected a data grade among `general`, `important`, `core`, got `top`"),
    (altered(type="integer", domain=None, lower="0x10"), "expected a decimal number, got `0x10`"),
    (
        altered(type="integer", domain=None, lower="1.0"),
        "expected a table schema in canonical JSON",
    ),
    (
        altered(type="integer", domain=None, lower="1e999999"),
        "expected a decimal number within 1e300, got `1e999999`",
    ),
]


@pytest.mark.parametrize(("data", "message"), BAD_BYTES)
def test_bad_bytes(data: bytes, message: str) -> None:
    with pytest.raises(PeerError) as caught:
        TableSchema.from_bytes(data)
    assert (caught.value.code, caught.value.message) == ("descriptor", message)


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(PeerError, match="expected a column with the keys `domain`, `grade`"):
        TableSchema.from_bytes(altered(colour="red"))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(PeerError):
        TableSchema.from_bytes(data)


def test_the_strictest_grade_applies() -> None:
    columns = [Column(name, TEXT, grade=grade) for name, grade in zip("abc", Grade, strict=True)]
    assert TableSchema("t", tuple(columns)).grade is Grade.CORE
    assert TableSchema("t", tuple(columns[:2])).grade is Grade.IMPORTANT


@pytest.mark.parametrize(
    ("column", "held"),
    [
        (Column("x", INTEGER, lower=Decimal(-128), upper=Decimal(127)), "TINYINT"),
        (Column("x", INTEGER, lower=Decimal(0), upper=Decimal(128)), "SMALLINT"),
        (Column("x", INTEGER, domain=(0, 40_000)), "INTEGER"),
        (Column("x", INTEGER, lower=Decimal(0)), "BIGINT"),
        (Column("x", DECIMAL, 2, lower=Decimal(0), upper=Decimal("327.67")), "SMALLINT"),
        (Column("x", DECIMAL, 18, lower=Decimal(0), upper=Decimal(1)), "BIGINT"),
        (Column("x", FLOAT), "DOUBLE"),
        (Column("x", BOOLEAN), "BOOLEAN"),
        (Column("x", TEXT), "VARCHAR"),
        (Column("x", TEXT, domain=tuple(map(str, range(256)))), "UTINYINT"),
        (Column("x", TEXT, domain=tuple(map(str, range(257)))), "USMALLINT"),
    ],
)
def test_columns_are_held_narrowly(column: Column, held: str) -> None:
    assert storage_type(column) == held
