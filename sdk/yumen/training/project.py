"""A Flower project in this process: its modules by themselves, its settings, its ServerApp."""

from __future__ import annotations

import importlib
import re
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from yumen_core.errors import CallError

if TYPE_CHECKING:
    from types import ModuleType

    from flwr.serverapp import ServerApp

Setting = bool | int | float | str
_PAIR = re.compile(r"\s*([A-Za-z0-9_.\-]+)\s*=\s*('[^']*'|\"[^\"]*\"|[^\s'\"]+)(?=\s|$)")
_MAX_SETTINGS_CHARS = 20_000
_one_at_a_time = threading.Lock()


class FlowerApp(Protocol):
    """What of a project's `[tool.flwr.app]` is needed to run it."""

    @property
    def serverapp(self) -> str:
        """`package.module:attribute`."""

    @property
    def run_config(self) -> Mapping[str, Setting]:
        """The settings with their defaults, nested ones joined by dots."""


def parse_settings(texts: Sequence[str]) -> dict[str, Setting]:
    """Settings as Flower's `--run-config` takes them: `"lr=0.1 name='a b'"`, any number of texts.

    Raises `CallError` (`argument`) for a text of another form.
    """
    settings: dict[str, Setting] = {}
    for text in texts:
        position = 0
        stripped = text.rstrip()
        if len(stripped) > _MAX_SETTINGS_CHARS:
            raise CallError(
                "argument", f"expected settings of at most {_MAX_SETTINGS_CHARS} characters"
            )
        while position < len(stripped):
            pair = _PAIR.match(stripped, position)
            if pair is None:
                raise _bad_setting(stripped[position:].strip())
            settings[pair[1]] = _value(pair[1], pair[2])
            position = pair.end()
    return settings


def with_overrides(
    defaults: Mapping[str, Setting], overrides: Mapping[str, Setting]
) -> dict[str, Setting]:
    """The app's settings, some of them replaced. Raises `CallError` (`argument`) for a setting
    that the app does not have."""
    for name, value in overrides.items():
        if name not in defaults:
            known = ", ".join(f"`{key}`" for key in sorted(defaults)) or "none"
            raise CallError("argument", f"expected settings of the app ({known}), got `{name}`")
        if not isinstance(value, bool | int | float | str):
            raise CallError(
                "argument",
                f"expected a number, a text, true or false for `{name}`, "
                f"got `{type(value).__name__}`",
            )
    return {**defaults, **overrides}


@contextmanager
def modules_of(folder: Path) -> Iterator[None]:
    """The project's modules can be imported within the block, and only there.

    Loaded modules of the same names give way and come back, so that neither the caller's `task`
    nor that of another project is taken for this one's. One project at a time: raises `CallError`
    (`training`) where another thread of this process runs one.
    """
    if not _one_at_a_time.acquire(blocking=False):
        raise CallError(
            "training",
            "expected one app at a time in this process, got a second one",
            remedy="wait for the first, or run the second in a process of its own",
        )
    try:
        root = str(folder.resolve())
        names = _top_names(folder)
        hidden = {name: module for name, module in sys.modules.items() if _top(name) in names}
        for name in hidden:
            del sys.modules[name]
        sys.path.insert(0, root)
        importlib.invalidate_caches()
        try:
            yield
        finally:
            sys.path.remove(root)
            for name in [name for name in sys.modules if _top(name) in names]:
                del sys.modules[name]
            sys.modules.update(hidden)
            importlib.invalidate_caches()
    finally:
        _one_at_a_time.release()


def load_server_app(reference: str) -> ServerApp:
    """The ServerApp at `package.module:attribute`, within `modules_of`.

    Raises `CallError` (`bundle`) where it does not import, lacks a package, or is something else.
    """
    from flwr.serverapp import ServerApp

    module_name, _, attribute = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        raise CallError(
            "bundle",
            f"expected the package `{missing}` for the server app, got none",
            remedy=f"install {missing} where you run the training",
        ) from error
    except Exception as error:  # the caller's own code: whatever its import raises
        raise CallError(
            "bundle",
            f"expected the server app `{reference}` to import, got `{type(error).__name__}`: "
            f"{error}",
        ) from error
    app: object = module
    for part in attribute.split("."):
        app = getattr(app, part, None)
    if not isinstance(app, ServerApp):
        raise CallError(
            "bundle",
            f"expected a ServerApp at `{reference}`, got `{type(app).__name__}`",
            remedy="correct `serverapp` under [tool.flwr.app.components] in pyproject.toml",
        )
    return app


def _value(name: str, text: str) -> Setting:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        raise _bad_setting(f"{name}={text}") from None
    if not isinstance(value, bool | int | float | str):
        raise _bad_setting(f"{name}={text}")
    return value


def _bad_setting(text: str) -> CallError:
    return CallError(
        "argument",
        f"expected settings as `name=value`, got `{text[:80]}`",
        remedy="write them as --run-config \"rounds=3 name='a b' fast=true\"",
    )


def _top(name: str) -> str:
    return name.partition(".")[0]


def _top_names(folder: Path) -> frozenset[str]:
    """The names under which the folder's own modules are imported."""
    names = {path.stem for path in folder.glob("*.py")}
    for inner in folder.iterdir():
        if inner.is_dir() and inner.name.isidentifier() and _is_package(inner):
            names.add(inner.name)
    return frozenset(names - sys.stdlib_module_names)


def _is_package(folder: Path) -> bool:
    """A folder without `__init__.py` is one only where no installed package has its name."""
    if (folder / "__init__.py").is_file():
        return True
    loaded: ModuleType | None = sys.modules.get(folder.name)
    return any(folder.glob("*.py")) and getattr(loaded, "__file__", None) is None
