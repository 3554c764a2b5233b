"""A log as an auditor reads it: verified whole, against other checkpoints and witnesses.

Trust line: the folder may be anybody's. What counts is the verifier key, and the checkpoints and
witness keys that the auditor got from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from yumen_core.errors import PeerError, StateError
from yumen_core.log.checkpoint import Checkpoint, open_checkpoint
from yumen_core.log.cosign import WitnessVerifier, open_cosigned
from yumen_core.log.cosigning import COSIGNED
from yumen_core.log.entry import Entry, decode_entry
from yumen_core.log.merkle import Frontier, leaf_hash
from yumen_core.log.note import MAX_NOTE_BYTES, Verifier
from yumen_core.log.reader import Reader
from yumen_core.log.storage import DiskStorage
from yumen_core.log.verify import LogReport, verify_directory


@dataclass(frozen=True)
class AuditedLog:
    """A log that was verified whole. `cosigned` is the time of each witness's cosignature, in
    seconds since the Unix epoch, and `cosigned_size` of how many entries."""

    directory: Path
    report: LogReport
    cosigned: dict[str, int]
    cosigned_size: int = 0

    @property
    def unwitnessed(self) -> int:
        """How many entries come after those that the witnesses have signed."""
        return self.report.size - self.cosigned_size

    def raw(self) -> Iterator[tuple[int, bytes]]:
        """Each entry with its index, one bundle in memory at a time.

        Hashed once more while read, so that files changed since the verification are seen: raises
        `PeerError` (`audit`) at the end of the log at the latest.
        """
        frontier = Frontier()
        reader = Reader(DiskStorage(), self.directory, self.report.size)
        try:
            for index, entry in enumerate(reader.entries(0, self.report.size)):
                frontier.push(leaf_hash(entry))
                yield index, entry
        except StateError as error:
            raise not_authentic(error.message) from None
        if frontier.root() != self.report.root:
            raise not_authentic("the log changed while it was read: verify it again")

    def entries(self) -> Iterator[tuple[int, Entry]]:
        """As `raw`, decoded. Raises `PeerError` (`audit`) for an entry of another form."""
        for index, data in self.raw():
            try:
                yield index, decode_entry(data)
            except PeerError as error:
                raise not_authentic(f"entry `{index}`: {error.message}") from None


def open_audited(
    directory: Path,
    key: str | None,
    *,
    since: bytes | None = None,
    other: bytes | None = None,
    cosigned: int = 0,
    witnesses: Sequence[WitnessVerifier] = (),
    max_unwitnessed: int | None = None,
) -> AuditedLog:
    """Verify the log in `directory`. Raises `PeerError` (`audit`) where it is not authentic,
    `CallError` (`argument`) for a malformed key.

    1. The whole log under `key`, every entry canonical. 2. It extends `since`, a checkpoint seen
    before. 3. It is the log of which `other`, a
    checkpoint shown to somebody else, is one. 4. `cosigned` of `witnesses`
    have signed a checkpoint that it extends, by at most `max_unwitnessed` entries if given.
    """
    report = _verify(directory, key, since, canonical=True)
    verifier = Verifier.parse(report.key)
    if other is not None:
        _check_view(directory, report, verifier, other)
    times: dict[str, int] = {}
    size = 0
    if cosigned or witnesses:
        note = _read_cosigned(directory)
        try:
            checkpoint, times = open_cosigned(note, verifier, witnesses)
        except PeerError as error:
            raise not_authentic(f"`{COSIGNED}`: {error.message}") from None
        if len(times) < max(cosigned, 1):
            raise not_authentic(
                f"expected {max(cosigned, 1)} cosignatures by the given witnesses, got {len(times)}"
            )
        _verify(directory, report.key, note)
        size = checkpoint.size
        beyond = report.size - size
        if max_unwitnessed is not None and beyond > max_unwitnessed:
            raise not_authentic(
                f"expected at most {max_unwitnessed} entries after the {size} that witnesses have "
                f"signed, got {beyond}"
            )
    return AuditedLog(directory, report, times, size)


def not_authentic(message: str) -> PeerError:
    return PeerError("audit", message)


def _verify(
    directory: Path, key: str | None, since: bytes | None, *, canonical: bool = False
) -> LogReport:
    try:
        return verify_directory(directory, key, since=since, canonical=canonical)
    except (StateError, PeerError) as error:
        raise not_authentic(error.message) from None


def _check_view(directory: Path, report: LogReport, verifier: Verifier, other: bytes) -> None:
    """Step 3: what the two parties saw is one log. Both checkpoints are signed by its key, so that
    two which do not agree convict the signer."""
    try:
        seen = open_checkpoint(other, verifier)
    except PeerError as error:
        raise not_authentic(f"the other checkpoint: {error.message}") from None
    if seen.size > report.size:
        raise not_authentic(
            f"the other checkpoint signs `{seen.size}` entries and these files hold `{report.size}`"
            ": they are older, cut short, or of another view; ask for the newest"
        )
    try:
        verify_directory(directory, verifier.text, since=other)
    except StateError as error:
        if error.code != "log_fork":
            raise not_authentic(error.message) from None
        here = Checkpoint(report.origin, report.size, report.root)
        raise not_authentic(
            f"split view: `{report.origin}` signed {_words(here)} and {_words(seen)}, "
            "and neither extends the other"
        ) from None


def _words(one: Checkpoint) -> str:
    return f"size `{one.size}` with root `{one.root.hex()}`"


def _read_cosigned(directory: Path) -> bytes:
    try:
        data = DiskStorage().read(directory / COSIGNED, MAX_NOTE_BYTES)
    except OSError:
        raise not_authentic(f"`{COSIGNED}` is missing: no witness has signed this log") from None
    return data
