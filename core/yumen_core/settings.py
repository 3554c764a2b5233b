"""Settings files: YAML read into a strict model, with errors that name the file and the key."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from yumen_core.errors import StateError

Settings = TypeVar("Settings", bound=BaseModel)


def read_settings(path: Path, model: type[Settings], *, role: str) -> Settings:
    """The settings of a `role` in the file `path`.

    Raises `StateError` (`config`) where the file is missing, is no YAML, or has a wrong or unknown
    key.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StateError(
            "config",
            f"expected a {role} in `{path.parent}`, got no {path.name}",
            remedy=f"run `yumen {role} init` first",
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise StateError("config", f"expected readable YAML in `{path}`, got {error}") from None
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise StateError("config", f"`{key}` in `{path}`: {first['msg'].lower()}") from None
