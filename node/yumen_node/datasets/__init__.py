"""Declared tables: their YAML files, the loading of their rows, and their answers to plans."""

from yumen_node.datasets.dataset import Dataset
from yumen_node.datasets.declaration import (
    ColumnDeclaration,
    DisclosureDeclaration,
    OutOfBounds,
    SourceDeclaration,
    TableDeclaration,
    load_declaration,
)
from yumen_node.datasets.quality import ColumnQuality, QualityReport

__all__ = [
    "ColumnDeclaration",
    "ColumnQuality",
    "Dataset",
    "DisclosureDeclaration",
    "OutOfBounds",
    "QualityReport",
    "SourceDeclaration",
    "TableDeclaration",
    "load_declaration",
]
