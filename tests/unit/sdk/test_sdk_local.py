from __future__ import annotations

import stat
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
import yumen.local as local
from yumen._stack import Stack, StackSetup
from yumen.local import local_federation
from yumen_core.errors import CallError, StateError
from yumen_core.policy import PolicyBundle

FRAME = pd.DataFrame({"sex": ["F", "M"], "age": [63.0, None]})
THREE = {"a": FRAME, "b": FRAME, "c": FRAME}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, StackSetup]]:
    """Starts of a stack that is never really started: it fails as a dying process would."""
    seen: list[tuple[Path, StackSetup]] = []

    def start(root: Path, setup: StackSetup, **_: object) -> Stack:
        seen.append((root, setup))
        seen_files.update({p: p.read_bytes() for p in root.rglob("*") if p.is_file()})
        modes.append(stat.S_IMODE(root.stat().st_mode))
        raise StateError("failed", "the process of node a ended")

    seen_files.clear()
    modes.clear()
    monkeypatch.setattr(local.Stack, "start", start)
    return seen


seen_files: dict[Path, bytes] = {}
modes: list[int] = []


def enter(**given: object) -> None:
    arguments: dict[str, object] = {"tables": THREE, "table": "heart", **given}
    tables = arguments.pop("tables")
    with local_federation(tables, **arguments):  # type: ignore[arg-type]
        raise AssertionError("the stack of this test never starts")


def declaration_of(node: str) -> dict[str, object]:
    (text,) = [d for p, d in seen_files.items() if p.parent.name == node and p.suffix == ".yaml"]
    document = yaml.safe_load(text)
    assert isinstance(document, dict)
    return document


BAD: list[tuple[dict[str, object], str]] = [
    ({"tables": {"a": FRAME, "b": FRAME}}, "expected 3 to 255 nodes, got 2"),
    ({"tables": {**THREE, "Bad Name": FRAME}}, "begins with a letter or digit, got `Bad Name`"),
    ({"tables": {**THREE, "d": "gone.csv"}}, "expected a file for node `d`, found none at `gone"),
    ({"tables": {**THREE, "d": "x.xlsx"}}, "expected a file that ends in .csv, .parquet, .pq"),
    ({"tables": {**THREE, "d": 5}}, "expected a path or a pandas frame for node `d`, got `int`"),
    ({"table": " x"}, "expected a table name without space around it"),
    ({"policies": "gone.cedar"}, "expected a Cedar file or policy text for node `a`, got `gone"),
    ({"policies": {"z": "x;"}}, "expected policies for nodes among `a`, `b`, `c`, got `z`"),
    ({"purposes": ()}, "expected at least one purpose, got none"),
    ({"schema": {"name": "lung", "columns": []}}, "the schema of table `heart`, got `lung`"),
    ({"schema": {"source": {}}}, "expected a schema without a source, got one with `source`"),
    ({"schema": "gone.yaml"}, "with `columns` of 4 MiB at most, got `gone.yaml`"),
    ({"schema": 5}, "expected a schema as a dict or the path of a YAML file, got `int`"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "message"), BAD)
def test_wrong_arguments_are_refused_before_anything_starts(
    started: list[object], given: dict[str, object], message: str
) -> None:
    with pytest.raises(CallError) as caught:
        enter(**given)
    assert message in caught.value.message
    assert started == []


def test_each_node_gets_its_rows_and_the_shared_declaration(
    started: list[tuple[Path, StackSetup]], tmp_path: Path
) -> None:
    FRAME.to_csv(tmp_path / "c.csv", index=False)
    with pytest.raises(StateError, match="the process of node a ended"):
        enter(tables={"a": FRAME, "b": FRAME, "c": tmp_path / "c.csv"})
    ((root, setup),) = started
    assert [node.name for node in setup.nodes] == ["a", "b", "c"]
    shared = {
        "name": "heart",
        "columns": [
            {"name": "sex", "type": "text", "domain": ["F", "M"], "nullable": False},
            {"name": "age", "type": "integer", "domain": [63], "nullable": True},
        ],
    }
    parquet = root / "given" / "a" / "table.parquet"
    assert declaration_of("a") == {**shared, "source": {"type": "parquet", "path": str(parquet)}}
    csv = {"type": "csv", "path": str(tmp_path / "c.csv")}
    assert declaration_of("c") == {**shared, "source": csv}
    assert not root.exists()
    assert modes == [0o700]


def test_frames_are_stored_with_their_gaps_as_integers(
    started: list[object], tmp_path: Path
) -> None:
    with pytest.raises(StateError):
        enter()
    (data,) = [d for p, d in seen_files.items() if p.parent.name == "b" and p.suffix == ".parquet"]
    (tmp_path / "b.parquet").write_bytes(data)
    assert pq.read_table(tmp_path / "b.parquet").to_pydict() == {
        "sex": ["F", "M"],
        "age": [63, None],
    }


def test_policies_are_files_texts_or_the_default_by_node(
    started: list[tuple[Path, StackSetup]], tmp_path: Path
) -> None:
    file = tmp_path / "own.cedar"
    file.write_text("// nothing permitted\n")
    with pytest.raises(StateError):
        enter(policies={"a": [file, "forbid (principal, action, resource);"]}, purposes=["教学"])
    ((root, setup),) = started
    a, b, c = setup.nodes
    assert a.policies == (file, root / "given" / "a" / "policy-2.cedar")
    assert seen_files[a.policies[1]] == b"forbid (principal, action, resource);\n"
    assert b.policies == c.policies == setup.coordinator_policies == (local.DEFAULT_POLICY,)
    assert setup.purposes is not None
    assert yaml.safe_load(seen_files[setup.purposes])["purposes"][0]["name"] == "教学"


def test_a_schema_comes_as_a_dict_or_from_a_file(started: list[object], tmp_path: Path) -> None:
    schema = {"columns": [{"name": "sex", "type": "text"}], "disclosure": {"threshold": 20}}
    (tmp_path / "heart.yaml").write_text(yaml.safe_dump(schema))
    for given in (schema, tmp_path / "heart.yaml", str(tmp_path / "heart.yaml")):
        with pytest.raises(StateError):
            enter(schema=given)
        declared = declaration_of("a")
        assert declared.pop("source")
        assert declared == {**schema, "name": "heart"}
        seen_files.clear()
    assert "name" not in schema


def test_a_federation_that_failed_is_not_started_again(started: list[object]) -> None:
    fed = local_federation(THREE, table="heart")
    with pytest.raises(CallError, match="expected a local federation that is running"):
        _ = fed.directory
    with pytest.raises(StateError):
        fed.start()
    with pytest.raises(CallError, match="expected a local federation that was not started before"):
        fed.start()
    fed.close()
    assert len(started) == 1


def test_the_default_policy_is_valid_and_lets_members_ask() -> None:
    PolicyBundle.load([local.DEFAULT_POLICY])
