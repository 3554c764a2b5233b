"""A member with a true log of its own, on disk."""

from pathlib import Path

from yumen_core.identity.membership import Membership
from yumen_core.log import Act, TileLog, open_log
from yumen_core.log.proof import LogProof, prove


class MemberLog:
    """`folder` holds the log and its secrets."""

    def __init__(self, member: Membership, folder: Path) -> None:
        self.member = member
        self.uri = member.identity.uri
        self.log: TileLog = open_log(
            folder / "log", member=member.identity, secrets=folder / "secrets", clock=member.clock
        )

    @property
    def key(self) -> str:
        return self.log.verifier_key

    def decision(self, job_id: str, spec: bytes, *, accepted: bool = True) -> tuple[int, LogProof]:
        """The entry of a decision, where it stands, and its proof."""
        index = self.log.record(
            Act.DECISION,
            subject={"job": job_id},
            digests={"spec": spec},
            detail={"accepted": accepted},
        )
        return index, prove(self.log, index)
