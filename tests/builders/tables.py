"""Declared tables as files: a CSV and its declaration beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

Rows = Sequence[Mapping[str, object]]
SEX_AND_AGE = [
    {"name": "sex", "type": "text", "domain": ["f", "m"], "nullable": False},
    {
        "name": "age",
        "type": "integer",
        "bounds": {"lower": 0, "upper": 120},
        "nullable": False,
    },
]


def patients(women: int, men: int) -> Rows:
    """Women of 50 and men of 40."""
    return [{"sex": "f", "age": 50}] * women + [{"sex": "m", "age": 40}] * men


def declared(
    folder: Path,
    name: str,
    rows: Rows,
    columns: Sequence[Mapping[str, Any]] = SEX_AND_AGE,
    **settings: object,
) -> Path:
    """Write table `name` into `folder`, with more `settings` such as `key`; returns its
    declaration."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [str(column["name"]) for column in columns]
    lines = [",".join(names), *(",".join(str(row[key]) for key in names) for row in rows)]
    (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    copies = [deepcopy(column) for column in columns]  # YAML would write what they share once
    document = {
        "name": name,
        "meaning": "a table of a test",
        "source": {"type": "csv", "path": f"{name}.csv"},
        "columns": [{"meaning": "a column", **column} for column in copies],
        **settings,
    }
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    return file
