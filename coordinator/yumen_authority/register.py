"""The authority's memory: tokens, certificates, revocations and lists, in one SQLite file.

Trust line: whoever can write here can bring revoked members back at the next list, or enrol as
anyone with a token of their own; together with the key beside it, this file is the federation.
Whoever can only read it learns who the members are, and no secret: tokens are kept as digests.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from yumen_core.errors import StateError
from yumen_core.identity import Identity, Revoked
from yumen_core.identity.tokens import TokenRecord

BUSY_TIMEOUT_S = 5.0
_VERSION = 1
_SCHEMA = """
CREATE TABLE tokens (
    id TEXT PRIMARY KEY, identity TEXT NOT NULL, dns_names TEXT NOT NULL,
    secret_digest BLOB NOT NULL, expires_at_ms INTEGER NOT NULL,
    used_at_ms INTEGER, cancelled INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE certificates (
    serial TEXT PRIMARY KEY, identity TEXT NOT NULL, key_digest BLOB NOT NULL UNIQUE,
    issued_at_ms INTEGER NOT NULL, not_after_ms INTEGER NOT NULL, revoked_at_ms INTEGER) STRICT;
CREATE INDEX certificates_of ON certificates (identity);
CREATE TABLE lists (
    number INTEGER PRIMARY KEY, der BLOB NOT NULL, issued_at_ms INTEGER NOT NULL) STRICT;
CREATE TABLE bound (only INTEGER PRIMARY KEY CHECK (only = 1), address TEXT NOT NULL) STRICT;
"""


@dataclass(frozen=True)
class Issued:
    """One certificate that was signed. `serial` is lower-case hexadecimal."""

    serial: str
    identity: Identity
    issued_at_ms: int
    not_after_ms: int
    revoked_at_ms: int | None


@dataclass(frozen=True)
class StoredList:
    """The newest revocation list."""

    number: int
    der: bytes
    issued_at_ms: int


class Register:
    """Opens the file for one transaction at a time, so that any thread or process may use it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def create(self) -> None:
        """Make an empty register. Raises `StateError` ("state") where one exists."""
        if self._path.exists():
            raise StateError("state", f"`{self._path}` exists already")
        self._path.touch(mode=0o600)
        with self._connect() as db:
            # A write is on disk before its caller sees the certificate.
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(_SCHEMA)
            db.execute(f"PRAGMA user_version = {_VERSION}")

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """All of the block or none of it, alone among writers of every process.

        Raises `StateError` ("state") where the file is missing, damaged or busy for 5 seconds.
        """
        if not self._path.exists():
            raise StateError(
                "state",
                f"`{self._path}` is missing",
                remedy="make an authority first with `yumen authority init`",
            )
        try:
            with self._connect() as db:
                db.execute("BEGIN IMMEDIATE")
                try:
                    yield Session(db)
                except BaseException:
                    db.execute("ROLLBACK")
                    raise
                db.execute("COMMIT")
        except sqlite3.Error as error:
            raise StateError("state", f"`{self._path}` cannot be used: {error}") from error

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            db.execute("PRAGMA synchronous = FULL")
            yield db
        finally:
            db.close()


class Session:
    """What one transaction may read and write."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def add_token(self, record: TokenRecord) -> None:
        self._db.execute(
            "INSERT INTO tokens (id, identity, dns_names, secret_digest, expires_at_ms)"
            " VALUES (?, ?, ?, ?, ?)",
            (
                record.id,
                record.identity.uri,
                json.dumps(record.dns_names),
                record.secret_digest,
                record.expires_at_ms,
            ),
        )

    def token(self, token_id: str) -> TokenRecord | None:
        row = self._db.execute(
            "SELECT identity, dns_names, secret_digest, expires_at_ms, used_at_ms, cancelled"
            " FROM tokens WHERE id = ?",
            (token_id,),
        ).fetchone()
        if row is None:
            return None
        identity, dns_names, digest, expires_at_ms, used_at_ms, cancelled = row
        return TokenRecord(
            id=token_id,
            identity=Identity.parse(identity),
            dns_names=tuple(json.loads(dns_names)),
            secret_digest=digest,
            expires_at_ms=expires_at_ms,
            used_at_ms=used_at_ms,
            cancelled=bool(cancelled),
        )

    def use_token(self, token_id: str, now_ms: int) -> None:
        self._db.execute("UPDATE tokens SET used_at_ms = ? WHERE id = ?", (now_ms, token_id))

    def cancel_tokens(self, identity: Identity) -> int:
        """Cancel the unused tokens of `identity`; how many there were."""
        return self._db.execute(
            "UPDATE tokens SET cancelled = 1"
            " WHERE identity = ? AND used_at_ms IS NULL AND cancelled = 0",
            (identity.uri,),
        ).rowcount

    def add_certificate(self, issued: Issued, key_digest: bytes) -> None:
        self._db.execute(
            "INSERT INTO certificates (serial, identity, key_digest, issued_at_ms, not_after_ms)"
            " VALUES (?, ?, ?, ?, ?)",
            (
                issued.serial,
                issued.identity.uri,
                key_digest,
                issued.issued_at_ms,
                issued.not_after_ms,
            ),
        )

    def knows_key(self, key_digest: bytes) -> bool:
        """Whether this key was ever certified."""
        found = self._db.execute("SELECT 1 FROM certificates WHERE key_digest = ?", (key_digest,))
        return found.fetchone() is not None

    def certificates(self, *, identity: Identity | None = None) -> list[Issued]:
        """All certificates, or those of one identity, oldest first."""
        rows = self._db.execute(
            "SELECT serial, identity, issued_at_ms, not_after_ms, revoked_at_ms FROM certificates"
            " WHERE ?1 IS NULL OR identity = ?1 ORDER BY issued_at_ms, serial",
            (identity.uri if identity is not None else None,),
        )
        return [Issued(row[0], Identity.parse(row[1]), row[2], row[3], row[4]) for row in rows]

    def certificate(self, serial: str) -> Issued | None:
        row = self._db.execute(
            "SELECT serial, identity, issued_at_ms, not_after_ms, revoked_at_ms FROM certificates"
            " WHERE serial = ?",
            (serial,),
        ).fetchone()
        return None if row is None else Issued(row[0], Identity.parse(row[1]), *row[2:])

    def revoke(self, serial: str, now_ms: int) -> None:
        self._db.execute(
            "UPDATE certificates SET revoked_at_ms = ? WHERE serial = ? AND revoked_at_ms IS NULL",
            (now_ms, serial),
        )

    def revoked(self, *, expired_before_ms: int) -> list[Revoked]:
        """The revoked certificates, without those that expired before `expired_before_ms`."""
        rows = self._db.execute(
            "SELECT serial, revoked_at_ms FROM certificates"
            " WHERE revoked_at_ms IS NOT NULL AND not_after_ms >= ? ORDER BY serial",
            (expired_before_ms,),
        )
        return [Revoked(int(serial, 16), revoked_at_ms) for serial, revoked_at_ms in rows]

    def newest_list(self) -> StoredList | None:
        row = self._db.execute(
            "SELECT number, der, issued_at_ms FROM lists ORDER BY number DESC LIMIT 1"
        ).fetchone()
        return None if row is None else StoredList(*row)

    def put_list(self, stored: StoredList) -> None:
        """Keep `stored` in place of every earlier list."""
        self._db.execute("DELETE FROM lists")
        self._db.execute(
            "INSERT INTO lists (number, der, issued_at_ms) VALUES (?, ?, ?)",
            (stored.number, stored.der, stored.issued_at_ms),
        )

    def bound_address(self) -> str | None:
        row = self._db.execute("SELECT address FROM bound").fetchone()
        return None if row is None else str(row[0])

    def put_bound_address(self, address: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO bound (only, address) VALUES (1, ?)", (address,))
