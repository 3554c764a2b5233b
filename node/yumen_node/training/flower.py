"""Flower's messages from named records and back, and the app that answers them.

Runs inside the sandbox. Records pass as the strategy made them, so an app of the message form and
one with a `client_fn` both find the names that they expect.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping

from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp
from flwr.supercore.task_identity import TaskIdentity
from yumen_core.training.records import Action, Arrays, Config, Metrics, Record, Records, Scalar

_COORDINATOR = 1  # the other end of every message, as Flower numbers a SuperLink


class NoApp(Exception):
    """The reference names no ClientApp."""


class NoAnswer(Exception):
    """What the app gave back is no message with records."""


class FlowerApp:
    """One ClientApp with the context that it keeps between messages."""

    def __init__(
        self,
        folder: str,
        reference: str,
        *,
        run_id: int,
        node_id: int,
        node_config: Mapping[str, int | str],
        run_config: Mapping[str, Scalar],
    ) -> None:
        """Import `package.module:object` with `folder` on the path. Raises what the import
        raises, and `NoApp`."""
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, run_id, node_id
        self._context = Context(
            run_id=run_id,
            node_id=node_id,
            node_config=dict(node_config),
            state=RecordDict(),
            run_config=dict(run_config),  # type: ignore[arg-type]
        )
        self._app = _imported(folder, reference)

    def answers(self, action: Action) -> bool:
        """Whether the app has a handler of `action`; a `client_fn` answers train and evaluate."""
        if getattr(self._app, "_call", None) is not None:
            return action is not Action.QUERY
        return f"{action.value}.default" in getattr(self._app, "_registered_funcs", {})

    def __call__(self, action: Action, records: Records) -> dict[str, Record]:
        """The app's records. Raises what the app raises, and `NoAnswer`."""
        message = Message(to_flower(records), self._context.node_id, action.value)
        message.metadata.__dict__["_src_node_id"] = _COORDINATOR
        reply = self._app(message, self._context)
        if not isinstance(reply, Message) or not reply.has_content():
            raise NoAnswer
        return from_flower(reply.content)


def to_flower(records: Records) -> RecordDict:
    """The records as Flower's."""
    made = RecordDict()
    for key, record in records.items():
        match record:
            case Arrays(tensors):
                made[key] = ArrayRecord({name: Array(values) for name, values in tensors.items()})
            case Metrics(scalars):
                made[key] = MetricRecord(_plain(scalars))  # type: ignore[arg-type]
            case Config(scalars):
                made[key] = ConfigRecord(_plain(scalars))  # type: ignore[arg-type]
    return made


def from_flower(content: RecordDict) -> dict[str, Record]:
    """Flower's records as ours. Raises `NoAnswer` for anything else."""
    made: dict[str, Record] = {}
    for key, record in content.items():
        match record:
            case ArrayRecord():
                made[key] = Arrays({name: array.numpy() for name, array in record.items()})
            case MetricRecord():
                made[key] = Metrics(dict(record))
            case ConfigRecord():
                made[key] = Config(dict(record))  # type: ignore[arg-type]
            case _:
                raise NoAnswer
    return made


def _plain(scalars: Mapping[str, Scalar]) -> dict[str, object]:
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in scalars.items()
    }


def _imported(folder: str, reference: str) -> ClientApp:
    module, _, path = reference.partition(":")
    sys.path.insert(0, folder)
    found: object = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name, None)
    if not isinstance(found, ClientApp):
        raise NoApp
    return found
