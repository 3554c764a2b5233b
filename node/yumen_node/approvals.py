"""Code that waits for the institution's word, and that word, in one SQLite file.

Trust line: whoever can write here can hide code from its reviewers, take reviews away, or lie to
a reviewer about the job; a review itself cannot be made or changed without its signer's key, and
code is held against its digest whenever it is read. The file is for the node's user alone. The
command line writes here while the node runs.
"""

from __future__ import annotations

import hmac
import logging
from dataclasses import dataclass
from pathlib import Path

from yumen_core.clock import Clock, SystemClock
from yumen_core.errors import CallError, PeerError, StateError
from yumen_core.identity.envelope import PayloadType, SignedEnvelope
from yumen_core.identity.membership import Membership
from yumen_core.identity.names import Identity
from yumen_core.training.bundle import Bundle
from yumen_core.training.review import Review, SignedReview, check_reviewer

from yumen_node.approvals_file import open_file, transaction
from yumen_node.ask import Ask
from yumen_node.config import load_config
from yumen_node.reviews import Reviewed, Reviews, StoredReview, Verdict

_LOG = logging.getLogger(__name__)

MAX_WAITING = 200
MAX_WAITING_PER_REQUESTER = 20
MAX_REVIEWED = 200
MAX_ASKS = 20
MIN_PREFIX_CHARS = 8


@dataclass(frozen=True)
class Held:
    """A bundle here, what its author calls it, the jobs that want it, oldest first, and what its
    reviewers said. `since_ms` is when the oldest of these jobs came, or else the code."""

    digest: bytes
    name: str
    version: str
    since_ms: int
    asks: tuple[Ask, ...]
    reviews: tuple[Reviewed, ...]


class Approvals:
    """The store. One connection, used from one thread; several processes may hold one each."""

    def __init__(self, folder: Path, membership: Membership) -> None:
        """Open or make `approvals.sqlite` in `folder`; `membership` is the node's.

        Raises `StateError` (`state`) where the file is damaged or open to other users.
        """
        self._db = open_file(folder)
        self._member = membership
        self._reviews = Reviews(self._db, membership)

    def close(self) -> None:
        self._db.close()

    @property
    def version(self) -> int:
        """Another number once another process has written here; costs no read of the tables."""
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def offer(self, bundle: Bundle, ask: Ask) -> None:
        """Keep `bundle` for review, with the job that wants it; again for the same job: nothing.

        Beyond 20 bundles of one requester, or 200 in all, that nobody has reviewed, the oldest
        of these go, with a line in the operator's log.
        """
        now_ms = self._member.clock.now_ms()
        with transaction(self._db):
            self._db.execute("DELETE FROM asks WHERE expires_at <= ?", (now_ms,))
            self._add_bundle(bundle, ask.requester, now_ms)
            self._db.execute(
                "INSERT OR IGNORE INTO asks (digest, job_id, ask, asked_at, expires_at)"
                " VALUES (?, ?, ?, ?, ?)",
                (bundle.digest, ask.job_id, ask.to_text(), now_ms, ask.expires_at_ms),
            )
            self._db.execute(
                "DELETE FROM asks WHERE digest = ? AND rowid NOT IN"
                " (SELECT rowid FROM asks WHERE digest = ? ORDER BY rowid DESC LIMIT ?)",
                (bundle.digest, bundle.digest, MAX_ASKS),
            )
            self._drop_beyond_limits(keep=bundle.digest)

    def settle(self, job_id: str) -> None:
        """The job is decided or over: it waits for no review any more."""
        with transaction(self._db):
            self._db.execute("DELETE FROM asks WHERE job_id = ?", (job_id,))

    def keep(self, bundle: Bundle) -> None:
        """Hold a bundle of the operator's own, which no job wants yet."""
        with transaction(self._db):
            self._add_bundle(bundle, self._member.identity, self._member.clock.now_ms())
            self._drop_beyond_limits(keep=bundle.digest)

    def verdict(self, digest: bytes, *, requester: Identity | None = None) -> Verdict:
        """The institution's word on a bundle, verified now; see `Reviews.verdict`."""
        return self._reviews.verdict(digest, requester=requester)

    def give(
        self, digest: bytes, *, approved: bool, reason: str, by: Membership | None = None
    ) -> SignedReview:
        """Sign a review of a bundle held here, as `by` or as the node itself, and store it.

        Raises `CallError` (`argument`) where the bundle is not held or the reason unfit,
        `StateError` where its text is damaged, and `PeerError` as `Reviews.add`.
        """
        self.bundle(digest)
        signer = by or self._member
        check_reviewer(signer.identity, self._member.identity)
        statement = Review(
            bundle=digest,
            approved=approved,
            reason=reason.strip(),
            node=self._member.identity,
            reviewed_at_ms=self._member.clock.now_ms(),
        )
        return self.review(signer.sign(statement.to_bytes(), PayloadType.CODE_REVIEW))

    def review(self, envelope: SignedEnvelope) -> SignedReview:
        """Take up a review that was signed elsewhere; see `Reviews.add`."""
        return self._reviews.add(envelope)

    def stored_reviews(self) -> tuple[StoredReview, ...]:
        """Every review of any code; see `Reviews.stored`."""
        return self._reviews.stored()

    def waiting(self) -> tuple[Held, ...]:
        """The bundles that a job waits for."""
        return tuple(held for held in self.held() if held.asks)

    def held(self) -> tuple[Held, ...]:
        """Every bundle here, waiting or not, in the order in which they came."""
        rows = self._db.execute("SELECT digest FROM bundles ORDER BY offered_at, rowid").fetchall()
        return tuple(self.about(row[0]) for row in rows)

    def about(self, digest: bytes) -> Held:
        """What is known of one bundle, its text left unread. Raises `CallError` (`argument`) where
        it is not held here."""
        known = self._db.execute(
            "SELECT name, version, offered_at FROM bundles WHERE digest = ?", (digest,)
        ).fetchone()
        if known is None:
            raise _unknown(digest)
        rows = self._db.execute(
            "SELECT ask, asked_at FROM asks WHERE digest = ? AND expires_at > ? ORDER BY rowid",
            (digest, self._member.clock.now_ms()),
        ).fetchall()
        name, version, offered_at_ms = known
        asks = tuple(Ask.from_text(text) for text, _ in rows)
        since_ms = rows[0][1] if rows else offered_at_ms
        return Held(digest, name, version, since_ms, asks, self._reviews.of(digest))

    def bundle(self, digest: bytes) -> Bundle:
        """The code itself. Raises `CallError` (`argument`) where it is not held here, `StateError`
        (`state`) where what is stored is not what the digest names."""
        row = self._db.execute("SELECT content FROM bundles WHERE digest = ?", (digest,)).fetchone()
        if row is None:
            raise _unknown(digest)
        try:
            found = Bundle.from_bytes(row[0])
        except PeerError:
            raise _damaged(digest) from None
        if not hmac.compare_digest(found.digest, digest):
            raise _damaged(digest)
        return found

    def latest_approved(self, name: str, *, but: bytes = b"") -> Bundle | None:
        """The bundle of this name, other than `but`, that was approved last and that nobody
        rejected; None where there is none."""
        rows = self._db.execute("SELECT digest FROM bundles WHERE name = ?", (name,)).fetchall()
        found: list[tuple[int, bytes]] = []
        for (digest,) in rows:
            reviews = self._reviews.of(digest)
            good = [one.reviewed_at_ms for one in reviews if one.approved and one.fault is None]
            if good and digest != but and all(one.approved for one in reviews):
                found.append((max(good), digest))
        return self.bundle(max(found)[1]) if found else None

    def find(self, prefix: str) -> bytes:
        """The digest that begins with the hexadecimal `prefix`, of 8 characters at least.

        Raises `CallError` (`argument`) where none or several do.
        """
        text = prefix.removeprefix("sha256:").lower()
        if len(text) < MIN_PREFIX_CHARS or set(text) - set("0123456789abcdef"):
            raise CallError(
                "argument",
                f"expected the first {MIN_PREFIX_CHARS} hexadecimal characters of a digest, or"
                f" more, got `{prefix[:80]}`",
            )
        rows = self._db.execute("SELECT digest FROM bundles").fetchall()
        found = [bytes(row[0]) for row in rows if row[0].hex().startswith(text)]
        if len(found) != 1:
            raise CallError(
                "argument",
                f"expected the digest of one bundle held here, got `{prefix[:80]}`,"
                f" which {'none' if not found else len(found)} has",
                remedy="list what is held with `yumen node approvals DIR --all`",
            )
        return found[0]

    def _add_bundle(self, bundle: Bundle, requester: Identity, now_ms: int) -> None:
        app = bundle.app
        self._db.execute(
            "INSERT OR IGNORE INTO bundles (digest, name, version, requester, content, offered_at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (bundle.digest, app.name, app.version, requester.uri, bundle.to_bytes(), now_ms),
        )

    def _drop_beyond_limits(self, *, keep: bytes) -> None:
        unreviewed = self._db.execute(
            "SELECT digest, requester FROM bundles WHERE digest NOT IN (SELECT digest FROM reviews)"
            " ORDER BY offered_at DESC, rowid DESC"
        ).fetchall()
        left, left_of = 0, dict[str, int]()
        for digest, requester in unreviewed:
            mine = left_of.get(requester, 0)
            full = left >= MAX_WAITING or mine >= MAX_WAITING_PER_REQUESTER
            if full and digest != keep:
                self._drop(digest)
                _LOG.warning(
                    "too much code waits for review: dropped %s of %s, the oldest",
                    digest.hex()[:12],
                    requester,
                )
                continue
            left, left_of[requester] = left + 1, mine + 1
        reviewed = self._db.execute(
            "SELECT digest FROM bundles WHERE digest IN (SELECT digest FROM reviews)"
            " ORDER BY offered_at DESC, rowid DESC LIMIT -1 OFFSET ?",
            (MAX_REVIEWED,),
        ).fetchall()
        for (digest,) in reviewed:
            if digest != keep:
                self._drop(digest)  # the reviews stay: only the text goes

    def _drop(self, digest: bytes) -> None:
        self._db.execute("DELETE FROM bundles WHERE digest = ?", (digest,))
        self._db.execute("DELETE FROM asks WHERE digest = ?", (digest,))


def open_approvals(directory: Path, clock: Clock | None = None) -> Approvals:
    """The store of the node in the folder `directory`, for the operator's commands.

    Raises `StateError` where there is no node in it.
    """
    config = load_config(directory)
    return Approvals(config.state, Membership(config.identity, clock or SystemClock()))


def approve_folder(
    directory: Path, path: Path, reason: str, *, clock: Clock | None = None
) -> bytes:
    """Approve the project folder `path` at the node in `directory`, as the node itself.

    Returns the digest of the bundle. Raises `CallError` (`bundle`, `argument`) and `StateError`.
    """
    bundle = Bundle.from_folder(path)
    approvals = open_approvals(directory, clock)
    try:
        approvals.keep(bundle)
        approvals.give(bundle.digest, approved=True, reason=reason)
    finally:
        approvals.close()
    return bundle.digest


def _unknown(digest: bytes) -> CallError:
    return CallError(
        "argument",
        f"expected code held here, got `{digest.hex()[:12]}`",
        remedy="list what is held with `yumen node approvals DIR --all`",
    )


def _damaged(digest: bytes) -> StateError:
    return StateError(
        "state",
        f"the stored code `{digest.hex()[:12]}` is not what its digest names",
        remedy="restore approvals.sqlite, or remove it and have the job submitted again",
    )
