"""Wind at three airports: what declared bounds do to an absurd value, and wind by air pressure.

    python examples/wind/wind.py

Each airport is a node with some 8,700 hours of its own.
"""

import yumen
from data import SCHEMA, weather


def main() -> None:
    airports = weather()
    rows = sum(part["wind_speed"].count() for part in airports.values())
    highest = max(part["wind_speed"].max() for part in airports.values())
    print(f"The files hold {rows} wind speeds, the highest of {highest:.0f} mph.")
    print("Bounds of 0 to 100 mph are declared; what lies outside counts as missing:\n")
    with yumen.local_federation(airports, table="weather", schema=SCHEMA) as fed:
        hours = fed.table("weather", purpose="research")
        print(hours.describe(["wind_speed", "pressure", "temp"]))
        print("\n", hours.histogram("wind_speed", bins=[0, 5, 10, 15, 20, 25, 30, 100]), sep="")
        print("\n", hours.corr(["wind_speed", "pressure", "temp"]), sep="")

        # Airports differ in exposure: each keeps an intercept of its own. Hours in a row are alike,
        # so the errors are too small: HC3 allows for unequal variances only.
        model = hours.ols(
            "wind_speed ~ pressure + temp + C(month)", fixed_effects="node", cov_type="HC3"
        )
        print("\n", model, sep="")
        more, error = -10 * model.params["pressure"], 10 * model.bse["pressure"]
        print(f"\n10 hPa less pressure: {more:.2f} mph more wind (standard error {error:.2f}).")


if __name__ == "__main__":
    main()
