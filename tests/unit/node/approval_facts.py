"""A node that reviews code, the people around it, and small apps, for the tests of approvals."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from builders.federation import Federation
from builders.project import pyproject
from yumen_core.identity import Identity, Role
from yumen_core.identity.membership import Membership
from yumen_core.training.bundle import Bundle
from yumen_node.approvals import Approvals
from yumen_node.ask import Ask, AskedColumn

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
REQUESTER = Identity("gansu.example", "lzu", Role.USER, "li")


def files(body: str = "", *, name: str = "cardio", version: str = "1.0") -> dict[str, str]:
    return {
        "pyproject.toml": pyproject(
            name, version, server="cardio.server_app:app", client="cardio.client_app:app"
        ),
        "cardio/client_app.py": f"import numpy\n{body}\napp = None\n",
        "cardio/server_app.py": "app = None\n",
    }


def app(body: str = "", **names: str) -> Bundle:
    """A small project; `body` is in its client."""
    return Bundle({path: text.encode() for path, text in files(body, **names).items()})


def write(folder: Path, texts: Mapping[str, str]) -> Path:
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


def ask(now_ms: int, job_id: str = "job-1", **changes: Any) -> Ask:
    usual = Ask(
        job_id=job_id,
        requester=REQUESTER,
        purpose="research",
        table="heart",
        sql='SELECT "age", "num" FROM "heart"',
        columns=(AskedColumn("age", "general", "age in years"), AskedColumn("num", "important")),
        runs={"train": 10, "evaluate": 5},
        min_nodes=3,
        parameters=1234,
        metrics=("accuracy", "loss"),
        expires_at_ms=now_ms + 60 * MINUTE_MS,
        limits={"memory": "2GB"},
    )
    return replace(usual, **changes)


class Hospital:
    """One node of the organisation `cleveland`, with its store and its people."""

    def __init__(self, federation: Federation, folder: Path) -> None:
        self.federation = federation
        self.folder = folder
        self.node = federation.member(Role.NODE, "heart", "cleveland")
        self.wang = federation.member(Role.USER, "wang", "cleveland")
        self.zhao = federation.member(Role.USER, "zhao", "cleveland")
        self.approvals = Approvals(folder, self.node)

    @property
    def now_ms(self) -> int:
        return self.federation.clock.now_ms()

    def offered(self, bundle: Bundle | None = None, **changes: Any) -> bytes:
        """The digest of a bundle that a job waits for."""
        found = bundle or app()
        self.approvals.offer(found, ask(self.now_ms, **changes))
        return found.digest

    def approve(self, digest: bytes, by: Membership | None = None) -> None:
        self._give(digest, True, "read all files", by)

    def reject(self, digest: bytes, by: Membership | None = None) -> None:
        self._give(digest, False, "it opens a socket", by)

    def _give(self, digest: bytes, approved: bool, reason: str, by: Membership | None) -> None:
        self.federation.clock.advance(1)
        self.approvals.give(digest, approved=approved, reason=reason, by=by)

    def names(self, digest: bytes, **asked: Any) -> list[str]:
        """The short names of those whose approval counts."""
        return [one.short for one in self.approvals.verdict(digest, **asked).approvers]
