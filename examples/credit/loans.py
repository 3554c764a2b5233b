"""Which loans go bad? Four lenders that may not show each other their customers.

python examples/credit/loans.py
"""

import yumen
from data import SCHEMA, loans


def main() -> None:
    with yumen.local_federation(loans(), table="loans", schema=SCHEMA) as fed:
        granted = fed.table("loans", purpose="research").assign(income_10k="income / 10000.0")
        print(granted.quantile("income", [0.1, 0.25, 0.5, 0.75, 0.9]))

        # Do those who borrow for five years earn as much as those who borrow for three?
        print("\n", granted.mann_whitney("income", by="months"), sep="")

        # Each lender keeps an intercept of its own.
        model = granted.logit(
            "bad ~ rate + income_10k + C(months) + utilisation", fixed_effects="node"
        )
        print("\n", model, sep="")


if __name__ == "__main__":
    main()
