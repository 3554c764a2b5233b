"""Which module an app's client needs and this node lacks: read off its text, before it runs.

The answer is a function of the bundle and of this node's packages. Code that has seen rows has no
part in it, so it may be told to the requester.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from yumen_core.training.bundle import Bundle
from yumen_core.training.source import parse_source

_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def absent_module(bundle: Bundle) -> str | None:
    """The first top-level module that loading the client app needs and this node has not.

    Statements of the modules' own level alone: an import within `try`, `if` or a function may be
    one that the app can do without.
    """
    return next((name for name in _needed(bundle) if _is_absent(name)), None)


def _needed(bundle: Bundle) -> Iterator[str]:
    """Top-level modules of others that importing the client app imports, breadth first."""
    # A module of the app may also lie in a folder that the app puts on the path itself.
    own = {part.removesuffix(".py") for path in bundle.files for part in path.split("/")}
    waiting, seen = [bundle.app.clientapp.partition(":")[0]], set[str]()
    for name in waiting:
        if name.split(".")[0] not in own:
            yield name.split(".")[0]
            continue
        for path in _files(bundle, name):
            if path not in seen:
                seen.add(path)
                waiting += _imported(bundle, path)


def _files(bundle: Bundle, module: str) -> Iterator[str]:
    """The bundle's files that importing `module` runs."""
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        stem = "/".join(parts[:end])
        yield from (path for path in (f"{stem}/__init__.py", f"{stem}.py") if path in bundle.files)


def _imported(bundle: Bundle, path: str) -> Iterator[str]:
    """Modules, with their dots, that the file imports at its own level. `from a import b` gives
    `a.b` too, which may be a module."""
    for node in parse_source(path, bundle.text(path)).body:
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                above = PurePosixPath(path).parts[:-level] if level else ()
                base = ".".join([*above, *([module] if module else [])])
                if base:
                    yield base
                    yield from (f"{base}.{alias.name}" for alias in names)


def _is_absent(name: str) -> bool:
    if not _MODULE.fullmatch(name):
        return False
    try:
        return importlib.util.find_spec(name) is None
    except ValueError:  # a module that is here and has no spec, such as `__main__`
        return False
