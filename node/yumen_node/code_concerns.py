"""What a reviewer should look at first in a project's Python files.

A hint and no barrier: code can hide what it does from any reading of its text. The barrier is the
sandbox.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from yumen_core.training.bundle import Bundle
from yumen_core.training.source import parse_source

MAX_CONCERNS = 200

_MODULES = {
    **dict.fromkeys(
        ("socket", "ssl", "http", "urllib", "requests", "httpx"), "speaks to a network"
    ),
    **dict.fromkeys(("aiohttp", "ftplib", "smtplib", "grpc"), "speaks to a network"),
    **dict.fromkeys(("subprocess", "multiprocessing", "pty"), "starts other processes"),
    **dict.fromkeys(("ctypes", "cffi", "mmap"), "reaches around the interpreter"),
    **dict.fromkeys(("importlib", "runpy", "imp", "pkgutil"), "loads code by name"),
    **dict.fromkeys(("pickle", "marshal", "shelve", "dill"), "turns bytes into code"),
    **dict.fromkeys(("signal", "fcntl", "gc", "inspect"), "looks into its own process"),
}
_CALLS = {
    **dict.fromkeys(("eval", "exec", "compile", "__import__"), "runs text as code"),
    **dict.fromkeys(("os.system", "os.popen", "os.fork", "os.kill"), "starts or ends processes"),
    **dict.fromkeys(("os.putenv", "os.environ", "sys.settrace"), "looks into its own process"),
}
_PREFIXES = {"os.exec": "starts other programs", "os.spawn": "starts other programs"}


@dataclass(frozen=True)
class Concern:
    """One place: `what` is the name as written, `why` what it can do."""

    path: str
    line: int
    what: str
    why: str


def concerns(bundle: Bundle) -> tuple[Concern, ...]:
    """The places worth a look in the `.py` files, in order of path and line; at most 200."""
    found: list[Concern] = []
    for path in bundle.files:
        if path.endswith(".py"):
            tree = parse_source(path, bundle.text(path))
            found += sorted(_of_tree(path, tree), key=lambda one: one.line)
    return tuple(found[:MAX_CONCERNS])


def _of_tree(path: str, tree: ast.Module) -> Iterator[Concern]:
    for node in ast.walk(tree):
        for name, why in _named(node):
            yield Concern(path, getattr(node, "lineno", 0), name, why)


def _named(node: ast.AST) -> Iterator[tuple[str, str]]:
    """The names at this node that a reviewer should see, and why."""
    if isinstance(node, ast.Import):
        yield from _modules(alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        yield from _modules([node.module])
        yield from _calls(f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        yield from _calls([f"{node.value.id}.{node.attr}"])
    elif isinstance(node, ast.Name):
        yield from _calls([node.id])


def _modules(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        why = _MODULES.get(name.partition(".")[0])
        if why:
            yield f"import {name}", why


def _calls(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        why = next((why for start, why in _PREFIXES.items() if name.startswith(start)), None)
        why = _CALLS.get(name, why)
        if why:
            yield name, why
