"""A statistic asked as a dry run: every party decides on it, and nothing is computed."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from yumen_core.privacy import Privacy
from yumen_core.sql import TableSchema
from yumen_core.statistics.statistic import Statistic

from yumen.report import CheckReport
from yumen.result import Result
from yumen.statistics.source import Computation, privacy_of


class Checkable(Protocol):
    """A source that can put a question to every party without computing it."""

    def check_query(self, sql: str) -> CheckReport: ...

    def check_statistic(self, statistic: Statistic) -> CheckReport: ...


class Decided(Exception):
    """Carries the parties' decisions out of a method that would have computed."""

    def __init__(self, report: CheckReport) -> None:
        super().__init__("decided")
        self.report = report


class DryRun:
    """Stands in for a source: the first job that a method would submit is decided on instead."""

    def __init__(self, source: Checkable, schema: TableSchema, purpose: str) -> None:
        self._source = source
        self.schema = schema
        self.purpose = purpose

    @property
    def privacy(self) -> Privacy | None:
        return privacy_of(self._source)

    def query(self, sql: str) -> Result:
        raise Decided(self._source.check_query(sql))

    def compute(self, statistic: Statistic) -> AbstractContextManager[Computation]:
        raise Decided(self._source.check_statistic(statistic))
