"""The process in the sandbox: `python -I -m yumen_node.training.worker SETTINGS`.

It answers one start and then steps, over two pipes. The code that it loads may do with this
process as it likes, so the node believes nothing that comes from here.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tomllib
import traceback
from typing import TYPE_CHECKING, Protocol

from yumen_node.training.bootstrap import Settings, confine, watch
from yumen_node.training.frames import MAX_FRAME_BYTES, Closed, read_frame, write_frame

if TYPE_CHECKING:
    from yumen_core.rpc.v1 import training_pb2
    from yumen_core.training.privacy import JobNoise
    from yumen_core.training.records import Action, Record, Records

_NO_MEMORY = ("can't allocate memory", "not enough memory")
_DATA_PATH, _PARTITION, _PARTITIONS = "data-path", "partition-id", "num-partitions"


class App(Protocol):
    """What answers steps: a Flower app or a ready model."""

    def answers(self, action: Action) -> bool: ...

    def __call__(self, action: Action, records: Records) -> dict[str, Record]: ...


class Fault(Exception):
    """A fault in the words that may leave the sandbox."""

    def __init__(self, kind: str, subject: str = "") -> None:
        self.kind = kind
        self.subject = subject
        super().__init__(kind, subject)


def main() -> None:
    """1. Confine. 2. Load what parses messages. 3. Start and steps, until the node ends."""
    settings = Settings.from_json(sys.argv[1])
    reports = confine(settings)
    from yumen_core.rpc.v1 import training_pb2

    def report(word: bytes) -> None:
        with contextlib.suppress(OSError):
            reports.send(word, socket.MSG_DONTWAIT)

    app: App | None = None
    with contextlib.suppress(Closed):
        while True:
            raw = read_frame(settings.requests, MAX_FRAME_BYTES)
            request = training_pb2.SandboxRequest.FromString(bytes(raw))
            del raw
            reply = training_pb2.SandboxReply()
            try:
                if app is None:
                    watch(settings, report)
                    app = _started(request.start)
                    reply.ready.SetInParent()
                else:
                    _answer(app, request.step, reply)
            except Fault as fault:
                reply.fault.kind, reply.fault.subject = fault.kind, fault.subject
            if _is_full(settings.writable):
                report(b"d")
            sys.stdout.flush()
            sys.stderr.flush()
            write_frame(settings.replies, reply.SerializeToString())


def _started(start: training_pb2.SandboxStart) -> App:
    """The app or model, loaded. Raises `Fault`."""
    from yumen_core.rpc.v1 import training_pb2
    from yumen_core.training.records import from_proto

    config = training_pb2.Record(
        key="c", kind=training_pb2.RECORD_KIND_CONFIG, scalars=start.run_config
    )
    scalars = from_proto([config])["c"].scalars  # type: ignore[union-attr]
    try:
        if start.model:
            from yumen_node.training.ready import ReadyApp

            return ReadyApp(
                start.model, start.data_path, threshold=start.threshold, noise=_noise(start)
            )
        from yumen_node.training.flower import FlowerApp, NoApp

        try:
            return FlowerApp(
                start.bundle_path,
                _reference(start.bundle_path),
                run_id=start.run_id,
                node_id=start.node_id,
                node_config={_DATA_PATH: start.data_path, _PARTITION: 0, _PARTITIONS: 1},
                run_config=scalars,
            )
        except NoApp:
            raise Fault("no_handler") from None
    except Fault:
        raise
    except BaseException:  # noqa: BLE001  the code of another party may raise anything
        traceback.print_exc()
        raise Fault("import") from None


def _noise(start: training_pb2.SandboxStart) -> JobNoise | None:
    from yumen_core.secret import Secret
    from yumen_core.training.privacy import JobNoise, NoisePlan

    if not start.HasField("noise"):
        return None
    noise = start.noise
    return JobNoise(NoisePlan(noise.count, noise.train, noise.evaluate), Secret(noise.key))


def _reference(folder: str) -> str:
    """The client app's place as the bundle's project file says, `package.module:object`. The node
    has checked that file."""
    with open(os.path.join(folder, "pyproject.toml"), "rb") as file:
        project = tomllib.load(file)
    reference = project["tool"]["flwr"]["app"]["components"]["clientapp"]
    return str(reference)


def _answer(app: App, step: training_pb2.SandboxStep, reply: training_pb2.SandboxReply) -> None:
    """Put the app's records into `reply`. Raises `Fault`."""
    from yumen_core.errors import CallError
    from yumen_core.training.records import Action, from_proto, to_proto

    action = Action(step.action)
    if not app.answers(action):
        raise Fault("no_handler")
    records = from_proto(step.records)
    try:
        answered = app(action, records)
    except BaseException as error:  # noqa: BLE001  as above
        traceback.print_exc()
        if type(error).__name__ == "NoAnswer":
            raise Fault("reply") from None
        raise Fault("exception", _subject(error)) from None
    try:
        reply.result.records.extend(to_proto(answered))
    except (CallError, TypeError, ValueError, AttributeError):
        traceback.print_exc()
        reply.Clear()
        raise Fault("reply") from None


def _subject(error: BaseException) -> str:
    """For the node's own record: whether memory was refused."""
    refused = isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in _NO_MEMORY)
    )
    return MemoryError.__name__ if refused else ""


def _is_full(folder: str) -> bool:
    try:
        return os.statvfs(folder).f_bavail == 0
    except OSError:
        return False


if __name__ == "__main__":
    main()
