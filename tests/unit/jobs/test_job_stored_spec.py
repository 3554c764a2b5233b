"""A stored job is read however long ago it was accepted."""

from pathlib import Path

import pytest
from builders.federation import Federation, job_for
from yumen_core.errors import PeerError
from yumen_core.identity import Role
from yumen_core.jobs.spec import parse_spec, read_stored_spec


def test_a_job_stored_after_its_own_expiry_is_still_read(tmp_path: Path) -> None:
    federation = Federation(tmp_path / "members")
    li = federation.member(Role.USER, "li")
    job = job_for(li, [(node, *node.signed()) for node in federation.nodes()])
    with pytest.raises(PeerError, match="expected a job that is still valid"):
        parse_spec(job.envelope.payload, signer=li.identity, now_ms=job.spec.expires_at_ms)
    assert read_stored_spec(job.envelope.payload, signer=li.identity) == job.spec
    with pytest.raises(PeerError, match="expected a job, got other bytes"):
        read_stored_spec(b"\xff", signer=li.identity)
