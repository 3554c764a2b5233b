"""Which contrasts a formula's categorical factors take, so that no column repeats another.

A term spans, for each subset of its categorical factors, the columns of that subset. Subsets that
earlier terms span are left out, and what remains is put together into as few products as possible:
X and X with a factor's contrasts make X with all the factor's levels (as patsy and formulaic do;
Chambers and Hastie, Statistical Models in S, section 2.4.1).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import product


@dataclass(frozen=True)
class Coded:
    """One factor in a product. `full`: a column for each level; otherwise one for each but the
    reference. A numeric factor is never full."""

    factor: str
    full: bool = False


Product = tuple[Coded, ...]


def coded(terms: Iterable[Sequence[str]], categorical: Collection[str]) -> list[Product]:
    """The products of each term in order; a term without factors is the intercept."""
    spanned: set[frozenset[str]] = set()
    found: list[Product] = []
    for term in terms:
        choices = [((name,), ()) if name in categorical else ((name,),) for name in term]
        pieces = [sum(chosen, ()) for chosen in product(*choices)]
        fresh = [piece for piece in pieces if frozenset(piece) not in spanned]
        spanned.update(map(frozenset, fresh))
        found += _merged([tuple(map(Coded, piece)) for piece in fresh], categorical)
    return found


def _merged(pieces: Iterable[Product], categorical: Collection[str]) -> list[Product]:
    kept: list[Product] = []
    for piece in sorted(pieces, key=len):
        for other in kept:
            joined = _joined(piece, other, categorical)
            if joined is not None:
                kept = _merged([*(e for e in kept if e != other), joined], categorical)
                break
        else:
            kept.append(piece)
    return kept


def _joined(larger: Product, smaller: Product, categorical: Collection[str]) -> Product | None:
    """Both as one product, where they differ in one factor's contrasts alone."""
    more = set(larger) - set(smaller)
    if len(larger) != len(smaller) + 1 or len(more) != 1:
        return None
    extra = more.pop()
    if extra.full or extra.factor not in categorical:
        return None
    return tuple(Coded(extra.factor, full=True) if one == extra else one for one in larger)
