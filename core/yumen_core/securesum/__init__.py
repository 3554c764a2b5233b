"""The secure sum: codecs, masks, the check on the sum, ciphertexts and their blind addition.

What encrypts or decrypts is in `yumen_core.securesum.bfv`, `.parallel` and `.contribution`, which
are not imported here because they load TenSEAL; a coordinator does without it.
"""

from yumen_core.securesum.blind import BlindAdder, Incoming
from yumen_core.securesum.ciphertext import Adder
from yumen_core.securesum.codec import IntegerCodec
from yumen_core.securesum.fixed_point import FixedPointCodec
from yumen_core.securesum.lanes import LanesCodec
from yumen_core.securesum.masks import MaskKey, binding
from yumen_core.securesum.modulus import (
    LIMB_BITS,
    MAX_CONTRIBUTIONS,
    MIN_CONTRIBUTIONS,
    SLOTS,
    Slots,
    T,
)
from yumen_core.securesum.public_key import BfvPublicKey
from yumen_core.securesum.suite import Suite, adder, join_secret, split_secret, sum_bytes
from yumen_core.securesum.support import SealedFlags, open_flags, seal_flags

__all__ = [
    "LIMB_BITS",
    "MAX_CONTRIBUTIONS",
    "MIN_CONTRIBUTIONS",
    "SLOTS",
    "Adder",
    "BfvPublicKey",
    "BlindAdder",
    "FixedPointCodec",
    "Incoming",
    "IntegerCodec",
    "LanesCodec",
    "MaskKey",
    "SealedFlags",
    "Slots",
    "Suite",
    "T",
    "adder",
    "binding",
    "join_secret",
    "open_flags",
    "seal_flags",
    "split_secret",
    "sum_bytes",
]
