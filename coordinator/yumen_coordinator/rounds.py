"""One job while it runs: what has arrived of its present run, and who waits for news."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from yumen_core.errors import PeerError
from yumen_core.identity.envelope import SignedEnvelope
from yumen_core.jobs.admission import OpenedJob
from yumen_core.jobs.inputs import NO_INPUT, SignedInput
from yumen_core.jobs.machine import Job
from yumen_core.jobs.runs import Runs, RunShape
from yumen_core.log import Act, Entry
from yumen_core.log.entry import Value
from yumen_core.log.proof import LogProof
from yumen_core.rpc.chunks import Joiner, split
from yumen_core.rpc.v1 import envelope_pb2
from yumen_core.securesum import BfvPublicKey
from yumen_core.securesum.blind import BlindAdder
from yumen_core.securesum.suite import adder, sum_bytes


@dataclass(frozen=True)
class Payload:
    """Sealed bytes on their way to the nodes, in the pieces that they travel in."""

    digest: bytes
    pieces: tuple[envelope_pb2.Chunk, ...]

    @classmethod
    def of(cls, sealed: bytes) -> Payload:
        return cls(hashlib.sha256(sealed).digest(), tuple(split(sealed)))


@dataclass
class ActiveJob:
    """A job that has not ended, with everything the coordinator holds for it in memory.

    Nothing in it is secret: the envelope is signed, the public key public, what nodes send is
    encrypted to the requester and masked besides, and a run's `inputs` are sealed to the nodes, as
    is `payload`, what a training's input names and travels apart. `passed` says that the requester
    has had the present run's sum before a restart: its nodes have stored their parts of it.
    """

    job: Job
    opened: OpenedJob
    envelope: SignedEnvelope
    public_key: bytes
    runs: Runs
    max_sum_bytes: int
    submitted_at_ms: int
    bundle: bytes = b""
    decisions: dict[str, SignedEnvelope] = field(default_factory=dict)
    proofs: dict[str, LogProof] = field(default_factory=dict)
    supports: dict[str, SignedEnvelope] = field(default_factory=dict)
    contributed: dict[str, bytes] = field(default_factory=dict)
    inputs: SignedInput | None = None
    inputs_envelope: SignedEnvelope | None = None
    payload: Payload | None = None
    passed: bool = False
    received_bytes: int = 0
    unlogged: list[Entry] = field(default_factory=list)
    end_logged: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    timer: asyncio.TimerHandle | None = None
    _joiners: dict[str, Joiner] = field(default_factory=dict)
    _adder: BlindAdder | None = None
    _uploaded: Payload | None = None
    _soon: asyncio.TimerHandle | None = None

    @property
    def shape(self) -> RunShape:
        """What the present run carries."""
        return next(s for s in self.runs.shapes if s.name == self.job.runs[-1])

    @property
    def slots(self) -> int:
        return self.shape.answer.slots

    @property
    def inputs_digest(self) -> bytes:
        """Of the present run's signed input."""
        return NO_INPUT if self.inputs is None else self.inputs.digest

    def learned(
        self,
        now_ms: int,
        act: Act,
        node: str,
        *,
        digests: Mapping[str, bytes] | None = None,
        detail: Mapping[str, Value] | None = None,
    ) -> None:
        """Note an act of `node`, to be logged before anything follows from it."""
        subject = {"job": self.job.job_id, "node": node}
        told: dict[str, Value] = dict(detail or {})
        if self.job.interactive and act in (Act.SUPPORT, Act.CONTRIBUTION):
            told |= {"run": self.job.run, "round": self.job.runs[-1]}
        self.unlogged.append(Entry(now_ms, act, subject, digests or {}, told))

    def announce(self) -> None:
        """Wake everyone who watches this job."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        self.changed.set()
        self.changed = asyncio.Event()

    def announce_within(self, delay_s: float) -> None:
        """Wake the watchers soon, once for all that happens until then."""
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(delay_s, self.announce)

    def start_sum(self) -> None:
        """Forget the parts of a sum that is asked for (again)."""
        self._joiners.clear()
        self._adder = None
        self.contributed.clear()

    def start_run(self, inputs: SignedInput, envelope: SignedEnvelope) -> None:
        """Begin a run with this input: nothing of the run before is kept."""
        self.start_sum()
        self.supports.clear()
        self.inputs, self.inputs_envelope = inputs, envelope
        self.passed = False
        if self.payload is None or self.payload.digest != inputs.apart:
            self.payload = None
        self.take_uploaded()

    def keep_uploaded(self, payload: Payload) -> None:
        """What a later run's input names, or the present one's where it was lost."""
        self._uploaded = payload

    def has_uploaded(self, inputs: SignedInput) -> bool:
        """Whether what `inputs` names is here, if it names anything."""
        return not inputs.apart or any(
            held is not None and held.digest == inputs.apart
            for held in (self.payload, self._uploaded)
        )

    def take_uploaded(self) -> bool:
        """Make what was uploaded the present run's, if its input names it."""
        held, wanted = self._uploaded, self.inputs
        if held is None or wanted is None or held.digest != wanted.apart:
            return False
        self.payload, self._uploaded = held, None
        return True

    @property
    def waits_for_payload(self) -> bool:
        """Whether the present run's input names bytes that are not here (after a restart), and
        that its nodes may need."""
        apart = self.inputs is not None and bool(self.inputs.apart)
        return apart and self.payload is None and not self.passed

    def forget_partial(self, node: str) -> None:
        """Drop the pieces of a contribution whose stream broke; the node sends it again."""
        self._joiners.pop(node, None)

    def add_chunk(self, node: str, chunk: envelope_pb2.Chunk) -> bytes | None:
        """Take a piece of `node`'s contribution.

        Returns the SHA-256 of the whole once it has arrived and been added to the sum, and `None`
        before. Raises `PeerError` (`ciphertext`, `payload_too_large`) for what cannot be added;
        the sum is then as it was.
        """
        if node in self.contributed:
            return None
        suite = self.opened.spec.suite
        limit = min(self.max_sum_bytes, sum_bytes(suite, self.slots))
        joiner = self._joiners.setdefault(node, Joiner(limit_bytes=limit, sender=node))
        payload = joiner.add(chunk)
        if payload is None:
            return None
        del self._joiners[node]
        if self._adder is None:
            key = BfvPublicKey.from_bytes(self.public_key) if self.public_key else None
            self._adder = adder(suite, key, self.slots)
        try:
            self._adder.add(payload)
        except PeerError as error:
            raise PeerError(error.code, error.message, node=node) from error
        self.received_bytes += len(payload)
        digest = hashlib.sha256(payload).digest()
        self.contributed[node] = digest
        return digest

    def total(self) -> bytes:
        """The encrypted sum of all contributions of the round."""
        if self._adder is None or set(self.contributed) != set(self.job.participants):
            raise ValueError("the round is not complete")
        return self._adder.result()
