"""Tiny Flower apps: each module here is the `client_app.py` of one project.

The hostile ones answer `evaluate` with the metric `done`: how many of their attempts succeeded.
"""

from __future__ import annotations

from pathlib import Path

from yumen_core.training.bundle import Bundle

_HERE = Path(__file__).parent
_PROJECT = """\
[project]
name = "{name}"
version = "1.0.0"
dependencies = ["flwr"]

[tool.flwr.app]
publisher = "tests"

[tool.flwr.app.components]
serverapp = "tiny.server_app:app"
clientapp = "tiny.client_app:app"

[tool.flwr.app.config]
rate = 0.5
"""
_SERVER = """\
from flwr.serverapp import ServerApp

app = ServerApp()
"""


def files_of(name: str) -> dict[str, bytes]:
    """The project of the client app `name`, by path."""
    return {
        "pyproject.toml": _PROJECT.format(name=name).encode(),
        "tiny/__init__.py": b"",
        "tiny/server_app.py": _SERVER.encode(),
        "tiny/client_app.py": (_HERE / f"{name}.py").read_bytes(),
    }


def bundle_of(name: str) -> Bundle:
    return Bundle(files_of(name))


def write_app(name: str, folder: Path) -> Path:
    """The same project as a folder."""
    for path, content in files_of(name).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder
