"""scikit-learn's iris rows for the nodes of a federation, and their declaration."""

from __future__ import annotations

import pandas as pd
from sklearn.datasets import load_iris

MEASURES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
COLUMNS = (*MEASURES, "species")

SCHEMA: dict[str, object] = {
    "name": "iris",
    "meaning": "three species of iris (Fisher 1936)",
    "columns": [
        *(
            {
                "name": name,
                "type": "float",
                "meaning": name.replace("_", " "),
                "unit": "cm",
                "bounds": {"lower": 0, "upper": 10},
                "nullable": False,
            }
            for name in MEASURES
        ),
        {
            "name": "species",
            "type": "integer",
            "meaning": "setosa, versicolor, virginica",
            "domain": [0, 1, 2],
            "nullable": False,
        },
    ],
}


def iris(nodes: int = 3) -> dict[str, pd.DataFrame]:
    """The 150 rows dealt out in turn, so that every node has every species."""
    values, species = load_iris(return_X_y=True)
    rows = pd.DataFrame(values, columns=list(MEASURES)).assign(species=species)
    # Every fifth row of a node is for its test: the order must mix the species.
    rows = rows.sample(frac=1, random_state=0, ignore_index=True)
    return {
        f"garden-{index + 1}": rows.iloc[index::nodes].reset_index(drop=True)
        for index in range(nodes)
    }
