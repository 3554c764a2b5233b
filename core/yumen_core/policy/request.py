"""The facts a policy decides on, as trusted code states them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

from yumen_core.canonical import Json
from yumen_core.errors import CallError
from yumen_core.identity.names import Identity, Role

GRADES = ("general", "important", "core")
OPERATIONS = ("query", "statistic", "train")
# What a training runs: a model that this software knows, or code that its requester wrote.
MODEL, CODE = "model", "code"
PROGRAMS = (MODEL, CODE)

MAX_COLUMNS = 2000
MAX_TEXT_CHARS = 256
MAX_LONG = 2**63 - 1
MAX_REVIEWERS = 64
# Years 1 to 9999, the range that both sides of the conversion share.
MIN_TIME_MS = -62_135_596_800_000
MAX_TIME_MS = 253_402_300_799_999


@dataclass(frozen=True, kw_only=True)
class PolicyRequest:
    """One job, a query, a statistic or a training, put to a policy by the party that decides.

    Every field comes from verified certificates, from the plan that the deciding party derived
    itself, and from its own configuration and clock; only `purpose` is the requester's word.

    `requester` is a user, `decider` the coordinator or the node that decides. `operation` is what
    the job asks, `rounds` its most secure sums. `table_grade` is the strictest grade of the table.
    `columns` maps every touched column to its grade; `filters` (WHERE and joins), `group_by` (keys
    by exact value) and `group_bands` (keys in CASE bands) are among them. `joined` names the other
    tables that the query joins with this one. `aggregates` are the plan's names, such as `avg`, the
    kinds of a statistic's rounds, such as `glm`, or the runs of a training, such as `evaluate`.
    `participants` counts the nodes named, `min_nodes` the fewest with which the job goes on,
    `threshold` the rows behind a released cell. Times are milliseconds since the Unix epoch.

    `micro_rho` is what the job's answers cost of a privacy budget, in millionths of rho, 0 where
    they carry no noise; `micro_rho_left` what the deciding node has left of the table's budget for
    `project`, None where it keeps none, and at the coordinator.

    Of a training only: `program` is "model" or "code", `program_name` the model's kind or what the
    code calls itself, `code_reviewers` how many people of the deciding node's institution have
    approved the code (0 at the coordinator, and for a model), `parameters` the values of the model,
    a sum of which leaves each round.

    Raises `CallError` ("argument") for a grade that is not known, a key that `columns` lacks, a
    value out of its range, or a training's facts beside another operation: a fact that cannot be
    right is never put to a policy.
    """

    requester: Identity
    decider: Identity
    operation: str = "query"
    rounds: int = 1
    table: str
    table_grade: str
    purpose: str
    columns: Mapping[str, str]
    filters: frozenset[str] = frozenset()
    group_by: frozenset[str] = frozenset()
    group_bands: frozenset[str] = frozenset()
    joined: frozenset[str] = frozenset()
    aggregates: frozenset[str]
    participants: int
    min_nodes: int
    threshold: int
    suite: str
    now_ms: int
    expires_at_ms: int
    dry_run: bool = False
    project: str = ""
    micro_rho: int = 0
    micro_rho_left: int | None = None
    program: str = ""
    program_name: str = ""
    code_reviewers: int = 0
    parameters: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", MappingProxyType(dict(self.columns)))
        self._check_parties()
        self._check_columns()
        if self.operation not in OPERATIONS:
            raise _argument(
                f"expected an operation of {', '.join(OPERATIONS)}, got `{self.operation}`"
            )
        self._check_program()
        for name in (
            "participants",
            "min_nodes",
            "threshold",
            "rounds",
            "parameters",
            "micro_rho",
        ):
            _check_range(name, getattr(self, name), 0, MAX_LONG)
        for name in ("now_ms", "expires_at_ms"):
            _check_range(name, getattr(self, name), MIN_TIME_MS, MAX_TIME_MS)
        if self.micro_rho_left is not None:
            _check_range("micro_rho_left", self.micro_rho_left, 0, MAX_LONG)
        for name in ("table", "purpose", "project", "suite", "program_name"):
            _check_text(name, getattr(self, name))

    def context(self, *, purpose_registered: bool) -> dict[str, Json]:
        """The context record of `yumen.cedarschema`, sets as sorted lists."""
        context: dict[str, Json] = {
            "purpose": self.purpose,
            "purposeRegistered": purpose_registered,
            "columns": sorted(self.columns),
            "columnGrades": sorted(set(self.columns.values())),
            "filters": sorted(self.filters),
            "groupBy": sorted(self.group_by),
            "groupBands": sorted(self.group_bands),
            "joinedTables": sorted(self.joined),
            "aggregates": sorted(self.aggregates),
            "rounds": self.rounds,
            "participants": self.participants,
            "minNodes": self.min_nodes,
            "threshold": self.threshold,
            "suite": self.suite,
            "requesterOrganisation": self.requester.organisation,
            "now": {"__extn": {"fn": "datetime", "arg": _datetime_text(self.now_ms)}},
            # Rounded down: a job in its last second counts as expired.
            "expiresInSeconds": (self.expires_at_ms - self.now_ms) // 1000,
            "dryRun": self.dry_run,
            "project": self.project,
            "private": self.micro_rho > 0,
            "microRho": self.micro_rho,
        }
        if self.micro_rho_left is not None:
            context["microRhoLeft"] = self.micro_rho_left
        if self.decider.role is Role.NODE:
            context["nodeOrganisation"] = self.decider.organisation
        if self.operation == "train":
            context["program"] = self.program
            context["programName"] = self.program_name
            context["codeReviewers"] = self.code_reviewers
            context["parameters"] = self.parameters
        return context

    def entities(self) -> list[Json]:
        """The organisation, the requester and the table, as Cedar's JSON entities."""
        organisation = {"type": "Yumen::Organisation", "id": self.requester.organisation}
        table: dict[str, Json] = {
            "federation": self.decider.federation,
            "name": self.table,
            "grade": self.table_grade,
        }
        if self.decider.role is Role.NODE:
            table["node"] = self.decider.name
        user: dict[str, Json] = {
            "federation": self.requester.federation,
            "organisation": self.requester.organisation,
            "name": self.requester.name,
        }
        return [
            {"uid": organisation, "attrs": {}, "parents": []},
            {"uid": self.principal_uid(), "attrs": user, "parents": [organisation]},
            {"uid": self.resource_uid(), "attrs": table, "parents": []},
        ]

    def principal_uid(self) -> dict[str, Json]:
        return {"type": "Yumen::User", "id": self.requester.uri}

    def resource_uid(self) -> dict[str, Json]:
        return {"type": "Yumen::Table", "id": self.table}

    def _check_parties(self) -> None:
        if self.requester.role is not Role.USER:
            raise _argument(f"expected a requester of role user, got `{self.requester.role}`")
        if self.decider.role not in (Role.COORDINATOR, Role.NODE):
            raise _argument(
                f"expected a decider of role coordinator or node, got `{self.decider.role}`"
            )

    def _check_program(self) -> None:
        _check_range("code_reviewers", self.code_reviewers, 0, MAX_REVIEWERS)
        if self.operation != "train":
            if self.program or self.program_name or self.code_reviewers or self.parameters:
                raise _argument(f"a {self.operation} has no program, reviewers or parameters")
            return
        if self.program not in PROGRAMS:
            raise _argument(
                f"expected a program of {', '.join(PROGRAMS)} in a training, got `{self.program}`"
            )
        if self.code_reviewers and (self.program, self.decider.role) != (CODE, Role.NODE):
            raise _argument("only code has reviewers, and only at a node")

    def _check_columns(self) -> None:
        if len(self.columns) > MAX_COLUMNS:
            raise _argument(f"expected at most {MAX_COLUMNS} columns, got {len(self.columns)}")
        for name, grade in self.columns.items():
            _check_text("column", name)
            _check_grade(f"column `{name}`", grade)
        _check_grade(f"table `{self.table}`", self.table_grade)
        for field in ("filters", "group_by", "group_bands"):
            for name in sorted(getattr(self, field) - self.columns.keys()):
                raise _argument(f"`{field}` names column `{name}`, which `columns` lacks")
        for name in self.aggregates:
            _check_text("aggregate", name)
        for name in self.joined:
            _check_text("joined table", name)


def _check_grade(what: str, grade: str) -> None:
    if grade not in GRADES:
        raise _argument(f"expected a grade of {', '.join(GRADES)} for {what}, got `{grade}`")


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise _argument(f"expected `{name}` from {low} to {high}, got {value}")


def _check_text(name: str, value: str) -> None:
    if len(value) > MAX_TEXT_CHARS:
        raise _argument(
            f"expected `{name}` of at most {MAX_TEXT_CHARS} characters, got {len(value)}"
        )


def _datetime_text(time_ms: int) -> str:
    seconds, milliseconds = divmod(time_ms, 1000)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment.year:04d}-{moment:%m-%dT%H:%M:%S}.{milliseconds:03d}Z"


def _argument(message: str) -> CallError:
    return CallError("argument", message)
