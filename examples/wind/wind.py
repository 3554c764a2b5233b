"""Wind at three airports: what declared bounds do to one absurd value, and wind by pressure.

    python examples/wind/wind.py

Each airport is a node with 8,700 hours of its own.
"""

import yumen
from data import SCHEMA, weather


def main() -> None:
    airports = weather()
    highest = max(rows["wind_speed"].max() for rows in airports.values())
    print(f"The highest wind speed in the files is {highest:.0f} mph. With the declared bounds:")
    with yumen.local_federation(airports, table="weather", schema=SCHEMA) as fed:
        hours = fed.table("weather", purpose="research")
        print(hours.describe(["wind_speed", "pressure", "temp"]))

        print("\n", hours.histogram("wind_speed", bins=[0, 5, 10, 15, 20, 25, 30, 40]), sep="")

        print("\n", hours.corr(["wind_speed", "pressure", "temp"]), sep="")

        # Airports differ in height and exposure: each keeps a level of its own.
        model = hours.ols(
            "wind_speed ~ pressure + temp + C(month)", fixed_effects="node", cov_type="HC3"
        )
        print("\n", model, sep="")
        drop = -10 * model.params["pressure"]
        print(f"\n10 hPa less go with {drop:.2f} mph more wind, at the same airport and month.")


if __name__ == "__main__":
    main()
