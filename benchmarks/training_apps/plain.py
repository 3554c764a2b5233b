"""A secure sum with the hiding taken out, to time what the hiding costs. For benchmarks alone.

    python -P benchmarks/training_apps/plain.py node start ...

is `yumen node start ...` with contributions that carry no tag, no mask and no pad: anyone who
carries them reads them. All else is as it is: the same words, the same bytes, the same steps.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from yumen_core.securesum import check, words
from yumen_core.securesum.modulus import Slots
from yumen_core.securesum.suite import total_slots

PROGRAM = (sys.executable, "-P", __file__)


def contribute(payload_slots: Slots, **_: Any) -> bytes:
    """In place of `securesum.contribution.contribute`."""
    slots = np.empty(total_slots(payload_slots.size), dtype=np.uint64)
    slots[0] = 1
    slots[1 : -check.TAG_SLOTS] = payload_slots
    slots[-check.TAG_SLOTS :] = 0
    return words.framed(slots)


def open_sum(raw: bytes, *, payload_slots: int, **_: Any) -> Slots:
    """In place of `securesum.contribution.open_sum`."""
    count = total_slots(payload_slots)
    words.check_header(raw, count)
    return words.body(raw, count)[1 : -check.TAG_SLOTS].astype(np.uint64)


@contextlib.contextmanager
def read_plain() -> Iterator[None]:
    """Within the block, trainings of this process read sums that nobody hid."""
    from yumen.training import rounds

    replaced = vars(rounds)
    hidden, replaced["open_sum"] = replaced["open_sum"], open_sum
    try:
        yield
    finally:
        replaced["open_sum"] = hidden


def main() -> None:
    from yumen_cli.main import run
    from yumen_node import execution

    assert "contribute" in vars(execution)
    vars(execution)["contribute"] = contribute
    run()


if __name__ == "__main__":
    main()
