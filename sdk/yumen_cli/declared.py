"""The tables an institution has declared, and the quality of what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from yumen_cli import documents

if TYPE_CHECKING:
    from yumen_core.sql.schema import Column
    from yumen_node.datasets import QualityReport, TableDeclaration

COLUMN_HEADER = ("column", "type", "unit", "values", "grade", "meaning")


def load(path: Path) -> list[TableDeclaration]:
    """The declarations of the node in the folder `path`, or the one in the file `path`."""
    from yumen_node.config import load_config
    from yumen_node.datasets import load_declaration

    files = load_config(path).tables if path.is_dir() else (path,)
    return [load_declaration(file) for file in files]


def quality(path: Path) -> list[tuple[str, QualityReport]]:
    """Load the data of every table declared at `path` and report on it."""
    from yumen_node.datasets import Dataset

    reports = []
    for declaration in load(path):
        dataset = Dataset.open(declaration)
        try:
            reports.append((declaration.name, dataset.quality))
        finally:
            dataset.close()
    return reports


def column_rows(table: TableDeclaration) -> list[tuple[str, ...]]:
    """One line for each published column."""
    return [
        (one.name, one.type.value, one.unit, _values(one), one.grade.value, one.meaning)
        for one in table.schema().columns
    ]


def table_document(table: TableDeclaration) -> dict[str, object]:
    """A declared table as JSON."""
    return {
        "name": table.name,
        "meaning": table.meaning,
        "grade": str(table.grade),
        "threshold": table.disclosure.threshold,
        "min_nodes": table.disclosure.min_nodes,
        "columns": [documents.column(one) for one in table.schema().columns],
        "key": list(table.key),
    }


def _values(column: Column) -> str:
    from yumen.datasets import values_text

    return values_text(column)
