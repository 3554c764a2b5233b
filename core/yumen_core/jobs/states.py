"""Where a job, a run of it and a node in it can stand; what can happen, and what follows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from yumen_core.policy.denial import Denial


class State(StrEnum):
    SUBMITTED = "submitted"
    DECIDING = "deciding"
    AWAITING_APPROVAL = "awaiting_approval"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    DENIED = "denied"
    INSUFFICIENT_NODES = "insufficient_nodes"
    BUDGET_EXHAUSTED = "budget_exhausted"
    NODE_LOST = "node_lost"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def ended(self) -> bool:
        return self not in _OPEN


UNDECIDED = frozenset({State.DECIDING, State.AWAITING_APPROVAL})
_OPEN = frozenset({State.SUBMITTED, State.DECIDING, State.AWAITING_APPROVAL, State.RUNNING})


class Round(StrEnum):
    """The steps of a run, in order; `input` is the wait for the requester between two runs."""

    SUPPORT = "support"
    SUM = "sum"
    INPUT = "input"


class Step(StrEnum):
    """Where one node stands in a job."""

    ASKED = "asked"
    AWAITING = "awaiting"
    ACCEPTED = "accepted"
    DENIED = "denied"
    ABSENT = "absent"
    SUPPORTED = "supported"
    CONTRIBUTED = "contributed"
    LOST = "lost"


# Events ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Admitted:
    """The coordinator's own policy accepted the job."""


@dataclass(frozen=True)
class Refused:
    """The coordinator's own policy refused the job."""

    denials: tuple[Denial, ...]


@dataclass(frozen=True)
class NodeAccepted:
    node: str


@dataclass(frozen=True)
class NodeAwaits:
    """The node decides once its people have reviewed the job's code."""

    node: str


@dataclass(frozen=True)
class NodeDenied:
    node: str
    denials: tuple[Denial, ...]


@dataclass(frozen=True)
class NodeAbsent:
    """The node has not been connected for longer than the reconnection grace."""

    node: str


@dataclass(frozen=True)
class RoundDone:
    """The node's part of the present run's `round` has arrived and is acceptable."""

    node: str
    round: Round


@dataclass(frozen=True)
class NodeFailed:
    """The node, or what it sent, makes the round impossible."""

    node: str
    message: str
    code: str = ""


@dataclass(frozen=True)
class NextRun:
    """The requester's input for the next run has been verified: run the round `name`, with or
    without a support step."""

    name: str
    support: bool


@dataclass(frozen=True)
class Completed:
    """The requester needs no further run."""


@dataclass(frozen=True)
class Cancelled:
    by: str


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


Event = (
    Admitted | Refused | NodeAccepted | NodeAwaits | NodeDenied | NodeAbsent | NodeFailed
    | RoundDone | NextRun | Completed | Cancelled | Tick
)  # fmt: skip


# Effects --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Propose:
    """Send the signed job to these nodes."""

    nodes: tuple[str, ...]


@dataclass(frozen=True)
class StartRound:
    """Ask `nodes` for their part of `round`; every participant masks over `participants`."""

    round: Round
    participants: tuple[str, ...]
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Finish:
    """The job has ended: tell the requester and the nodes, keep the result if there is one."""


@dataclass(frozen=True)
class Release:
    """A run of an interactive job is complete: its sum is the requester's."""


@dataclass(frozen=True)
class Wait:
    """Nothing is to be sent; what the job waits for is to be told to who watches it."""


@dataclass(frozen=True)
class Drop:
    """The present run ends without a sum: `nodes` are lost, and the job goes on without them."""

    nodes: tuple[str, ...]


Effect = Propose | StartRound | Wait | Release | Drop | Finish
