"""What a federated table publishes: its columns, their meaning, types, domains and bounds.

The same schema is published by every node that holds the table; its digest is named in each job.
A `Column` or `TableSchema` that exists is valid: construction raises `CallError`
("table_declaration"). `TableSchema.from_bytes` reads bytes of another party and raises `PeerError`
("descriptor").
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation, localcontext
from enum import StrEnum
from fractions import Fraction
from functools import cached_property
from typing import TypeVar

from yumen_core import canonical
from yumen_core.canonical import Json
from yumen_core.errors import CallError, PeerError
from yumen_core.sql import temporal
from yumen_core.sql.interval import Interval

MAX_SCHEMA_BYTES = 4 << 20
MAX_COLUMNS = 2_000
MAX_DOMAIN_VALUES = 10_000
MAX_KEY_COLUMNS = 8
MAX_NAME_CHARS = 128
MAX_UNIT_CHARS = 64
MAX_VALUE_CHARS = 256
MAX_MEANING_CHARS = 2_000
MAX_SCALE = 18
MAX_BOUND_CHARS = 400
_INTEGER_LIMIT = 1 << 63
_DECIMAL_LIMIT = 10**18
_FLOAT_LIMIT = 10**300

DomainValue = int | str | bool
Bound = Decimal | date | datetime
_E = TypeVar("_E", bound=StrEnum)


class ColumnType(StrEnum):
    INTEGER = "integer"
    DECIMAL = "decimal"
    FLOAT = "float"
    BOOLEAN = "boolean"
    TEXT = "text"
    DATE = "date"
    TIMESTAMP = "timestamp"

    @property
    def temporal(self) -> bool:
        return self in (ColumnType.DATE, ColumnType.TIMESTAMP)


_BOUNDS: Mapping[ColumnType, tuple[type, str]] = {
    ColumnType.DATE: (date, "dates"),
    ColumnType.TIMESTAMP: (datetime, "timestamps without a zone"),
}


class Grade(StrEnum):
    """Data grades of GB/T 43697-2024, mildest first."""

    GENERAL = "general"
    IMPORTANT = "important"
    CORE = "core"

    @property
    def rank(self) -> int:
        return list(Grade).index(self)


@dataclass(frozen=True)
class Column:
    """One published column.

    `scale` counts decimal digits after the point (`decimal` only). `domain` lists the only values
    that may occur, in the order results show them (`integer`, `text` or `boolean`). `lower` and
    `upper` are inclusive bounds: a `Decimal` of numeric types, a `datetime.date` of `date`, a
    `datetime.datetime` without a zone of `timestamp`, which counts microseconds and has no zone
    either. A column that is not `nullable` holds a value in every row of the table.
    """

    name: str
    type: ColumnType
    scale: int = 0
    domain: tuple[DomainValue, ...] | None = None
    lower: Bound | None = None
    upper: Bound | None = None
    unit: str = ""
    meaning: str = ""
    grade: Grade = Grade.GENERAL
    nullable: bool = True

    def __post_init__(self) -> None:
        check_name(self.name, "column name")
        where = f"column `{self.name}`"
        check_text(self.unit, f"unit of {where}", MAX_UNIT_CHARS)
        check_text(self.meaning, f"meaning of {where}", MAX_MEANING_CHARS)
        self._check_scale(where)
        self._check_bounds(where)
        if self.domain is not None:
            self._check_domain(where, self.domain)

    @property
    def interval(self) -> Interval | None:
        """Every value the column can hold, or None where nothing bounds it or it is no number.

        Dates and timestamps count as `temporal` says; the calendar bounds them where the column
        declares nothing.
        """
        if self.type in (ColumnType.TEXT, ColumnType.BOOLEAN):
            return None
        if self.type.temporal:
            whole = temporal.DATES if self.type is ColumnType.DATE else temporal.TIMESTAMPS
            low = whole.low if self.lower is None else _number(self.lower)
            return Interval(low, whole.high if self.upper is None else _number(self.upper))
        if self.domain is not None:
            numbers = [Fraction(int(value)) for value in self.domain]
            return Interval(min(numbers), max(numbers))
        if self.lower is None or self.upper is None:
            return None
        return Interval(_number(self.lower), _number(self.upper))

    def to_json(self) -> dict[str, Json]:
        return {
            "domain": None if self.domain is None else list(self.domain),
            "grade": self.grade.value,
            "lower": None if self.lower is None else bound_text(self.lower),
            "meaning": self.meaning,
            "name": self.name,
            "nullable": self.nullable,
            "scale": self.scale,
            "type": self.type.value,
            "unit": self.unit,
            "upper": None if self.upper is None else bound_text(self.upper),
        }

    def _check_scale(self, where: str) -> None:
        most = MAX_SCALE if self.type is ColumnType.DECIMAL else 0
        if not 0 <= self.scale <= most:
            raise _bad(f"expected a scale from 0 to {most} for {where}, got `{self.scale}`")

    def _check_bounds(self, where: str) -> None:
        given = [bound for bound in (self.lower, self.upper) if bound is not None]
        if not given:
            return
        if self.type in (ColumnType.TEXT, ColumnType.BOOLEAN):
            raise _bad(f"expected no bounds for {where} of type `{self.type}`")
        if self.domain is not None:
            raise _bad(f"expected a domain or bounds for {where}, got both")
        for bound in given:
            self._check_bound(bound, where)
        if len(given) == 2 and _number(given[0]) > _number(given[1]):
            raise _bad(f"expected lower <= upper for {where}, got `{given[0]}` and `{given[1]}`")

    def _check_bound(self, bound: Bound, where: str) -> None:
        wanted, words = _BOUNDS.get(self.type, (Decimal, "numbers"))
        if type(bound) is not wanted or (isinstance(bound, datetime) and bound.tzinfo is not None):
            raise _bad(f"expected bounds of {where} that are {words}, got `{bound}`")
        if isinstance(bound, Decimal):
            self._check_number(bound, where)

    def _check_number(self, bound: Decimal, where: str) -> None:
        if not bound.is_finite():
            raise _bad(f"expected finite bounds for {where}, got `{bound}`")
        value = Fraction(bound)
        if self.type is ColumnType.FLOAT:
            if abs(value) > _FLOAT_LIMIT:
                raise _bad(f"expected bounds of {where} within 1e300, got `{bound}`")
            return
        scaled = value * 10**self.scale
        if scaled.denominator != 1:
            raise _bad(
                f"expected bounds of {where} with at most {self.scale} decimals, got `{bound}`"
            )
        if self.type is ColumnType.INTEGER and not -_INTEGER_LIMIT <= scaled < _INTEGER_LIMIT:
            raise _bad(f"expected bounds of {where} within 64 bits, got `{bound}`")
        if self.type is ColumnType.DECIMAL and abs(scaled) > _DECIMAL_LIMIT:
            raise _bad(f"expected bounds of {where} within 18 digits, got `{bound}`")

    def _check_domain(self, where: str, domain: tuple[DomainValue, ...]) -> None:
        wanted: dict[ColumnType, type] = {
            ColumnType.INTEGER: int,
            ColumnType.TEXT: str,
            ColumnType.BOOLEAN: bool,
        }
        if self.type not in wanted:
            raise _bad(f"expected bounds for {where} of type `{self.type}`, got a domain")
        if not 1 <= len(domain) <= MAX_DOMAIN_VALUES:
            raise _bad(
                f"expected 1 to {MAX_DOMAIN_VALUES} domain values for {where}, got {len(domain)}"
            )
        for value in domain:
            if type(value) is not wanted[self.type]:
                raise _bad(f"expected domain values of type `{self.type}` for {where}")
            if isinstance(value, str):
                check_text(value, f"domain value of {where}", MAX_VALUE_CHARS)
            elif not -_INTEGER_LIMIT <= value < _INTEGER_LIMIT:
                raise _bad(f"expected domain values of {where} within 64 bits, got `{value}`")
        if len(set(domain)) != len(domain):
            raise _bad(f"expected distinct domain values for {where}")


@dataclass(frozen=True)
class TableSchema:
    """A published table: 1 to 2000 columns whose names differ also without regard to case.

    `key` names the columns, if any, whose values together occur in one row at most of each node's
    table; they are integers or text and never missing. Only a table with a key can be joined.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name, "table name")
        if not 1 <= len(self.columns) <= MAX_COLUMNS:
            raise _bad(
                f"expected 1 to {MAX_COLUMNS} columns in table `{self.name}`, "
                f"got {len(self.columns)}"
            )
        seen: dict[str, str] = {}
        for column in self.columns:
            folded = column.name.casefold()
            if folded in seen:
                raise _bad(
                    f"expected distinct column names in table `{self.name}`, "
                    f"got `{seen[folded]}` and `{column.name}`"
                )
            seen[folded] = column.name
        self._check_key()

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of `to_bytes()`: 32 bytes."""
        return hashlib.sha256(self.to_bytes()).digest()

    @property
    def grade(self) -> Grade:
        """The strictest grade of the columns."""
        return max((column.grade for column in self.columns), key=lambda grade: grade.rank)

    def find(self, name: str) -> Column | None:
        """The column of that name: exactly, or else without regard to case, as SQL reads names."""
        folded = name.casefold()
        return next((c for c in self.columns if c.name.casefold() == folded), None)

    def to_bytes(self) -> bytes:
        content: dict[str, Json] = {
            "columns": [column.to_json() for column in self.columns],
            "name": self.name,
        }
        if self.key:
            content["key"] = list(self.key)
        return canonical.encode(content)

    @classmethod
    def from_bytes(cls, data: bytes) -> TableSchema:
        """Read the canonical bytes of another party's schema.

        Verification: (1) the size, (2) JSON of the known keys and types, (3) every rule of `Column`
        and `TableSchema`, (4) the bytes are the canonical ones, which also refuses repeated keys.
        Raises `PeerError` ("descriptor").
        """
        if len(data) > MAX_SCHEMA_BYTES:
            raise PeerError(
                "descriptor",
                f"expected a table schema of at most {MAX_SCHEMA_BYTES} bytes, got {len(data)}",
            )
        try:
            schema = _read_table(json.loads(data))
            same = schema.to_bytes() == data
        except CallError as fault:
            raise PeerError("descriptor", fault.message) from None
        except (ValueError, RecursionError):
            raise PeerError("descriptor", "expected a table schema in JSON") from None
        if not same:
            raise PeerError("descriptor", "expected a table schema in canonical JSON")
        return schema

    def _check_key(self) -> None:
        where = f"the key of table `{self.name}`"
        if len(self.key) > MAX_KEY_COLUMNS or len(set(self.key)) != len(self.key):
            raise _bad(f"expected at most {MAX_KEY_COLUMNS} distinct columns for {where}")
        by_name = {column.name: column for column in self.columns}
        for name in self.key:
            column = by_name.get(name)
            if column is None:
                raise _bad(f"expected a column of the table for {where}, got `{name}`")
            if column.type not in (ColumnType.INTEGER, ColumnType.TEXT):
                raise _bad(f"expected integers or text for {where}, got {column.type} `{name}`")
            if column.nullable:
                raise _bad(
                    f"expected columns that are never missing for {where}, got `{name}`; "
                    "declare it with nullable: false"
                )


def decimal_text(value: Decimal) -> str:
    """The one decimal text of a value: no exponent, no trailing zeros, no negative zero."""
    if value == 0:
        return "0"
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def bound_text(bound: Bound) -> str:
    """The one text of a bound: a decimal text, or ISO 8601 with T before the time."""
    return decimal_text(bound) if isinstance(bound, Decimal) else bound.isoformat()


def parse_bound(kind: ColumnType, text: str) -> Bound:
    """Read a bound of a column of type `kind`. Raises `CallError` ("table_declaration")."""
    if not kind.temporal:
        return parse_decimal(text)
    shown = text[:MAX_NAME_CHARS]
    try:
        if kind is ColumnType.DATE:
            return temporal.parse_date(text)
        return temporal.parse_timestamp(text)
    except ValueError:
        example = "2020-01-31" if kind is ColumnType.DATE else "2020-01-31 08:30:00, without a zone"
        raise _bad(f"expected a {kind} such as {example}, got `{shown}`") from None


def parse_decimal(text: str) -> Decimal:
    """Read a bound written as decimal text. Raises `CallError` ("table_declaration")."""
    if not text.isascii() or len(text) > MAX_BOUND_CHARS:
        raise _bad(f"expected a decimal number of at most {MAX_BOUND_CHARS} digits")
    try:
        with localcontext() as context:
            context.prec = MAX_BOUND_CHARS
            value = Decimal(text)
    except InvalidOperation:
        raise _bad(f"expected a decimal number, got `{text}`") from None
    if value.is_finite() and abs(value.adjusted()) > MAX_BOUND_CHARS:
        raise _bad(f"expected a decimal number within 1e300, got `{text}`")
    return value


def check_name(name: str, what: str) -> None:
    """A name of 1 to 128 characters. Raises `CallError` ("table_declaration")."""
    if not name or name != name.strip():
        raise _bad(f"expected a {what} without space around it, got `{name}`")
    check_text(name, what, MAX_NAME_CHARS)


def check_text(text: str, what: str, most: int) -> None:
    """Text in Unicode NFC, without control or format characters and at most `most` characters."""
    if len(text) > most:
        raise _bad(f"expected a {what} of at most {most} characters, got {len(text)}")
    if any(unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in text):
        raise _bad(f"expected a {what} without control characters")
    if not unicodedata.is_normalized("NFC", text):
        raise _bad(f"expected a {what} in Unicode NFC, got `{text}`")


def _bad(message: str) -> CallError:
    return CallError("table_declaration", message)


def _number(bound: Bound) -> Fraction:
    """A bound as its column counts: a number, days or microseconds."""
    if isinstance(bound, datetime):
        return Fraction(temporal.microsecond_number(bound))
    if isinstance(bound, date):
        return Fraction(temporal.day_number(bound))
    return Fraction(bound)


def _read_table(document: object) -> TableSchema:
    wanted: dict[str, type | tuple[type, ...]] = {"columns": list, "name": str}
    if isinstance(document, dict) and "key" in document:
        wanted["key"] = list
    fields = _fields(document, wanted, "table schema")
    columns, key = fields["columns"], fields.get("key", [])
    assert isinstance(columns, list)
    assert isinstance(key, list)
    if not all(isinstance(name, str) for name in key):
        raise _bad("expected a key of column names")
    if len(columns) > MAX_COLUMNS:
        raise _bad(f"expected at most {MAX_COLUMNS} columns, got {len(columns)}")
    read = tuple(_read_column(entry) for entry in columns)
    return TableSchema(str(fields["name"]), read, tuple(key))


_COLUMN_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "domain": (list, type(None)),
    "grade": str,
    "lower": (str, type(None)),
    "meaning": str,
    "name": str,
    "nullable": bool,
    "scale": int,
    "type": str,
    "unit": str,
    "upper": (str, type(None)),
}


def _read_column(document: object) -> Column:
    fields = _fields(document, _COLUMN_FIELDS, "column")
    domain, lower, upper = fields["domain"], fields["lower"], fields["upper"]
    kind = _member(ColumnType, fields["type"], "column type")
    if isinstance(domain, list) and not all(isinstance(value, int | str) for value in domain):
        raise _bad("expected domain values that are text, integers or booleans")
    return Column(
        name=str(fields["name"]),
        type=kind,
        scale=int(str(fields["scale"])),
        domain=tuple(domain) if isinstance(domain, list) else None,
        lower=None if lower is None else parse_bound(kind, str(lower)),
        upper=None if upper is None else parse_bound(kind, str(upper)),
        unit=str(fields["unit"]),
        meaning=str(fields["meaning"]),
        grade=_member(Grade, fields["grade"], "data grade"),
        nullable=fields["nullable"] is True,
    )


def _fields(
    document: object, wanted: Mapping[str, type | tuple[type, ...]], what: str
) -> dict[str, object]:
    if not isinstance(document, dict) or document.keys() != wanted.keys():
        raise _bad(f"expected a {what} with the keys {', '.join(f'`{key}`' for key in wanted)}")
    for key, kind in wanted.items():
        value = document[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise _bad(f"expected another type for `{key}` of a {what}")
    return document


def _member(kind: type[_E], value: object, what: str) -> _E:
    try:
        return kind(str(value))
    except ValueError:
        known = ", ".join(f"`{member}`" for member in kind)
        raise _bad(f"expected a {what} among {known}, got `{value}`") from None
