"""What starts the worker of one job: its files on disk, its walls and its first message."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from yumen_core import canonical
from yumen_core.rpc.v1 import training_pb2
from yumen_core.training.bundle import Bundle
from yumen_core.training.models.ready import ReadyModel
from yumen_core.training.privacy import JobNoise
from yumen_core.training.records import Config, Scalar, to_proto

from yumen_node.training.limits import TrainingLimits
from yumen_node.training.process import Launch
from yumen_node.training.sandbox import BUNDLE_PATH, DATA_PATH, Walls

Program = ReadyModel | Bundle

OUTPUT_FILE = "output.log"
BUNDLE_FOLDER, SCRATCH_FOLDER = "app", "scratch"
_ID_BITS = 63


@dataclass(frozen=True)
class Launching:
    """A job's program on the rows in the Parquet file `data`; `threshold` is the fewest rows that
    may stand behind a category of a ready model; `noise` is that of a private training."""

    job_id: str
    program: Program
    data: Path
    run_config: Mapping[str, Scalar]
    node_number: int
    threshold: int = 1
    noise: JobNoise | None = None

    def laid_out(self, folder: Path, limits: TrainingLimits, *, walled: bool) -> Launch:
        """Write the bundle's files into the job's `folder`, which it makes."""
        scratch, bundle = folder / SCRATCH_FOLDER, None
        for made in (folder, scratch):
            made.mkdir(exist_ok=True, mode=0o700)
        if isinstance(self.program, Bundle):
            bundle = folder / BUNDLE_FOLDER
            for path, content in self.program.files.items():
                file = bundle / path
                file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                file.write_bytes(content)
        walls = Walls(self.data.resolve(), bundle, limits.disk_bytes) if walled else None
        return Launch(walls, folder / OUTPUT_FILE, scratch)

    def start(self, *, walled: bool) -> bytes:
        """The first message. The run's id is made of the job's; what the bundle's project file
        sets holds where the job sets nothing else."""
        digest = hashlib.sha256(self.job_id.encode()).digest()
        start = training_pb2.SandboxStart(
            data_path=DATA_PATH if walled else os.fspath(self.data.resolve()),
            run_id=int.from_bytes(digest[:8], "big") >> (64 - _ID_BITS),
            node_id=self.node_number + 2,
            threshold=self.threshold,
        )
        if self.noise is not None:
            start.noise.key = self.noise.key.reveal()
            plan = self.noise.plan
            start.noise.count, start.noise.train = plan.count, plan.train
            start.noise.evaluate = plan.evaluate
        config = dict(self.run_config)
        if isinstance(self.program, Bundle):
            config = {**self.program.app.run_config, **config}
            start.bundle_path = BUNDLE_PATH
        else:
            start.model = canonical.encode(self.program.to_json()).decode()
        start.run_config.extend(to_proto({"run": Config(config)})[0].scalars)
        return training_pb2.SandboxRequest(start=start).SerializeToString()
