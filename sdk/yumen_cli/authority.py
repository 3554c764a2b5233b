"""`yumen authority`: the party that signs certificates and sees no job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yumen_cli.options import AsJson, Level, LogLevel, Start, StateFolder, WithParent
from yumen_cli.plain import command, group
from yumen_cli.serving import serve
from yumen_cli.terminal import aligned, emit, emit_line, note, say, utc
from yumen_cli.words import duration_s, identity_uri

if TYPE_CHECKING:
    from yumen_authority.register import Issued

app = group("The authority: it enrols and revokes members.")

TokenLife = Annotated[
    str, typer.Option("--ttl", metavar="TIME", help="How long the token can be used.")
]


@command(app, "init", example="yumen authority init authority --federation gansu.example \\\n"
         "    --address authority.gansu.example:7400")  # fmt: skip
def init(
    directory: StateFolder,
    federation: Annotated[
        str, typer.Option("--federation", metavar="NAME", help="The federation's domain name.")
    ],
    address: Annotated[
        str, typer.Option("--address", metavar="HOST:PORT", help="Where members dial it.")
    ],
    dns_names: Annotated[
        list[str] | None,
        typer.Option("--dns", metavar="NAME", help="A further host name or IP address."),
    ] = None,
    tokens_for: Annotated[
        list[str] | None,
        typer.Option(
            "--token-for",
            metavar="ID",
            help="Also issue a token for org/ORG/ROLE/NAME; a coordinator's is for this host.",
        ),
    ] = None,
    start: Start = False,
    with_parent: WithParent = False,
    log_level: Level = LogLevel.INFO,
    as_json: AsJson = False,
) -> None:
    """Make a federation: its root key and certificate.

    The key stays in DIR. Keep DIR away from the coordinator.
    """
    from yumen_authority import service

    config = service.init_authority(directory, federation, address, dns_names or ())
    lines = as_json and bool(start or tokens_for)
    if lines:
        emit_line({"event": "created", "federation": federation, "address": address})
    elif as_json:
        emit({"federation": federation, "address": address, "directory": str(directory)})
    else:
        say(f"authority of {federation} made in {directory}")
    for name in tokens_for or []:
        uri = identity_uri(name, federation)
        hosts = config.dns_names if "/coordinator/" in uri else ()
        token = service.issue_token(directory, uri, dns_names=hosts)
        if as_json:
            emit_line({"event": "token", "identity": uri, "token": token})
        else:
            say(f"{uri} {token}")
    if start:
        _serve(directory, as_json, with_parent, log_level)


@command(app, "start", example="yumen authority start authority")
def start_(
    directory: StateFolder,
    with_parent: WithParent = False,
    log_level: Level = LogLevel.INFO,
    as_json: AsJson = False,
) -> None:
    """Answer members until stopped.

    Enrolments, renewals and requests for the revocation list.
    """
    _serve(directory, as_json, with_parent, log_level)


@command(app, "token", example="yumen authority token authority org/north/node/heart")
def token(
    directory: StateFolder,
    identity: Annotated[
        str, typer.Argument(metavar="ID", help="org/ORG/ROLE/NAME, or a whole spiffe:// id.")
    ],
    ttl: TokenLife = "24h",
    dns_names: Annotated[
        list[str] | None,
        typer.Option(
            "--dns", metavar="HOST", help="For a coordinator: a host name or IP that others dial."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Issue a one-time token for one member.

    ROLE is user, node, auditor or coordinator. Whoever holds the token first becomes that member:
    hand it over as you would a password.
    """
    from yumen_authority import service

    life_s = duration_s(ttl)
    uri = identity_uri(identity, _federation(directory))
    text = service.issue_token(directory, uri, life_s, dns_names=dns_names or ())
    if as_json:
        emit({"identity": uri, "token": text, "ttl_s": life_s})
    else:
        say(text)
        note(f"for {uri}, once, within {ttl}")


@command(app, "revoke", example="yumen authority revoke authority org/north/user/li")
def revoke(
    directory: StateFolder,
    who: Annotated[
        str, typer.Argument(metavar="ID|SERIAL", help="A member, or the serial of a certificate.")
    ],
    as_json: AsJson = False,
) -> None:
    """Revoke a member, or one certificate.

    Coordinator and nodes learn of it with the next revocation list, within seconds.
    """
    from yumen_authority import service

    target = identity_uri(who, _federation(directory)) if "/" in who else who
    revoked = service.revoke(directory, target)
    if as_json:
        emit({"revoked": [_document(row) for row in revoked]})
        return
    for row in revoked:
        say(f"revoked {row.identity} {row.serial}")
    if not revoked:
        say(f"no live certificate of {target}; its unused tokens are cancelled")


@command(app, "issued", example="yumen authority issued authority")
def issued(directory: StateFolder, as_json: AsJson = False) -> None:
    """List the certificates issued so far."""
    from yumen_authority import service

    rows = service.list_issued(directory)
    if as_json:
        emit({"certificates": [_document(row) for row in rows]})
        return
    lines = [
        (
            row.identity.uri,
            row.serial,
            utc(row.not_after_ms),
            "" if row.revoked_at_ms is None else utc(row.revoked_at_ms),
        )
        for row in rows
    ]
    say(aligned(("identity", "serial", "valid until", "revoked"), lines))


def _serve(directory: Path, as_json: bool, with_parent: bool, log_level: LogLevel) -> None:
    from yumen_authority import service

    serve(
        lambda ready: service.serve(directory, ready=ready),
        role="authority",
        as_json=as_json,
        with_parent=with_parent,
        log_level=log_level,
    )


def _federation(directory: Path) -> str:
    from yumen_authority.config import read_config

    return read_config(directory / "authority.yaml").federation


def _document(row: Issued) -> dict[str, object]:
    return {
        "identity": row.identity.uri,
        "serial": row.serial,
        "issued_at": utc(row.issued_at_ms),
        "not_after": utc(row.not_after_ms),
        "revoked_at": None if row.revoked_at_ms is None else utc(row.revoked_at_ms),
    }
