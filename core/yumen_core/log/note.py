"""Signed notes with Ed25519 keys: text, a blank line, signature lines. Pure.

Source: https://c2sp.org/signed-note. A key's text form is `name+hash+base64` and, for the secret
key, `PRIVATE+KEY+name+hash+base64`; `hash` is the key id, the first 4 bytes of
SHA-256(name || 0x0A || 0x01 || public key), in hex.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from yumen_core.errors import CallError, PeerError
from yumen_core.secret import Secret

MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 100
MAX_NAME_BYTES = 512

_ED25519 = b"\x01"
SECRET_PREFIX = "PRIVATE+KEY+"
_DASH = "— "
_SIGNATURE_BYTES = 64


@dataclass(frozen=True)
class Verifier:
    """A public key with the name it signs for. `public` is 32 bytes.

    Raises `CallError` (argument) for a name or key that cannot be.
    """

    name: str
    public: bytes

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.public) != 32:
            raise CallError("argument", f"an Ed25519 key has 32 bytes, got `{len(self.public)}`")

    @property
    def key_id(self) -> bytes:
        """4 bytes."""
        hashed = self.name.encode() + b"\n" + _ED25519 + self.public
        return hashlib.sha256(hashed).digest()[:4]

    @property
    def text(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{_b64(_ED25519 + self.public)}"

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """Raises `CallError` (argument) for anything but a well-formed Ed25519 verifier key."""
        name, key_id, key = split_key(text)
        verifier = cls(name, key)
        if verifier.key_id != key_id:
            raise CallError("argument", f"the key of `{name}` does not match its key id")
        return verifier

    def check(self, text: bytes, signature: bytes) -> None:
        """Raises `PeerError` (log_corrupt) unless `signature`, 64 bytes, is over `text`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except (InvalidSignature, ValueError):
            raise _refused(f"the signature of `{self.name}` is not over this text") from None


class Signer:
    """A secret key with the name it signs for. Cannot be printed or pickled.

    Raises `CallError` (argument) for a name that cannot be.
    """

    __slots__ = ("_private", "_seed", "verifier")

    def __init__(self, name: str, seed: Secret) -> None:
        self._seed = seed
        self._private = Ed25519PrivateKey.from_private_bytes(seed.reveal())
        self.verifier = Verifier(name, self._private.public_key().public_bytes_raw())

    @classmethod
    def generate(cls, name: str) -> Signer:
        """A fresh key from the operating system's generator."""
        return cls(name, Secret.generate())

    @classmethod
    def parse(cls, text: str) -> Signer:
        """Raises `CallError` (argument); the message never repeats the text."""
        if not text.startswith(SECRET_PREFIX):
            raise CallError("argument", "the text is not a secret key of a signed note")
        name, key_id, seed = split_key(text.removeprefix(SECRET_PREFIX))
        signer = cls(name, Secret(seed))
        if signer.verifier.key_id != key_id:
            raise CallError("argument", f"the key of `{name}` does not match its key id")
        return signer

    @property
    def name(self) -> str:
        return self.verifier.name

    def reveal_text(self) -> str:
        """The secret key as text: for the file it is kept in, and nothing else."""
        key = _b64(_ED25519 + self._seed.reveal())
        return f"{SECRET_PREFIX}{self.name}+{self.verifier.key_id.hex()}+{key}"

    def sign(self, text: bytes) -> bytes:
        """The Ed25519 signature over `text`: 64 bytes, the same every time."""
        return self._private.sign(text)

    def __repr__(self) -> str:
        return f"Signer({self.name!r}, redacted)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signer cannot be pickled")


@dataclass(frozen=True)
class NoteSignature:
    """One signature line: who signed, the 4-byte key id and the signature after it."""

    name: str
    key_id: bytes
    signature: bytes

    @property
    def line(self) -> str:
        return f"{_DASH}{self.name} {_b64(self.key_id + self.signature)}\n"


@dataclass(frozen=True)
class Note:
    """An opened note: `verified` is never empty; `unverified` are keys that nobody asked about."""

    text: str
    verified: tuple[NoteSignature, ...]
    unverified: tuple[NoteSignature, ...]


def sign_note(text: str, signers: Sequence[Signer]) -> bytes:
    """The signed note over `text`, which must end with a newline.

    Raises `CallError` (argument) for a text that a note cannot carry, or without a signer.
    """
    if not signers:
        raise CallError("argument", "a note needs at least one signer")
    if not text.endswith("\n") or _has_control(text):
        raise CallError(
            "argument", "a note's text ends with a newline and has no control character"
        )
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise CallError("argument", "a note's text is UTF-8") from None
    lines = [
        NoteSignature(signer.name, signer.verifier.key_id, signer.sign(data)).line
        for signer in signers
    ]
    note = data + b"\n" + "".join(lines).encode()
    if len(note) > MAX_NOTE_BYTES:
        raise CallError("argument", f"a note has at most {MAX_NOTE_BYTES} bytes, got `{len(note)}`")
    return note


def open_note(data: bytes, verifiers: Sequence[Verifier]) -> Note:
    """Check a signed note against known keys. Raises `PeerError` (log_corrupt).

    Signatures by unknown keys are kept apart, as the specification asks; a bad signature by a
    known key is refused even beside a good one.
    """
    # 1. The form.
    text, signatures = split_note(data)
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    # 2. Each signature by a known key, once.
    verified: dict[tuple[str, bytes], NoteSignature] = {}
    unverified: list[NoteSignature] = []
    for signature in signatures:
        who = (signature.name, signature.key_id)
        if who not in known:
            unverified.append(signature)
        elif who not in verified:
            known[who].check(text.encode(), signature.signature)
            verified[who] = signature
    # 3. At least one of them.
    if not verified:
        names = ", ".join(f"`{verifier.name}`" for verifier in verifiers) or "nobody"
        raise _refused(f"the note has no signature by the key expected, of {names}")
    return Note(text, tuple(verified.values()), tuple(unverified))


def split_note(data: bytes) -> tuple[str, list[NoteSignature]]:
    """The text and the signatures, none of them checked; `PeerError` (log_corrupt) for a note
    that is not well formed, such as one cut short."""
    if len(data) > MAX_NOTE_BYTES:
        raise _refused(f"a note has at most {MAX_NOTE_BYTES} bytes, got `{len(data)}`")
    try:
        whole = data.decode()
    except UnicodeDecodeError:
        raise _refused("the note is not UTF-8") from None
    blank = whole.rfind("\n\n")
    if blank < 0 or not whole.endswith("\n") or _has_control(whole):
        raise _refused("the note is malformed: expected text, a blank line and signatures")
    lines = whole[blank + 2 : -1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise _refused(f"a note has at most {MAX_SIGNATURES} signatures, got `{len(lines)}`")
    return whole[: blank + 1], [parse_signature(line) for line in lines]


def parse_signature(line: str) -> NoteSignature:
    """One signature line without its newline. Raises `PeerError` (log_corrupt)."""
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    signature = _unb64(encoded)
    if not line.startswith(_DASH) or not space or not _is_name(name) or len(signature) < 5:
        raise _refused("a signature line of the note is malformed")
    return NoteSignature(name, signature[:4], signature[4:])


def split_key(text: str, kind: bytes = _ED25519) -> tuple[str, bytes, bytes]:
    """(name, key id, 32-byte key) of `name+hash+base64`, a key of type `kind`; says nothing of the
    key's text. Raises `CallError` (argument)."""
    parts = text.strip().split("+", 2)
    if len(parts) != 3 or not re.fullmatch("[0-9a-fA-F]{8}", parts[1]):
        raise CallError("argument", "a note's key has the form `name+hash+base64`")
    key = _unb64(parts[2])
    if key[:1] != kind or len(key) != 33:
        raise CallError(
            "argument",
            f"expected a key of type {kind[0]} with 32 bytes, got another",
            remedy="give log.vkey for a log, witness.vkey for a witness",
        )
    return parts[0], bytes.fromhex(parts[1]), key[1:]


def _check_name(name: str) -> None:
    if not _is_name(name):
        raise CallError(
            "argument",
            f"a key's name has 1 to {MAX_NAME_BYTES} bytes, no space and no plus sign, "
            f"got `{name[:80]}`",
        )


def _is_name(name: str) -> bool:
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        return False
    odd = any(c.isspace() or c == "+" or ord(c) < 0x20 for c in name)
    return 0 < length <= MAX_NAME_BYTES and not odd


def _has_control(text: str) -> bool:
    return any(c < " " and c != "\n" for c in text)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(text: str) -> bytes:
    """The bytes, or none where `text` is not the one canonical encoding of any."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return data if _b64(data) == text else b""


def _refused(message: str) -> PeerError:
    return PeerError("log_corrupt", message, remedy="do not trust this note; ask for it again")
