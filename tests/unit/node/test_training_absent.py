"""Which modules an app is refused for, before any of it runs."""

from __future__ import annotations

import pytest
from approval_facts import files
from yumen_core.training.bundle import Bundle
from yumen_node.training.absent import absent_module


def absent(client: str, **others: str) -> str | None:
    """Of the client app's text and other files of its package, by name."""
    texts = files(client) | {f"cardio/{name}.py": text for name, text in others.items()}
    return absent_module(Bundle({path: text.encode() for path, text in texts.items()}))


@pytest.mark.parametrize(
    ("client", "name"),
    [
        ("import none_has_a, none_has_b", "none_has_a"),
        ("import none_has_a.part as short", "none_has_a"),
        ("from none_has_a.part import thing", "none_has_a"),
        ("import json\nimport none_has_b", "none_has_b"),
        ("import json, os.path, numpy", None),
        ("from __future__ import annotations\nimport __main__", None),
        ("try:\n    import none_has_a\nexcept ImportError:\n    pass", None),
        ("if False:\n    import none_has_a", None),
        ("def late():\n    import none_has_a", None),
        (f"import {'x' * 65}", None),
    ],
)
def test_of_one_file(client: str, name: str | None) -> None:
    assert absent(client) == name


@pytest.mark.parametrize(
    "client",
    [
        *("from . import net", "from .net import Net", "import cardio.net"),
        *("from cardio import net", "from cardio.net import Net"),
    ],
)
def test_other_files_of_the_app_are_followed(client: str) -> None:
    assert absent(client, net="import none_has_a") == "none_has_a"


def test_the_package_itself_is_followed() -> None:
    assert absent("", __init__="import none_has_a") == "none_has_a"


def test_files_that_the_client_does_not_import_are_not() -> None:
    assert absent("", server_app="import none_has_a\napp = None", net="import none_has_b") is None


def test_files_that_import_each_other() -> None:
    assert absent("from . import net", net="from . import client_app\nimport net") is None


def test_a_module_that_the_app_puts_on_the_path_is_its_own() -> None:
    assert absent("import sys\nsys.path.append('x')\nimport net", net="") is None
