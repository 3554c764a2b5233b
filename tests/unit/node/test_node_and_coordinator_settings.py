"""The settings files of a node and of a coordinator: what is refused, and in which words."""

from collections.abc import Callable
from pathlib import Path

import pytest
from yumen_coordinator.config import CoordinatorConfig
from yumen_coordinator.config import load_config as load_coordinator
from yumen_core.errors import StateError
from yumen_node.config import NodeConfig
from yumen_node.config import load_config as load_node

Load = Callable[[Path], CoordinatorConfig | NodeConfig]
NODE = "coordinator: 127.0.0.1:7401\n"
COORDINATOR = "listen: 127.0.0.1:7401\nauthority: 127.0.0.1:7400\n"


def refused(load: Load, folder: Path) -> StateError:
    with pytest.raises(StateError) as caught:
        load(folder)
    assert caught.value.code == "config"
    return caught.value


@pytest.mark.parametrize(("load", "role"), [(load_node, "node"), (load_coordinator, "coordinator")])
def test_no_file(load: Load, role: str, tmp_path: Path) -> None:
    error = refused(load, tmp_path)
    assert error.message == f"expected a {role} in `{tmp_path}`, got no {role}.yaml"
    assert error.remedy == f"run `yumen {role} init` first"


@pytest.mark.parametrize(
    ("load", "name", "text", "message"),
    [
        (load_node, "node.yaml", NODE + "threds: 2\n", "`threds` in `{}`: extra inputs"),
        (load_node, "node.yaml", NODE + "threads: 0\n", "`threads` in `{}`: input should be"),
        (load_node, "node.yaml", NODE + "memory_limit: 2\n", "`memory_limit` in `{}`: input"),
        (load_node, "node.yaml", "coordinator: [\n", "expected readable YAML in `{}`"),
        (load_node, "node.yaml", "", "`` in `{}`: input should be"),
        (
            load_coordinator,
            "coordinator.yaml",
            COORDINATOR + "round_timeout_s: -1\n",
            "`round_timeout_s` in `{}`: input should be",
        ),
        (load_coordinator, "coordinator.yaml", "listen: a:1\n", "`authority` in `{}`: field"),
    ],
)
def test_bad_files(load: Load, name: str, text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    assert message.format(file) in refused(load, tmp_path).message


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "node.yaml").write_text(NODE + "tables: [t.yaml]\n", encoding="utf-8")
    (tmp_path / "coordinator.yaml").write_text(COORDINATOR, encoding="utf-8")
    node, coordinator = load_node(tmp_path), load_coordinator(tmp_path)
    assert node.tables == (tmp_path.resolve() / "t.yaml",)
    assert node.secrets == tmp_path.resolve() / "secrets"
    assert coordinator.database == f"sqlite:///{tmp_path.resolve()}/state/coordinator.sqlite"
