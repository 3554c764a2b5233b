"""The YAML file in which an institution declares a table.

    name: heart
    meaning: patients examined for coronary heart disease
    source: {type: csv, path: data/heart.csv, null_values: ["?"]}
    key: [patient]
    out_of_bounds: missing
    disclosure:
      threshold: 10
      min_nodes: 3
      dominance: {n: 2, percent: 85}
      p_percent: 10
      min_degrees_of_freedom: 10
    privacy: {required: false, epsilon: 10, delta: 1e-6, project_epsilon: 3}
    columns:
      - {name: patient, type: integer, nullable: false}
      - {name: sex, type: text, domain: [female, male], map: {"0": female, "1": male}}
      - {name: chol, type: integer, unit: mg/dl, bounds: {lower: 60, upper: 700}}
      - {name: seen, type: date, bounds: {lower: 1981-05-01, upper: 1987-09-30}}

`key` names columns whose values together occur in one row at most; a table without one cannot be
joined to another. Unknown and repeated keys of the file are refused. Trust line: whoever may write
this file decides what the institution publishes and how few rows may stand behind a released value.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
)
from pydantic_core import PydanticCustomError
from yumen_core.disclosure.dominance import Dominance
from yumen_core.disclosure.rounding import MOST_STEP
from yumen_core.errors import CallError
from yumen_core.privacy import rho_of
from yumen_core.sql import Column, ColumnType, Grade, TableSchema
from yumen_core.sql.schema import (
    MAX_COLUMNS,
    MAX_KEY_COLUMNS,
    MAX_MEANING_CHARS,
    Bound,
    check_text,
    parse_bound,
)
from yumen_core.sql.temporal import end_of, parse_date

from yumen_node.datasets.strict_yaml import load_yaml

MAX_FILE_BYTES = 4 << 20
MAX_NULL_VALUES = 100
LOWEST_THRESHOLD = 3
LOWEST_MIN_NODES = 3
MOST_EPSILON = 20.0
_SHOWN_CHARS = 60
# Neither zones nor what depends on a locale but the English names of months.
_FORMAT = re.compile(r"(%[YymdjbBHIMSfp%]|[^%\x00-\x1f]){1,60}")

BoundValue = StrictInt | float | StrictStr | datetime | date
Scalar = StrictBool | StrictInt | StrictStr


class OutOfBounds(StrEnum):
    """What becomes of a value outside its bounds or domain, or of the wrong type."""

    MISSING = "missing"
    DROP_ROW = "drop_row"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceDeclaration(_Part):
    """Where the rows are. `path` is relative to the YAML file until it is loaded, then absolute; of
    CSV, Parquet and Arrow it may be a folder of such files.

    `table` names the table of a DuckDB or SQLite file; `delimiter`, `encoding` and `null_values`
    are of CSV files, which have a header line. `null_values` are texts that mean a missing value,
    besides the empty one.
    """

    type: Literal["csv", "parquet", "arrow", "duckdb", "sqlite"]
    path: Path
    table: str | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    encoding: str | None = None
    null_values: Annotated[tuple[str, ...], Field(max_length=MAX_NULL_VALUES)] = ()


class BoundsDeclaration(_Part):
    """Inclusive bounds; decimals in quotes keep every digit. Of a timestamp, a bare date as upper
    bound takes in the whole day."""

    lower: BoundValue | None = None
    upper: BoundValue | None = None


class ColumnDeclaration(_Part):
    """One published column. `source_name` is its name in the source, by default the same.

    `map` renames values of the source, compared as text, before anything else looks at them.
    `format` is how the source writes a date or timestamp where that is not ISO 8601: `%d.%m.%Y`,
    `%Y%m%d`, `%Y-%m-%d %H:%M`, in the directives of strptime.
    A row whose value is missing in a column that is not `nullable` is no row of the table.
    """

    name: str
    type: ColumnType
    source_name: str | None = None
    scale: StrictInt = 0
    meaning: str = ""
    unit: str = ""
    domain: tuple[Scalar, ...] | None = None
    bounds: BoundsDeclaration = BoundsDeclaration()
    grade: Grade = Grade.GENERAL
    nullable: StrictBool = True
    format: str | None = None
    map: dict[StrictStr | StrictInt | StrictBool, Scalar | None] = Field(default_factory=dict)

    def column(self) -> Column:
        """The column as published. Raises `CallError` ("table_declaration")."""
        return Column(
            name=self.name,
            type=self.type,
            scale=self.scale,
            domain=self.domain,
            lower=_bound(self.type, self.bounds.lower),
            upper=_upper(self.type, self.bounds.upper),
            unit=self.unit,
            meaning=self.meaning,
            grade=self.grade,
            nullable=self.nullable,
        )


class DominanceDeclaration(_Part):
    """The `n` greatest values of a cell may be `percent` % of the sum of all, and no more."""

    n: Annotated[StrictInt, Field(ge=1, le=10)] = 2
    percent: Annotated[StrictInt, Field(ge=1, le=99)] = 85


def _or_off(expected: str, wanted: type) -> BeforeValidator:
    """`off` alone is None; YAML reads it, bare, as false. Nothing at all is a fault."""

    def read(value: object) -> object:
        if value is False or value == "off":
            return None
        if not isinstance(value, wanted):
            raise PydanticCustomError("off", expected)
        return value

    return BeforeValidator(read)


class DisclosureDeclaration(_Part):
    """What must stand behind a released value (docs/disclosure.md): rows at this node, and nodes;
    values none of which dominates; behind a model, `min_degrees_of_freedom` rows of this node
    beyond its parameters; with `round_to`, counts are told in multiples of it. What is left out has
    the default.

    Lower than the defaults is the institution's right, down to 3 rows and 3 nodes: with two nodes
    behind a value either could subtract its own share. So is `off`, for either rule of dominance.
    """

    threshold: Annotated[StrictInt, Field(ge=LOWEST_THRESHOLD)] = 10
    min_nodes: Annotated[StrictInt, Field(ge=LOWEST_MIN_NODES, le=255)] = 3
    dominance: Annotated[
        DominanceDeclaration | None, _or_off("`n` and `percent`, or `off`", Mapping)
    ] = DominanceDeclaration()
    p_percent: Annotated[
        Annotated[StrictInt, Field(ge=1, le=100)] | None, _or_off("a whole number, or `off`", int)
    ] = 10
    min_degrees_of_freedom: Annotated[StrictInt, Field(ge=0, le=1_000_000)] = 10
    round_to: Annotated[
        Annotated[StrictInt, Field(ge=2, le=MOST_STEP)] | None,
        _or_off("a whole number, or `off`", int),
    ] = None

    @property
    def rules(self) -> Dominance:
        """The rules of dominance."""
        p_percent = self.p_percent or 0
        if self.dominance is None:
            return Dominance(percent=0, p_percent=p_percent)
        return Dominance(self.dominance.n, self.dominance.percent, p_percent)


class PrivacyDeclaration(_Part):
    """What answers with noise may cost in all, and for each project; with `required` there are no
    others. Epsilons are counted at `delta`, a power of ten. Answers with noise have no threshold:
    an epsilon is what protects a row then. Without this section a table gives none.
    """

    required: StrictBool = False
    epsilon: Annotated[float, Field(gt=0, le=MOST_EPSILON)]
    delta: float | StrictStr = 1e-6
    project_epsilon: Annotated[float, Field(gt=0, le=MOST_EPSILON)] | None = None

    @property
    def micro_rho(self) -> int:
        """The limit of the table. Raises `CallError` for a delta that is no power of ten."""
        return rho_of(self.epsilon, self._delta)

    @property
    def project_micro_rho(self) -> int:
        """The limit of each project: no more than the table's."""
        epsilon = self.epsilon if self.project_epsilon is None else self.project_epsilon
        return min(self.micro_rho, rho_of(epsilon, self._delta))

    @property
    def _delta(self) -> str:
        """As a power of ten is written; whatever else it is, as given."""
        try:
            return f"{Decimal(str(self.delta)).normalize():e}"
        except InvalidOperation:
            return str(self.delta)


class _Document(_Part):
    name: str
    meaning: str = ""
    source: SourceDeclaration
    columns: Annotated[tuple[ColumnDeclaration, ...], Field(min_length=1, max_length=MAX_COLUMNS)]
    key: Annotated[tuple[str, ...], Field(max_length=MAX_KEY_COLUMNS)] = ()
    disclosure: DisclosureDeclaration = DisclosureDeclaration()
    privacy: PrivacyDeclaration | None = None
    out_of_bounds: OutOfBounds = OutOfBounds.MISSING


_PARTS: dict[str, type[_Part]] = {
    "": _Document,
    "source": SourceDeclaration,
    "columns": ColumnDeclaration,
    "columns.bounds": BoundsDeclaration,
    "disclosure": DisclosureDeclaration,
    "disclosure.dominance": DominanceDeclaration,
    "privacy": PrivacyDeclaration,
}


@dataclass(frozen=True)
class TableDeclaration:
    """A checked declaration. `source.path` is absolute."""

    name: str
    meaning: str
    source: SourceDeclaration
    columns: tuple[ColumnDeclaration, ...]
    disclosure: DisclosureDeclaration
    out_of_bounds: OutOfBounds
    key: tuple[str, ...] = ()
    privacy: PrivacyDeclaration | None = None

    def schema(self) -> TableSchema:
        """What is published."""
        return TableSchema(self.name, tuple(entry.column() for entry in self.columns), self.key)

    @property
    def grade(self) -> Grade:
        """The strictest grade of the columns."""
        return self.schema().grade


def load_declaration(path: Path) -> TableDeclaration:
    """Read and check a table's YAML file.

    Raises `CallError` ("table_declaration") naming the file, the key and what was expected.
    """
    try:
        data = path.read_bytes()
    except OSError as fault:
        raise _bad(path, f"expected a readable file, got {fault.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise _bad(path, f"expected at most {MAX_FILE_BYTES} bytes, got {len(data)}")
    try:
        document = load_yaml(data)
    except yaml.MarkedYAMLError as fault:
        line = 0 if fault.problem_mark is None else fault.problem_mark.line + 1
        raise _bad(path, f"expected YAML, got {fault.problem} at line {line}") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError):
        raise _bad(path, "expected YAML in UTF-8") from None
    if not isinstance(document, Mapping):
        raise _bad(path, "expected a mapping with `name`, `source` and `columns`")
    try:
        checked = _Document.model_validate(document)
    except ValidationError as fault:
        raise _bad(path, _explain(fault)) from None
    source = checked.source.model_copy(
        update={"path": (path.resolve().parent / checked.source.path).resolve()}
    )
    return _checked(path, checked, source)


def _checked(path: Path, document: _Document, source: SourceDeclaration) -> TableDeclaration:
    for place, entry in enumerate(document.columns):
        try:
            entry.column()
        except CallError as fault:
            raise _bad(path, f"`columns.{place}` (`{entry.name}`): {fault.message}") from None
        _check_format(path, place, entry)
    _check_source(path, document.source)
    declaration = TableDeclaration(
        name=document.name,
        meaning=document.meaning,
        source=source,
        columns=document.columns,
        disclosure=document.disclosure,
        out_of_bounds=document.out_of_bounds,
        key=document.key,
        privacy=document.privacy,
    )
    try:
        if document.privacy is not None:
            _ = document.privacy.project_micro_rho
        check_text(document.meaning, "meaning of the table", MAX_MEANING_CHARS)
        declaration.schema()
    except CallError as fault:
        raise _bad(path, fault.message) from None
    return declaration


def _check_format(path: Path, place: int, entry: ColumnDeclaration) -> None:
    if entry.format is None:
        return
    where = f"`columns.{place}.format`"
    if not entry.type.temporal:
        raise _bad(path, f"{where}: expected only for a `date` or `timestamp`, got `{entry.type}`")
    known = _FORMAT.fullmatch(entry.format) is not None
    if not known or not any(f"%{year}" in entry.format for year in "Yy"):
        shown = entry.format[:_SHOWN_CHARS]
        raise _bad(path, f"{where}: expected directives such as `%d.%m.%Y`, got `{shown}`")


def _check_source(path: Path, source: SourceDeclaration) -> None:
    has_tables = source.type in ("duckdb", "sqlite")
    if has_tables is (source.table is None):
        what = "a table" if has_tables else "no table"
        raise _bad(path, f"`source.table`: expected {what} for a source of type `{source.type}`")
    given = [name for name in ("delimiter", "encoding", "null_values") if getattr(source, name)]
    if given and source.type != "csv":
        raise _bad(path, f"`source.{given[0]}`: expected only for a source of type `csv`")


def _bound(kind: ColumnType, value: BoundValue | None) -> Bound | None:
    """A bound as published. YAML reads a bare date as one; in quotes it is text."""
    return None if value is None else parse_bound(kind, str(value))


def _upper(kind: ColumnType, value: BoundValue | None) -> Bound | None:
    bound = _bound(kind, value)
    if kind is not ColumnType.TIMESTAMP or len(str(value)) != len("2020-01-31"):
        return bound
    return None if value is None else end_of(parse_date(str(value)))


def _explain(fault: ValidationError) -> str:
    """The first fault in the house's form. Union members of one key read as one."""
    first = fault.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"] if not _is_union_member(str(part)))
    if first["type"] == "extra_forbidden":
        return f"`{place}`: expected only known keys, got an unknown one{_known_keys(place)}"
    if first["type"] == "missing":
        return f"`{place}`: expected a value, got none"
    expected = first["msg"].removeprefix("Input should be ").replace("'", "`")
    shown = str(first["input"])[:_SHOWN_CHARS]
    return f"`{place}`: expected {expected[:1].lower()}{expected[1:]}, got `{shown}`"


def _known_keys(place: str) -> str:
    """The known keys nearest to the unknown one at `place`, or all that may stand there."""
    *path, wrong = [part for part in place.split(".") if not part.isdigit()]
    known = sorted(_PARTS[".".join(path)].model_fields)
    nearest = difflib.get_close_matches(wrong.casefold(), known, n=2, cutoff=0.7)
    word = "near it" if nearest else "known are"
    return f"; {word}: " + ", ".join(f"`{name}`" for name in nearest or known)


def _is_union_member(part: str) -> bool:
    return part in ("bool", "int", "str", "float", "datetime", "date", "[key]")


def _bad(path: Path, message: str) -> CallError:
    return CallError("table_declaration", f"`{path}`: {message}")
