"""The coordinator's configuration file, `coordinator.yaml`. Unknown keys are refused."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from yumen_core.settings import read_settings

FILE_NAME = "coordinator.yaml"


class CoordinatorConfig(BaseModel):
    """Settings of one coordinator. Paths are relative to the file's folder.

    `listen` is host:port; `authority` the address of the federation authority, for revocation
    lists; times are in seconds. `training_round_timeout_s` bounds what a training may ask for its
    rounds, `approval_timeout_s` the wait for a node whose people review code. The log is shown to
    other nodes every `cosign_interval_s` if it has grown; `witnesses` cosignatures are enough.
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
    training_round_timeout_s: float = Field(default=6 * 3600, gt=0, le=86_400)
    approval_timeout_s: float = Field(default=24 * 3600, gt=0, le=86_400)
    cosign_interval_s: float = Field(default=10.0, gt=0, le=3600)
    witnesses: int = Field(default=2, ge=1, le=8)
    reconnect_grace_s: float = Field(default=5.0, gt=0, le=600)
    revocations_refresh_s: float = Field(default=20.0, gt=0, le=3600)
    max_open_jobs: int = Field(default=256, gt=0)
    max_open_jobs_per_requester: int = Field(default=32, gt=0)
    max_sum_bytes: int = Field(default=512 << 20, gt=0)
    max_input_bytes: int = Field(default=576 << 20, gt=0)
    keep_results_s: float = Field(default=24 * 3600, gt=0)


def load_config(directory: Path) -> CoordinatorConfig:
    """Read `coordinator.yaml` in `directory`, with paths made absolute.

    Raises `StateError` (`config`) where it is missing, is no YAML, or has a wrong or unknown key.
    """
    config = read_settings(directory / FILE_NAME, CoordinatorConfig, role="coordinator")
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
