"""The coordinator's configuration file, `coordinator.yaml`. Unknown keys are refused."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from yumen_core.errors import StateError

FILE_NAME = "coordinator.yaml"


class CoordinatorConfig(BaseModel):
    """Settings of one coordinator. Paths are relative to the file's folder.

    `listen` is host:port; `authority` the address of the federation authority, for revocation
    lists; times are in seconds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: str
    authority: str
    identity: Path = Path("identity")
    database: str = "sqlite:///state/coordinator.sqlite"
    log: Path = Path("log")
    secrets: Path = Path("secrets")
    policies: tuple[Path, ...] = (Path("policies/federation.cedar"),)
    purposes: Path = Path("policies/purposes.yaml")
    decision_timeout_s: float = Field(default=15.0, gt=0, le=3600)
    round_timeout_s: float = Field(default=120.0, gt=0, le=86_400)
    reconnect_grace_s: float = Field(default=5.0, gt=0, le=600)
    revocations_refresh_s: float = Field(default=20.0, gt=0, le=3600)
    max_open_jobs: int = Field(default=256, gt=0)
    max_open_jobs_per_requester: int = Field(default=32, gt=0)
    max_sum_bytes: int = Field(default=512 << 20, gt=0)
    keep_results_s: float = Field(default=24 * 3600, gt=0)


def load_config(directory: Path) -> CoordinatorConfig:
    """Read `coordinator.yaml` in `directory`, with paths made absolute.

    Raises `StateError` (`config`) where it is missing, is no YAML, or has a wrong or unknown key.
    """
    path = directory / FILE_NAME
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StateError(
            "config",
            f"expected a coordinator in `{directory}`, got no {FILE_NAME}",
            remedy="run `yumen coordinator init` first",
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise StateError("config", f"expected readable YAML in `{path}`, got {error}") from None
    try:
        config = CoordinatorConfig.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise StateError("config", f"`{key}` in `{path}`: {first['msg'].lower()}") from None
    base = directory.resolve()
    database = config.database
    if database.startswith("sqlite:///") and not database.startswith("sqlite:////"):
        database = f"sqlite:///{base / database.removeprefix('sqlite:///')}"
    return config.model_copy(
        update={
            "identity": base / config.identity,
            "database": database,
            "log": base / config.log,
            "secrets": base / config.secrets,
            "policies": tuple(base / p for p in config.policies),
            "purposes": base / config.purposes,
        }
    )
