"""Which policies may come into force at this node, and who has to say so.

Trust line: whoever can write the node's state can remove the record of what is in force, and with
it let the signatures of the node's first policies count again; he cannot sign. Each activation is
in the log.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from google.protobuf.message import DecodeError
from yumen_core.errors import PeerError, StateError
from yumen_core.identity.envelope import PayloadType, SignedEnvelope
from yumen_core.identity.files import make_private_directory, read_file, replace_file
from yumen_core.identity.membership import Membership
from yumen_core.identity.names import Identity
from yumen_core.policy.activation import Activation, check_signer, open_activation
from yumen_core.policy.engine import PolicyBundle
from yumen_core.policy.in_force import ActLog, put_in_force, read_in_force
from yumen_core.rpc.v1 import envelope_pb2

FOLDER = "activations"
MAX_STATEMENTS = 1000
MAX_STATEMENT_BYTES = 64 * 1024


def activate(
    bundle: PolicyBundle,
    *,
    membership: Membership,
    log: ActLog,
    log_folder: Path,
    state: Path,
    signers: int,
) -> None:
    """Put `bundle` in force, or refuse to start with it.

    1. The bundle in force already, or a new one, has the signatures of `signers` users of the
       node's organisation, each counted once. A certificate revoked since does not take a bundle
       out of force; it brings no new one in.
    2. Where it is new it is logged (`put_in_force`).

    Raises `StateError` (`policy_unsigned`) where signatures are missing: the node does not go on
    with the earlier policies by itself, for its files say something else.
    """
    before = read_in_force(state)
    same = before is not None and before.digest == bundle.digest
    previous = b"" if before is None else before.previous if same else before.digest
    # 1.
    found, faults = _statements(membership, state, bundle.digest, previous, in_force=same)
    if before is not None and not same:
        # From A to B, back to A: what brought B in the first time does not bring it in again.
        for one, envelope in list(found.items()):
            if hashlib.sha256(envelope.payload).hexdigest() in before.used:
                del found[one]
                faults.append(f"the statement of `{one}` was used before")
    if len(found) < signers:
        ignored = f"; not counted: {'; '.join(faults[:3])}" if faults else ""
        raise StateError(
            "policy_unsigned",
            f"expected policies `{bundle.digest.hex()[:12]}` signed by {signers} of"
            f" `{membership.identity.organisation}`, got {len(found)}{ignored}",
        )
    # 2.
    put_in_force(
        bundle,
        party=membership.identity,
        log=log,
        log_folder=log_folder,
        state=state,
        signers=sorted(found),
        signed=[found[one] for one in sorted(found)],
    )


def sign_activation(
    bundle: PolicyBundle, *, node: Identity, state: Path, by: Membership, note: str = ""
) -> Path:
    """Sign that `bundle` comes into force at `node`, as `by`; where the statement was put.

    Raises `PeerError` (`role`) unless `by` is a user of the node's organisation, `CallError`
    (`argument`) for an unfit note, `StateError` where `bundle` is in force already.
    """
    check_signer(by.identity, node)
    before = read_in_force(state)
    previous = b"" if before is None else before.digest
    if before is not None and before.digest == bundle.digest:
        # Signed again as it was: for a node that asks for signers only now.
        previous = before.previous
    statement = Activation(node, bundle.digest, previous, by.clock.now_ms(), note.strip())
    envelope = by.sign(statement.to_bytes(), PayloadType.POLICY_ACTIVATION)
    folder = state / FOLDER
    make_private_directory(folder)
    raw = envelope.to_proto().SerializeToString()
    file = folder / f"{bundle.digest.hex()[:12]}-{hashlib.sha256(raw).hexdigest()[:16]}.bin"
    replace_file(file, raw)
    return file


def _statements(
    membership: Membership, state: Path, digest: bytes, previous: bytes, *, in_force: bool
) -> tuple[dict[Identity, SignedEnvelope], list[str]]:
    """The good statement of each signer, and why the others of this bundle do not count."""
    found: dict[Identity, SignedEnvelope] = {}
    faults: list[str] = []
    for file in sorted((state / FOLDER).glob(f"{digest.hex()[:12]}-*.bin"))[:MAX_STATEMENTS]:
        try:
            envelope = _read(file)
            signer = _signer(envelope, membership, digest, previous, in_force=in_force)
        except (PeerError, StateError) as error:
            faults.append(error.message)
            continue
        earlier = found.get(signer)
        if earlier is None or _signed_at(envelope) > _signed_at(earlier):
            found[signer] = envelope  # the latest: an earlier one may have been used
    return found, faults


def _signer(
    envelope: SignedEnvelope,
    membership: Membership,
    digest: bytes,
    previous: bytes,
    *,
    in_force: bool,
) -> Identity:
    try:
        return open_activation(
            envelope,
            node=membership.identity,
            digest=digest,
            previous=previous,
            anchor=membership.anchor,
            revocations=membership.revocations,
            now_ms=membership.clock.now_ms(),
        ).signer
    except PeerError as error:
        # Checked last, so all else holds: it was counted when it was not revoked yet.
        if not in_force or error.code not in ("certificate_revoked", "revocations"):
            raise
    signed_at_ms = Activation.from_bytes(envelope.payload).signed_at_ms
    return membership.anchor.identify_unrevoked(envelope.certificate, now_ms=signed_at_ms)


def _signed_at(envelope: SignedEnvelope) -> int:
    return Activation.from_bytes(envelope.payload).signed_at_ms


def _read(file: Path) -> SignedEnvelope:
    raw = read_file(file, max_bytes=MAX_STATEMENT_BYTES)
    try:
        return SignedEnvelope.from_proto(envelope_pb2.Envelope.FromString(raw))
    except DecodeError:
        raise PeerError(
            "signature", f"expected a signed activation in `{file.name}`, got other bytes"
        ) from None
