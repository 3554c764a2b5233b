"""Handwritten digits at five offices, from PyPI's scikit-learn (`load_digits`)."""

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

OFFICES = ("harbour", "market", "mill", "station", "university")
SIDE = 8
PIXELS = [f"p{row}{column}" for row in range(SIDE) for column in range(SIDE)]

SCHEMA: dict[str, object] = {
    "name": "digits",
    "meaning": "digits written by hand, in 8 x 8 pixels (Alpaydin and Kaynak 1998)",
    "columns": [
        *(
            {
                "name": pixel,
                "type": "integer",
                "meaning": f"ink in row {pixel[1]}, column {pixel[2]}",
                "bounds": {"lower": 0, "upper": 16},
                "nullable": False,
            }
            for pixel in PIXELS
        ),
        {
            "name": "digit",
            "type": "integer",
            "meaning": "the digit that was meant",
            "domain": list(range(10)),
            "nullable": False,
        },
        {
            "name": "part",
            "type": "text",
            "meaning": "whether the row is to train or to test",
            "domain": ["train", "test"],
            "nullable": False,
        },
    ],
}


def digits() -> dict[str, pd.DataFrame]:
    """Each office's own digits.

    Of each digit every office has another share, drawn from a Dirichlet distribution with all
    parameters 0.5: most offices have hardly any of some digits, and many of others.
    """
    pixels, digit = load_digits(return_X_y=True)
    generator = np.random.default_rng(0)
    office = np.zeros(len(digit), dtype=int)
    for value in range(10):
        rows = np.flatnonzero(digit == value)
        shares = generator.dirichlet([0.5] * len(OFFICES))
        office[rows] = generator.choice(len(OFFICES), size=len(rows), p=shares)
    table = pd.DataFrame(pixels.astype(int), columns=PIXELS).assign(digit=digit)
    table["part"] = np.where(generator.random(len(table)) < 0.25, "test", "train")
    return {
        name: table[office == index].reset_index(drop=True) for index, name in enumerate(OFFICES)
    }
