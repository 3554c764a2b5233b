"""The entry of a party's enrolment: with which certificate it acts from here on."""

from __future__ import annotations

import hashlib
from pathlib import Path

from yumen_core.identity.files import make_private_directory, read_file, replace_file
from yumen_core.identity.membership import Membership
from yumen_core.log.appender import TileLog
from yumen_core.log.entry import Act

FILE_NAME = "certificate.sha256"


def record_enrolment(log: TileLog, membership: Membership, state: Path) -> None:
    """Log the certificate of `membership` where it is the first, or a renewed one.

    `state` is the party's own folder, which keeps the digest logged last. Logged first and noted
    next: a crash between repeats the entry. Raises `StateError`.
    """
    file = state / FILE_NAME
    digest = hashlib.sha256(membership.certificate).digest()
    before = read_file(file).strip() if file.exists() else b""
    if before == digest.hex().encode():
        return
    identity = membership.identity
    log.record(
        Act.ENROLMENT,
        subject={str(identity.role): identity.uri},
        digests={"certificate": digest},
        detail={"what": "renewed" if before else "enrolled"},
    )
    make_private_directory(state)
    replace_file(file, digest.hex().encode() + b"\n")
