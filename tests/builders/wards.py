"""Nodes with true tables: gate, execution, database and files, without a network.

A question goes the whole way of one: signed, decided, flagged, summed under encryption, read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from yumen_core.errors import Denied
from yumen_core.identity.membership import Membership
from yumen_core.jobs.answer import AnswerShape, SumTotals
from yumen_core.jobs.decision import denial_from_proto
from yumen_core.jobs.rounds import sum_binding, support_digest
from yumen_core.jobs.runs import runs_of_query
from yumen_core.privacy import Privacy
from yumen_core.rpc.v1 import job_pb2
from yumen_core.securesum import Adder
from yumen_core.securesum.contribution import open_sum
from yumen_core.sql import Plan, parse
from yumen_core.sql.finish import finish
from yumen_node.datasets import Dataset, load_declaration
from yumen_node.gate import AcceptedJob
from yumen_node.service import publish

from builders.federation import Federation, Job, job_for, key_pair
from builders.running import name_of
from builders.site import Site
from builders.tables import Rows, declared

Row = Mapping[str, Any]


class Wards:
    """One node for each of `tables`, all with the table `heart`; `settings` are its declaration's.

    Worlds of different names have nodes, folders and logs of their own."""

    def __init__(
        self,
        federation: Federation,
        li: Membership,
        folder: Path,
        tables: Sequence[Rows],
        columns: Sequence[Mapping[str, Any]],
        *,
        world: str,
        **settings: object,
    ) -> None:
        self.li = li
        self.sites: list[Site] = []
        self._datasets: list[Dataset] = []
        for at, rows in enumerate(tables):
            where = folder / world / f"n{at}"
            file = declared(where / "given", "heart", rows, columns, **settings)
            dataset = Dataset.open(load_declaration(file))
            node = federation.node(f"{world}{at}", publish(dataset.declaration))
            site = Site(node, where / "state")
            site.rows = dataset  # type: ignore[assignment]
            site.restart()
            self.sites.append(site)
            self._datasets.append(dataset)
        self.schema = self._datasets[0].schema

    def close(self) -> None:
        for site in self.sites:
            site.close()
        for dataset in self._datasets:
            dataset.close()

    def job(
        self,
        sql: str,
        *,
        over: Sequence[Site] | None = None,
        privacy: Privacy | None = None,
        **changes: Any,
    ) -> Job:
        return job_for(
            self.li,
            [site.published() for site in over or self.sites],
            sql=sql,
            plan_digest=self.plan(sql).digest,
            schema_digest=self.schema.digest,
            privacy=privacy,
            **changes,
        )

    def plan(self, sql: str) -> Plan:
        return parse(sql, {"heart": self.schema})

    def ask(self, sql: str, *, over: Sequence[Site] | None = None, **changes: Any) -> list[Row]:
        """The rows of the answer as the requester reads them. Raises `Denied`, and what a node
        raises in its rounds."""
        sites = list(over or self.sites)
        job = self.job(sql, over=sites, **changes)
        plan = self.plan(sql)
        totals, deviations = self.totals(job, plan, sites)
        rows: list[Row] = finish(plan, totals.nodes, totals.values, deviations).table.to_pylist()
        return rows

    def totals(self, job: Job, plan: Plan, sites: Sequence[Site]) -> tuple[SumTotals, list[float]]:
        """What the requester decrypts, and the deviation of the noise in each value of a cell."""
        names = sorted(site.uri for site in sites)
        accepted: dict[Site, AcceptedJob] = {}
        for site in sites:
            ruling = site.decide(job.proposal())
            if ruling.job is None:
                assert ruling.envelope is not None
                said = job_pb2.Decision.FromString(ruling.envelope.payload).denials
                denials = [denial_from_proto(denial) for denial in said]
                for other, held in accepted.items():
                    other.execution.forget(held.job_id)
                raise Denied(denials[0].message, denials)
            accepted[site] = ruling.job
        try:
            shares = [site.support(accepted[site], names) for site in sites]
            answer = runs_of_query(plan, job.spec.privacy).first.answer
            assert isinstance(answer, AnswerShape)
            adder = Adder(key_pair().public, answer.slots)
            for site in sites:
                adder.add(site.contribute(accepted[site], names, shares))
        finally:
            for site in sites:
                site.execution.forget(job.spec.job_id)
        sums = open_sum(
            adder.result(),
            keypair=key_pair(),
            job_secret=job.secret,
            binding=sum_binding(
                job.spec.job_id,
                names,
                support_digest({name_of(share): share.payload for share in shares}),
            ),
            payload_slots=answer.payload_slots,
            contributions=len(sites),
        )
        noises = () if answer.noise is None else answer.noise.noises
        deviations = [noise.deviation(len(sites)) for noise in noises]
        return answer.decode(sums, len(sites)), deviations
