"""What local work of a training may use, from `training:` in the node's configuration."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

_UNITS = {"MB": 1 << 20, "GB": 1 << 30}
_SIZE = r"^[1-9][0-9]{0,5}(MB|GB)$"


class TrainingLimits(BaseModel):
    """Limits of each job's worker; `parallel` counts workers that compute at once.

    `memory` bounds what a worker allocates, `disk` its only writable folder, `cpu_s` the CPU
    seconds of all its steps, `wall_s` the seconds of one step. `processes` bounds threads: a second
    process is never allowed. `threads` is what numpy and PyTorch are told to use.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    memory: str = Field(default="2GB", pattern=_SIZE)
    disk: str = Field(default="256MB", pattern=_SIZE)
    cpu_s: int = Field(default=14_400, ge=1, le=30 * 86_400)
    wall_s: float = Field(default=3_600.0, gt=0, le=86_400)
    processes: int = Field(default=64, ge=2, le=1_024)
    parallel: int = Field(default=2, ge=1, le=64)
    threads: int = Field(default=1, ge=1, le=64)

    @property
    def memory_bytes(self) -> int:
        return _in_bytes(self.memory)

    @property
    def disk_bytes(self) -> int:
        return _in_bytes(self.disk)


def _in_bytes(size: str) -> int:
    return int(size[:-2]) * _UNITS[size[-2:]]
