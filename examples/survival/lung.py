"""Who survives lung cancer longer? A Cox model over three centres of a trial.

    python examples/survival/lung.py

The model and the test compare patients within a centre, at exact times. A curve is a table of
times: its steps are so wide that at each centre none holds just a few patients.
"""

import yumen
from data import SCHEMA, lung


def main() -> None:
    with yumen.local_federation(lung(), table="lung", schema=SCHEMA) as fed:
        patients = fed.table("lung", purpose="research")

        # Each centre has a baseline hazard of its own.
        model = patients.cox("time", "died", "~ age + C(sex) + ecog", strata="node")
        print(model)

        print("\n", patients.logrank("time", "died", "sex", strata="node"), sep="")

        curve = patients.kaplan_meier("time", "died", resolution=120, horizon=480)
        print("\n", curve, sep="")
        print(curve.survival_function_.round(3))


if __name__ == "__main__":
    main()
