"""The catalogue: the federated tables, their columns, and which nodes publish them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import overload

from yumen_core.disclosure.rounding import NO_ROUNDING
from yumen_core.errors import CallError
from yumen_core.jobs.descriptor import NodeDescriptor, PublishedTable
from yumen_core.sql.schema import Bound, Column, TableSchema, decimal_text

from yumen.display import Grid, counted, format_value, html, plain, rounding_notes, short_name

MAX_LISTED_VALUES = 8


@dataclass(frozen=True)
class NodeTable:
    """One node's copy of a table. `node` is a SPIFFE id; `threshold` is the fewest rows and
    `min_nodes` the fewest nodes behind a released value; `grade` the strictest of its columns."""

    node: str
    connected: bool
    threshold: int
    min_nodes: int
    grade: str
    round_to: int = NO_ROUNDING


@dataclass(frozen=True, repr=False)
class Dataset:
    """A federated table.

    `columns` are those of the schema that most nodes publish. `conflicts` says in words which
    nodes publish another schema: a job names one schema, so these nodes cannot take part with the
    others; it is empty where all agree. `key` names the columns by which other tables can join
    this one: no two rows of a node share their values.
    """

    name: str
    meaning: str
    nodes: tuple[NodeTable, ...]
    columns: tuple[Column, ...]
    conflicts: str = ""
    key: tuple[str, ...] = ()

    def column(self, name: str) -> Column:
        """The column of that name. Raises `CallError` (`sql_unknown_column`)."""
        for column in self.columns:
            if column.name == name:
                return column
        raise CallError(
            "sql_unknown_column", f"expected a column of table `{self.name}`, got `{name}`"
        )

    def __repr__(self) -> str:
        return plain(self._grid())

    def _repr_html_(self) -> str:
        return html(self._grid())

    def _grid(self) -> Grid:
        cells = {
            "column": [c.name for c in self.columns],
            "type": [_type(c) for c in self.columns],
            "unit": [c.unit for c in self.columns],
            "values": [values_text(c) for c in self.columns],
            "missing": ["" if c.nullable else "never" for c in self.columns],
            "meaning": [c.meaning for c in self.columns],
        }
        if len(self._grades) > 1:
            cells["grade"] = [c.grade.value for c in self.columns]
        shown = {header: texts for header, texts in cells.items() if any(texts)}
        return Grid(
            headers=tuple(shown),
            rows=tuple(zip(*shown.values(), strict=True)),
            title=f"{self.name}: {self.meaning}" if self.meaning else self.name,
            notes=("", *self._notes()),
        )

    @property
    def _grades(self) -> set[str]:
        return {column.grade.value for column in self.columns}

    def _notes(self) -> Iterator[str]:
        names = ", ".join(
            short_name(n.node) + ("" if n.connected else " (not connected)") for n in self.nodes
        )
        yield f"{counted(len(self.nodes), 'node')}: {names}"
        if len(self._grades) == 1:
            yield f"every column is of grade {self.columns[0].grade.value}"
        rows = max(n.threshold for n in self.nodes)
        nodes = max(n.min_nodes for n in self.nodes)
        yield (
            f"a value is released where {nodes} nodes stand behind it, "
            f"each with {rows} rows or more"
        )
        yield from rounding_notes(max(n.round_to for n in self.nodes))
        if self.key:
            yield f"one row for each {_names(self.key)}: other tables can join it by that"
        if self.conflicts:
            yield f"schemas differ: {self.conflicts}"


class Datasets(Sequence[Dataset]):
    """The tables by place or by name, sorted by name: `datasets[0]`, `datasets["heart"]`."""

    def __init__(self, datasets: Iterable[Dataset]) -> None:
        self._by_name = {d.name: d for d in sorted(datasets, key=lambda d: d.name)}

    @classmethod
    def from_descriptors(cls, nodes: Sequence[tuple[NodeDescriptor, bool]]) -> Datasets:
        """The catalogue of these nodes; the flag says whether the node is connected."""
        names = {name for descriptor, _ in nodes for name in descriptor.tables}
        return cls(_dataset(name, nodes) for name in names)

    @property
    def names(self) -> list[str]:
        return list(self._by_name)

    @overload
    def __getitem__(self, key: int | str) -> Dataset: ...
    @overload
    def __getitem__(self, key: slice) -> Sequence[Dataset]: ...
    def __getitem__(self, key: int | str | slice) -> Dataset | Sequence[Dataset]:
        """Raises `CallError` (`sql_unknown_table`) for a name that no node publishes."""
        if not isinstance(key, str):
            return list(self._by_name.values())[key]
        if key not in self._by_name:
            known = ", ".join(f"`{name}`" for name in self._by_name) or "none"
            raise CallError(
                "sql_unknown_table", f"expected a table of the federation ({known}), got `{key}`"
            )
        return self._by_name[key]

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Dataset]:
        return iter(self._by_name.values())

    def __contains__(self, key: object) -> bool:
        return key in self._by_name if isinstance(key, str) else key in self._by_name.values()

    def __repr__(self) -> str:
        return "\n\n".join(repr(dataset) for dataset in self) or "no table is published"

    def _repr_html_(self) -> str:
        parts = [dataset._repr_html_() for dataset in self]
        return "<br>".join(parts) or "<div>no table is published</div>"


def values_text(column: Column) -> str:
    """A column's domain or bounds in a few words; empty where it declares neither."""
    if column.domain is not None:
        listed = [format_value(value) for value in column.domain[:MAX_LISTED_VALUES]]
        more = len(column.domain) - len(listed)
        return ", ".join(listed) + (f" and {more} more" if more else "")
    lower = None if column.lower is None else _bound(column.lower)
    upper = None if column.upper is None else _bound(column.upper)
    match lower, upper:
        case None, None:
            return ""
        case _, None:
            return f"{lower} or {'later' if column.type.temporal else 'more'}"
        case None, _:
            return f"{upper} or {'earlier' if column.type.temporal else 'less'}"
        case _:
            return f"{lower} to {upper}"


def _bound(bound: Bound) -> str:
    return decimal_text(bound) if isinstance(bound, Decimal) else format_value(bound)


def _type(column: Column) -> str:
    return f"{column.type.value}({column.scale})" if column.scale else column.type.value


def _dataset(name: str, nodes: Sequence[tuple[NodeDescriptor, bool]]) -> Dataset:
    published = [(d, d.tables[name], up) for d, up in nodes if name in d.tables]
    main = _commonest([table.schema for _, table, _ in published])
    meanings = [table.meaning for _, table, _ in published if table.schema == main]
    return Dataset(
        name=name,
        meaning=next((meaning for meaning in meanings if meaning), ""),
        nodes=tuple(_node_table(d, table, up) for d, table, up in published),
        columns=main.columns,
        conflicts="; ".join(
            f"{short_name(d.node.uri)} {_difference(table.schema, main)}"
            for d, table, _ in published
            if table.schema != main
        ),
        key=main.key,
    )


def _node_table(descriptor: NodeDescriptor, table: PublishedTable, up: bool) -> NodeTable:
    return NodeTable(
        descriptor.node.uri,
        up,
        table.threshold,
        table.min_nodes,
        format_value(table.grade),
        table.round_to,
    )


def _commonest(schemas: Sequence[TableSchema]) -> TableSchema:
    """The schema that most nodes publish; among equals the first."""
    digests = [schema.digest for schema in schemas]
    return schemas[digests.index(max(digests, key=digests.count))]


def _difference(other: TableSchema, main: TableSchema) -> str:
    theirs = {column.name: column for column in other.columns}
    ours = {column.name: column for column in main.columns}
    parts = [
        (f"lacks {_names(ours.keys() - theirs.keys())}", ours.keys() - theirs.keys()),
        (f"adds {_names(theirs.keys() - ours.keys())}", theirs.keys() - ours.keys()),
    ]
    changed = {name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name]}
    parts.append((f"declares {_names(changed)} otherwise", changed))
    said = [text for text, names in parts if names]
    if other.key != main.key:
        said.append(f"declares the key {_names(other.key)}" if other.key else "declares no key")
    return ", ".join(said) or "has the columns in another order"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))
