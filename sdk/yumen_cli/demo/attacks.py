"""Two attacks with a job that was signed properly: change it, and send it again.

The envelopes go to the coordinator as raw bytes, past every check that a client makes: what is
refused here is refused by the coordinator.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from yumen_core.errors import YumenError
from yumen_core.identity.envelope import PayloadType, SignedEnvelope

from yumen_cli.demo.questions import PURPOSE
from yumen_cli.demo.report import Attack

if TYPE_CHECKING:
    from yumen.coordinator import CoordinatorClient

SQL = "SELECT COUNT(*) AS patients FROM heart"
JOB_LIFE_S = 60.0


def attack(coordinator: str, identity: Path) -> list[Attack]:
    """Both attacks against a running coordinator, with the certificate in the folder `identity`.

    Raises `YumenError` where the proper job, which must pass, is refused.
    """
    from yumen.coordinator import CoordinatorClient
    from yumen.question import ask, prepare
    from yumen_core.securesum.bfv import BfvKeyPair

    public = BfvKeyPair.generate().public
    client = CoordinatorClient(coordinator, identity)
    try:
        nodes = [signed for signed, _ in client.catalogue()]
        job = prepare(
            ask(SQL, PURPOSE, nodes, nodes=None, min_nodes=None),
            client.membership.identity,
            clock=client.membership.clock,
            public_key_digest=public.digest,
            lifetime_s=JOB_LIFE_S,
        )
        envelope = client.membership.sign(job.spec.to_bytes(), PayloadType.JOB_SPEC)
        forged = _send(client, change_one_byte(envelope), public.to_bytes())
        client.submit(envelope, public.to_bytes())
        for _ in client.watch(job.spec.job_id, timeout_s=JOB_LIFE_S):
            pass
        replayed = _send(client, envelope, public.to_bytes())
    finally:
        client.close()
    return [
        _attack("forged job", "signed, then one byte of its purpose changed", forged, "signature"),
        _attack("replayed job", "signed and carried out before, sent again", replayed, "replay"),
    ]


def change_one_byte(envelope: SignedEnvelope) -> SignedEnvelope:
    """The envelope with one letter of the signed purpose changed: `research` to `resaarch`."""
    place = envelope.payload.index(PURPOSE.encode()) + 3
    payload = envelope.payload[:place] + b"a" + envelope.payload[place + 1 :]
    return replace(envelope, payload=payload)


def _send(
    client: CoordinatorClient, envelope: SignedEnvelope, public_key: bytes
) -> YumenError | None:
    """The refusal, or None where the coordinator took the job."""
    try:
        client.submit(envelope, public_key)
    except YumenError as error:
        return error
    return None


def _attack(name: str, what: str, refused: YumenError | None, expected_code: str) -> Attack:
    code, message = ("", "") if refused is None else (refused.code, refused.message)
    return Attack(name, what, code, message, expected_code)
