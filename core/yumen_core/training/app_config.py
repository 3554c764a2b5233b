"""What a Flower project's `pyproject.toml` says of its app, read as Flower 1.41 reads it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from yumen_core.errors import CallError

Setting = bool | int | float | str

MAX_SETTINGS = 200
MAX_TEXT_CHARS = 200
MAX_DEPENDENCIES = 200
_DEPTH = 16
_NAME = r"[A-Za-z_]\w*"
_COMPONENT = re.compile(rf"{_NAME}(\.{_NAME})*:{_NAME}(\.{_NAME})*", re.ASCII)


@dataclass(frozen=True)
class AppConfig:
    """`serverapp` and `clientapp` are `module:object`; `run_config` is `[tool.flwr.app.config]`
    with nested tables flattened by dots; `dependencies` as the project lists them."""

    name: str
    version: str
    publisher: str
    description: str
    serverapp: str
    clientapp: str
    run_config: Mapping[str, Setting]
    dependencies: tuple[str, ...]


def read_app_config(text: str) -> AppConfig:
    """Read the text of a `pyproject.toml`. Raises `CallError` (`bundle`) for what is no TOML, and
    for a section or key of Flower's that is missing or of another type."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        raise _bad("expected TOML in `pyproject.toml`, got other text") from None
    project = _table(document, "project", "[project]")
    flower = _table(document, "tool", "[tool.flwr.app]")
    flower = _table(flower, "flwr", "[tool.flwr.app]")
    app = _table(flower, "app", "[tool.flwr.app]")
    components = _table(app, "components", "[tool.flwr.app.components]")
    return AppConfig(
        name=_text(project, "name", "[project]"),
        version=_text(project, "version", "[project]"),
        publisher=_text(app, "publisher", "[tool.flwr.app]"),
        description=_text(project, "description", "[project]", default="", limit=4_000),
        serverapp=_component(components, "serverapp"),
        clientapp=_component(components, "clientapp"),
        run_config=_run_config(app.get("config", {})),
        dependencies=_dependencies(project.get("dependencies", [])),
    )


def flatten(table: Mapping[str, Any]) -> dict[str, Setting]:
    """Nested tables as one, keys joined by dots: Flower's rule. Raises `CallError` (`bundle`) for
    a value that is not true or false, a number, a text or a table of these."""
    found: dict[str, Setting] = {}
    waiting: list[tuple[str, Any, int]] = [(str(key), value, 1) for key, value in table.items()]
    while waiting:
        key, value, depth = waiting.pop()
        if isinstance(value, dict) and depth < _DEPTH:
            waiting += [(f"{key}.{inner}", item, depth + 1) for inner, item in value.items()]
        elif isinstance(value, bool | int | float | str):
            found[key] = value
        else:
            raise _bad(
                f"expected settings that are numbers, texts, true or false, or tables of these, "
                f"got another value of `{key[:MAX_TEXT_CHARS]}` in [tool.flwr.app.config]"
            )
    return dict(sorted(found.items()))


def _run_config(value: object) -> dict[str, Setting]:
    if not isinstance(value, dict):
        raise _bad("expected [tool.flwr.app.config] to be a table, got another value")
    settings = flatten(value)
    if len(settings) > MAX_SETTINGS:
        raise _bad(
            f"expected at most {MAX_SETTINGS} settings in [tool.flwr.app.config], "
            f"got {len(settings)}"
        )
    return settings


def _dependencies(value: object) -> tuple[str, ...]:
    texts = [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []
    if not isinstance(value, list) or len(texts) != len(value) or len(value) > MAX_DEPENDENCIES:
        raise _bad(
            f"expected `dependencies` in [project] to be a list of at most {MAX_DEPENDENCIES} texts"
        )
    return tuple(texts)


def _component(components: Mapping[str, Any], key: str) -> str:
    value = _text(components, key, "[tool.flwr.app.components]")
    if not _COMPONENT.fullmatch(value):
        raise _bad(f"expected `{key}` as `module:object`, got `{value}`")
    return value


def _table(document: Mapping[str, Any], key: str, section: str) -> Mapping[str, Any]:
    value = document.get(key)
    if not isinstance(value, dict):
        raise _bad(f"expected the section {section} in `pyproject.toml`, got none")
    return value


def _text(
    table: Mapping[str, Any],
    key: str,
    section: str,
    *,
    default: str | None = None,
    limit: int = MAX_TEXT_CHARS,
) -> str:
    value = table.get(key, default)
    if value is None:
        raise _bad(f"expected `{key}` in {section} of `pyproject.toml`, got none")
    if not isinstance(value, str) or len(value) > limit or (default is None and not value.strip()):
        raise _bad(f"expected `{key}` in {section} to be a text of at most {limit} characters")
    # TOML escapes can spell what the file's own text may not hold.
    if not value.replace("\n", " ").isprintable():
        raise _bad(f"expected `{key}` in {section} of characters that print, got others")
    return value


def _bad(message: str) -> CallError:
    return CallError("bundle", message)
