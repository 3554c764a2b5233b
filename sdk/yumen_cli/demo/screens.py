"""How the demo looks on a terminal of 100 columns."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.box import ROUNDED, SIMPLE_HEAD
from rich.console import Console
from rich.panel import Panel
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from yumen_cli.demo.report import Answer, Attack, DemoReport, Refusal, VerifiedLog
from yumen_cli.demo.truth import HeldCell
from yumen_cli.terminal import clean

if TYPE_CHECKING:
    from yumen.datasets import Datasets
    from yumen_core.policy.denial import Denial

WIDTH = 100
_MEASURE_WORDS = {
    "patients": "patients",
    "mean_chol": "mean cholesterol",
    "sd_chol": "deviation",
    "mean_disease": "mean grade of disease",
}
_FORMATS = {"patients": ".0f", "mean_chol": ".6f", "sd_chol": ".6f", "mean_disease": ".6f"}


class Screen:
    """Draws each step on stdout as it ends; draws nothing where `quiet`."""

    def __init__(self, *, quiet: bool) -> None:
        terminal = Console(file=sys.stdout, highlight=False)
        width = min(WIDTH, terminal.width) if terminal.is_terminal else WIDTH
        self._console = Console(file=sys.stdout, highlight=False, width=width, quiet=quiet)
        self._begun = time.monotonic()

    def opening(self) -> None:
        self._console.print(
            Panel(
                Text(
                    "Four hospitals, 920 patients, one question. The rows stay where they are;\n"
                    "the coordinator adds ciphertexts; only who asks can read the total."
                ),
                title="Yumen",
                title_align="left",
                box=ROUNDED,
                padding=(0, 2),
            )
        )

    @contextmanager
    def working(self, what: str) -> Iterator[None]:
        """A moving sign on a terminal while `what` goes on."""
        with self._console.status(what):
            yield

    def step(self, what: str) -> None:
        """One thing that is ready, with the time since the start."""
        passed = time.monotonic() - self._begun
        self._console.print(Text.assemble((f"{passed:6.2f} s  ", "dim"), clean(what)))

    def heading(self, number: int, title: str) -> None:
        self._console.print()
        self._console.print(Rule(Text(f"{number}  {title}", style="bold"), align="left"))

    def catalogue(self, datasets: Datasets) -> None:
        for dataset in datasets:
            self._console.print(Text(f"{dataset.name}: {dataset.meaning}"))
            table = _table(("column", {}), ("type", {}), ("unit", {}), ("meaning", {}))
            for column in dataset.columns:
                table.add_row(*map(_text, (column.name, column.type, column.unit, column.meaning)))
            self._console.print(table)
            nodes = ", ".join(_name(node.node) for node in dataset.nodes)
            first = dataset.nodes[0]
            self._console.print(
                Text(
                    f"published by {nodes}; a value is released where {first.min_nodes} hospitals"
                    f" stand behind it with {first.threshold} rows or more each"
                )
            )

    def answer(self, answer: Answer) -> None:
        question = answer.comparison.question
        self._console.print()
        self._console.print(Syntax(question.sql, "sql", background_color="default", padding=(0, 2)))
        right = {"justify": "right"}
        table = _table(
            (question.title, {}),
            ("", {}),
            ("patients", right),
            ("mean mg/dl", right),
            ("deviation", right),
            ("disease, 0-4", right),
            ("hospitals", right),
        )
        for line in answer.comparison.lines:
            nodes = " ".join(str(line.nodes[name]) for name in _FORMATS)
            table.add_row(_text(line.group), _text("decrypted"), *_cells(line.answer), _text(nodes))
            table.add_row("", Text("pooled truth", "dim"), *_cells(line.truth, "dim"), "")
        self._console.print(table)
        self._verdict(answer)

    def held_back(self, answers: Sequence[Answer]) -> None:
        cells = [cell for answer in answers for cell in answer.truth.held_cells]
        values = [cell for answer in answers for cell in answer.truth.held_values]
        self._console.print(
            Text(
                f"{len(cells)} cells stayed at their hospital: under 10 rows are behind each, or"
                " would follow by subtraction from an earlier answer.\n"
                f"{len(values)} totals were not released: under 3 hospitals are behind them, or"
                " not the same."
            )
        )
        table = _table(("group", {}), ("value", {}), ("held back at", {}), ("because", {}))
        for group, measure, where, why in _merge(cells):
            table.add_row(*map(_text, (group, _MEASURE_WORDS[measure], where, why)))
        for cell in values:
            what = Text(_MEASURE_WORDS[cell.measure])
            table.add_row(_text(cell.group), what, Text("no release", "bold"), _text(cell.reason))
        self._console.print(table)

    def coordinator_saw(self, report: DemoReport) -> None:
        self._console.print(
            Text.assemble(
                "The coordinator saw ",
                (f"{report.ciphertext_bytes:,} bytes of ciphertext", "bold"),
                f" in {report.ciphertexts} contributions, and no number it could read.",
            )
        )

    def refusal(self, refusal: Refusal) -> None:
        if refusal.error is None:
            return
        self._console.print(Text(clean(refusal.error.message)))
        self._console.print(_denials(refusal.error.denials))
        accepted = sum(1 for decision in refusal.remedied.decisions if decision.accepted)
        self._console.print(
            Text(f"The same statement for research: {accepted} parties accept it (dry run).")
        )

    def attacks(self, attacks: Sequence[Attack]) -> None:
        table = _table(("attack", {}), ("what was sent", {}), ("outcome", {}))
        for attack in attacks:
            verdict = f"refused, {attack.code}: {attack.message}" if attack.holds else "LET IN"
            table.add_row(*map(_text, (attack.name, attack.what, verdict)))
        self._console.print(table)

    def logs(self, logs: Sequence[VerifiedLog]) -> None:
        table = _table(
            ("log of", {}), ("entries", {"justify": "right"}), ("root", {}), ("verified", {})
        )
        for log in logs:
            verdict = log.problem or f"whole, signed by {log.key}"
            row = (log.party, str(log.entries), f"{log.root[:16]}…", verdict)
            table.add_row(*map(_text, row))
        self._console.print(table)

    def closing(self, report: DemoReport) -> None:
        self._console.print()
        faults = report.faults()
        for fault in faults:
            self._console.print(Text(f"does not hold: {clean(fault)}", "bold red"))
        word = "everything holds" if not faults else f"{len(faults)} checks do not hold"
        self._console.print(
            Text(
                f"{word}: {report.processes} processes, {len(report.answers)} encrypted answers,"
                f" {len(report.attacks)} attacks, {len(report.logs)} logs,"
                f" {report.elapsed_s:.1f} s in all",
                "bold green" if not faults else "bold red",
            )
        )

    def _verdict(self, answer: Answer) -> None:
        comparison = answer.comparison
        if comparison.faults:
            for fault in comparison.faults:
                self._console.print(Text(f"not equal: {clean(fault)}", "bold red"))
            return
        exact = "exactly" if comparison.difference == 0 else "to"
        bound = "" if comparison.difference == 0 else f" {comparison.difference:.1e} relative"
        self._console.print(
            Text.assemble(
                ("equal", "bold green"),
                f" {exact}{bound}; {answer.result.ciphertext_bytes:,} bytes of ciphertext,"
                f" {answer.result.elapsed_s * 1000:.0f} ms; the last column counts the hospitals"
                " behind each value",
            )
        )


def _table(*columns: tuple[str, dict[str, str]]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name, settings in columns:
        justify = "right" if settings.get("justify") == "right" else "left"
        table.add_column(name, justify="right" if justify == "right" else "left", overflow="fold")
    return table


def _denials(denials: Sequence[Denial]) -> Table:
    table = _table(("hospital", {}), ("reason", {}), ("asked", {}), ("what would pass", {}))
    for denial in denials:
        passes = f"{denial.subject} {denial.allowed}: {denial.remedy}"
        cells = (_name(denial.node), denial.message, denial.observed, passes)
        table.add_row(*map(_text, cells))
    return table


def _cells(values: dict[str, float | None], style: str = "") -> list[Text]:
    shown = []
    for name, form in _FORMATS.items():
        value = values[name]
        shown.append(
            Text("held back", "yellow") if value is None else Text(f"{value:{form}}", style)
        )
    return shown


def _merge(cells: Sequence[HeldCell]) -> Iterator[tuple[str, str, str, str]]:
    """The cells of one group and measure on one line."""
    places = dict.fromkeys((cell.group, cell.measure) for cell in cells)
    for group, measure in places:
        found = [cell for cell in cells if (cell.group, cell.measure) == (group, measure)]
        hospitals = ", ".join(cell.hospital for cell in found)
        yield group, measure, hospitals, "; ".join(cell.reason for cell in found)


def _name(uri: str) -> str:
    """A node's own name; the demo's are unique."""
    return uri.rpartition("/")[2]


def _text(value: str) -> Text:
    return Text(clean(str(value)))
