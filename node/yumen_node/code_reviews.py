"""The code of a job at the gate: may it run here, and who has to say so first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from yumen_core.errors import StateError
from yumen_core.identity.names import Identity
from yumen_core.jobs.admission import Question, gate_denial
from yumen_core.jobs.spec import JobSpec
from yumen_core.policy.denial import Denial
from yumen_core.training.bundle import Bundle
from yumen_core.training.spec import BundleCode, TrainingSpec

from yumen_node.approvals import Approvals
from yumen_node.ask import Ask, AskedColumn


class CodeReviews:
    """What the gate asks of the store of approvals."""

    def __init__(
        self,
        approvals: Approvals,
        me: Identity,
        refusal: StateError | None,
        limits: Mapping[str, str],
    ) -> None:
        self._approvals = approvals
        self._me = me
        self._refusal = refusal
        self._limits = limits
        self._version = approvals.version

    def changed(self) -> bool:
        """Whether another process has written to the store since this was asked last."""
        before, self._version = self._version, self._approvals.version
        return self._version != before

    def denials(self, spec: JobSpec) -> tuple[Denial, ...]:
        """Why code does not run here whatever the policies say: no sandbox, or a rejection."""
        program = _code(spec)
        if program is None:
            return ()
        if self._refusal is not None:
            return (gate_denial(self._refusal, node=self._me.uri, subject="code"),)
        verdict = self._approvals.verdict(program.digest, requester=spec.requester)
        if verdict.rejected is None:
            return ()
        return (
            Denial(
                node=self._me.uri,
                reason_code="code_rejected",
                message=f"the code `{program.name}` was rejected: {verdict.rejected}",
                subject="code",
                observed=program.digest.hex(),
                allowed="code that its reviewers approve",
                remedy="change the code as the reason says, and submit it again",
            ),
        )

    def check(self, spec: JobSpec) -> None:
        """Raise `StateError` (`code_rejected`) where the code of a job under way may no longer run
        here."""
        program = _code(spec)
        if program is None:
            return
        verdict = self._approvals.verdict(program.digest, requester=spec.requester)
        if verdict.rejected is not None:
            raise StateError(
                "code_rejected", f"the code `{program.name}` was rejected: {verdict.rejected}"
            )
        if not verdict.approvers:
            raise StateError(
                "code_rejected", f"the code `{program.name}` has no reviewer any more who approves"
            )

    def approvers(self, spec: JobSpec) -> int:
        """How many have approved the job's code; 0 where it has none of its own."""
        program = _code(spec)
        if program is None:
            return 0
        return len(self._approvals.verdict(program.digest, requester=spec.requester).approvers)

    def told(self, spec: JobSpec) -> dict[str, Sequence[str]]:
        """Who approved the job's code, for the log."""
        program = _code(spec)
        if program is None:
            return {}
        verdict = self._approvals.verdict(program.digest, requester=spec.requester)
        return {"reviewers": [reviewer.uri for reviewer in verdict.approvers]}

    def offer(self, spec: JobSpec, asked: Question, bundle: Bundle) -> None:
        """Put the code before the reviewers, with what the job wants of it."""
        training = spec.training
        assert isinstance(training, TrainingSpec)
        published = asked.tables[self._me.uri]
        columns = tuple(
            AskedColumn(column.name, str(column.grade), column.meaning)
            for column in published.schema.columns
            if column.name in asked.plan.columns
        )
        self._approvals.offer(
            bundle,
            Ask(
                job_id=spec.job_id,
                requester=spec.requester,
                purpose=spec.purpose,
                table=spec.table,
                sql=spec.sql,
                columns=columns,
                runs={action.value: count for action, count in training.runs.items()},
                min_nodes=spec.min_nodes,
                parameters=training.values,
                metrics=training.metrics,
                expires_at_ms=spec.expires_at_ms,
                limits=self._limits,
                run_config={name: str(v) for name, v in (training.run_config or {}).items()},
                weight=training.weight,
                clip_norm="" if training.clip_norm is None else f"{training.clip_norm:g}",
            ),
        )


def _code(spec: JobSpec) -> BundleCode | None:
    program = None if spec.training is None else spec.training.program
    return program if isinstance(program, BundleCode) else None
