"""The one module that touches TenSEAL: key pairs, encryption, decryption.

BFV (Fan and Vercauteren 2012) as in Microsoft SEAL, with the fixed parameters of `modulus` and
`public_key`. TenSEAL reads only bytes that this module builds: it wraps the coefficients of our own
formats, already range-checked, in frames taken from a ciphertext and a key made here. Its parsers,
which trust sizes, parameters and compressed lengths, never meet a peer's bytes.

Vectors are handed to TenSEAL one block at a time: more would make it print a warning. Encryption
holds the interpreter's lock; see `parallel` for large vectors.
"""

from __future__ import annotations

import struct
from functools import cache, lru_cache
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
from tenseal import _ts_cpp as native

from yumen_core.securesum import ciphertext
from yumen_core.securesum.modulus import SLOTS, Slots, T, blocks, checked
from yumen_core.securesum.public_key import BfvPublicKey

_BITS = [60, 49]  # of Q and Q_SPECIAL
_KEY_COEFFICIENTS = 4 * SLOTS * 8

# SEAL's stream header: magic, header size, version, compression, reserved, total bytes
# (SEAL 4, Serialization::SEALHeader).
_SEAL_HEADER = struct.Struct("<HBBBBHQ")
_UNCOMPRESSED = 0
_ZSTD = pa.Codec("zstd")  # TenSEAL always compresses; there is nothing to gain, so we undo it
# What precedes a ciphertext's integers among its members: parameters' hash 32, NTT form 1, sizes
# 3 * 8, scale 8, correction factor 8, and the array's own header 16 and count 8.
_PREFIX_BYTES = 97


class BfvKeyPair:
    """A requester's key pair. The secret half stays in this object, in this process."""

    __slots__ = ("_context", "public")

    def __init__(self, context: Any, public: BfvPublicKey) -> None:
        self._context = context
        self.public = public

    @classmethod
    def generate(cls) -> BfvKeyPair:
        """A fresh pair; SEAL seeds its generator from the operating system."""
        context = _new_context()
        coefficients = _split_context(context)[1][-_KEY_COEFFICIENTS:]
        return cls(context, BfvPublicKey.from_coefficients(coefficients))

    def decrypt(self, raw: bytes, slots: int) -> Slots:
        """The slots of an encrypted contribution or sum: uint64[slots] in [0, T).

        Raises `PeerError("ciphertext")` for bytes that are none of this key and length. Changed
        ciphertext integers decrypt to other slots: `check` is what notices.
        """
        ciphertext.check_header(raw, self.public, slots)
        found = ciphertext.body(raw, slots)
        out = np.empty((len(found), SLOTS), dtype=np.int64)
        for index, block in enumerate(found):
            vector = native.BFVVector(self._context, _wrap_block(block.tobytes()))
            out[index] = vector.decrypt()
        # The library gives slots centred on zero.
        np.add(out, T, out=out, where=out < 0)
        return out.reshape(-1)[:slots].astype(np.uint64)

    def __repr__(self) -> str:
        return "BfvKeyPair(redacted)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key pair cannot be pickled")


def encrypt(slots: Slots, public: BfvPublicKey) -> bytes:
    """Encrypt `slots` (uint64, each below T) to `public`, in this process and thread.

    The last block is filled up with zeros, encrypted like the rest. Raises `CallError("argument")`
    for slots that `modulus.checked` refuses.
    """
    body = bytearray(blocks(checked(slots).size) * ciphertext.BLOCK_BYTES)
    encrypt_blocks(slots, public, memoryview(body))
    return b"".join((ciphertext.header(public, slots.size, 1), body))


def encrypt_blocks(slots: Slots, public: BfvPublicKey, out: memoryview) -> None:
    """Write the ciphertext blocks of `slots` to `out`, BLOCK_BYTES for each begun block."""
    context = _public_context(public)
    prefix = _block_prefix()
    for start in range(0, slots.size, SLOTS):
        # A short block would be filled with repetitions of its own values.
        part = slots[start : start + SLOTS]
        values = part.tolist() + [0] * (SLOTS - part.size)
        raw = _members(
            _fields(native.BFVVector(context, values).serialize())[2], ciphertext.BLOCK_BYTES
        )
        if raw[:_PREFIX_BYTES] != prefix:
            raise AssertionError("the library's ciphertext frame changed within the process")
        at = start // SLOTS * ciphertext.BLOCK_BYTES
        out[at : at + ciphertext.BLOCK_BYTES] = memoryview(raw)[_PREFIX_BYTES:]


def _new_context() -> Any:
    """A TenSEAL context with a fresh key pair and no evaluation keys."""
    kinds = native.SCHEME_TYPE.BFV, native.ENCRYPTION_TYPE.ASYMMETRIC
    return native.TenSEALContext.new(kinds[0], SLOTS, T, _BITS, kinds[1], 1)


@lru_cache(maxsize=8)
def _public_context(public: BfvPublicKey) -> Any:
    """A TenSEAL context that holds this public key alone, built from frames made here."""
    parameters, prefix_and_key, rest = _template()
    key = _stream(prefix_and_key[:-_KEY_COEFFICIENTS] + public.coefficients())
    inner = _field(1, key) + rest
    return native.TenSEALContext.deserialize(_field(1, parameters) + _field(2, inner), 1)


@cache
def _template() -> tuple[bytes, bytes, bytes]:
    """As `_split_context`, of a context whose keys are forgotten."""
    return _split_context(_new_context())


def _split_context(context: Any) -> tuple[bytes, bytes, bytes]:
    """The serialised parameters, the public key's members, and the other public fields."""
    outer = _fields(context.serialize(True, False, False, False))
    inner = outer[2]
    key = _fields(inner)[1]
    # The key is the first field; what follows it are flags.
    rest = inner[len(_field(1, key)) :]
    return outer[1], _members(key, _KEY_COEFFICIENTS), rest


@cache
def _block_prefix() -> bytes:
    """What precedes the integers in SEAL's form of a ciphertext block: parameters and sizes."""
    raw = _fields(native.BFVVector(_new_context(), [0] * SLOTS).serialize())[2]
    return _members(raw, ciphertext.BLOCK_BYTES)[:_PREFIX_BYTES]


def _wrap_block(integers: bytes) -> bytes:
    """TenSEAL's form of one ciphertext block of SLOTS slots."""
    return _field(1, _varint(SLOTS)) + _field(2, _stream(_block_prefix() + integers))


def _stream(members: bytes) -> bytes:
    """SEAL's uncompressed stream of an object's members."""
    size = _SEAL_HEADER.size + len(members)
    return _SEAL_HEADER.pack(0xA15E, _SEAL_HEADER.size, 4, 3, _UNCOMPRESSED, 0, size) + members


def _members(stream: bytes, integer_bytes: int) -> bytes:
    """A ciphertext's members from a compressed stream that this process made."""
    size = _PREFIX_BYTES + integer_bytes
    data = memoryview(stream)[_SEAL_HEADER.size :]
    raw: bytes = _ZSTD.decompress(data, size, asbytes=True)
    return raw


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited protocol buffer field."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _fields(message: bytes) -> dict[int, bytes]:
    """The length-delimited fields of a protocol buffer that this process made."""
    found: dict[int, bytes] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 0:
            varint()
        elif key & 7 == 1:
            at += 8
        else:
            size = varint()
            found[key >> 3] = message[at : at + size]
            at += size
    return found
