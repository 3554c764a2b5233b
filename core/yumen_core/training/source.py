"""What can be read off an app's Python text without running it: names, imports, objects."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from yumen_core.errors import CallError

if TYPE_CHECKING:
    from yumen_core.training.bundle import Bundle

MAX_METRIC_NAMES = 256
_METRIC = re.compile(r"[A-Za-z][\w\-. /]{0,63}", re.ASCII)
_OWN_SCOPE = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda


def parse_source(path: str, text: str) -> ast.Module:
    """The syntax tree of the file `path`. Raises `CallError` (`bundle`) where it is no Python."""
    try:
        # The parser warns of odd literals, which are the author's business.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except SyntaxError as fault:
        raise _bad(
            f"expected Python in `{path}`, got a syntax error at line {fault.lineno}"
        ) from None
    except (ValueError, RecursionError, MemoryError):
        raise _bad(f"expected Python in `{path}`, got text that does not parse") from None


def check_object(path: str, text: str, attribute: str) -> None:
    """Refuse a component whose object the module `path` does not define at its top level. Of a
    dotted `attribute` only the first name can be read without running the code. Raises `CallError`
    (`bundle`)."""
    name = attribute.split(".")[0]
    tree = parse_source(path, text)
    if not any(found in (name, "*") for found in _top_level_names(tree)):
        raise _bad(f"expected `{path}` to define `{name}` at its top level, got no such name")


def metric_names(bundle: Bundle) -> list[str]:
    """The names under which the app may answer numbers: string literals of its Python files that
    could be a name, sorted, at most `MAX_METRIC_NAMES`. Left out are the app's settings and the
    literals of a server app's module that no other file imports: no node's work answers them.

    A name that stands in approved code is the same whatever the rows are, so it can carry none of
    them. Beyond the limit, keys of dictionaries come first, then other literals.
    """
    keys: set[str] = set()
    others: set[str] = set()
    trees = {p: parse_source(p, bundle.text(p)) for p in bundle.files if p.endswith(".py")}
    apart = _server_only(bundle, trees)
    for path, tree in trees.items():
        if path != apart:
            _collect_names(tree, keys, others)
    keys -= bundle.app.run_config.keys()
    others -= keys | bundle.app.run_config.keys()
    return sorted([*sorted(keys), *sorted(others)][:MAX_METRIC_NAMES])


def imports(bundle: Bundle) -> list[str]:
    """The top-level modules that the app's files import by statement, its own left out, sorted."""
    own = {path.split("/")[0].removesuffix(".py") for path in bundle.files}
    found: set[str] = set()
    for path in bundle.files:
        if not path.endswith(".py"):
            continue
        for node in ast.walk(parse_source(path, bundle.text(path))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.split(".")[0])
    return sorted(found - own)


def _server_only(bundle: Bundle, trees: Mapping[str, ast.Module]) -> str | None:
    """The file of the server app's module, where it is not the client app's and no other file of
    the app imports it; None otherwise."""
    server = bundle.app.serverapp.partition(":")[0]
    if server == bundle.app.clientapp.partition(":")[0]:
        return None
    stem = server.replace(".", "/")
    if f"{stem}.py" not in trees:
        return None  # a package, whose files its own parts import
    own = f"{stem}.py"
    others = (_imported(path, tree) for path, tree in trees.items() if path != own)
    return None if any(server in found for found in others) else own


def _imported(path: str, tree: ast.Module) -> set[str]:
    """Every module that the file may import by statement: of `from a import b` both `a` and
    `a.b`."""
    found: set[str] = set()
    package = path.split("/")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {base} | {f"{base}.{alias.name}".lstrip(".") for alias in node.names}
    return found


def _collect_names(tree: ast.Module, keys: set[str], others: set[str]) -> None:
    skipped: set[int] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant() as constant):
                skipped.add(id(constant))  # a docstring
            case ast.JoinedStr(values=parts):
                skipped |= {id(part) for part in parts}
            case ast.Dict(keys=found):
                keys |= {name for key in found for name in _name(key)}
            case ast.Subscript(slice=index):
                keys |= set(_name(index))
            case ast.Call(func=ast.Name(id="dict"), keywords=given):
                keys |= {word.arg for word in given if word.arg and _METRIC.fullmatch(word.arg)}
            case ast.Constant() if id(node) not in skipped:
                others |= set(_name(node))


def _name(node: ast.AST | None) -> Iterator[str]:
    if (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and _METRIC.fullmatch(node.value)
    ):
        yield node.value


def _top_level_names(tree: ast.Module) -> Iterator[str]:
    """Names bound in the module's own scope, also within `if`, `try` and `with`; `*` stands for
    names that a star import may bind."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.alias(name=name, asname=asname):
                yield asname or name.split(".")[0]
        if not isinstance(node, _OWN_SCOPE):
            waiting += ast.iter_child_nodes(node)


def _bad(message: str) -> CallError:
    return CallError("bundle", message)
