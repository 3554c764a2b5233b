"""What nodes send in the rounds: parts that end a job, and parts that are ignored."""

from collections.abc import Callable

import numpy as np
import pytest
from builders.federation import Federation, Job, Node, job_for, key_pair
from builders.hub import SLOTS, Hub, steps, zeros
from yumen_core.identity import Role
from yumen_core.jobs.machine import State, Step
from yumen_core.log import Act
from yumen_core.rpc.chunks import split
from yumen_core.rpc.v1 import envelope_pb2
from yumen_core.securesum.bfv import BfvKeyPair, encrypt
from yumen_core.securesum.ciphertext import BLOCK_BYTES, HEADER_BYTES, sealed_bytes

Play = Callable[..., None]


def other_key() -> bytes:
    return encrypt(np.zeros(SLOTS, dtype=np.uint64), BfvKeyPair.generate().public)


def summed() -> bytes:
    raw = bytearray(zeros())
    raw[6] = 2  # claims two contributions
    return bytes(raw)


def out_of_range() -> bytes:
    return zeros()[:-8] + b"\xff" * 8


def transparent() -> bytes:
    return zeros()[: HEADER_BYTES + BLOCK_BYTES // 2] + bytes(BLOCK_BYTES // 2)


KEY = "expected a sum of 1 blocks of 4096 slots for the job's key, got "
BAD: list[tuple[str, Callable[[], bytes], str]] = [
    ("empty", lambda: b"", KEY + "0 bytes"),
    ("short", lambda: zeros()[:-1], "expected a sum of 1 blocks of 4096 slots, got "),
    ("another format", lambda: b"XXXX" + zeros()[4:], KEY + "another format"),
    ("another key", other_key, KEY),
    ("a sum of two", summed, "expected one contribution, got a sum of 2"),
    ("an integer out of range", out_of_range, "expected ciphertext integers below "),
    ("a block that hides nothing", transparent,
     "expected a ciphertext, got a block that hides nothing"),
    ("one block too many", lambda: zeros() + zeros()[-BLOCK_BYTES:],
     f"expected a payload of {sealed_bytes(SLOTS)} bytes at most, got "),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), [c[1:] for c in BAD], ids=[c[0] for c in BAD])
def test_a_bad_contribution_ends_the_job_and_names_its_node(
    play: Play, make: Callable[[], bytes], message: str
) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        hub.submit(job)
        hub.accept(job, *names)
        hub.support(job, *names)
        hub.contribute(job, names[0])
        for chunk in split(make()):
            hub.answers.contributed(names[1], job.spec.job_id, 0, chunk)
        state, reason = hub.state(job)
        assert state is State.FAILED
        assert reason.startswith(message)
        assert reason.endswith(f" (at {names[1]})")
        assert hub.log.acts[-2:] == [Act.REFUSAL, Act.JOB_ENDED]
        refusal = hub.log.entries[-2]
        assert refusal.subject == {"job": job.spec.job_id, "node": names[1]}

    play(scenario)


def test_pieces_out_of_order_end_the_job(play: Play) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        hub.submit(job)
        hub.accept(job, *names)
        hub.support(job, *names)
        late = envelope_pb2.Chunk(offset=8, total_bytes=16, sha256=bytes(32), data=b"12345678")
        hub.answers.contributed(names[2], job.spec.job_id, 0, late)
        assert hub.state(job) == (
            State.FAILED,
            f"expected the piece at byte 0 of 16, got one at 8 of 16 (at {names[2]})",
        )

    play(scenario)


def test_parts_of_another_round_job_or_node_are_ignored(play: Play) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        active = hub.submit(job)
        assert active is not None
        hub.support(job, *names)  # nobody has decided
        hub.contribute(job, *names)
        assert steps(active) == dict.fromkeys(names, Step.ASKED)
        hub.accept(job, *names)
        hub.contribute(job, *names)  # nobody has supported
        hub.support(job, "spiffe://gansu.example/org/stranger/node/heart")
        assert steps(active) == dict.fromkeys(names, Step.ACCEPTED)
        hub.support(job, *names)
        kept = dict(active.supports)
        hub.support(job, names[0])  # after its round
        hub.contribute(job, "spiffe://gansu.example/org/stranger/node/heart")
        hub.contribute(job, names[0], names[0], names[0])  # once is enough
        assert active.supports == kept
        assert active.received_bytes == sealed_bytes(SLOTS)
        assert hub.state(job)[0] is State.RUNNING
        for name in names:
            hub.answers.supported(name, "no such job", 0, active.supports[name])
            hub.answers.contributed(name, "no such job", 0, envelope_pb2.Chunk())
            hub.answers.failed(name, "no such job", "", "no")

    play(scenario)


def test_a_share_sent_over_and_over_counts_once(play: Play) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        active = hub.submit(job)
        assert active is not None
        hub.accept(job, *names)
        hub.support(job, names[0])
        first, noted = active.supports[names[0]], len(active.unlogged)
        hub.support(job, *[names[0]] * 1_000)
        assert active.supports[names[0]] is first
        assert len(active.unlogged) == noted

    play(scenario)


def test_a_node_that_cannot_go_on(play: Play) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        hub.submit(job)
        hub.accept(job, *names)
        hub.answers.failed(names[1], job.spec.job_id, "", "expected a table, got none" + "!" * 9999)
        state, reason = hub.state(job)
        assert state is State.FAILED
        assert reason.startswith("expected a table, got none!")
        assert reason.endswith(f"! (at {names[1]})")
        assert len(reason) < 700

    play(scenario)


def test_open_jobs_are_counted_by_requester(
    play: Play, federation: Federation, nodes: list[Node]
) -> None:
    wang = federation.member(Role.USER, "wang")

    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        hub.submit(job)
        other = job_for(wang, [(node, *node.signed()) for node in nodes])
        hub.submit(other)
        count = hub.scheduler.open_count
        assert (count(), count(wang.identity.uri), count("nobody")) == (2, 1, 0)
        hub.scheduler.cancel(other.spec.job_id, "wang")
        assert (count(), count(wang.identity.uri)) == (1, 0)

    play(scenario)


def test_a_job_over_the_limit_of_a_sum(play: Play) -> None:
    """The operator's limit counts where it is lower than what the plan needs."""

    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        active = hub.submit(job)
        assert active is not None
        active.max_sum_bytes = 1000
        hub.accept(job, *names)
        hub.support(job, *names)
        hub.contribute(job, names[0])
        assert hub.state(job)[1] == (
            f"expected a payload of 1000 bytes at most, got {sealed_bytes(SLOTS)} (at {names[0]})"
        )

    play(scenario)


def test_the_public_key_goes_out_with_the_proposal(play: Play) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        active = hub.submit(job)
        assert active is not None
        frames = hub.wires[names[0]].frames()
        (proposal,) = [frame.proposal for frame in frames if frame.HasField("proposal")]
        assert proposal.public_key == key_pair().public.to_bytes()
        assert proposal.job == job.envelope.to_proto()
        assert {d.payload for d in proposal.descriptors} == {
            known.envelope.payload for known in hub.nodes.values()
        }

    play(scenario)
