"""From the syntax tree of a scalar expression to a typed one, by a list of what is supported."""

from __future__ import annotations

import difflib
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from sqlglot import exp

from yumen_core.errors import CallError
from yumen_core.sql import operators, temporal_operators
from yumen_core.sql.expression import Expr, Op
from yumen_core.sql.keys import bands
from yumen_core.sql.operators import TypeFault
from yumen_core.sql.plan import Function
from yumen_core.sql.relation import Named, Part, Scope
from yumen_core.sql.source import MAX_DEPTH, Source
from yumen_core.sql.temporal_syntax import FUNCTIONS as TEMPORAL_FUNCTIONS
from yumen_core.sql.temporal_syntax import read_temporal

SUPPORTED = (
    "expressions are made of columns, literals, + - * /, comparisons, AND, OR, NOT, IN, BETWEEN, "
    "LIKE, IS NULL, CASE, ABS, EXTRACT, DATE_TRUNC, DATE_DIFF, CAST and INTERVAL, "
    "aggregates are COUNT, SUM, AVG, VAR_SAMP, VAR_POP, STDDEV_SAMP, STDDEV_POP, COVAR_SAMP, "
    "COVAR_POP, CORR, REGR_SLOPE, REGR_INTERCEPT and REGR_R2"
)
_BANDING = ("FLOOR", "CEIL", "CEILING", "ROUND", "TRUNC", "MOD", "WIDTH_BUCKET")
AGGREGATES: dict[type[exp.Expr], Function] = {
    exp.Count: Function.COUNT,
    exp.Sum: Function.SUM,
    exp.Avg: Function.AVG,
    exp.Variance: Function.VAR_SAMP,
    exp.Stddev: Function.STDDEV_SAMP,
    exp.StddevSamp: Function.STDDEV_SAMP,
    exp.VariancePop: Function.VAR_POP,
    exp.StddevPop: Function.STDDEV_POP,
    exp.CovarSamp: Function.COVAR_SAMP,
    exp.CovarPop: Function.COVAR_POP,
    exp.Corr: Function.CORR,
    exp.RegrSlope: Function.REGR_SLOPE,
    exp.RegrIntercept: Function.REGR_INTERCEPT,
    exp.RegrR2: Function.REGR_R2,
}
FUNCTIONS = (
    *dict.fromkeys(function.upper() for function in AGGREGATES.values()),
    "ABS",
    *TEMPORAL_FUNCTIONS,
)
_ARITHMETIC: dict[type[exp.Expr], Op] = {
    exp.Add: Op.ADD,
    exp.Sub: Op.SUB,
    exp.Mul: Op.MUL,
    exp.Div: Op.DIV,
}
_COMPARISONS: dict[type[exp.Expr], Op] = {
    exp.EQ: Op.EQ,
    exp.NEQ: Op.NE,
    exp.LT: Op.LT,
    exp.LTE: Op.LE,
    exp.GT: Op.GT,
    exp.GTE: Op.GE,
}
# Where a value stands rather than a column: beside an operator, in a list, as a CASE's result.
_WITH_VALUES = (exp.EQ, exp.NEQ, exp.Like, exp.In, exp.If, exp.Case)
_VALUE_PLACES = ("expression", "expressions", "true", "default")
# Notes of the grammar, without meaning for us: COUNT's result width, division's dialect.
_NOTES = ("big_int", "typed", "safe")


class Reader(ABC):
    """Reads scalar expressions; a subclass says what columns and aggregates mean."""

    def __init__(self, source: Source, scope: Scope) -> None:
        self.source = source
        self.scope = scope

    def condition(self, node: exp.Expr, what: str) -> Expr:
        """A condition, for the clause `what`."""
        expr = self.read(node)

        def checked() -> Expr:
            operators.need_boolean(expr, what)
            return expr

        return self.typed(node, checked, ())

    @abstractmethod
    def column(self, node: exp.Column) -> Expr:
        """The meaning of a column's name."""

    @abstractmethod
    def aggregate(self, node: exp.Expr, function: Function) -> Expr:
        """The meaning of an aggregate."""

    def read(self, node: exp.Expr) -> Expr:
        """The typed expression. Raises `CallError` with the place of what does not fit."""
        kind = type(node)
        if isinstance(node, exp.Column):
            return self.column(node)
        if kind in AGGREGATES:
            return self.aggregate(node, AGGREGATES[kind])
        temporal = read_temporal(self, node)
        if temporal is not None:
            return temporal
        if kind in _ARITHMETIC:
            only(self.source, node, "this", "expression")
            op = _ARITHMETIC[kind]
            return self.build(
                node, lambda a, b: temporal_operators.arithmetic(op, a, b), *_two(node)
            )
        if kind in _COMPARISONS:
            only(self.source, node, "this", "expression")
            op = _COMPARISONS[kind]
            return self.build(node, lambda a, b: _compare(op, a, b), *_two(node))
        return self._read_other(node)

    def find(self, node: exp.Column) -> Named | None:
        """The column that `node` names, its qualifier checked."""
        found = self.resolve(node)
        return None if found is None else found[1]

    def resolve(self, node: exp.Column) -> tuple[Part, Named] | None:
        """The column that `node` names, with its entry of FROM."""
        only(self.source, node, "this", "table")
        if not isinstance(node.this, exp.Identifier):
            raise self.source.unsupported(node, "name the columns")
        written = node.args.get("table")
        qualifier = None if written is None else identifier(written)
        if qualifier is not None and not self.scope.knows(qualifier):
            place = self.source.place(node)
            reason = f"names a table other than {self.scope.qualifiers}"
            raise self.source.refuse("sql_unknown_column", place, reason)
        found = self.scope.find(identifier(node.this), qualifier)
        if len(found) > 1:
            owners = " and of ".join(part.title for part, _ in found)
            reason = (
                f"is a column of {owners}: write which, as in {found[0][0].qualifier}.{node.name}"
            )
            raise self.source.refuse("sql_unknown_column", self.source.place(node), reason)
        return found[0] if found else None

    def unknown_column(self, node: exp.Column) -> CallError:
        written = node.args.get("table")
        parts = self.scope.named(None if written is None else identifier(written))
        names = [entry.name for part in parts for entry in part.columns]
        owners = " or of ".join(part.title for part in parts)
        reason = f"is no column of {owners}" + near(node.name, names)
        at_value = isinstance(node.parent, _WITH_VALUES) and node.arg_key in _VALUE_PLACES
        if at_value and node.args.get("table") is None:
            reason += "; text goes in single quotes"
        return self.source.refuse("sql_unknown_column", self.source.place(node), reason)

    def typed(self, node: exp.Expr, build: Callable[[], Expr], parts: Sequence[exp.Expr]) -> Expr:
        """`build()`, its type fault placed at the part at fault."""
        try:
            built = build()
        except TypeFault as fault:
            known = fault.part is not None and fault.part < len(parts)
            at = parts[fault.part] if known and fault.part is not None else node
            reason = f"cannot be used here: {fault.message}"
            raise self.source.refuse("sql_type", self.source.place(at), reason) from None
        if built.depth > MAX_DEPTH:
            raise self.source.too_deep()
        return built

    def only(self, node: exp.Expr, *known: str) -> None:
        """Refuse a node that carries more than we read."""
        only(self.source, node, *known)

    def build(self, node: exp.Expr, build: Callable[..., Expr], *parts: exp.Expr) -> Expr:
        """`build` of the parts as read, its type fault placed at the part at fault."""
        args = [self.read(part) for part in parts]
        return self.typed(node, lambda: build(*args), parts)

    def _read_other(self, node: exp.Expr) -> Expr:
        match node:
            case exp.Paren():
                only(self.source, node, "this")
                return self.read(node.this)
            case exp.Literal() | exp.Boolean() | exp.Null():
                return self._literal(node)
            case exp.Neg() | exp.Abs() | exp.Not():
                return self._unary(node)
            case exp.And() | exp.Or():
                only(self.source, node, "this", "expression")
                op = Op.AND if isinstance(node, exp.And) else Op.OR
                parts = list(node.flatten(unnest=False))
                return self.build(node, lambda *args: operators.connect(op, args), *parts)
            case exp.Is():
                return self._is(node)
            case exp.In():
                return self._in(node)
            case exp.Between():
                return self._between(node)
            case exp.Like():
                only(self.source, node, "this", "expression")
                return self.build(node, operators.like, *_two(node))
            case exp.Case():
                return self._case(node)
        raise self.source.unsupported(node, self._why_unknown(node))

    def _why_unknown(self, node: exp.Expr) -> str:
        name = self.source.function_name(node) if isinstance(node, exp.Func) else None
        if name is None:
            return SUPPORTED
        reason = f"there is no function {name}; the functions are {_listed(FUNCTIONS)}"
        if name not in _BANDING:
            return reason + near(name, FUNCTIONS, cutoff=0.6)
        column = node.find(exp.Column)
        return f"{reason}; {bands('x' if column is None else identifier(column))}"

    def _literal(self, node: exp.Expr) -> Expr:
        if isinstance(node, exp.Boolean):
            return operators.boolean(bool(node.this))
        if isinstance(node, exp.Null):
            return operators.null()
        value = str(node.this)
        if not node.args.get("is_string"):
            return self.typed(node, lambda: operators.number(value), ())
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
            raise self.source.unsupported(node, "text has no control characters")
        return operators.text(unicodedata.normalize("NFC", value))

    def _unary(self, node: exp.Expr) -> Expr:
        only(self.source, node, "this")
        if isinstance(node, exp.Neg):
            return self.build(node, operators.negate, node.this)
        if isinstance(node, exp.Abs):
            return self.build(node, operators.absolute, node.this)
        return self.build(node, lambda arg: operators.connect(Op.NOT, [arg]), node.this)

    def _is(self, node: exp.Is) -> Expr:
        only(self.source, node, "this", "expression")
        if not isinstance(node.expression, exp.Null):
            raise self.source.unsupported(node, "IS takes NULL or NOT NULL")
        return self.build(node, operators.is_null, node.this)

    def _in(self, node: exp.In) -> Expr:
        if not node.expressions:
            raise self.source.unsupported(node, "IN takes a list of literals")
        only(self.source, node, "this", "expressions")
        return self.build(node, _is_in, node.this, *node.expressions)

    def _between(self, node: exp.Between) -> Expr:
        only(self.source, node, "this", "low", "high")
        low, high = node.args["low"], node.args["high"]
        value, least, most = self.read(node.this), self.read(low), self.read(high)
        self.source.copied(node, value.size)
        parts = [node.this, low]
        at_least = self.typed(node, lambda: _compare(Op.GE, value, least), parts)
        parts = [node.this, high]
        at_most = self.typed(node, lambda: _compare(Op.LE, value, most), parts)
        return self.typed(node, lambda: operators.connect(Op.AND, [at_least, at_most]), ())

    def _case(self, node: exp.Case) -> Expr:
        only(self.source, node, "this", "ifs", "default")
        subject = None if node.this is None else self.read(node.this)
        pairs: list[tuple[Expr, Expr]] = []
        parts: list[exp.Expr] = []
        for branch in node.args["ifs"]:
            only(self.source, branch, "this", "true")
            condition = self.read(branch.this)
            if subject is not None:
                self.source.copied(node, subject.size)
                condition = self._equal(branch.this, subject, condition)
            pairs.append((condition, self.read(branch.args["true"])))
            parts += [branch.this, branch.args["true"]]
        default = node.args.get("default")
        otherwise = operators.null() if default is None else self.read(default)
        return self.typed(node, lambda: operators.case(pairs, otherwise), parts)

    def _equal(self, node: exp.Expr, subject: Expr, value: Expr) -> Expr:
        return self.typed(node, lambda: _compare(Op.EQ, subject, value), ())


class RowReader(Reader):
    """Expressions over one row: in WHERE, GROUP BY and inside aggregates."""

    def column(self, node: exp.Column) -> Expr:
        found = self.find(node)
        if found is None:
            raise self.unknown_column(node)
        if found.expr.size > 1:
            self.source.copied(node, found.expr.size)
        return found.expr

    def aggregate(self, node: exp.Expr, function: Function) -> Expr:
        reason = f"{function.upper()} stands in SELECT, HAVING or ORDER BY, not inside another"
        raise self.source.unsupported(node, reason)


def only(source: Source, node: exp.Expr, *known: str) -> None:
    """Refuse a node that carries more than we read."""
    for name, value in node.args.items():
        if not value or name in known or name in _NOTES:
            continue
        part = value[0] if isinstance(value, list) else value
        at = part if isinstance(part, exp.Expr) else node
        raise source.unsupported(at, SUPPORTED)


def identifier(node: exp.Expr) -> str:
    return unicodedata.normalize("NFC", str(node.name))


def near(name: str, known: Sequence[str], *, cutoff: float = 0.5) -> str:
    """A hint at the nearest known names, or nothing."""
    folded = {entry.casefold(): entry for entry in known}
    found = difflib.get_close_matches(name.casefold(), list(folded), n=3, cutoff=cutoff)
    if not found:
        return ""
    return "; near it: " + ", ".join(f"`{folded[entry]}`" for entry in found)


def _compare(op: Op, left: Expr, right: Expr) -> Expr:
    return operators.compare(op, *temporal_operators.align(left, right))


def _is_in(arg: Expr, *items: Expr) -> Expr:
    return operators.is_in(*temporal_operators.align_all(arg, items))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1]


def _two(node: exp.Expr) -> tuple[exp.Expr, exp.Expr]:
    return node.args["this"], node.args["expression"]
