"""A whole federation as processes of this machine, over mTLS on loopback.

    authority ──token──► coordinator, node, node, ... (started at once, enrolled by token)

Every process enrols and starts in one go, so a federation of N nodes costs N + 2 process starts.
The requester enrols from the calling process.

Trust line for the root folder: it holds every private key of the federation and belongs to the
caller alone; who may write it may be any party of this federation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from yumen_core.clock import SystemClock
from yumen_core.errors import StateError
from yumen_core.identity.names import Identity, Role

from yumen._processes import Child, free_port, port_taken, signals_waiting, stop_all

PORT_ATTEMPTS = 3


@dataclass(frozen=True)
class NodeSetup:
    """One node: its names, its table declarations (YAML files), its policy files, and the Flower
    projects whose code it approves as they stand."""

    organisation: str
    name: str
    tables: tuple[Path, ...]
    policies: tuple[Path, ...] = ()
    purposes: Path | None = None
    approve: tuple[Path, ...] = ()


@dataclass(frozen=True)
class StackSetup:
    """What to start. `purposes` is the registry of purposes that the coordinator goes by."""

    federation: str
    nodes: tuple[NodeSetup, ...]
    coordinator_policies: tuple[Path, ...] = ()
    purposes: Path | None = None
    organisation: str = "local"
    requester: str = "me"

    def identity(self, node: NodeSetup) -> Identity:
        return Identity(self.federation, node.organisation, Role.NODE, node.name)

    @property
    def coordinator(self) -> Identity:
        return Identity(self.federation, self.organisation, Role.COORDINATOR, "main")

    @property
    def user(self) -> Identity:
        return Identity(self.federation, self.organisation, Role.USER, self.requester)


class Stack:
    """The running processes. Make one with `Stack.start`, end it with `stop`."""

    def __init__(self, root: Path, setup: StackSetup) -> None:
        self.root = root
        self.setup = setup
        self.children: list[Child] = []
        self.authority_directory = root / "authority"
        self.coordinator_directory = root / "coordinator"
        self.user_directory = root / "user"
        self.node_directories = {
            node.name: root / "nodes" / f"{node.organisation}.{node.name}" for node in setup.nodes
        }
        self.authority_address = f"127.0.0.1:{free_port()}"
        self.coordinator_address = f"127.0.0.1:{free_port()}"

    @classmethod
    def start(
        cls,
        root: Path,
        setup: StackSetup,
        *,
        timeout_s: float = 60.0,
        on_step: Callable[[str], None] | None = None,
    ) -> Stack:
        """Start everything in a new folder under `root`; returns when every node is connected.

        `on_step` hears, in words, of each thing that is ready. Where another process took a port
        in the meantime, it starts over in another folder, `PORT_ATTEMPTS` times in all.

        Raises `StateError` with the tail of the log of the process that failed.
        """
        for attempt in range(1, PORT_ATTEMPTS + 1):
            stack = cls(root / f"federation-{attempt}", setup)
            try:
                stack._start(time.monotonic() + timeout_s, on_step or _no_step)
            except BaseException as error:  # Ctrl-C too must leave no process behind
                stack.stop()
                if attempt < PORT_ATTEMPTS and isinstance(error, StateError) and stack._clash():
                    continue
                raise
            return stack
        raise AssertionError("the last attempt returns or raises")

    def stop(self) -> None:
        """End every process. Calling it again does nothing."""
        children, self.children = self.children, []
        stop_all(children)

    def _start(self, deadline: float, on_step: Callable[[str], None]) -> None:
        logs = self.root / "logs"
        logs.mkdir(parents=True, mode=0o700)
        authority = self._spawn("the authority", "authority", self._authority_args())
        coordinator = self._spawn("the coordinator", "coordinator", self._coordinator_args())
        nodes = {
            node.name: self._spawn(f"node {node.name}", f"node-{node.name}", self._node_args(node))
            for node in self.setup.nodes
        }
        tokens = _tokens(authority, deadline)
        on_step("the authority has signed its own certificate and waits for requests")
        coordinator.send_line(_token_of(tokens, self.setup.coordinator))
        for node in self.setup.nodes:
            nodes[node.name].send_line(_token_of(tokens, self.setup.identity(node)))
        self._enrol_user(_token_of(tokens, self.setup.user))
        on_step(f"the requester `{self.setup.user.short}` has enrolled")
        coordinator.events_until_ready(deadline - time.monotonic())
        on_step(f"the coordinator listens at {self.coordinator_address}")
        for node in self.setup.nodes:
            nodes[node.name].events_until_ready(deadline - time.monotonic())
            on_step(f"node `{node.name}` has enrolled and is connected")

    def _spawn(self, name: str, file: str, args: Sequence[str]) -> Child:
        with signals_waiting():  # a child that nobody knows of would never be ended
            child = Child.spawn(args, name=name, stderr=self.root / "logs" / f"{file}.log")
            self.children.append(child)
        return child

    def _authority_args(self) -> list[str]:
        members = [self.setup.coordinator, self.setup.user]
        members += [self.setup.identity(node) for node in self.setup.nodes]
        wanted = [f"--token-for={_member(identity)}" for identity in members]
        return [
            *("authority", "init", str(self.authority_directory)),
            *("--federation", self.setup.federation, "--address", self.authority_address),
            *wanted,
            *("--start", "--with-parent", "--json"),
        ]

    def _coordinator_args(self) -> list[str]:
        policies = [f"--policy={path}" for path in self.setup.coordinator_policies]
        return [
            *("coordinator", "init", str(self.coordinator_directory)),
            *("--address", self.coordinator_address, "--token", "-"),
            *policies,
            *_purposes(self.setup.purposes),
            *("--start", "--with-parent", "--json"),
        ]

    def _node_args(self, node: NodeSetup) -> list[str]:
        return [
            *("node", "init", str(self.node_directories[node.name])),
            *("--coordinator", self.coordinator_address, "--token", "-"),
            *[f"--table={path}" for path in node.tables],
            *[f"--policy={path}" for path in node.policies],
            *[f"--approve={path}" for path in node.approve],
            *_purposes(node.purposes),
            *("--start", "--with-parent", "--json"),
        ]

    def _enrol_user(self, token: str) -> None:
        from yumen_core.identity.client import enrol

        enrol(token, self.user_directory, clock=SystemClock())

    def _clash(self) -> bool:
        """Whether a stranger listens on one of our ports, now that our own processes are gone."""
        addresses = (self.authority_address, self.coordinator_address)
        return any(port_taken(int(address.rpartition(":")[2])) for address in addresses)


def _member(identity: Identity) -> str:
    return f"org/{identity.organisation}/{identity.role}/{identity.name}"


def _purposes(path: Path | None) -> list[str]:
    return [] if path is None else [f"--purposes={path}"]


def _tokens(authority: Child, deadline: float) -> dict[str, str]:
    """The enrolment tokens by identity, once the authority answers requests."""
    events = authority.events_until_ready(deadline - time.monotonic())
    return {
        str(event.get("identity")): str(event.get("token"))
        for event in events
        if event.get("event") == "token"
    }


def _token_of(tokens: dict[str, str], identity: Identity) -> str:
    try:
        return tokens[identity.uri]
    except KeyError:
        raise StateError(
            "failed",
            f"expected an enrolment token for `{identity.uri}` from the authority, got none",
        ) from None


def _no_step(_: str) -> None:
    return None
