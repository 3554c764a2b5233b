"""The requester's text: its tokens, and the place of each part, for messages.

Limits come first, so that no statement can exhaust the parser's stack or memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import ErrorLevel, ParseError, TokenError
from sqlglot.tokenizer_core import Token, TokenType

from yumen_core.errors import CallError

MAX_TEXT_BYTES = 20_000
MAX_TOKENS = 5_000
MAX_DEPTH = 80
MAX_COPIED = 20_000
MAX_SHOWN_CHARS = 40

_CALL = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,39})\s*\(", re.ASCII)
_SHORTER = "send a shorter statement"
_OPENERS = (TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE, TokenType.CASE)
_CLOSERS = (TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE, TokenType.END)
_UNARY = (TokenType.NOT, TokenType.DASH, TokenType.PLUS, TokenType.TILDE)
# What leads into nodes whose first words the parser does not place.
_LEADING: dict[type[exp.Expr], tuple[TokenType, ...]] = {
    exp.Case: (TokenType.WHEN, TokenType.L_PAREN, TokenType.CASE),
    exp.Neg: (TokenType.L_PAREN, TokenType.DASH),
    exp.Query: (TokenType.SELECT, TokenType.L_PAREN),
    exp.Exists: (TokenType.SELECT, TokenType.L_PAREN),
    exp.Connector: (),
    exp.Join: (
        TokenType.JOIN,
        TokenType.INNER,
        TokenType.OUTER,
        TokenType.LEFT,
        TokenType.RIGHT,
        TokenType.FULL,
        TokenType.CROSS,
        TokenType.NATURAL,
        TokenType.SEMI,
        TokenType.ANTI,
        TokenType.ASOF,
        TokenType.SELECT,
        TokenType.L_PAREN,
    ),
    exp.Func: (TokenType.L_PAREN,),
}
_UNPLACED: dict[type[exp.Expr], tuple[str, ...]] = {
    exp.Null: ("NULL",),
    exp.Boolean: ("TRUE", "FALSE"),
    exp.CurrentDate: ("CURRENT_DATE", "TODAY"),
    exp.CurrentTime: ("CURRENT_TIME",),
    exp.CurrentTimestamp: ("CURRENT_TIMESTAMP",),
}
# Words that start a construct we do not have; each is reserved in the grammar, so that an unquoted
# column cannot bear its name.
_REFUSED = {
    TokenType.UNION: "a query is one SELECT",
    TokenType.EXCEPT: "a query is one SELECT",
    TokenType.INTERSECT: "a query is one SELECT",
    TokenType.DISTINCT: "only COUNT takes DISTINCT; all else takes every row",
    TokenType.QUALIFY: "a query has no windows; use HAVING",
    TokenType.PLACEHOLDER: "write values as literals, without parameters",
    TokenType.PARAMETER: "write values as literals, without parameters",
    TokenType.HINT: "a query has no hints",
    TokenType.L_BRACKET: "a query has no lists",
    TokenType.L_BRACE: "a query has no structs",
    TokenType.COLON: "write values as literals, without parameters",
}


@dataclass(frozen=True)
class Place:
    """A stretch of the statement: offsets in characters, the end excluded."""

    start: int
    end: int


class Source:
    """One statement's text, within its limits, and its syntax tree.

    Raises `CallError`: "sql_too_large" beyond 20 kB, 5000 tokens or 60 levels; "sql_syntax" where
    the text is no SQL; "sql_unsupported" where it is anything but one SELECT.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise CallError(
                "sql_syntax", "expected a statement in Unicode, got half a character"
            ) from None
        if size > MAX_TEXT_BYTES:
            raise _too_long(f"{MAX_TEXT_BYTES} bytes", size)
        self._tokens = self._tokenize()
        self._check_depth()
        self._check_tokens()
        self._copied = 0
        self.tree = self._parse()

    def too_deep(self) -> CallError:
        message = f"the statement is nested deeper than {MAX_DEPTH} levels"
        return CallError("sql_too_large", message, remedy=_SHORTER)

    def copied(self, node: exp.Expr, size: int) -> None:
        """Count `size` nodes of an expression that `node` stands for again.

        A name that stands for two of another, which stands for two of a third, doubles with every
        step: the text stays short and the plan does not. Raises `CallError` ("sql_too_large").
        """
        self._copied += size
        if self._copied > MAX_COPIED:
            reason = f"makes the statement longer than {MAX_COPIED} operations, written out"
            raise CallError(
                "sql_too_large", f"{self.show(self.place(node))} {reason}", remedy=_SHORTER
            )

    def refuse(self, code: str, place: Place, reason: str) -> CallError:
        """The error for the part of the text at `place`."""
        return CallError(code, f"{self.show(place)} {reason}")

    def unsupported(self, node: exp.Expr, reason: str) -> CallError:
        return self.refuse("sql_unsupported", self.place(node), f"is not supported: {reason}")

    def show(self, place: Place) -> str:
        shown = " ".join(self.text[place.start : place.end].split())
        if len(shown) > MAX_SHOWN_CHARS:
            shown = shown[: MAX_SHOWN_CHARS - 1] + "…"
        line = self.text.count("\n", 0, place.start) + 1
        column = place.start - (self.text.rfind("\n", 0, place.start) + 1) + 1
        return f"`{shown}` at line {line}, column {column}"

    def function_name(self, node: exp.Expr) -> str | None:
        """The name, in upper case, where `node` is written as a call `name(...)`, else None."""
        place = self.place(node)
        found = _CALL.match(self.text, place.start, place.end)
        return None if found is None else found[1].upper()

    def place(self, node: exp.Expr) -> Place:
        """Where `node` stands: from its first to its last token, as far as the parser placed them.

        The parser leaves the first word of some nodes and every closing sign unplaced; those are
        found among the tokens beside.
        """
        parts = [part.meta for part in node.walk() if {"start", "end"} <= part.meta.keys()]
        if not parts:
            named = self.word(*_UNPLACED.get(type(node), ()))
            parent = node.parent
            if named is not None or parent is None:
                return named or Place(0, len(self.text))
            return self.place(parent)
        start = min(meta["start"] for meta in parts)
        if "start" not in node.meta:
            start = self._led(node, start)
        return Place(start, self._closed(start, max(meta["end"] + 1 for meta in parts)))

    def word(self, *words: str) -> Place | None:
        """The first unquoted token that is one of `words` (upper case)."""
        for token in self._tokens:
            unquoted = token.token_type not in (TokenType.STRING, TokenType.IDENTIFIER)
            if unquoted and token.text.upper() in words:
                return _token_place(token)
        return None

    def word_before(self, node: exp.Expr, *words: str) -> Place | None:
        """The last unquoted token before `node` that is one of `words` (upper case)."""
        start, found = self.place(node).start, None
        for token in self._tokens:
            if token.start >= start:
                break
            unquoted = token.token_type not in (TokenType.STRING, TokenType.IDENTIFIER)
            if unquoted and token.text.upper() in words:
                found = _token_place(token)
        return found

    def select_word(self, select: exp.Select) -> Place:
        """The SELECT that `select` begins with, after its WITH."""
        after = [*select.expressions, *(p for p in select.args.values() if isinstance(p, exp.From))]
        found = self.word_before(after[0], "SELECT") if after else self.word("SELECT")
        return found or Place(0, len(self.text))

    def _led(self, node: exp.Expr, start: int) -> int:
        """Step back over what leads into `node`, whose placed parts begin at `start`."""
        leading = next((signs for kind, signs in _LEADING.items() if isinstance(node, kind)), ())
        before = [token for token in self._tokens if token.start < start]
        while before and before[-1].token_type in leading:
            token = before.pop()
            start = token.start
            if token.token_type in (TokenType.CASE, TokenType.DASH):
                return start
        if isinstance(node, exp.Func) and before and self.text[start : start + 1] == "(":
            return before[-1].start
        return start

    def _closed(self, start: int, end: int) -> int:
        """Extend a stretch by the signs that close what it leaves open."""
        level = 0
        for token in self._tokens:
            if start <= token.start < end:
                level += token.token_type in _OPENERS
                level -= token.token_type in _CLOSERS
            elif token.start >= end:
                if level <= 0 or token.token_type not in _CLOSERS:
                    break
                level -= 1
                end = token.end + 1
        return end

    def _tokenize(self) -> list[Token]:
        try:
            tokens = list(DuckDB().tokenize(self.text))
        except TokenError:
            raise CallError(
                "sql_syntax", "the statement ends inside a quoted text, name or comment"
            ) from None
        if len(tokens) > MAX_TOKENS:
            raise _too_long(f"{MAX_TOKENS} words and signs", len(tokens))
        if not tokens:
            raise CallError("sql_syntax", "expected a SELECT, got an empty statement")
        return tokens

    def _check_depth(self) -> None:
        level = run = 0
        for token in self._tokens:
            kind = token.token_type
            level += kind in _OPENERS
            level -= kind in _CLOSERS
            run = run + 1 if kind in _UNARY else 0
            if max(level, run) > MAX_DEPTH:
                reason = f"is nested deeper than {MAX_DEPTH} levels"
                where = self.show(_token_place(token))
                raise CallError("sql_too_large", f"{where} {reason}", remedy=_SHORTER)

    def _check_tokens(self) -> None:
        first = self._tokens[0]
        if first.token_type not in (TokenType.SELECT, TokenType.WITH):
            reason = "is not supported: a query is one SELECT"
            raise self.refuse("sql_unsupported", _token_place(first), reason)
        ended = False
        for at, token in enumerate(self._tokens):
            if token.token_type is TokenType.SEMICOLON:
                ended = True
                continue
            if ended:
                reason = "is not supported: a query is one SELECT, and a statement follows here"
                raise self.refuse("sql_unsupported", _token_place(token), reason)
            refused = _REFUSED.get(token.token_type)
            if refused is not None and not self._is_counted(at):
                reason = f"is not supported: {refused}"
                raise self.refuse("sql_unsupported", _token_place(token), reason)

    def _is_counted(self, at: int) -> bool:
        """Whether a token is the DISTINCT of COUNT(DISTINCT ...)."""
        if self._tokens[at].token_type is not TokenType.DISTINCT or at < 2:
            return False
        name, opener = self._tokens[at - 2], self._tokens[at - 1]
        return name.text.upper() == "COUNT" and opener.token_type is TokenType.L_PAREN

    def _parse(self) -> exp.Select:
        try:
            trees = sqlglot.parse(
                self.text,
                dialect=DuckDB,
                error_level=ErrorLevel.IMMEDIATE,
                error_message_context=MAX_TEXT_BYTES,
            )
        except ParseError as fault:
            raise self._syntax(fault) from None
        except RecursionError:
            raise self.too_deep() from None
        found = [tree for tree in trees if tree is not None]
        if any(_depth(tree) > MAX_DEPTH for tree in found):
            raise self.too_deep()
        if len(found) != 1 or not isinstance(found[0], exp.Select):
            place = Place(0, len(self.text))
            reason = "is not supported: a query is one SELECT"
            raise self.refuse("sql_unsupported", place, reason)
        return found[0]

    def _syntax(self, fault: ParseError) -> CallError:
        detail = fault.errors[0] if fault.errors else {}
        start = len(str(detail.get("start_context") or ""))
        place = Place(start, start + len(str(detail.get("highlight") or "")))
        return self.refuse("sql_syntax", place, "is not where the grammar allows it")


def _token_place(token: Token) -> Place:
    return Place(token.start, token.end + 1)


def _too_long(most: str, size: int) -> CallError:
    message = f"expected a statement of at most {most}, got {size}"
    return CallError("sql_too_large", message, remedy=_SHORTER)


def _depth(tree: exp.Expr) -> int:
    """Levels of the syntax tree; a chain of ANDs or of ORs counts as one."""
    deepest = 0
    pending: list[tuple[exp.Expr, int]] = [(tree, 1)]
    while pending:
        node, level = pending.pop()
        deepest = max(deepest, level)
        for child in node.iter_expressions():
            chained = isinstance(node, exp.Connector) and type(child) is type(node)
            pending.append((child, level if chained else level + 1))
    return deepest
