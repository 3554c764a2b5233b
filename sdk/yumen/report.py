"""What a dry run says: the decision of each party, and what would pass where one said no."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from yumen_core.errors import Denied, PeerError
from yumen_core.identity.names import Identity, Role
from yumen_core.jobs.decision import BudgetLeft
from yumen_core.policy.denial import Denial
from yumen_core.privacy import Privacy, epsilon_of

from yumen.display import Grid, counted, html, plain, short_name, shortened
from yumen.preview import Preview, bytes_text
from yumen.result import Exclusion


@dataclass(frozen=True)
class NodeDecision:
    """One party's signed word. `node` is its SPIFFE id; a coordinator's word counts as a veto.
    `budgets` is what is left at a node of the budgets that the job would draw on."""

    node: str
    accepted: bool
    denials: tuple[Denial, ...] = ()
    budgets: tuple[BudgetLeft, ...] = ()


@dataclass(frozen=True, repr=False)
class CheckReport:
    """The decisions on a job that was not run.

    `nodes_needed` is how many nodes must accept; `excluded` are the nodes that gave no decision.
    `preview` is what would leave and how much is sent; `privacy` what the job would cost at each
    node, None where its sums are exact.
    """

    decisions: tuple[NodeDecision, ...]
    excluded: tuple[Exclusion, ...]
    sql: str
    purpose: str
    nodes_needed: int
    preview: Preview | None = None
    privacy: Privacy | None = None

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
        notes += ["", *self._foreseen()] if self.preview is not None else []
        return plain(self._grid(("party", "decision"), rows, notes))

    def _repr_html_(self) -> str:
        headers = ("party", "decision", "reason", "would pass", "what to do")
        return html(self._grid(headers, list(self._rows()), list(self._foreseen())))

    def _accepting(self) -> list[str]:
        return [d.node for d in self.decisions if d.accepted and not _is_coordinator(d.node)]

    def _foreseen(self) -> Iterator[str]:
        """What would leave, what that costs, and what is sent."""
        if self.preview is None:
            return
        noise = "" if self.privacy is None else ", each sum with noise"
        yield f"what would leave the nodes{noise}:"
        for line in self.preview.leaves:
            yield "  " + (line if self.privacy is None else _with_noise(line))
        yield from self._costs()
        sent, nodes = self.preview.node_bytes, self.preview.nodes
        yield (
            f"sent: {counted(self.preview.rounds, 'secure sum')} at most, "
            f"{bytes_text(sent)} of ciphertext from each node, "
            f"{bytes_text(self.preview.total_bytes)} from {counted(nodes, 'node')}"
        )

    def _costs(self) -> Iterator[str]:
        if self.privacy is None:
            yield "privacy budget: no cost, as no noise is asked for"
        else:
            cost = _cost(self.privacy.micro_rho, self.privacy.delta)
            yield f"privacy budget: {cost} at each node"
        delta = {} if self.privacy is None else {"delta": self.privacy.delta}
        for decision in self.decisions:
            for left in decision.budgets:
                yield (
                    f"  left at {party_name(decision.node)} before it: "
                    f"{_cost(left.micro_rho, **delta)} of the table {left.table}, "
                    f"{_cost(left.project_micro_rho, **delta)} of the project {left.project}"
                )

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


def _with_noise(line: str) -> str:
    """A line of a preview, where no sum is exact and no group is held back."""
    if line.startswith("how many nodes stand behind each value"):
        return "how many nodes take part; no group is held back, as noise protects each row"
    return line.replace(", exact", "")


def _cost(micro_rho: int, delta: str = "1e-6") -> str:
    """A budget as people think of it: an epsilon, and the rho that adds up."""
    if micro_rho == 0:
        return "nothing"
    return f"epsilon {epsilon_of(micro_rho, delta):.3g} (rho {micro_rho / 1e6:g})"


def party_name(uri: str) -> str:
    """A party for people: its short name, or that it is the coordinator."""
    return "the coordinator" if _is_coordinator(uri) else short_name(uri)


def _is_coordinator(uri: str) -> bool:
    try:
        return Identity.parse(uri).role is Role.COORDINATOR
    except PeerError:
        return False
