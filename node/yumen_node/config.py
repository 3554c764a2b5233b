"""The node's configuration file, `node.yaml`. Unknown keys are refused."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from yumen_core.settings import read_settings

from yumen_node.training.limits import TrainingLimits

FILE_NAME = "node.yaml"


class NodeConfig(BaseModel):
    """Settings of one node. Paths are relative to the file's folder.

    `coordinator` is host:port; `tables` are declaration files; `policy_signers` users of the
    institution must have signed policies before they come into force; `threads` bounds
    DuckDB, `memory_limit` does for each table; `training` holds the sandbox's limits, and
    `training_max_norm` bounds the L2 norm of what one round may change in a model; times are in
    seconds. The log is shown to other nodes every `cosign_interval_s` if it has grown; `witnesses`
    cosignatures are enough. `refusals_a_day` jobs of an organisation may be refused by the rows of
    a table within 24 hours before it is denied there (`refusals`); 0 is no limit.
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
    policy_signers: int = Field(default=0, ge=0, le=2)
    threads: int = Field(default=2, ge=1, le=256)
    memory_limit: str = Field(default="2GB", pattern=r"^[0-9]+(MB|GB)$")
    query_timeout_s: float = Field(default=60.0, gt=0, le=86_400)
    training: TrainingLimits = TrainingLimits()
    training_max_norm: float = Field(default=1e6, gt=0)
    cosign_interval_s: float = Field(default=10.0, gt=0, le=3600)
    witnesses: int = Field(default=2, ge=1, le=8)
    refusals_a_day: int = Field(default=20, ge=0, le=1_000_000)
    reconnect_max_s: float = Field(default=5.0, gt=0, le=600)


def load_config(directory: Path) -> NodeConfig:
    """Read `node.yaml` in `directory`, with paths made absolute.

    Raises `StateError` (`config`) where it is missing, is no YAML, or has a wrong or unknown key.
    """
    config = read_settings(directory / FILE_NAME, NodeConfig, role="node")
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
