"""Does high-yielding rice yield more? Six villages that keep their farms' books to themselves.

    python examples/farms/rice.py

Yield per hectare is no column: each village computes it in its own rows, one for each of 171 farms
and six seasons. The errors take seasons of a farm as independent.
"""

import yumen
from data import SCHEMA, farms


def main() -> None:
    with yumen.local_federation(farms(), table="rice", schema=SCHEMA) as fed:
        harvests = fed.table("rice", purpose="research").assign(
            tonnes="goutput / size / 1000",  # per hectare, as the next two
            urea_100kg="urea / size / 100",
            labour_100h="totlabor / size / 100",
            high="varieties = 'high'",
        )
        # Most villages have fewer than ten harvests of mixed seed. Both answers leave them out: one
        # with them and one without would tell of these few, and nodes refuse the second.
        pure = harvests.where("varieties <> 'mixed'")
        print(pure.describe(["tonnes"], by="varieties", quantiles=[]))

        # Soil and water differ by village, so compare harvests of the same village.
        model = pure.ols(
            "tonnes ~ high + urea_100kg + labour_100h", fixed_effects="node", cov_type="HC3"
        )
        print("\n", model, sep="")
        low, high = model.conf_int().loc["high[T.True]"]
        more = model.params["high[T.True]"]
        print(
            f"\nHigh-yielding rice: {more:.2f} t/ha more (95 % interval {low:.2f} to {high:.2f}), "
            "at the same\nvillage, urea and labour."
        )


if __name__ == "__main__":
    main()
