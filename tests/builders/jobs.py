"""Jobs, limits and denials for tests of the state machine."""

from collections.abc import Sequence
from dataclasses import replace

from yumen_core.jobs.machine import Job, Limits, Step
from yumen_core.policy.denial import Denial

LIMITS = Limits(decision_ms=15, round_ms=120, approval_ms=400)
NODES = ("a", "b", "c", "d")
EXPIRES = 1000


def denial(node: str, message: str = "expected another purpose, got `pricing`") -> Denial:
    return Denial(node, "purpose", message, "purpose", "pricing", "research", "ask for research")


def new_job(min_nodes: int = 3, nodes: Sequence[str] = NODES) -> Job:
    return Job("job", min_nodes, dict.fromkeys(nodes, Step.ASKED), expires_at_ms=EXPIRES)


def new_training(min_nodes: int = 3, nodes: Sequence[str] = NODES, round_ms: int = 0) -> Job:
    job = new_job(min_nodes, nodes)
    return replace(job, interactive=True, training=True, round_ms=round_ms)
