"""One-time pads between each node and the requester: what hides a `stream` contribution.

The requester draws a 32-byte pad key for every node of a job and seals it to that node alone,
behind the job's secret. A node's pad for one sum is the cipher stream of

    HKDF(its pad key; label, the sum's binding, its name)

added to its words mod 2**64; the requester, who has all the keys, subtracts the pads of all
participants from the total. The binding names job, run, participants and the run's input, so that
no two sums share a pad; a node contributes under one binding once, which its counter holds.

Why a key for each node and not the job's secret, which all nodes share: masks cancel in the total,
so the pads alone keep it from the coordinator. Were they drawn from what every node knows, one node
that colludes with the coordinator would read the total. With a key for each, whoever lacks one key
sees a total that is uniform; a colluding node takes away its own pad and gains nothing.
"""

from __future__ import annotations

from yumen_core.errors import CallError
from yumen_core.secret import Secret
from yumen_core.securesum import keystream

_LABEL = b"yumen/v1/pad"


def pad_stream(pad_key: Secret, name: str, *, binding: bytes) -> keystream.Stream:
    """The pad of the node `name` for one sum: a pure function of key, name and binding.

    Raises `CallError("argument")` for a binding that is not 32 bytes, and for an empty name.
    """
    if len(binding) != 32:
        raise CallError("argument", f"expected a binding of 32 bytes, got {len(binding)}")
    if not name:
        raise CallError("argument", "expected the name of a participant, got an empty one")
    return keystream.stream(keystream.derive(pad_key.reveal(), _LABEL, binding, name.encode()))
