"""The node's configuration file, `node.yaml`. Unknown keys are refused."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from yumen_core.errors import StateError

FILE_NAME = "node.yaml"


class NodeConfig(BaseModel):
    """Settings of one node. Paths are relative to the file's folder.

    `coordinator` is host:port; `tables` are declaration files; `threads` and `memory_limit` bound
    DuckDB; times are in seconds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    coordinator: str
    identity: Path = Path("identity")
    state: Path = Path("state")
    secrets: Path = Path("secrets")
    log: Path = Path("log")
    tables: tuple[Path, ...] = ()
    policies: tuple[Path, ...] = ()
    purposes: Path = Path("policies/purposes.yaml")
    threads: int = Field(default=2, ge=1, le=256)
    memory_limit: str = Field(default="2GB", pattern=r"^[0-9]+(MB|GB)$")
    query_timeout_s: float = Field(default=60.0, gt=0, le=86_400)
    reconnect_max_s: float = Field(default=5.0, gt=0, le=600)


def load_config(directory: Path) -> NodeConfig:
    """Read `node.yaml` in `directory`, with paths made absolute.

    Raises `StateError` (`config`) where it is missing, is no YAML, or has a wrong or unknown key.
    """
    path = directory / FILE_NAME
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StateError(
            "config",
            f"expected a node in `{directory}`, got no {FILE_NAME}",
            remedy="run `yumen node init` first",
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise StateError("config", f"expected readable YAML in `{path}`, got {error}") from None
    try:
        config = NodeConfig.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise StateError("config", f"`{key}` in `{path}`: {first['msg'].lower()}") from None
    base = directory.resolve()
    return config.model_copy(
        update={
            "identity": base / config.identity,
            "state": base / config.state,
            "secrets": base / config.secrets,
            "log": base / config.log,
            "tables": tuple(base / p for p in config.tables),
            "policies": tuple(base / p for p in config.policies),
            "purposes": base / config.purposes,
        }
    )
