"""What every statistic's result can do: print itself, become a frame, say where it comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from yumen.display import Grid, counted, html, plain, rounding_notes, short_name, shortened
from yumen.statistics.source import Provenance

if TYPE_CHECKING:
    import pandas as pd


class Released(ABC):
    """A statistic that was released. `provenance` says from which job and nodes."""

    def __init__(self, provenance: Provenance) -> None:
        self.provenance = provenance

    @abstractmethod
    def to_pandas(self) -> pd.DataFrame:
        """The result as a frame."""

    @abstractmethod
    def grids(self) -> Sequence[Grid]:
        """The tables that printing shows, the last without the notes on provenance."""

    def __repr__(self) -> str:
        *first, last = self._all_grids()
        return "\n\n".join(plain(grid) for grid in (*first, last))

    def _repr_html_(self) -> str:
        return "\n".join(html(grid) for grid in self._all_grids())

    def _all_grids(self) -> list[Grid]:
        *first, last = self.grids()
        notes = (*(last.notes or ("",)), *self._provenance_notes())
        return [*first, replace(last, notes=notes)]

    def _provenance_notes(self) -> Iterator[str]:
        origin = self.provenance
        names = ", ".join(short_name(uri) for uri in origin.participants)
        yield f"{counted(len(origin.participants), 'node')} in: {names}"
        if origin.excluded:
            out = "; ".join(
                f"{short_name(e.node)} ({shortened(e.reason)})" for e in origin.excluded
            )
            yield f"{counted(len(origin.excluded), 'node')} out: {out}"
        yield from rounding_notes(origin.round_to)
        yield (
            f"{counted(origin.rounds, 'secure sum')}, {origin.elapsed_s:.2f} s, "
            f"purpose {origin.purpose}, job {', '.join(origin.job_ids)}"
        )
