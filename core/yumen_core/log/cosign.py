"""Cosignatures: a witness says that it has seen a checkpoint, consistent with all before it. Pure.

Source: https://c2sp.org/tlog-cosignature, cosignature/v1 with Ed25519. The signed message is
"cosignature/v1", "time <seconds>" and the checkpoint's text, a line each; the signature in the note
is the time as 8 bytes, big endian, and the 64 bytes of Ed25519. The key id is the first 4 bytes of
SHA-256(name || 0x0A || 0x04 || public key).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from yumen_core.errors import CallError, PeerError
from yumen_core.log.checkpoint import Checkpoint, open_checkpoint
from yumen_core.log.note import (
    MAX_SIGNATURES,
    SECRET_PREFIX,
    NoteSignature,
    Verifier,
    parse_signature,
    split_key,
    split_note,
)
from yumen_core.secret import Secret

COSIGNATURE = b"\x04"
_BYTES = 8 + 64
_MAX_TIME_S = (1 << 63) - 1


@dataclass(frozen=True)
class WitnessVerifier:
    """A witness's public key, 32 bytes, with its name. Raises `CallError` (argument)."""

    name: str
    public: bytes

    def __post_init__(self) -> None:
        Verifier(self.name, self.public)  # the same names and lengths

    @property
    def key_id(self) -> bytes:
        """4 bytes."""
        return hashlib.sha256(self.name.encode() + b"\n" + COSIGNATURE + self.public).digest()[:4]

    @property
    def text(self) -> str:
        key = base64.b64encode(COSIGNATURE + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{key}"

    @classmethod
    def parse(cls, text: str) -> WitnessVerifier:
        """Raises `CallError` (argument) for anything but a well-formed key of type 4."""
        name, key_id, key = split_key(text, COSIGNATURE)
        verifier = cls(name, key)
        if verifier.key_id != key_id:
            raise CallError("argument", f"the key of `{name}` does not match its key id")
        return verifier

    def check(self, text: str, signature: NoteSignature) -> int:
        """The time of a cosignature over the checkpoint `text`, in seconds since the Unix epoch.

        Raises `PeerError` (log_corrupt) for another key's, a malformed or a wrong one.
        """
        if (signature.name, signature.key_id) != (self.name, self.key_id):
            raise _refused(f"expected a cosignature of `{self.name}`, got another's")
        time_s = int.from_bytes(signature.signature[:8], "big")
        if len(signature.signature) != _BYTES or time_s > _MAX_TIME_S:
            raise _refused(f"the cosignature of `{self.name}` is malformed")
        Verifier(self.name, self.public).check(_message(text, time_s), signature.signature[8:])
        return time_s


class WitnessSigner:
    """A witness's secret key with its name. Cannot be printed or pickled."""

    __slots__ = ("_private", "_seed", "verifier")

    def __init__(self, name: str, seed: Secret) -> None:
        self._seed = seed
        self._private = Ed25519PrivateKey.from_private_bytes(seed.reveal())
        self.verifier = WitnessVerifier(name, self._private.public_key().public_bytes_raw())

    @classmethod
    def generate(cls, name: str) -> WitnessSigner:
        """A fresh key from the operating system's generator."""
        return cls(name, Secret.generate())

    @classmethod
    def parse(cls, text: str) -> WitnessSigner:
        """Raises `CallError` (argument); the message never repeats the text."""
        if not text.startswith(SECRET_PREFIX):
            raise CallError("argument", "the text is not a secret key of a witness")
        name, key_id, seed = split_key(text.removeprefix(SECRET_PREFIX), COSIGNATURE)
        signer = cls(name, Secret(seed))
        if signer.verifier.key_id != key_id:
            raise CallError("argument", f"the key of `{name}` does not match its key id")
        return signer

    def reveal_text(self) -> str:
        """The secret key as text: for the file it is kept in, and nothing else."""
        key = base64.b64encode(COSIGNATURE + self._seed.reveal()).decode()
        return f"{SECRET_PREFIX}{self.verifier.name}+{self.verifier.key_id.hex()}+{key}"

    def cosign(self, text: str, time_s: int) -> NoteSignature:
        """The cosignature over the checkpoint `text` at `time_s`, seconds since the Unix epoch.

        Raises `CallError` (argument) for a time before 1970 or beyond 63 bits.
        """
        if not 0 <= time_s <= _MAX_TIME_S:
            raise CallError("argument", f"a cosignature's time has 63 bits, got `{time_s}`")
        signature = self._private.sign(_message(text, time_s))
        return NoteSignature(
            self.verifier.name, self.verifier.key_id, time_s.to_bytes(8, "big") + signature
        )

    def __repr__(self) -> str:
        return f"WitnessSigner({self.verifier.name!r}, redacted)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a witness's key cannot be pickled")


def read_cosignature(line: str, text: str, witness: WitnessVerifier) -> NoteSignature:
    """The one signature line, with its newline, that `witness` gave for the checkpoint `text`.

    Raises `PeerError` (log_corrupt).
    """
    if not line.endswith("\n") or len(line) > 2000:
        raise _refused("a signature line of the note is malformed")
    signature = parse_signature(line[:-1])
    witness.check(text, signature)
    return signature


def add_cosignatures(note: bytes, cosignatures: Sequence[NoteSignature]) -> bytes:
    """The signed checkpoint `note` with these lines after its own. Raises `PeerError`."""
    _, before = split_note(note)
    if len(before) + len(cosignatures) > MAX_SIGNATURES:
        raise _refused(f"a note has at most {MAX_SIGNATURES} signatures")
    return note + "".join(signature.line for signature in cosignatures).encode()


def open_cosigned(
    data: bytes, log: Verifier, witnesses: Sequence[WitnessVerifier]
) -> tuple[Checkpoint, dict[str, int]]:
    """The checkpoint in a cosigned note, and the time of each witness's cosignature by its name.

    1. The log has signed it. 2. Each line by the key of a known witness holds; lines of others are
    left out. Raises `PeerError` (log_corrupt). How many witnesses are enough is for the caller.
    """
    checkpoint = open_checkpoint(data, log)
    text, signatures = split_note(data)
    known = {(witness.name, witness.key_id): witness for witness in witnesses}
    times: dict[str, int] = {}
    for signature in signatures:
        witness = known.get((signature.name, signature.key_id))
        if witness is not None:
            times[witness.name] = witness.check(text, signature)
    return checkpoint, times


def _message(text: str, time_s: int) -> bytes:
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()


def _refused(message: str) -> PeerError:
    return PeerError("log_corrupt", message, remedy="do not trust this note; ask for it again")
