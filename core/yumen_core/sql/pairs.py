"""Aggregates of two expressions, over the rows where neither is NULL.

What is summed: the rows of the pair, each expression over these rows, its square where the function
needs it, and their product. The product is an expression that the requester built, so that it
brings its own support (the rows where it is not 0) and the subgroups within both, crossed.
"""

from __future__ import annotations

from dataclasses import dataclass

from yumen_core import canonical
from yumen_core.sql import operators
from yumen_core.sql.expression import Expr, Op, to_json
from yumen_core.sql.plan import Function

# Which squares a function needs: of x, of y.
SQUARES: dict[Function, tuple[bool, bool]] = {
    Function.COVAR_SAMP: (False, False),
    Function.COVAR_POP: (False, False),
    Function.REGR_SLOPE: (True, False),
    Function.REGR_INTERCEPT: (True, False),
    Function.REGR_R2: (True, True),
    Function.CORR: (True, True),
}


@dataclass(frozen=True)
class Pair:
    """`y` and `x`, each NULL where the other is; `counted` is not NULL on the pair's rows alone;
    `product` is one expression in either order."""

    y: Expr
    x: Expr
    counted: Expr
    product: Expr


def pair_of(y: Expr, x: Expr) -> Pair:
    """Raises `TypeFault` where the product has no exact type."""
    first, second = sorted((y, x), key=lambda expr: canonical.encode(to_json(expr)))
    product = operators.arithmetic(Op.MUL, first, second)
    return Pair(_given(y, x), _given(x, y), _counted(y, x, product), product)


def _counted(y: Expr, x: Expr, product: Expr) -> Expr:
    if y == x or not x.nullable:
        return y
    return product if y.nullable else x


def _given(expr: Expr, other: Expr) -> Expr:
    """`expr` where `other` is not NULL, else NULL."""
    if not other.nullable or expr == other:
        return expr
    return operators.case([(operators.present(other), expr)], operators.null())
