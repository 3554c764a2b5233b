"""Flower's grid over secure sums: N equal messages go out, one mean comes back. Loads Flower.

Flower's own grid brings every node's reply to the strategy. Here nobody has them: a run asks all
participants for the same work and releases only the mean over all examples, as one reply with the
total as its weight, which every strategy that takes the weighted mean reads as it reads N replies.
"""

from __future__ import annotations

import hashlib
import sys
import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from types import FrameType

import numpy as np
from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from flwr.supercore.run import Run, RunNotRunningException
from yumen_core.errors import CallError, YumenError
from yumen_core.training.records import Action, Arrays, Record, Values

from yumen.training import flower
from yumen.training.aggregate import DEFAULT_WEIGHT, Aggregate, Rounds, content_digest
from yumen.training.convert import is_legacy, records_of, reply_content
from yumen.training.strategies import check_strategy

_ACTIONS = {
    MessageType.TRAIN: Action.TRAIN,
    MessageType.EVALUATE: Action.EVALUATE,
    MessageType.QUERY: Action.QUERY,
}
_ASK_ONE = frozenset({"get_parameters", "get_properties"})
_MAX_FRAMES = 40


def node_id(participant: str) -> int:
    """A node's number for Flower: 63 bits of the SHA-256 of its SPIFFE id, the same in each run."""
    return int.from_bytes(hashlib.sha256(participant.encode()).digest()[:8], "big") >> 1


class YumenGrid(Grid):
    """The grid that a strategy or a ServerApp runs on.

    `weight` is the metric by which nodes count. Every call of a strategy that this grid can see is
    checked (`check_strategy`) before any node is asked. The first error stays in `fault`, and every
    later call raises it again: Flower's older server would take it for a failed node and go on.
    """

    def __init__(self, rounds: Rounds, *, weight: str = DEFAULT_WEIGHT) -> None:
        self._rounds = rounds
        self._weight = weight
        self._lock = threading.RLock()
        self._checked: set[tuple[int, int]] = set()
        self._strategy: Strategy | None = None
        self._types: dict[str, np.dtype[np.generic]] = {}
        self._waiting: list[Message] = []
        self._replies: dict[str, Message | None] = {}
        self._shared: _Shared | None = None
        self._closed = False
        self.fault: YumenError | None = None
        self._run = Run.create_empty(run_id=1 + (uuid.uuid4().int >> 65))
        flower.identify(self._run.run_id)

    def set_run(self, run: Run) -> None:
        self._run = run

    @property
    def run(self) -> Run:
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        # An earlier fault is not raised here: a thread of the older server asks now and then.
        if self._closed:
            raise RunNotRunningException
        with self._faults(again=False):
            self._check_caller()
            return [node_id(name) for name in self._rounds.participants]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """One run; the round's time limit is the job's, not `timeout`.

        1. Each message has content, of one action. 2. All have the same content. 3. They go to all
        participants, once each. Raises `CallError` (`strategy`) otherwise, and what the run raises.
        """
        asked = list(messages)
        if not asked:
            return []
        with self._lock, self._faults():
            self._check_caller()
            if len(asked) == 1 and asked[0].has_content() and is_legacy(asked[0].content):
                return [self._shared_reply(asked[0])]
            return [self._one_run(asked)]

    def use(self, strategy: Strategy | None) -> None:
        """The strategy that calls from here on is `strategy`, or one that this grid has to find.

        Raises `CallError` (`strategy`) as `check_strategy` does.
        """
        with self._faults():
            self._strategy = strategy
            self._check_caller()

    def close(self) -> None:
        """The training is over: a thread of the older server that still asks for nodes ends."""
        self._closed = True

    def in_first_types(self, tensors: Mapping[str, Values]) -> dict[str, Values]:
        """Arrays in the types in which they first went out.

        FedAdam and legacy means widen float32 to float64 on their first step; a model at a node is
        of the first type in any case, and twice the bytes would carry nothing more.
        """
        return {name: self._in_type(name, values) for name, values in tensors.items()}

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Take messages; the run starts once every participant has one."""
        with self._lock, self._faults():
            self._check_caller()
            pushed = []
            for message in messages:
                key = str(uuid.uuid4())
                message.metadata.__dict__["_message_id"] = key
                self._waiting.append(message)
                pushed.append(key)
            if {m.metadata.dst_node_id for m in self._waiting} >= self._everyone():
                asked, self._waiting = self._waiting, []
                reply = self._one_run(asked)
                self._replies.update(dict.fromkeys((m.metadata.message_id for m in asked), None))
                self._replies[asked[0].metadata.message_id] = reply
            return pushed

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The one reply to a whole round of pushed messages, once.

        Raises `CallError` (`strategy`) for a round that not every participant was asked in, and
        for a second pull, since an app that waits for N replies would wait for ever.
        """
        with self._lock, self._faults():
            if self._waiting:
                self._check_everyone(self._waiting)
            known = [key for key in message_ids if key in self._replies]
            found = [reply for key in known if (reply := self._replies[key]) is not None]
            if known and not found:
                raise _refused(
                    "expected an app that takes one reply a round, got one that waits for a reply "
                    "of every node",
                    remedy="read the replies once: the one reply is the mean over all nodes",
                )
            for reply in found:
                self._replies[reply.metadata.reply_to_message_id] = None
            return found

    def _faults(self, *, again: bool = True) -> _Faults:
        return _Faults(self, again)

    def _everyone(self) -> set[int]:
        return {node_id(name) for name in self._rounds.participants}

    def _one_run(self, asked: Sequence[Message]) -> Message:
        action = _action(asked)
        records = _common_records(action, asked)
        self._check_everyone(asked)
        aggregate = self._rounds.run(action, self._narrowed(records))
        return _answer(asked[0], reply_content(asked[0].content, aggregate, self._weight))

    def _shared_reply(self, message: Message) -> Message:
        """A legacy server asks node by node, in threads: the first call starts the run, and each
        node's call hears the same mean, with its part of the examples."""
        action, records = _action([message]), records_of(message.content)
        round_ = (action, message.metadata.group_id, content_digest(action, records))
        everyone = sorted(self._everyone())
        destination = message.metadata.dst_node_id
        if self._shared is None or self._shared.round != round_ or not self._shared.open:
            if self._shared is not None and self._shared.open:
                raise self._not_everyone(len(everyone) - len(self._shared.open))
            aggregate = self._rounds.run(action, self._narrowed(records))
            self._shared = _Shared(round_, aggregate, everyone)
        if destination not in self._shared.open:
            raise _refused("expected every node to be asked once a round, got one asked again")
        self._shared.open.discard(destination)
        aggregate = self._shared.aggregate
        share, rest = divmod(aggregate.examples, len(self._shared.everyone))
        share += self._shared.everyone.index(destination) < rest
        content = reply_content(message.content, aggregate, self._weight, share=share)
        return _answer(message, content)

    def _narrowed(self, records: dict[str, Record]) -> dict[str, Record]:
        return {
            key: Arrays(self.in_first_types(record.tensors))
            if isinstance(record, Arrays)
            else record
            for key, record in records.items()
        }

    def _in_type(self, name: str, values: Values) -> Values:
        first = self._types.setdefault(name, values.dtype)
        with np.errstate(invalid="ignore", over="ignore"):  # not finite is for the run to refuse
            return values if values.dtype == first else values.astype(first)

    def _check_everyone(self, asked: Sequence[Message]) -> None:
        destinations = [message.metadata.dst_node_id for message in asked]
        everyone = self._everyone()
        if unknown := set(destinations) - everyone:
            raise _refused(
                f"expected messages to the {len(everyone)} participants, got one to node "
                f"`{min(unknown)}`"
            )
        if len(set(destinations)) != len(destinations):
            raise _refused("expected one message to each participant, got two to one node")
        if set(destinations) != everyone:
            raise self._not_everyone(len(destinations))

    def _not_everyone(self, asked: int) -> CallError:
        count = len(self._everyone())
        return _refused(
            f"expected a round that asks all {count} participants, got one that asks {asked}: the "
            "difference of two subsets would be one node's update",
            remedy=f"set fraction_train=1.0 and fraction_evaluate=1.0 (or 0.0 for no evaluation), "
            f"and every min_..._nodes to at most {count}",
        )

    def _check_caller(self) -> None:
        # A frame that was looked at keeps its values alive: none is where the strategy is known.
        strategy = self._strategy or _calling_strategy(sys._getframe(1))
        nodes = len(self._rounds.participants)
        if strategy is not None and (id(strategy), nodes) not in self._checked:
            check_strategy(strategy, nodes=nodes, weight=self._weight)
            self._checked.add((id(strategy), nodes))


class _Faults:
    """Keeps the first fault, and with `again` raises it once more."""

    def __init__(self, grid: YumenGrid, again: bool) -> None:
        self._grid = grid
        self._again = again

    def __enter__(self) -> None:
        if self._again and self._grid.fault is not None:
            raise self._grid.fault

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, YumenError) and self._grid.fault is None:
            self._grid.fault = error


class _Shared:
    """One legacy round: its aggregate, and the nodes whose calls have not come yet."""

    def __init__(
        self, round_: tuple[Action, str, bytes], aggregate: Aggregate, everyone: list[int]
    ) -> None:
        self.round = round_
        self.aggregate = aggregate
        self.everyone = everyone
        self.open = set(everyone)


def _calling_strategy(frame: FrameType | None) -> Strategy | None:
    """The strategy on whose behalf the grid is called: the nearest one up the stack, if any. An
    app's own `main` makes it, so that the stack is the only place to find it."""
    for _ in range(_MAX_FRAMES):
        if frame is None:
            return None
        found = frame.f_locals.get("self")
        if isinstance(found, Strategy):
            return found
        frame = frame.f_back
    return None


def _action(asked: Sequence[Message]) -> Action:
    if any(not message.has_content() for message in asked):
        raise _refused("expected messages with content, got an error message")
    kinds = sorted({message.metadata.message_type for message in asked})
    if len(kinds) != 1:
        raise _refused(f"expected one action for all nodes, got `{'` and `'.join(kinds)}`")
    if kinds[0] in _ASK_ONE:
        raise _refused(
            "expected initial parameters from the server app, got a question to one node for its "
            "own",
            remedy="set initial_parameters of the strategy",
        )
    action = _ACTIONS.get(kinds[0])
    if action is None:
        raise CallError(
            "training", f"expected messages of `train`, `evaluate` or `query`, got `{kinds[0]}`"
        )
    return action


def _common_records(action: Action, asked: Sequence[Message]) -> dict[str, Record]:
    """The records of all messages. Raises `CallError` (`strategy`) where two differ."""
    first = asked[0].content
    records = records_of(first)
    expected: bytes | None = None
    for message in asked[1:]:
        if message.content is first:
            continue
        expected = expected or content_digest(action, records)
        if content_digest(action, records_of(message.content)) != expected:
            raise _refused(
                "expected the same content for all nodes, got another one for some: a mean of "
                "different tasks is none, and one node's task would show its answer",
                remedy="send every node the same arrays and the same settings",
            )
    return records


def _answer(message: Message, content: RecordDict) -> Message:
    reply = Message(content, reply_to=message)
    reply.metadata.__dict__["_message_id"] = str(uuid.uuid4())
    return reply


def _refused(message: str, *, remedy: str | None = None) -> CallError:
    return CallError("strategy", message, remedy=remedy)
