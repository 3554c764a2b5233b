"""The code that comes with a job, checked by everyone who carries it."""

from __future__ import annotations

import hashlib
import hmac

from yumen_core.errors import PeerError
from yumen_core.jobs.spec import JobSpec
from yumen_core.training.spec import BundleCode

MAX_BUNDLE_BYTES = (1 << 20) + (64 << 10)
"""Of a bundle as it travels: a mebibyte of files, and their names."""


def check_code(spec: JobSpec, bundle: bytes) -> None:
    """1. A job without code of its own comes with none. 2. The bundle is within its limit. 3. It is
    the one whose digest the job names. Raises `PeerError` (`bundle`)."""
    program = None if spec.training is None else spec.training.program
    if not isinstance(program, BundleCode):
        if bundle:
            raise PeerError("bundle", "expected no code with this job, got some")
        return
    if len(bundle) > MAX_BUNDLE_BYTES:
        raise PeerError(
            "bundle", f"expected code of at most {MAX_BUNDLE_BYTES} bytes, got {len(bundle)}"
        )
    if not hmac.compare_digest(hashlib.sha256(bundle).digest(), program.digest):
        raise PeerError("bundle", "expected the code that the job names, got other code")
