"""The authority as commands: what `yumen authority …` and a local federation call.

    DIRECTORY/authority.yaml       settings
    DIRECTORY/authority-key.pem    the federation's signing key, mode 600
    DIRECTORY/authority.pem        its certificate, public
    DIRECTORY/register.db          tokens, certificates, revocations

Trust line: whoever reads the key can be anyone in the federation. Keep this folder on a machine
and under an account that no coordinator uses.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from yumen_core.clock import Clock, SystemClock
from yumen_core.errors import CallError, PeerError, StateError
from yumen_core.identity import CertificateAuthority, Identity, SigningKey, TrustAnchor
from yumen_core.identity.certificates import BAD_STRUCTURE
from yumen_core.identity.files import make_private_directory, read_file, replace_file

from yumen_authority.config import (
    AuthorityConfig,
    host_of,
    make_config,
    read_config,
    write_config,
)
from yumen_authority.limits import FailureLimit
from yumen_authority.office import Office
from yumen_authority.register import Issued, Register
from yumen_authority.server import AuthorityService, new_server, tls_credentials

DEFAULT_TOKEN_TTL_S = 24 * 60 * 60
STOP_GRACE_S = 2.0

_CONFIG = "authority.yaml"
_KEY = "authority-key.pem"
_CERTIFICATE = "authority.pem"
_REGISTER = "register.db"

_log = logging.getLogger(__name__)


def init_authority(
    directory: Path,
    federation: str,
    address: str,
    dns_names: Sequence[str] = (),
    clock: Clock | None = None,
) -> AuthorityConfig:
    """Make a new federation authority in `directory`.

    `address` is the `host:port` that members dial; its host joins `dns_names`. Port 0 takes a
    free port at each start. Raises `CallError` ("config" or "argument") for bad values or where
    the folder holds an authority already.
    """
    names = tuple(dict.fromkeys([*dns_names, host_of(address)]))
    config = make_config({"federation": federation, "address": address, "dns_names": names})
    if any((directory / name).exists() for name in (_CONFIG, _KEY, _CERTIFICATE, _REGISTER)):
        raise CallError(
            "argument",
            f"`{directory}` holds an authority already",
            remedy="choose another folder; a new key would make every certificate void",
        )
    make_private_directory(directory)
    key = SigningKey.generate()
    authority = CertificateAuthority.create(key, federation, _clock(clock))
    key.save(directory / _KEY)
    replace_file(directory / _CERTIFICATE, authority.anchor.authority_pem())
    Register(directory / _REGISTER).create()
    # Last, because its presence says that the rest is whole.
    write_config(directory / _CONFIG, config)
    _log.info("authority of %s made", federation)
    return config


def issue_token(
    directory: Path,
    identity_uri: str,
    ttl_s: int = DEFAULT_TOKEN_TTL_S,
    clock: Clock | None = None,
    *,
    dns_names: Sequence[str] = (),
) -> str:
    """A one-time enrolment token for `identity_uri`, as text to hand to its holder.

    `dns_names` are the host names and IP addresses of a coordinator, and of a coordinator only.
    Raises `CallError` ("argument"), `StateError` where there is no authority, or where it takes a
    free port and was never started.
    """
    office, config, register = _open(directory, clock)
    address = config.address
    if address.endswith(":0"):
        with register.transaction() as session:
            bound = session.bound_address()
        if bound is None:
            raise StateError(
                "state",
                "the authority has no port yet, so a token could not name its address",
                remedy="start the authority first",
            )
        address = bound
    identity = _identity(identity_uri)
    token = office.issue_token(
        identity, address=address, ttl_ms=ttl_s * 1000, dns_names=tuple(dns_names)
    )
    return token.text()


def revoke(directory: Path, wanted: str, clock: Clock | None = None) -> list[Issued]:
    """Revoke by identity URI (all its certificates and unused tokens) or by serial number.

    A server on the same folder gives out the new list from its next answer on. Returns what was
    revoked. Raises `CallError` ("argument").
    """
    office, _, _ = _open(directory, clock)
    return office.revoke(_identity(wanted) if wanted.startswith("spiffe:") else wanted)


def list_issued(directory: Path) -> list[Issued]:
    """Every certificate that was signed for a member, oldest first."""
    return _open(directory, None)[0].issued()


async def serve(
    directory: Path,
    *,
    ready: Callable[[str], None] | None = None,
    clock: Clock | None = None,
) -> None:
    """Answer members until cancelled. `ready` is told the `host:port` once it can be dialled.

    Raises `StateError` ("state") for a damaged folder or an address that cannot be bound.
    """
    clock = _clock(clock)
    config, authority, register = _read(directory, clock)
    office = Office(authority, register, config, clock)
    server = new_server(AuthorityService(office, FailureLimit(), clock))
    try:
        port = server.add_secure_port(
            config.bind_address, tls_credentials(authority, config, clock)
        )
    except RuntimeError:
        raise StateError(
            "state",
            f"cannot listen on `{config.bind_address}`",
            remedy="stop what listens there or change the address in authority.yaml",
        ) from None
    await server.start()
    try:
        address = config.address
        if address.endswith(":0"):
            address = f"{address.removesuffix(':0')}:{port}"
        with register.transaction() as session:
            session.put_bound_address(address)
        _log.info("authority of %s answers at %s", config.federation, address)
        if ready is not None:
            ready(address)
        await asyncio.Event().wait()
    finally:
        await server.stop(STOP_GRACE_S)


def _open(directory: Path, clock: Clock | None) -> tuple[Office, AuthorityConfig, Register]:
    clock = _clock(clock)
    config, authority, register = _read(directory, clock)
    return Office(authority, register, config, clock), config, register


def _read(directory: Path, clock: Clock) -> tuple[AuthorityConfig, CertificateAuthority, Register]:
    config = read_config(directory / _CONFIG)
    key = SigningKey.load(directory / _KEY)
    path = directory / _CERTIFICATE
    try:
        certificate = x509.load_pem_x509_certificate(read_file(path))
        der = certificate.public_bytes(serialization.Encoding.DER)
        anchor = TrustAnchor(der, config.federation)
    except BAD_STRUCTURE:
        raise StateError("state", f"`{path}` holds no readable certificate") from None
    except PeerError as error:
        raise StateError("state", f"`{path}` does not fit: {error.message}") from None
    return config, CertificateAuthority(key, anchor, clock), Register(directory / _REGISTER)


def _identity(uri: str) -> Identity:
    try:
        return Identity.parse(uri)
    except PeerError as error:
        raise CallError("argument", error.message) from None


def _clock(clock: Clock | None) -> Clock:
    return clock if clock is not None else SystemClock()
