"""Round inputs: sealed to the nodes, signed by the requester, good for one run only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders.federation import Federation
from yumen_core.errors import CallError, PeerError
from yumen_core.identity.envelope import PayloadType
from yumen_core.identity.membership import Membership
from yumen_core.identity.names import Role
from yumen_core.jobs.inputs import (
    SignedInput,
    open_input,
    open_signed_input,
    read_stored_input,
    seal_input,
)
from yumen_core.rpc.v1 import job_pb2
from yumen_core.secret import Secret
from yumen_core.statistics.kinds import Inputs

JOB, DIGEST = "0190aaaa-0000-7000-8000-000000000001", b"d" * 32
SECRET = Secret(b"s" * 32)
ARRAYS = {"beta": np.array([1.5, -2.0, 0.1]), "edges": np.arange(6.0).reshape(2, 3)}
SHAPES = {"beta": (3,), "edges": (2, 3)}


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    return Federation(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def li(federation: Federation) -> Membership:
    return federation.member(Role.USER, "li")


def sealed(arrays: Inputs = ARRAYS, run: int = 1, name: str = "newton") -> bytes:
    return seal_input(
        arrays, job_id=JOB, spec_digest=DIGEST, run=run, round_name=name, secret=SECRET
    )


def read(
    payload: bytes, secret: Secret = SECRET, shapes: dict[str, tuple[int, ...]] = SHAPES
) -> Inputs:
    signed = read_stored_input(payload)
    return open_input(signed, job_id=JOB, spec_digest=DIGEST, secret=secret, shapes=shapes)


def test_arrays_come_back_bit_by_bit() -> None:
    found = read(sealed())
    assert {k: v.tolist() for k, v in found.items()} == {k: v.tolist() for k, v in ARRAYS.items()}


def test_the_coordinator_sees_no_value() -> None:
    assert ARRAYS["beta"].tobytes() not in sealed()
    assert sealed() != sealed()


@pytest.mark.parametrize("field", ["run", "round", "sealed"])
def test_an_input_moved_to_another_run_or_round_does_not_open(field: str) -> None:
    message = job_pb2.RoundInput.FromString(sealed())
    if field == "run":
        message.run += 1
    elif field == "round":
        message.round = "curve"
    else:
        message.sealed = message.sealed[:-1] + bytes([message.sealed[-1] ^ 1])
    with pytest.raises(PeerError, match="expected an input sealed for this run, got other bytes"):
        read(message.SerializeToString())


def test_another_secret_does_not_open_it() -> None:
    with pytest.raises(PeerError, match="expected an input sealed for this run"):
        read(sealed(), secret=Secret(b"x" * 32))


@pytest.mark.parametrize(
    ("arrays", "shapes", "message"),
    [
        (ARRAYS, {"beta": (3,)}, "expected the inputs beta, got others"),
        ({"beta": np.zeros(3)}, SHAPES, "expected the inputs beta, edges, got others"),
        ({"beta": np.zeros(4)}, {"beta": (3,)},
         r"expected the input `beta` of the shape \(3,\), got another"),
        ({"beta": np.zeros((1, 3))}, {"beta": (3,)},
         r"expected the input `beta` of the shape \(3,\), got another"),
    ],
)  # fmt: skip
def test_other_arrays_than_the_round_has(
    arrays: Inputs, shapes: dict[str, tuple[int, ...]], message: str
) -> None:
    with pytest.raises(PeerError, match=message):
        read(sealed(arrays), shapes=shapes)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(value: float) -> None:
    with pytest.raises(CallError, match="expected finite inputs, got `beta` with one that is not"):
        sealed({"beta": np.array([0.0, value, 1.0])})
    plain = job_pb2.Arrays()
    plain.arrays.add(name="beta", shape=[1], values=np.array([value]).tobytes())
    # A requester with other software can seal them all the same.
    from yumen_core.jobs import inputs as room

    nonce = b"n" * 12
    body = room._cipher(SECRET, JOB, 1).encrypt(
        nonce, plain.SerializeToString(), room._frame(DIGEST, 1, "newton")
    )
    with pytest.raises(PeerError, match="expected finite values in the input `beta`"):
        open_input(
            SignedInput(1, "newton", nonce + body, b""),
            job_id=JOB,
            spec_digest=DIGEST,
            secret=SECRET,
            shapes={"beta": (1,)},
        )


def test_only_the_requester_signs_inputs(federation: Federation, li: Membership) -> None:
    wang = federation.member(Role.USER, "wang")

    def opened(signer: Membership, kind: PayloadType, job_id: str = JOB) -> SignedInput:
        return open_signed_input(
            signer.sign(sealed(), kind),
            job_id=job_id,
            spec_digest=DIGEST,
            requester=li.identity,
            membership=li,
        )

    good = opened(li, PayloadType.ROUND_INPUT)
    assert (good.run, good.round) == (1, "newton")
    another = "expected an input of the job's requester for this job, got another"
    with pytest.raises(PeerError, match=another):
        opened(wang, PayloadType.ROUND_INPUT)
    with pytest.raises(PeerError, match=another):
        opened(li, PayloadType.ROUND_INPUT, job_id="another")
    with pytest.raises(PeerError):
        opened(li, PayloadType.JOB_SPEC)
    with pytest.raises(PeerError):
        opened(federation.nodes(1)[0].membership, PayloadType.ROUND_INPUT)
