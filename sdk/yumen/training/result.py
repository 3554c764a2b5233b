"""What a training ends with: the model, its metrics round by round, and who stands behind it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from yumen_core.errors import CallError
from yumen_core.identity.files import PRIVATE_MODE, replace_file
from yumen_core.privacy import Privacy
from yumen_core.training.records import Action, Values

from yumen.display import Grid, counted, format_numbers, html, plain, short_name, shortened
from yumen.result import Exclusion
from yumen.training.progress import RoundReport

if TYPE_CHECKING:
    import os

    import pandas as pd
    import torch
    from matplotlib.figure import Figure

_SERVER = "server"
_FACTS = ("examples", "nodes", "clipped", "lost", "seconds")


class TrainingResult:
    """A trained model.

    `arrays` holds the final tensors by name, in the types of the initial ones. `participants` are
    the SPIFFE ids behind the last run, `excluded` those that took no part at all; `reports` one
    entry a run; `job_ids` the jobs, several where the training was resumed; `elapsed_s` the time
    of this call. `strategy` is its class's name. `privacy`, of a private training, is what all its
    jobs may have cost together at each node.

    `metrics` is a pandas frame, `state_dict()` PyTorch tensors, `save(path)` a file that
    `torch.load(path, weights_only=True)` reads, `plot()` the learning curves.
    """

    def __init__(
        self,
        arrays: Mapping[str, Values],
        *,
        reports: Sequence[RoundReport],
        server_metrics: Mapping[int, Mapping[str, float]] | None = None,
        strategy: str = "",
        participants: tuple[str, ...] = (),
        excluded: tuple[Exclusion, ...] = (),
        job_ids: tuple[str, ...] = (),
        elapsed_s: float = 0.0,
        notes: tuple[str, ...] = (),
        privacy: Privacy | None = None,
    ) -> None:
        self.arrays = dict(arrays)
        self.reports = tuple(reports)
        self.server_metrics = dict(server_metrics or {})
        self.strategy = strategy
        self.participants = participants
        self.excluded = excluded
        self.job_ids = job_ids
        self.elapsed_s = elapsed_s
        self.notes = notes
        self.privacy = privacy

    @property
    def metrics(self) -> pd.DataFrame:
        """One row a round, by its number; row 0, where there is one, is before the first training.

        Columns `train_loss`, `evaluate_accuracy` and so on are weighted means over the nodes,
        `server_...` what the strategy's own evaluation gave. `examples` and `nodes` stand behind
        the round's training (or its evaluation, where it had none), `clipped` counts the nodes
        whose change was clipped to the norm, `lost` those that dropped out, `seconds` is its
        duration.
        """
        import pandas as pd  # takes most of a second, and many callers never need it

        rows = self._rows
        columns = self._metric_columns
        data = {name: [row.get(name, float("nan")) for row in rows.values()] for name in columns}
        for name in _FACTS:
            values = [row.get(name, 0) for row in rows.values()]
            data[name] = values if name == "seconds" else [int(value) for value in values]
        return pd.DataFrame(data, index=pd.Index(list(rows), name="round"))

    def lost_nodes(self) -> dict[int, tuple[str, ...]]:
        """The SPIFFE ids of the nodes that dropped out, by round."""
        lost: dict[int, tuple[str, ...]] = {}
        for report in self.reports:
            if report.lost:
                known = lost.get(report.round, ())
                lost[report.round] = tuple(dict.fromkeys((*known, *report.lost)))
        return lost

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The model as PyTorch's `load_state_dict` takes it: copies, on the CPU.

        Raises `CallError` (`training`) without PyTorch.
        """
        try:
            import torch
        except ModuleNotFoundError:
            raise CallError(
                "training",
                "expected `torch` for a state dict, got none",
                remedy="pip install 'yumen[train]'",
            ) from None
        return {name: torch.from_numpy(np.array(values)) for name, values in self.arrays.items()}

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the state dict to `path` with `torch.save`, whole or not at all, for your user
        alone, and give the path.

        Raises `CallError` (`argument`) where a file is there and `overwrite` is not set,
        `StateError` where it cannot be written.
        """
        target = Path(path).expanduser()
        if target.exists() and not overwrite:
            raise CallError(
                "argument",
                f"expected a path without a file, got `{target}`, which exists",
                remedy="choose another path, or set overwrite=True",
            )
        import torch

        buffer = io.BytesIO()
        torch.save(self.state_dict(), buffer)
        replace_file(target, buffer.getvalue(), mode=PRIVATE_MODE)
        return target

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """The learning curves: one panel a metric, one line for each place it was measured.

        With `path` the figure is written there too, in the format of its ending. Raises
        `CallError` (`argument`) without matplotlib, or without any metric.
        """
        panels: dict[str, list[str]] = {}
        for column in self._metric_columns:
            panels.setdefault(column.partition("_")[2], []).append(column)
        if not panels:
            raise CallError("argument", "expected metrics to plot, got none from this training")
        figure, axes = _panels(len(panels))
        rows = self._rows
        for ax, (metric, columns) in zip(axes, panels.items(), strict=True):
            for column in columns:
                known = [(number, row[column]) for number, row in rows.items() if column in row]
                ax.plot(*zip(*known, strict=True), marker="o", label=column.partition("_")[0])
            ax.set_xlabel("round")
            ax.set_ylabel(metric)
            ax.legend()
        if path is not None:
            figure.savefig(path)
        made: Figure = figure
        return made

    def __repr__(self) -> str:
        return plain(self._grid)

    def _repr_html_(self) -> str:
        return html(self._grid)

    @cached_property
    def _rows(self) -> dict[int, dict[str, float]]:
        rows: dict[int, dict[str, float]] = {}
        trained: set[int] = set()
        for report in self.reports:
            row = rows.setdefault(report.round, {})
            for name, value in report.metrics.items():
                row[f"{report.action.value}_{name}"] = value
            row["seconds"] = row.get("seconds", 0.0) + report.seconds
            if report.action is Action.TRAIN:
                trained.add(report.round)
            if report.action is Action.TRAIN or report.round not in trained:
                row["examples"], row["nodes"] = report.examples, report.nodes
                row["clipped"] = report.clipped
        for number, lost in self.lost_nodes().items():
            rows[number]["lost"] = len(lost)
        for number, metrics in self.server_metrics.items():
            row = rows.setdefault(number, {})
            for name, value in metrics.items():
                row[f"{_SERVER}_{name}"] = value
        return dict(sorted(rows.items()))

    @cached_property
    def _metric_columns(self) -> list[str]:
        found = dict.fromkeys(
            name for row in self._rows.values() for name in row if name not in _FACTS
        )
        order = {Action.TRAIN.value: 0, Action.EVALUATE.value: 1, Action.QUERY.value: 2}
        return sorted(found, key=lambda name: order.get(name.partition("_")[0], 3))

    @property
    def _grid(self) -> Grid:
        rows, columns = self._rows, self._metric_columns
        texts = [[str(number) for number in rows]]
        for column in columns:
            values = [row.get(column) for row in rows.values()]
            shown = format_numbers(values)
            texts.append(["" if v is None else t for v, t in zip(values, shown, strict=True)])
        for fact in ("examples", "nodes"):
            texts.append([f"{int(row[fact]):,}" if fact in row else "" for row in rows.values()])
        headers = ("round", *(name.replace("_", " ", 1) for name in columns), "examples", "nodes")
        return Grid(
            headers=headers,
            rows=tuple(zip(*texts, strict=True)),
            numeric=(True,) * len(headers),
            notes=("", *self._notes()),
        )

    def _notes(self) -> Iterator[str]:
        names = ", ".join(short_name(uri) for uri in self.participants)
        yield f"{counted(len(self.participants), 'node')} in: {names}"
        if self.excluded:
            out = "; ".join(f"{short_name(e.node)} ({shortened(e.reason)})" for e in self.excluded)
            yield f"{counted(len(self.excluded), 'node')} out: {out}"
        for number, lost in self.lost_nodes().items():
            yield f"lost in round {number}: {', '.join(short_name(uri) for uri in lost)}"
        clipped = [number for number, row in self._rows.items() if row.get("clipped")]
        if clipped:
            most = int(max(self._rows[number]["clipped"] for number in clipped))
            yield (
                f"clipped to the norm in {counted(len(clipped), 'round')}, from round "
                f"{clipped[0]}: {counted(most, 'node')} at most"
            )
        yield from self._idle()
        if self.privacy is not None:
            yield (
                f"noise added: epsilon {self.privacy.epsilon:.4g} at delta {self.privacy.delta}, "
                f"{self.privacy.micro_rho:,} millionths of rho at each node, for each of its rows"
            )
        yield from self.notes
        values = sum(int(array.size) for array in self.arrays.values())
        words = [counted(values, "value"), f"{self.elapsed_s:.2f} s"]
        if self.strategy:
            words.insert(0, self.strategy)
        if self.job_ids:
            jobs = "job" if len(self.job_ids) == 1 else "jobs"
            words.append(f"{jobs} {', '.join(self.job_ids)}")
        yield ", ".join(words)

    def _idle(self) -> Iterator[str]:
        """Where fewer nodes count than take part, in training and in evaluation."""
        for action, where in ((Action.TRAIN, "in"), (Action.EVALUATE, "in the evaluation of")):
            short = [r for r in self.reports if r.action is action and 0 < r.nodes < r.asked]
            if short:
                most = max(report.asked - report.nodes for report in short)
                yield (
                    f"{counted(most, 'node')} counted for nothing {where} "
                    f"{counted(len(short), 'round')}: too few rows, or a model that diverged"
                )


def _panels(count: int) -> tuple[Any, list[Any]]:
    try:
        from matplotlib import pyplot
    except ImportError:
        raise CallError(
            "argument",
            "expected matplotlib for a plot, got none installed",
            remedy="pip install 'yumen[plot]'",
        ) from None
    figure, axes = pyplot.subplots(
        1, count, squeeze=False, figsize=(4.5 * count, 3.5), layout="constrained"
    )
    return figure, list(axes[0])
