"""A small Flower project as files."""

from __future__ import annotations

from pathlib import Path

PYPROJECT = """\
[project]
name = "heart"
version = "1.0.0"
description = "Heart disease"
dependencies = ["flwr>=1.41", "torch"]

[tool.flwr.app]
publisher = "lzu"

[tool.flwr.app.components]
serverapp = "heart.server_app:app"
clientapp = "heart.client_app:app"

[tool.flwr.app.config]
rounds = 3
fraction = 0.5
quiet = false
[tool.flwr.app.config.model]
name = "mlp"
size.hidden = 8
"""

CLIENT = '''\
"""The client."""
import torch
from flwr.clientapp import ClientApp
from heart.task import Net

app = ClientApp()


@app.train()
def train(message, context):
    """Train it."""
    metrics = {"train_loss": 0.5, "num-examples": 3}
    metrics["train acc"] = 1.0
    print(f"row {metrics} of")
    return dict(other_name="not a+name")
'''

FILES = {
    "pyproject.toml": PYPROJECT,
    "heart/__init__.py": "",
    "heart/client_app.py": CLIENT,
    "heart/server_app.py": "import os.path\nfrom flwr import ServerApp\napp = ServerApp()\n",
    "heart/task.py": "import torch as t\nfrom . import server_app\n\n\nNet = t.nn.Module\n",
}


def as_bytes(**changed: str | bytes | None) -> dict[str, bytes]:
    """`FILES` with entries replaced or, where None, left out."""
    files: dict[str, str | bytes] = dict(FILES)
    for path, content in changed.items():
        if content is None:
            del files[path]
        else:
            files[path] = content
    return {p: c if isinstance(c, bytes) else c.encode() for p, c in files.items()}


def write(folder: Path, **changed: str | bytes | None) -> Path:
    for path, content in as_bytes(**changed).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder
