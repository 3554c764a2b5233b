"""The lung cancer trial of the NCCTG (Loprinzi et al. 1994) by centre, from PyPI's `lifelines`."""

import pandas as pd
from lifelines.datasets import load_lung

# The trial had 18 institutions, most of them with fewer than 20 patients: pooled into three.
CENTRES = {
    "north": [1, 2, 3, 4],
    "east": [5, 10, 11, 12, 13],
    "west": [6, 7, 15, 16, 21, 22, 26, 32, 33],
}

SCHEMA: dict[str, object] = {
    "name": "lung",
    "meaning": "patients with advanced lung cancer",
    "columns": [
        {
            "name": "time",
            "type": "integer",
            "meaning": "days until death or the end of follow-up",
            "unit": "days",
            "bounds": {"lower": 0, "upper": 1100},
            "nullable": False,
        },
        {
            "name": "died",
            "type": "boolean",
            "meaning": "whether the patient died; false is censored",
            "nullable": False,
        },
        {
            "name": "age",
            "type": "integer",
            "meaning": "age at entry",
            "unit": "years",
            "bounds": {"lower": 18, "upper": 100},
            "nullable": False,
        },
        {
            "name": "sex",
            "type": "text",
            "meaning": "sex as recorded",
            "domain": ["female", "male"],
            "nullable": False,
        },
        {
            "name": "ecog",
            "type": "integer",
            "meaning": "ECOG performance status by the physician, 0 good to 4 bedbound",
            "bounds": {"lower": 0, "upper": 4},
        },
    ],
}


def lung() -> dict[str, pd.DataFrame]:
    """Each centre's own patients; one patient has no institution and is left out."""
    rows = load_lung()
    patients = pd.DataFrame(
        {
            "time": rows["time"],
            "died": rows["status"] == 1,
            "age": rows["age"],
            "sex": rows["sex"].map({1: "male", 2: "female"}),
            "ecog": rows["ph.ecog"],
        }
    )
    return {centre: patients[rows["inst"].isin(inst)] for centre, inst in CENTRES.items()}
