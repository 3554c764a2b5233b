"""What a dry run says: the decision of each party, and what would pass where one said no."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from yumen_core.errors import Denied, PeerError
from yumen_core.identity.names import Identity, Role
from yumen_core.policy.denial import Denial

from yumen.display import Grid, counted, html, plain, short_name, shortened
from yumen.result import Exclusion


@dataclass(frozen=True)
class NodeDecision:
    """One party's signed word. `node` is its SPIFFE id; a coordinator's word counts as a veto."""

    node: str
    accepted: bool
    denials: tuple[Denial, ...] = ()


@dataclass(frozen=True, repr=False)
class CheckReport:
    """The decisions on a job that was not run.

    `nodes_needed` is how many nodes must accept; `excluded` are the nodes that gave no decision.
    """

    decisions: tuple[NodeDecision, ...]
    excluded: tuple[Exclusion, ...]
    sql: str
    purpose: str
    nodes_needed: int

    @property
    def allowed(self) -> bool:
        """Whether the job would run now: enough nodes accept and no coordinator refuses."""
        if any(not d.accepted for d in self.decisions if _is_coordinator(d.node)):
            return False
        return len(self._accepting()) >= self.nodes_needed

    @property
    def denials(self) -> tuple[Denial, ...]:
        """Every refusal by every party, in the order of the decisions."""
        return tuple(denial for decision in self.decisions for denial in decision.denials)

    def raise_if_denied(self) -> None:
        """Return quietly where `allowed`.

        Raises `Denied` (`job_denied`) with every denial where a party refused, `PeerError`
        (`insufficient_nodes`) where nodes are only missing.
        """
        if self.allowed:
            return
        said = (
            f"expected {counted(self.nodes_needed, 'node')} to accept the job, "
            f"got {len(self._accepting())}"
        )
        if self.denials:
            raise Denied(said, self.denials)
        out = ", ".join(short_name(e.node) for e in self.excluded)
        missing = f"; without an answer: {out}" if out else ""
        raise PeerError("insufficient_nodes", said + missing)

    def __bool__(self) -> bool:
        # `if fed.check(...)` would be true for a refusal too: make the caller say what is meant.
        raise TypeError("ask `.allowed`, or call `.raise_if_denied()`")

    def __repr__(self) -> str:
        # Reasons are sentences: in a terminal they read better below the table than in it.
        rows = [
            (party_name(d.node), "accepts" if d.accepted else "refuses") for d in self.decisions
        ]
        rows += [(party_name(e.node), f"no answer: {shortened(e.reason)}") for e in self.excluded]
        notes = [line for denial in self.denials for line in ("", *denial_lines(denial))]
        return plain(self._grid(("party", "decision"), rows, notes))

    def _repr_html_(self) -> str:
        headers = ("party", "decision", "reason", "would pass", "what to do")
        return html(self._grid(headers, list(self._rows()), []))

    def _accepting(self) -> list[str]:
        return [d.node for d in self.decisions if d.accepted and not _is_coordinator(d.node)]

    def _grid(
        self, headers: Sequence[str], rows: Sequence[tuple[str, ...]], notes: Sequence[str]
    ) -> Grid:
        word = "would run" if self.allowed else "would not run"
        count = len(self._accepting())
        title = (
            f"The job {word} for the purpose {self.purpose}: "
            f"{counted(count, 'node accepts', 'nodes accept')}, {self.nodes_needed} needed"
        )
        return Grid(
            tuple(headers), tuple(rows), notes=tuple(notes), title=title, max_cell_chars=120
        )

    def _rows(self) -> Iterator[tuple[str, ...]]:
        for decision in self.decisions:
            name = party_name(decision.node)
            if decision.accepted:
                yield (name, "accepts", "", "", "")
            for denial in decision.denials:
                yield (
                    name,
                    "refuses",
                    shortened(denial.message),
                    _would_pass(denial),
                    denial.remedy,
                )
        for exclusion in self.excluded:
            yield (party_name(exclusion.node), "no answer", shortened(exclusion.reason), "", "")


def denial_lines(denial: Denial) -> tuple[str, ...]:
    """A refusal as lines for a terminal: who and why, what to do, what would pass."""
    passes = _would_pass(denial)
    return (
        f"{party_name(denial.node)} refuses: {shortened(denial.message)}",
        f"  what to do: {denial.remedy}",
        *([f"  would pass: {passes}"] if passes else []),
    )


def _would_pass(denial: Denial) -> str:
    if not denial.allowed:
        return ""
    if not denial.subject or denial.allowed.startswith(f"{denial.subject} "):
        return denial.allowed
    return f"{denial.subject} {denial.allowed}"


def party_name(uri: str) -> str:
    """A party for people: its short name, or that it is the coordinator."""
    return "the coordinator" if _is_coordinator(uri) else short_name(uri)


def _is_coordinator(uri: str) -> bool:
    try:
        return Identity.parse(uri).role is Role.COORDINATOR
    except PeerError:
        return False
