"""What raises the odds of heart disease? Table one and logistic regression over three hospitals.

    python examples/hospitals/risk.py

Switzerland did not measure cholesterol: `nodes=` chooses the three of four hospitals that did. They
start on this machine; between institutions only the `with` line differs (`yumen.connect`).
"""

from pathlib import Path

import numpy as np
import pandas as pd
import yaml
import yumen

HERE = Path(__file__).parent
HOSPITALS = ("cleveland", "hungary", "switzerland", "long-beach")
MEASURED_CHOLESTEROL = ("cleveland", "hungary", "long-beach")


def schema() -> dict[str, object]:
    """The columns, which every hospital declares alike."""
    declared: dict[str, object] = yaml.safe_load((HERE / "tables/cleveland.yaml").read_text())
    del declared["source"]
    return declared


def main() -> None:
    files = {name: HERE / f"data/{name}.csv" for name in HOSPITALS}
    with yumen.local_federation(files, table="heart", schema=schema()) as fed:
        heart = fed.table("heart", purpose="research", nodes=MEASURED_CHOLESTEROL)
        heart = heart.assign(
            disease="num > 0", decades="age / 10.0", chol_40="chol / 40.0", bp_20="trestbps / 20.0"
        )
        print(heart.table_one(by="disease", columns=["age", "chol", "trestbps", "thalch"]))

        # Disease is far more common in one hospital than in another: each keeps its intercept.
        model = heart.logit(
            "disease ~ decades + C(sex) + chol_40 + bp_20", fixed_effects="node", auc=False
        )
        print("\n", model, sep="")

        ratios = np.exp(pd.DataFrame({"odds ratio": model.params, **model.conf_int()}))
        print("\nPer 10 years, for men, per 40 mg/dl, per 20 mmHg, with 95 % intervals:")
        print(ratios.rename(columns={0: "from", 1: "to"}).round(3))


if __name__ == "__main__":
    main()
