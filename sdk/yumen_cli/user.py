"""`yumen user`: the identity of a person who asks."""

from __future__ import annotations

import hashlib
from typing import Annotated

import typer

from yumen_cli import client_settings
from yumen_cli.options import AsJson, Token, UserFolder
from yumen_cli.plain import command, group
from yumen_cli.terminal import aligned, emit, say, utc
from yumen_cli.words import read_token

app = group("Your own identity: enrol it, look at it.")


@command(app, "enrol", example="yumen user enrol --token TOKEN \\\n"
         "    --coordinator coordinator.gansu.example:7401")  # fmt: skip
def enrol(
    token: Token,
    directory: UserFolder = None,
    coordinator: Annotated[
        str | None,
        typer.Option(
            "--coordinator", metavar="HOST:PORT", help="Remember this coordinator for later."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Enrol yourself with a token.

    Makes a key in DIR, which it never leaves, and exchanges the token for a certificate.
    """
    from yumen_core.clock import SystemClock
    from yumen_core.identity import client as authority_client

    folder = directory or client_settings.default_directory()
    if coordinator is not None:
        client_settings.check_address(coordinator)
    loaded = authority_client.enrol(read_token(token), folder, clock=SystemClock())
    if coordinator is not None:
        client_settings.store_coordinator(folder, coordinator)
    if as_json:
        emit(
            {
                "identity": loaded.identity.uri,
                "directory": str(folder),
                "coordinator": coordinator,
            }
        )
    else:
        say(f"enrolled {loaded.identity.uri} in {folder}")


@command(app, "show", example="yumen user show")
def show(directory: UserFolder = None, as_json: AsJson = False) -> None:
    """Verify the identity in DIR and show it."""
    from yumen_core.identity import IdentityStore, serial_text
    from yumen_core.identity.certificates import validity_ms

    folder = directory or client_settings.default_directory()
    client_settings.check_identity(folder)
    loaded = IdentityStore(folder).load()
    document = {
        "identity": loaded.identity.uri,
        "role": str(loaded.identity.role),
        "directory": str(folder),
        "serial": serial_text(loaded.certificate_der),
        "valid_until": utc(validity_ms(loaded.certificate_der)[1]),
        "certificate_sha256": hashlib.sha256(loaded.certificate_der).hexdigest(),
        "authority": loaded.authority_address,
        "coordinator": client_settings.stored_coordinator(folder),
    }
    if as_json:
        emit(document)
        return
    rows = [(key.replace("_", " "), str(value)) for key, value in document.items() if value]
    say(aligned(("", ""), rows).lstrip("\n"))
