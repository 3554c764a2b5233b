"""The project file of an app that an institution reviews."""

from __future__ import annotations

_PROJECT = """\
[project]
name = "{name}"
version = "{version}"

[tool.flwr.app]
publisher = "lzu"

[tool.flwr.app.components]
serverapp = "{server}"
clientapp = "{client}"
"""


def pyproject(
    name: str = "cardio",
    version: str = "1.0",
    *,
    server: str = "app:server",
    client: str = "app:client",
) -> str:
    """`pyproject.toml` of an app of these names."""
    return _PROJECT.format(name=name, version=version, server=server, client=client)
