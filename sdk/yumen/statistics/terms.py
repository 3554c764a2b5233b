"""One factor of a formula, read from its text. Formula text is never run.

What stands in `I()`, `C()` or a function is read as a Python expression, of which only the few
forms below are known, and written again as SQL.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass

from yumen_core.errors import CallError
from yumen_core.sql.schema import DomainValue
from yumen_core.statistics.design import FUNCTIONS

from yumen.statistics.python_sql import Translator, dotted, fault, literal
from yumen.statistics.table import Table, quoted

_QUOTING = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)""")
_HOLE = "yumen_quoted_"
_CALLABLE = tuple(name for name in FUNCTIONS if name != "identity")
_STATEFUL = ("center", "scale", "standardize", "poly", "bs", "cs", "cr", "cc", "te", "hashed")


@dataclass(frozen=True)
class Written:
    """A factor as written: `function` of the expression `sql`, or its levels where `categorical`.

    `text` is how the formula shows it; `variable` names the expression. `levels` and `reference`
    are those written, if any. `column` is the name where the expression is a column by itself.
    """

    text: str
    variable: str
    sql: str
    function: str = "identity"
    categorical: bool = False
    levels: tuple[DomainValue, ...] | None = None
    reference: DomainValue | None = None
    column: str | None = None


def column_factor(table: Table, name: str) -> Written:
    """The factor that is a column by itself."""
    found = _Reader(table, name, {}).column(name)
    return Written(name, found, quoted(found), column=found)


def call_factor(table: Table, expression: str, text: str) -> Written:
    """The factor `expression`, a call or braces as formulaic gives it; `text` is its name.

    Raises `CallError` (`formula`) that names the term.
    """
    holes: dict[str, str] = {}
    parts = _QUOTING.split(expression)
    for at, part in enumerate(parts):
        if part.startswith("`"):
            hole = f"{_HOLE}{len(holes)}"
            holes[hole] = part.strip("`")
            parts[at] = f" {hole} "
        elif at % 2 == 0 and _HOLE in part:
            raise fault(text, "names of columns", "one that is reserved")
    try:
        node = ast.parse("".join(parts).strip(), mode="eval").body
        return _Reader(table, text, holes).factor(node)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise fault(text, "an expression", "one that does not parse") from None


class _Reader:
    def __init__(self, table: Table, text: str, holes: Mapping[str, str]) -> None:
        self._table = table
        self._text = text
        self._holes = holes
        self._translator = Translator(text, self._named, self._shown)

    def factor(self, node: ast.expr) -> Written:
        if not isinstance(node, ast.Call):
            return self._expression(node)
        name = dotted(node.func)
        bare = name.removeprefix("np.").removeprefix("numpy.")
        if name == "Q":
            found = self.column(self._quoted_name(node))
            return Written(self._text, found, quoted(found), column=found)
        if name == "I":
            return self._expression(self._only_argument(node))
        if name == "C":
            return self._levels(node)
        if bare in _CALLABLE:
            inner = self._expression(self._only_argument(node))
            return Written(self._text, inner.variable, inner.sql, function=bare)
        raise self._unknown(name)

    def column(self, name: str) -> str:
        """The column's name as declared."""
        try:
            found = self._table.column(name)
        except CallError as error:
            raise CallError(
                "formula", f"{error.message} in the term `{self._text[:200]}`", remedy=error.remedy
            ) from None
        return name if found is None else found.name

    def _named(self, name: str) -> str:
        return quoted(self.column(self._holes.get(name, name)))

    def _expression(self, node: ast.expr) -> Written:
        if isinstance(node, ast.Name):
            name = self.column(self._holes.get(node.id, node.id))
            return Written(self._text, name, quoted(name), column=name)
        return Written(self._text, self._shown(node), self._translator.sql(node))

    def _levels(self, node: ast.Call) -> Written:
        """`C(x)`, `C(x, Treatment("ref"))`, `C(x, contr.treatment("ref"))`, each with `levels=`."""
        keywords = {entry.arg: entry.value for entry in node.keywords}
        contrast = keywords.pop("contr", node.args[1] if len(node.args) == 2 else None)
        levels = keywords.pop("levels", None)
        if keywords or not 1 <= len(node.args) <= 2 or isinstance(node.args[0], ast.Starred):
            raise self._bad_contrast()
        inner = self._expression(node.args[0])
        reference = None if contrast is None else self._reference(contrast)
        if levels is None:
            return Written(
                self._text,
                inner.variable,
                inner.sql,
                "identity",
                True,
                None,
                reference,
                inner.column,
            )
        written = self._translator.levels(levels)
        if reference is not None and reference not in written:
            raise fault(self._text, "a reference among the levels", f"`{reference}`")
        cases = " ".join(f"WHEN {inner.sql} = {literal(v)} THEN {literal(v)}" for v in written)
        variable = f"{inner.variable} among {', '.join(map(str, written))}"
        sql = f"CASE {cases} END"
        return Written(self._text, variable[:200], sql, "identity", True, written, reference)

    def _reference(self, node: ast.expr) -> DomainValue | None:
        """The reference level of `Treatment(...)`, or None for the first level."""
        name = dotted(node.func) if isinstance(node, ast.Call) else dotted(node)
        if name not in ("Treatment", "contr.treatment"):
            raise self._bad_contrast()
        if not isinstance(node, ast.Call):
            return None
        given = [*node.args, *(entry.value for entry in node.keywords)]
        if len(given) > 1 or any(k.arg not in ("reference", "base") for k in node.keywords):
            raise self._bad_contrast()
        return self._translator.level(given[0]) if given else None

    def _only_argument(self, node: ast.Call) -> ast.expr:
        if len(node.args) != 1 or node.keywords or isinstance(node.args[0], ast.Starred):
            raise fault(self._text, f"one argument of `{dotted(node.func)}`", "another number")
        return node.args[0]

    def _quoted_name(self, node: ast.Call) -> str:
        argument = self._only_argument(node)
        if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
            raise fault(self._text, "a column's name in quotes in `Q`", "another form")
        return argument.value

    def _shown(self, node: ast.expr) -> str:
        text = ast.unparse(node)
        for hole in sorted(self._holes, key=len, reverse=True):
            text = text.replace(hole, f"`{self._holes[hole]}`")
        return text

    def _unknown(self, name: str) -> CallError:
        if name.rpartition(".")[2] in _STATEFUL:
            return fault(
                self._text,
                "columns as they are",
                f"`{name}`",
                "leave it out: columns are centred and scaled internally; for curves write "
                "I(x ** 2), or make columns with `table.assign`",
            )
        return fault(
            self._text,
            f"C, I or one of {', '.join(_CALLABLE)}",
            f"`{name[:80]}`",
            "make the column with `table.assign(name='SQL expression')`",
        )

    def _bad_contrast(self) -> CallError:
        return fault(
            self._text,
            '`C(x)` or `C(x, Treatment("level"))`',
            "another coding",
            "use treatment coding; `levels=[...]` may name the levels",
        )
