"""The lung cancer trial of the NCCTG (Loprinzi et al. 1994) by centre, from PyPI's `lifelines`."""

import pandas as pd
from lifelines.datasets import load_lung

# The trial had 18 institutions, most of them with fewer than 20 patients: pooled into four.
CENTRES = {
    "north": [1, 3],
    "east": [11, 12, 13],
    "south": [2, 4, 5, 6, 7, 10, 15],
    "west": [16, 21, 22, 26, 32, 33],
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
            "bounds": {"lower": 1, "upper": 1100},
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
