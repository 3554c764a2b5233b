"""What a gate said, verified as any party would, and what it left behind."""

from typing import Any

from yumen_core.identity import Role, open_envelope
from yumen_core.identity.envelope import PayloadType
from yumen_core.jobs.decision import Decision, parse_decision
from yumen_core.log import Act
from yumen_node.gate import Ruling

from builders.federation import (
    Job,
)
from builders.site import Site


def read(site: Site, ruling: Ruling) -> Decision:
    """The decision, verified as any party would."""
    member = site.node.membership
    found = open_envelope(
        ruling.envelope,
        expected_type=PayloadType.DECISION,
        anchor=member.anchor,
        revocations=member.revocations,
        now_ms=member.clock.now_ms(),
        max_bytes=1 << 18,
        role=Role.NODE,
    )
    return parse_decision(found.payload, signer=found.identity)


def refusal(site: Site, ruling: Ruling) -> tuple[str, str]:
    """Code and words of a refusal, once it is clear that it is one."""
    decision = read(site, ruling)
    assert ruling.job is None
    assert not decision.accepted
    assert {denial.node for denial in decision.denials} == {site.uri}
    assert decision.log_index == len(site.log.entries) - 1
    return decision.denials[0].reason_code, decision.denials[0].message


def refused_by_gate(site: Site, job: Job, **changes: Any) -> tuple[str, str]:
    """A refusal of a job that was verified: logged as a decision, and its id used up."""
    found = refusal(site, site.decide(job.proposal(**changes)))
    assert site.log.acts == [Act.DECISION]
    known = site.state.job(job.spec.job_id)
    assert known is not None
    assert not known.accepted
    assert site.rows.asked == 0
    return found


def refused_unopened(site: Site, job: Job) -> tuple[str, str]:
    """A refusal of bytes that could not be believed: logged, and nothing else is kept."""
    found = refusal(site, site.decide(job.proposal()))
    assert site.log.acts == [Act.REFUSAL]
    assert site.state.job(job.spec.job_id) is None
    assert site.rows.asked == 0
    return found
