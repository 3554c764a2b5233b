"""The federation of `in_process`, asked with noise: a node's true path from rows to a noisy sum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import pandas as pd
from yumen_core.errors import PeerError
from yumen_core.jobs.answer import AnswerShape
from yumen_core.jobs.runs import runs_of_statistic, statistic_rounds
from yumen_core.privacy import Privacy
from yumen_core.sql import TableSchema, parse_rows
from yumen_core.statistics.kinds import Totals
from yumen_core.statistics.layout import Reals, from_integers
from yumen_core.statistics.statistic import Statistic, parse_statistic
from yumen_node.noise import all_kept, with_noise
from yumen_node.private_rounds import private_integers

from builders.in_process import InProcess, _Computation


class NoisyProcess(InProcess):
    """`privacy` is what each job may cost."""

    def __init__(
        self, frames: Sequence[pd.DataFrame], schema: TableSchema, *, privacy: Privacy
    ) -> None:
        super().__init__(frames, schema)
        self.privacy = privacy

    @contextmanager
    def compute(self, statistic: Statistic) -> Iterator[_NoisyComputation]:
        self.jobs.append(statistic)
        yield _NoisyComputation(self, parse_statistic(statistic.to_bytes()))


class _NoisyComputation(_Computation):
    def __init__(self, source: NoisyProcess, statistic: Statistic) -> None:
        super().__init__(source, statistic, source._databases)
        plan = parse_rows(statistic.sql, {source.schema.name: source.schema})
        rounds = statistic_rounds(statistic, plan)
        self._shapes = {s.name: s.answer for s in runs_of_statistic(rounds, source.privacy).shapes}
        self._entries = {entry.named.name: entry for entry in rounds}

    def run(self, name: str, inputs: Mapping[str, Reals] | None = None) -> Totals:
        if inputs:
            raise PeerError("round", "expected no inputs of a private round")
        self.rounds += 1
        entry, shape = self._entries[name], self._shapes[name]
        assert isinstance(shape, AnswerShape)
        assert shape.noise is not None
        keep = all_kept(shape.cells, shape.supports)
        sums = None
        for rows in self._rows:
            noisy = with_noise(shape.noise, private_integers(entry, rows))
            slots = shape.encode(keep, noisy)
            sums = slots if sums is None else sums + slots
        n = len(self._rows)
        totals = shape.decode(sums, n)
        deviations = tuple(
            noise.deviation(n) * 2.0**value.exponent
            for noise, value in zip(shape.noise.noises, entry.layout.values, strict=True)
        )
        return Totals(
            np.array(totals.nodes), from_integers(entry.layout, totals.values), deviations
        )
