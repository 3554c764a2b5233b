"""Does high-yielding rice yield more? Six villages that keep their farms' books to themselves.

python examples/farms/rice.py
"""

import yumen
from data import SCHEMA, farms


def main() -> None:
    with yumen.local_federation(farms(), table="rice", schema=SCHEMA) as fed:
        harvests = fed.table("rice", purpose="research").assign(
            yield_t="goutput / size / 1000",
            urea_100="urea / size / 100",
            labour_100="totlabor / size / 100",
            high="varieties = 'high'",
        )
        # Some villages have a handful of farms with mixed seed.
        print(harvests.describe(["yield_t"], by="varieties"))
        print("\n", harvests.where("varieties <> 'mixed'").describe(["yield_t"], by="high"), sep="")

        # Soil and water differ by village: compare farms of the same village.
        model = harvests.ols(
            "np.log(yield_t) ~ high + urea_100 + labour_100", fixed_effects="node", cov_type="HC3"
        )
        print("\n", model, sep="")


if __name__ == "__main__":
    main()
