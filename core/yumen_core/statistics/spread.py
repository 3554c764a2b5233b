"""Whether a sum rests on enough rows although its weights come from the requester.

A model's rounds weigh each row by what the model makes of it at coefficients that the requester
sends. Coefficients chosen to give nearly all weight to a row or two would turn the sum into those
rows. The number of rows behind unequal weights is Kish's effective size, (sum w)^2 / sum w^2 (Kish,
"Survey Sampling", 1965, section 11.7).
"""

from __future__ import annotations

import numpy as np

from yumen_core.disclosure import DisclosureRules
from yumen_core.errors import StateError
from yumen_core.statistics.layout import Reals
from yumen_core.statistics.moments import made_by_few


def is_spread(total: float, squares: float, rules: DisclosureRules, *, share: float) -> bool:
    """Whether the effective number of rows reaches `share` of the threshold, where `total` and
    `squares` are the sums of the weights (from 0) and of their squares; so do no weights at all."""
    if total == 0.0 and squares == 0.0:
        return True
    return total * total >= share * rules.threshold * squares  # false for what is not a number


def check_spread(total: float, squares: float, rules: DisclosureRules, *, share: float) -> None:
    """Refuse sums that `is_spread` is false for. Raises `StateError` (`too_few_rows`)."""
    if not is_spread(total, squares, rules, share=share):
        raise StateError(
            "too_few_rows",
            "expected weights spread over the table's threshold of rows, got them on fewer",
            remedy="simplify the model, or choose other weights",
        )


def check_values(name: str, values: Reals, rules: DisclosureRules, *, built: bool = False) -> None:
    """Refuse values, float64[n], whose sum could be read as that of a few rows: fewer rows than the
    threshold, but some, differ from the one value of all others, or a few make up nearly all of the
    spread (`moments.made_by_few`). Of a `built` column none that differ are too few as well.

    Where all but fewer than `threshold` rows agree, so do most of any 2 * threshold + 1 of them.
    Raises `StateError` (`too_few_rows`).
    """
    some = np.sort(values[: 2 * rules.threshold + 1])
    if not len(some):
        return
    differing = int(np.count_nonzero(values != some[len(some) // 2]))
    if (built or differing) and differing < rules.threshold:
        none = "" if built else ", or none,"
        raise StateError(
            "too_few_rows",
            f"expected the table's threshold of rows{none} that differ in `{name}` from the "
            "value of all others, got fewer",
            remedy=f"leave out `{name}`, or choose other nodes",
        )
    check_peak(name, values, rules)


def check_peak(name: str, values: Reals, rules: DisclosureRules) -> None:
    """The second half of `check_values`. Raises `StateError` (`too_few_rows`)."""
    if made_by_few(values, rules):
        raise StateError(
            "too_few_rows",
            f"expected values of `{name}` that vary among the table's threshold of rows, got a few "
            "rows far from all others",
            remedy=f"take the logarithm of `{name}` if it has a long tail, or leave it out",
        )
