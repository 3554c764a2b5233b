"""A formula's text, taken apart by formulaic's parser under limits. Nothing is evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from yumen_core.errors import CallError

from yumen.statistics.python_sql import fault

if TYPE_CHECKING:
    from formulaic.parser import DefaultFormulaParser
    from formulaic.parser.types import ASTNode, Term

MAX_CHARS = 10_000
MAX_TERMS = 500


@dataclass(frozen=True)
class Sides:
    """The response's term, or None, and the terms of the right side."""

    left: Term | None
    right: Sequence[Term]


def parsed(formula: str, *, response: bool) -> Sides:
    """The terms of `formula`.

    Verification: 1. the size, 2. the operators, 3. that it parses, 4. one left side or none, 5. no
    term written twice, 6. that the operators make at most MAX_TERMS terms: before they make them.
    Raises `CallError` (`formula`).
    """
    from formulaic.errors import FormulaicError
    from formulaic.parser import DefaultFormulaParser

    if not isinstance(formula, str) or not 0 < len(formula) <= MAX_CHARS:
        raise CallError("formula", f"expected a formula of 1 to {MAX_CHARS} characters")
    parser = DefaultFormulaParser(feature_flags=DefaultFormulaParser.FeatureFlags.TWOSIDED)
    try:
        return _sides(parser, formula, response)
    except FormulaicError as error:
        first = (str(error).splitlines() or [""])[0].partition(" (")[0].rstrip(".")
        raise _unreadable(formula, f": {first[:1].lower()}{first[1:200]}") from None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _unreadable(formula, ", which does not parse") from None


def _sides(parser: DefaultFormulaParser, formula: str, response: bool) -> Sides:
    tokens = list(parser.get_tokens_from_formula(formula, context={}))
    kinds = [str(t.token) for t in tokens if t.kind is not None and t.kind.value == "operator"]
    _check_operators(formula, kinds, response)
    tree = parser.get_ast_from_tokens(tokens, context={})
    _check_once(tree)
    if _made(tree) > MAX_TERMS:
        raise CallError("formula", f"expected a formula of at most {MAX_TERMS} terms, got more")
    terms: Any = parser.get_terms_from_ast(tree, context={})
    if not response:
        return Sides(None, list(terms.root))
    left = list(getattr(terms, "lhs", ()))
    if len(left) != 1:
        raise CallError("formula", f"expected one response left of `~`, got {len(left)}")
    return Sides(left[0], list(terms.rhs))


def _check_operators(formula: str, operators: Sequence[str], response: bool) -> None:
    for symbol in operators:
        if set(symbol) & set("|.&") or (symbol not in _KNOWN and not set(symbol) <= set("+-~")):
            raise CallError(
                "formula",
                f"expected the operators + - * / : ** in a formula, got `{symbol[:20]}`",
                remedy="write SQL conditions inside I(...)",
            )
    sides = sum(symbol.count("~") for symbol in operators)
    if sides != int(response):
        wanted = "one `~` as in `y ~ a + b`" if response else "no `~`, as in `a + b`,"
        raise CallError("formula", f"expected {wanted} in a formula, got `{formula[:80]}`")


_KNOWN = ("+", "-", "*", "/", ":", "**", "^", "~", "in")


def _check_once(tree: object) -> None:
    """Refuse a term that is written twice in one sum."""
    seen: set[frozenset[str]] = set()
    for operand in _summed(tree):
        written = _product(operand)
        if written is None:
            continue
        if written in seen:
            raise fault(":".join(sorted(written)), "each term once", "one twice")
        seen.add(written)


def _summed(tree: object) -> Iterator[object]:
    """The operands of the right side's topmost sum."""
    pending = [tree]
    while pending:
        node = pending.pop()
        symbol = _symbol(node)
        if symbol == "+":
            pending += _args(node)
        elif symbol == "~":
            pending.append(_args(node)[-1])
        elif symbol == "-":
            pending.append(_args(node)[0])
        else:
            yield node


def _product(node: object) -> frozenset[str] | None:
    """The factors of a term that is written as a product of tokens, or None."""
    found: set[str] = set()
    pending = [node]
    while pending:
        inner = pending.pop()
        if _symbol(inner) == ":":
            pending += _args(inner)
        elif _symbol(inner) or str(inner) == "1":
            return None
        else:
            found.add(str(inner))
    return frozenset(found)


def _made(tree: object) -> int:
    """At most how many terms the operators of `tree` make on the way, in any one step."""
    counts: dict[int, int] = {}
    most = 0
    for node in reversed(list(_nodes(tree))):
        sizes = [counts.get(id(arg), 1) for arg in _args(node)]
        match _symbol(node):
            case "*" | "/" | "in":
                made = sum(sizes) + sizes[0] * sizes[-1]
            case ":":
                made = sizes[0] * sizes[-1]
            case "**" | "^":
                made = sizes[0] ** min(_exponent(_args(node)[-1]), 12)
            case _:
                made = sum(sizes)
        counts[id(node)] = min(made, MAX_TERMS + 1)
        most = max(most, made)
    return most


def _exponent(node: object) -> int:
    """The number after `**`; one that is none makes the parser refuse the formula."""
    text = str(node)
    if not text.isdigit():
        return 1
    if not 1 <= len(text) <= 1 or text == "0":
        raise CallError("formula", f"expected a power from 1 to 9, got `{text[:20]}`")
    return int(text)


def _nodes(tree: object) -> Iterator[object]:
    """Every node with an operator, parents first."""
    pending = [tree]
    while pending:
        node = pending.pop()
        if _symbol(node):
            yield node
            pending += _args(node)


def _symbol(node: object) -> str:
    operator = getattr(node, "operator", None)
    return "" if operator is None else str(operator.symbol)


def _args(node: object) -> list[object]:
    tree: ASTNode[Any] = node
    return list(tree.args)


def _unreadable(formula: str, why: str) -> CallError:
    return CallError(
        "formula",
        f"expected a formula such as `y ~ a + b`, got `{formula[:80]}`{why}",
        remedy="write conditions as in I(a == 1), and names with spaces in `backticks`",
    )
