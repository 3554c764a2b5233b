"""Why local work failed, in sentences that may leave the node: no text of the app is in any."""

from __future__ import annotations

import signal
from enum import StrEnum

from yumen_core.errors import StateError
from yumen_core.rpc.v1 import training_pb2
from yumen_core.training.records import Action

from yumen_node.training.limits import TrainingLimits

_READ_OUTPUT = "ask the node's operator, who can read what the app printed, or correct the app"
_BWRAP_SIGNALLED = 128


class Ended(StrEnum):
    """How a worker came to its end. The values are the words of the node's records."""

    CLOSED = "closed"
    CANCELLED = "cancelled"
    DEADLINE = "wall time"
    MEMORY = "memory"
    PROCESSES = "processes"
    CPU = "cpu time"
    OUTPUT = "printed too much"
    TOO_LONG = "reply too long"
    ATTEMPTS = "attempts"
    FORBIDDEN = "system call"
    DIED = "died"

    @classmethod
    def of_status(cls, code: int) -> Ended:
        """From the exit status of a plain child (-signal) or of bubblewrap (128 + signal)."""
        number = -code if code < 0 else code - _BWRAP_SIGNALLED
        if number == signal.SIGXCPU:
            return cls.CPU
        return cls.FORBIDDEN if number == signal.SIGSYS else cls.DIED

    def error(self, limits: TrainingLimits) -> StateError:
        """What the job is told."""
        if self is Ended.DEADLINE:
            return StateError(
                "deadline",
                "expected the app to answer within its time, got no answer",
                remedy="train fewer epochs a round, or allow a longer round",
            )
        bounds = {
            Ended.MEMORY: f"expected the app to use at most {limits.memory} of memory, got more",
            Ended.PROCESSES: f"expected at most {limits.processes} threads of the app, got more",
            Ended.CPU: f"expected the app to use at most {limits.cpu_s} s of CPU time, got more",
            Ended.OUTPUT: "expected the app to print little, got more than the node drains",
            Ended.TOO_LONG: "expected a reply of the size that the job declares, got a longer one",
            Ended.ATTEMPTS: "expected the app to stay in its sandbox, got attempts to leave it",
            Ended.FORBIDDEN: "expected the app to stay in its sandbox, got an attempt to leave it",
        }
        message = bounds.get(self, "expected the app to answer, got the end of its process")
        return StateError("training", message, remedy=_READ_OUTPUT)


def absent_error(module: str) -> StateError:
    """What the job is told where the node has no such module."""
    return StateError(
        "training",
        f"expected the package `{module}` at this node, got none",
        remedy="ask the node's operator to install it, or do without it",
    )


def fault_error(fault: training_pb2.SandboxFault, action: Action | None) -> StateError:
    """What the job is told of a fault that the worker named; `action` is None for one before the
    first step. Neither an exception's class nor a module's name is said: code that has seen rows
    can choose among thousands of them.

    Raises nothing: a fault in other words than the list's becomes the plainest one.
    """
    does = "be loaded" if action is None else f"answer `{action.value}`"
    match fault.kind:
        case "import":
            got = "an error in its import"
        case "no_handler" if action is None:
            got = "no ClientApp where its project file says"
        case "no_handler":
            got = "no handler of it"
        case "exception":
            got = "an error raised in it"
        case "reply":
            got = "something else than records of arrays and numbers"
        case _:
            got = "a fault"
    return StateError("training", f"expected the app to {does}, got {got}", remedy=_READ_OUTPUT)
