"""Runs that a journal already holds are answered from it; the next ones go to the nodes."""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterator

from yumen_core.errors import StateError
from yumen_core.training.records import Action, Records

from yumen.training.aggregate import Aggregate, Rounds, content_digest
from yumen.training.checkpoint import Finished
from yumen.training.journal import Journal


class JournalledRounds:
    """`rounds` with a checkpoint after each run.

    A resumed training runs its strategy again from the start: while the journal has a run, its
    aggregate is the answer, provided that the content asked for is the same to the bit, and
    nothing is sent. `replayed` says whether the last answer came from there.
    """

    def __init__(self, rounds: Rounds, journal: Journal) -> None:
        self._rounds = rounds
        self._journal = journal
        self._kept: Iterator[Finished] | None = journal.read()
        self._number = 0
        self.replayed = False

    @property
    def participants(self) -> tuple[str, ...]:
        return self._rounds.participants

    def run(self, action: Action, records: Records) -> Aggregate:
        """Raises `StateError` (`state`) where the strategy asks for something else than the first
        time, and what the live rounds raise."""
        self._number += 1
        digest = content_digest(action, records)
        kept = next(self._kept, None) if self._kept is not None else None
        self.replayed = kept is not None
        if kept is not None:
            if kept.action is not action or not hmac.compare_digest(kept.digest, digest):
                raise self._different()
            return kept.aggregate
        self._kept = None
        started = time.monotonic()
        aggregate = self._rounds.run(action, records)
        seconds = time.monotonic() - started
        self._journal.write(self._number, Finished(action, digest, aggregate, seconds))
        return aggregate

    def _different(self) -> StateError:
        return StateError(
            "state",
            f"expected what the training asked for in run {self._number} before, got another "
            "content: the strategy or the app is not deterministic, as with the time, random "
            "numbers of an own generator, or changed code or settings",
            remedy="take these from fixed seeds and undo the change, or start a new training with "
            "the last arrays as its initial ones",
        )
