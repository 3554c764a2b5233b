"""Who a certificate names: `spiffe://FEDERATION/org/ORGANISATION/ROLE/NAME`.

A profile of SPIFFE-ID (https://github.com/spiffe/spiffe, standards/SPIFFE-ID.md section 2) with
one fixed path shape, so that the organisation and the role are read and never guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from yumen_core.errors import CallError, PeerError

MAX_FEDERATION_CHARS = 253
MAX_PART_CHARS = 63
MAX_URI_CHARS = 512

_SCHEME = "spiffe://"
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_FEDERATION = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
# A leading letter or digit keeps `.`, `..` and words that look like options out of paths.
_PART = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
_SHAPE = "spiffe://FEDERATION/org/ORGANISATION/ROLE/NAME"


class Role(StrEnum):
    """What the holder of a certificate may be in a federation."""

    USER = "user"
    NODE = "node"
    AUDITOR = "auditor"
    COORDINATOR = "coordinator"
    AUTHORITY = "authority"


@dataclass(frozen=True, order=True)
class Identity:
    """One member of one federation.

    `federation` is a lower-case ASCII domain name of at most 253 characters; `organisation` and
    `name` are 1 to 63 characters of `a-z 0-9 . _ -` and begin with a letter or digit. Raises
    `CallError` ("identity") for anything else; bytes from a peer go through `parse`.
    """

    federation: str
    organisation: str
    role: Role
    name: str

    def __post_init__(self) -> None:
        problem = _problem(self.federation, self.organisation, self.role, self.name)
        if problem:
            raise CallError("identity", problem, remedy="correct the name")
        object.__setattr__(self, "role", Role(self.role))

    @classmethod
    def parse(cls, uri: str) -> Identity:
        """The identity that `uri` spells, in its one canonical spelling.

        Raises `PeerError` ("identity"): no percent-encoding, query, port, empty part or upper
        case is accepted.
        """
        if len(uri) > MAX_URI_CHARS:
            raise PeerError(
                "identity",
                f"an identity has at most {MAX_URI_CHARS} characters, got {len(uri)}",
            )
        parts = uri.removeprefix(_SCHEME).split("/")
        if not uri.startswith(_SCHEME) or len(parts) != 5 or parts[1] != "org":
            raise PeerError("identity", f"expected an identity `{_SHAPE}`, got `{_shown(uri)}`")
        federation, _, organisation, role, name = parts
        problem = _problem(federation, organisation, role, name)
        if problem:
            raise PeerError("identity", problem)
        return cls(federation, organisation, Role(role), name)

    @property
    def uri(self) -> str:
        return f"{_SCHEME}{self.federation}/org/{self.organisation}/{self.role}/{self.name}"

    @property
    def short(self) -> str:
        """`organisation/name`, for tables; not unique across roles."""
        return f"{self.organisation}/{self.name}"

    def __str__(self) -> str:
        return self.uri


def check_federation(federation: str) -> str:
    """`federation` itself. Raises `CallError` ("argument") where it is no domain name."""
    problem = _federation_problem(federation)
    if problem:
        raise CallError("argument", problem)
    return federation


def federation_uri(federation: str) -> str:
    """The URI that names the federation itself, carried by the authority's certificate."""
    return _SCHEME + federation


def _federation_problem(federation: str) -> str | None:
    if len(federation) > MAX_FEDERATION_CHARS or not _FEDERATION.fullmatch(federation):
        return f"expected a federation like `gansu.example`, got `{_shown(federation)}`"
    return None


def _problem(federation: str, organisation: str, role: str, name: str) -> str | None:
    """What is wrong with the four parts, or None."""
    if problem := _federation_problem(federation):
        return problem
    if role not in set(Role):
        return f"expected a role of {', '.join(Role)}, got `{_shown(role)}`"
    for what, part in (("organisation", organisation), ("name", name)):
        if not _PART.fullmatch(part):
            return (
                f"the {what} of an identity has 1 to {MAX_PART_CHARS} characters a-z 0-9 . _ -"
                f" and begins with a letter or digit, got `{_shown(part)}`"
            )
    return None


def _shown(text: str) -> str:
    """`text` cut to a length fit for a message, all but printable ASCII escaped."""
    return ascii(text[:80])[1:-1]
