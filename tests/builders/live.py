"""A federation of real processes that a test can pause, kill, change and start again.

Enrolment and settings are written from the test's own process, so every service starts once, with
the settings that the test wants.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from yumen._processes import PROGRAM, Child, free_port, stop_all
from yumen.coordinator import CoordinatorClient
from yumen_authority import service as authority
from yumen_coordinator.service import init_coordinator
from yumen_core.identity import Identity, Role
from yumen_core.identity.client import enrol
from yumen_core.log import Entry, verify_directory
from yumen_core.log.entry import decode_entry
from yumen_core.log.guard import Guard
from yumen_core.log.reader import Reader
from yumen_core.log.storage import DiskStorage
from yumen_node.service import init_node

FEDERATION = "gansu.example"
START_S = 60.0
PERMIT = f"""
@id("members")
@reason_code("member")
@remedy("ask with an identity of this federation")
permit (principal, action in [Yumen::Action::"query", Yumen::Action::"statistic"], resource)
when {{ principal.federation == "{FEDERATION}" }};
"""
PURPOSES = "purposes:\n- {name: research, meaning: study}\n- {name: 医学研究, meaning: 研究}\n"


def uri(role: Role, name: str) -> str:
    """The identity of a member; every member has an organisation of its own name."""
    return Identity(FEDERATION, name, role, name).uri


def node_uri(name: str) -> str:
    return uri(Role.NODE, name)


class Live:
    """Start it with `with`. `nodes` maps a node's name to its table declarations; those in `hand`
    are enrolled but not started: the test speaks for them (`HandNode`)."""

    def __init__(
        self,
        root: Path,
        nodes: Mapping[str, Sequence[Path]],
        *,
        hand: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        node_settings: Mapping[str, Any] | None = None,
        policies: Mapping[str, str] | None = None,
        programs: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.root = root
        self.hand = tuple(hand)
        self.authority_directory = root / "authority"
        self.address = f"127.0.0.1:{free_port()}"
        self._nodes = dict(nodes)
        self._settings = dict(settings or {})
        self._node_settings = dict(node_settings or {})
        self._policies = dict(policies or {})
        self._programs = dict(programs or {})
        self._children: dict[str, Child] = {}

    def __enter__(self) -> Live:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        for child in self._children.values():
            if child.alive:
                os.kill(child.pid, signal.SIGCONT)
        stop_all(list(self._children.values()))

    # Members ------------------------------------------------------------------------------------

    def directory(self, name: str) -> Path:
        return self.root / name

    def token(self, role: Role, name: str) -> str:
        dns = ["127.0.0.1"] if role is Role.COORDINATOR else []
        return authority.issue_token(self.authority_directory, uri(role, name), dns_names=dns)

    def member(self, role: Role, name: str) -> Path:
        """The identity folder of a new member that no process of its own runs for."""
        folder = self.root / f"{role}-{name}"
        enrol(self.token(role, name), folder)
        return folder

    def revoke(self, member: str) -> None:
        assert authority.revoke(self.authority_directory, member)

    # Processes ----------------------------------------------------------------------------------

    def spawn(self, name: str) -> Child:
        """Start `name` (`authority`, `coordinator` or a node) and do not wait for it."""
        role = name if name in ("authority", "coordinator") else "node"
        child = Child.spawn(
            [role, "start", str(self.directory(name)), "--with-parent", "--json"],
            name=name,
            stderr=self.root / f"{name}.log",
            program=self._programs.get(name, PROGRAM),
        )
        self._children[name] = child
        return child

    def start_again(self, name: str) -> None:
        self.spawn(name).events_until_ready(START_S)

    def kill(self, name: str) -> None:
        """SIGKILL: the process writes nothing more and says nothing more."""
        child = self._children[name]
        os.kill(child.pid, signal.SIGKILL)
        child.wait_stopped(time.monotonic() + START_S)

    def pause(self, name: str) -> None:
        """The process stands still; its connections stay open."""
        os.kill(self._children[name].pid, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        os.kill(self._children[name].pid, signal.SIGCONT)

    def running(self, name: str) -> bool:
        return self._children[name].alive

    def log_text(self, name: str) -> str:
        return (self.root / f"{name}.log").read_text(encoding="utf-8")

    def wait_connected(self, client: CoordinatorClient, *names: str) -> None:
        """Wait until the coordinator counts these nodes as connected."""
        deadline = time.monotonic() + 20
        while True:
            there = {s.descriptor.node.name for s, connected in client.catalogue() if connected}
            if there >= set(names):
                return
            assert time.monotonic() < deadline, f"{set(names) - there} did not come back"
            time.sleep(0.02)

    # Logs ---------------------------------------------------------------------------------------

    def entries(self, name: str) -> list[Entry]:
        """Every entry of a party's log, after the whole log has been verified.

        What the party has written by now is waited for: readers see it a moment later.
        """
        directory = self.directory(name) / "log"
        attested = Guard(DiskStorage(), self.directory(name) / "secrets" / "log.guard").load()
        assert attested is not None
        deadline = time.monotonic() + 10
        while (report := verify_directory(directory, None)).size < attested.size:
            assert time.monotonic() < deadline, f"the log of {name} stays behind its guard"
            time.sleep(0.05)
        reader = Reader(DiskStorage(), directory, report.size)
        return [decode_entry(entry) for entry in reader.entries(0, report.size)]

    # Inside -------------------------------------------------------------------------------------

    def _start(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        purposes = self.root / "purposes.yaml"
        purposes.write_text(PURPOSES, encoding="utf-8")
        authority.init_authority(self.authority_directory, FEDERATION, f"127.0.0.1:{free_port()}")
        self.start_again("authority")
        init_coordinator(
            self.directory("coordinator"),
            address=self.address,
            token=self.token(Role.COORDINATOR, "main"),
            policies=[self._policy("coordinator")],
            purposes=purposes,
        )
        self.configure("coordinator", self._settings)
        for name, tables in self._nodes.items():
            init_node(
                self.directory(name),
                coordinator=self.address,
                token=self.token(Role.NODE, name),
                tables=tables,
                policies=[self._policy(name)],
                purposes=purposes,
            )
            self.configure(name, {"reconnect_max_s": 0.3, **self._node_settings})
        started = [
            self.spawn(name) for name in ("coordinator", *self._nodes) if name not in self.hand
        ]
        for child in started:
            child.events_until_ready(START_S)

    def configure(self, name: str, settings: Mapping[str, Any]) -> None:
        """Change settings in the file of a party; they count from its next start."""
        kind = "coordinator" if name == "coordinator" else "node"
        file = self.directory(name) / f"{kind}.yaml"
        held = yaml.safe_load(file.read_text(encoding="utf-8"))
        file.write_text(yaml.safe_dump({**held, **settings}, allow_unicode=True), encoding="utf-8")

    def _policy(self, name: str) -> Path:
        folder = self.root / "given" / name
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "own.cedar"
        file.write_text(self._policies.get(name, PERMIT), encoding="utf-8")
        return file
