"""The random state at a training's start, so that a resumed one draws the same numbers.

Only the global generators of Python, numpy and PyTorch, which is where apps take unseeded initial
weights and order from. Nothing here serves secrecy.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from yumen_core.canonical import Json
from yumen_core.errors import StateError


def capture() -> dict[str, Json]:
    """The states of the three generators. Loads PyTorch."""
    import torch

    version, words, gauss = random.getstate()
    state: Any = np.random.get_state(legacy=True)
    return {
        "numpy": [
            state[1].astype("<u4").tobytes().hex(),
            int(state[2]),
            int(state[3]),
            _hex(state[4]),
        ],
        "python": [version, list(words), None if gauss is None else _hex(gauss)],
        "torch": torch.get_rng_state().numpy().tobytes().hex(),
    }


@contextmanager
def restored(state: Mapping[str, Json] | None) -> Iterator[None]:
    """The block draws from `state`, and what was before comes back; `None` changes nothing.

    Raises `StateError` (`state`) for what `capture` did not give.
    """
    if state is None:
        yield
        return
    before = capture()
    _set(state)
    try:
        yield
    finally:
        _set(before)


def _set(state: Mapping[str, Json]) -> None:
    import torch

    try:
        numpy, python, pytorch = (state[key] for key in ("numpy", "python", "torch"))
        words = np.frombuffer(bytes.fromhex(numpy[0]), dtype="<u4")  # type: ignore[arg-type,index]
        np.random.set_state(("MT19937", words, numpy[1], numpy[2], float.fromhex(numpy[3])))  # type: ignore[arg-type,index]
        version, inner, gauss = python  # type: ignore[misc]
        random.setstate((version, tuple(inner), None if gauss is None else float.fromhex(gauss)))  # type: ignore[arg-type]
        raw = bytearray(bytes.fromhex(pytorch))  # type: ignore[arg-type]
        torch.set_rng_state(torch.frombuffer(raw, dtype=torch.uint8))
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError):
        raise StateError(
            "state", "expected the random state of a training's start, got another form"
        ) from None


def _hex(value: float) -> str:
    return float(value).hex()
