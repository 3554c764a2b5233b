"""A requester who can also say what no library would let him: jobs changed before or after they
are signed, and any call with any identity."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from yumen.coordinator import CoordinatorClient
from yumen.federation import Federation
from yumen.question import ask, prepare
from yumen.result import Result
from yumen_core.errors import PeerError, YumenError
from yumen_core.identity import SignedEnvelope
from yumen_core.identity.envelope import PayloadType
from yumen_core.jobs.spec import JobSpec
from yumen_core.rpc.v1 import job_pb2
from yumen_core.securesum import BfvPublicKey

WAIT_S = 30.0


@dataclass(frozen=True)
class Signed:
    """A job as it was signed, with the key it names."""

    spec: JobSpec
    envelope: SignedEnvelope
    key: BfvPublicKey

    def altered(self, **fields: Any) -> SignedEnvelope:
        """The envelope with other fields, under the signature it had."""
        return replace(self.envelope, **fields)


class Asker:
    """One requester. Close it after use."""

    def __init__(self, address: str, identity: Path) -> None:
        self.client = CoordinatorClient(address, identity)
        self.fed = Federation(self.client)
        self.me = self.client.membership.identity
        self.keys = (
            self.fed._session.keys.current()
        )  # one key for what is asked by hand and by the library
        self._threads = ThreadPoolExecutor(8)

    def close(self) -> None:
        self._threads.shutdown()
        self.client.close()

    def job(
        self,
        sql: str,
        *,
        purpose: str = "research",
        nodes: Sequence[str] | None = None,
        min_nodes: int | None = None,
        dry_run: bool = False,
        change: Callable[[JobSpec], JobSpec] = lambda spec: spec,
        edit: Callable[[job_pb2.JobSpec], object] = lambda message: None,
    ) -> Signed:
        """A job that is signed after `change` (of the spec) and `edit` (of its message)."""
        catalogue = [signed for signed, _ in self.client.catalogue()]
        asked = ask(sql, purpose, catalogue, nodes=nodes, min_nodes=min_nodes)
        digest = b"" if dry_run else self.keys.public.digest
        clock = self.client.membership.clock
        made = prepare(asked, self.me, clock=clock, public_key_digest=digest, dry_run=dry_run)
        spec = change(made.spec)
        message = job_pb2.JobSpec.FromString(spec.to_bytes())
        edit(message)
        payload = message.SerializeToString(deterministic=True)
        envelope = self.client.membership.sign(payload, PayloadType.JOB_SPEC)
        return Signed(spec, envelope, self.keys.public)

    def submit(
        self, envelope: SignedEnvelope, public_key: bytes | None = None
    ) -> job_pb2.JobStatus:
        key = self.keys.public.to_bytes() if public_key is None else public_key
        return self.client.submit(envelope, key)[0]

    def refusal(self, envelope: SignedEnvelope, public_key: bytes | None = None) -> YumenError:
        """The error with which the coordinator refuses the job; it must refuse it."""
        return refusal(lambda: self.submit(envelope, public_key))

    def start(self, sql: str, **options: Any) -> Future[Result]:
        """The SDK's blocking query, in a thread of its own."""
        return self._threads.submit(
            lambda: self.fed.query(sql, **{"purpose": "research", **options})
        )

    def until(self, job_id: str, reached: Callable[[job_pb2.JobStatus], bool]) -> job_pb2.JobStatus:
        """The job's first status that `reached` holds for."""
        last = None
        for status in self.client.watch(job_id, timeout_s=WAIT_S):
            last = status
            if reached(status):
                return status
        raise AssertionError(f"the job ended before it was as wanted: {last}")

    def until_steps(self, job_id: str, wanted: Mapping[str, str]) -> None:
        """Wait until nodes stand at these steps, by name."""
        self.until(job_id, lambda status: wanted.items() <= steps(status).items())

    def reach(self) -> None:
        """Wait until this client's connection is up again after the coordinator was away."""
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                self.client.jobs(1)
                return
            except PeerError as error:
                if error.code != "unreachable" or time.monotonic() >= deadline:
                    raise
            time.sleep(0.05)

    def newest(self) -> str:
        """The id of the job submitted last."""
        return self.fed.jobs(limit=1)[0].job_id

    def ended(self, job_id: str) -> job_pb2.JobStatus:
        for status in self.client.watch(job_id, timeout_s=WAIT_S):
            last = status
        return last


def refusal(call: Callable[[], object]) -> YumenError:
    """The error that `call` raises; it must raise one."""
    try:
        call()
    except YumenError as error:
        return error
    raise AssertionError("expected a refusal, got an answer")


def steps(status: job_pb2.JobStatus) -> dict[str, str]:
    """Where each node stands, by the node's name."""
    return {node.node.rsplit("/", 1)[-1]: node.step for node in status.nodes}
