"""Arithmetic and conditions written in Python's grammar, as SQL. Nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping

from yumen_core.errors import CallError
from yumen_core.sql.schema import DomainValue

MAX_SQL_CHARS = 20_000
_MAX_POWER = 6
_MAX_DEPTH = 60
_ARITHMETIC: Mapping[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.BitAnd: "AND",
    ast.BitOr: "OR",
}
_COMPARED: Mapping[type[ast.cmpop], str] = {
    ast.Eq: "=",
    ast.NotEq: "<>",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}


class Translator:
    """Reads the expressions of one `term`. `column` gives the SQL of a name, and raises where there
    is none; `shown` gives an expression as the formula has it."""

    def __init__(
        self, term: str, column: Callable[[str], str], shown: Callable[[ast.expr], str]
    ) -> None:
        self._term = term
        self._column = column
        self._shown = shown

    def sql(self, node: ast.expr, depth: int = 0) -> str:
        """`node` in brackets, where it needs any. Raises `CallError` (`formula`)."""
        if depth > _MAX_DEPTH:
            raise fault(self._term, f"at most {_MAX_DEPTH} levels of brackets", "more")

        def part(inner: ast.expr) -> str:
            return self.sql(inner, depth + 1)

        match node:
            case ast.Name(id=name):
                found = self._column(name)
            case ast.Constant(value=bool() | int() | float() | str() as value):
                found = literal(value)
            case ast.BinOp(left, ast.Pow(), right):
                found = self._power(part(left), right)
            case ast.BinOp(left, op, right) if type(op) in _ARITHMETIC:
                found = f"({part(left)} {_ARITHMETIC[type(op)]} {part(right)})"
            case ast.UnaryOp(ast.USub(), operand):
                found = f"(-{part(operand)})"
            case ast.UnaryOp(ast.UAdd(), operand):
                found = part(operand)
            case ast.UnaryOp(ast.Not() | ast.Invert(), operand):
                found = f"(NOT {part(operand)})"
            case ast.BoolOp(op, values):
                word = " AND " if isinstance(op, ast.And) else " OR "
                found = f"({word.join(map(part, values))})"
            case ast.Compare():
                found = self._comparison(node, part)
            case ast.Call(func, [argument], []) if dotted(func) in ("abs", "np.abs"):
                found = f"ABS({part(argument)})"
            case _:
                raise fault(
                    self._term,
                    "arithmetic or conditions of columns",
                    f"`{self._shown(node)[:80]}`",
                    "make other columns with `table.assign(name='SQL expression')`",
                )
        if len(found) > MAX_SQL_CHARS:
            raise fault(self._term, "a shorter expression", "one that is too long")
        return found

    def levels(self, node: ast.expr) -> tuple[DomainValue, ...]:
        """A list of two levels or more, each once."""
        entries = node.elts if isinstance(node, ast.List | ast.Tuple) else []
        values = tuple(self.level(entry) for entry in entries)
        if len(values) < 2 or len(set(values)) != len(values):
            raise fault(self._term, "a list of two levels or more, each once", "another form")
        return values

    def level(self, node: ast.expr) -> DomainValue:
        """One level: text, an integer or a boolean."""
        try:
            value = ast.literal_eval(node)
        except (ValueError, TypeError):
            value = None
        if not isinstance(value, str | int):
            raise fault(self._term, "levels written as text, integers or booleans", "another form")
        return value

    def _comparison(self, node: ast.Compare, part: Callable[[ast.expr], str]) -> str:
        sides = [node.left, *node.comparators]
        found = []
        for left, op, right in zip(sides[:-1], node.ops, sides[1:], strict=True):
            if isinstance(op, ast.In | ast.NotIn):
                values = ", ".join(literal(value) for value in self.levels(right))
                word = "IN" if isinstance(op, ast.In) else "NOT IN"
                found.append(f"{part(left)} {word} ({values})")
            elif type(op) in _COMPARED:
                found.append(f"{part(left)} {_COMPARED[type(op)]} {part(right)}")
            else:
                raise fault(self._term, "a comparison", f"`{self._shown(node)[:80]}`")
        return f"({' AND '.join(found)})"

    def _power(self, base: str, exponent: ast.expr) -> str:
        value = exponent.value if isinstance(exponent, ast.Constant) else None
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MAX_POWER:
            got = f"`{self._shown(exponent)[:80]}`"
            raise fault(self._term, f"a power from 1 to {_MAX_POWER}", got)
        return "(" + " * ".join([base] * value) + ")"


def fault(term: str, expected: str, got: str, remedy: str | None = None) -> CallError:
    """The error of one term of a formula."""
    return CallError(
        "formula", f"expected {expected} in the term `{term[:200]}`, got {got}", remedy=remedy
    )


def literal(value: float | str) -> str:
    """A Python literal as SQL."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)


def dotted(node: ast.expr) -> str:
    """A name with its dots, or words for what is none."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return "an expression"
