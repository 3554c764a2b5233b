"""A real federation on this machine, for notebooks and tests.

Real processes, real mTLS on loopback, real policies and thresholds: what runs here runs between
institutions. What is not real is the separation: one person may read every file of every party.
"""

from __future__ import annotations

import json
import os
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

import yaml
from yumen_core.errors import CallError
from yumen_core.identity.names import Identity, Role
from yumen_core.jobs.spec import MAX_PARTICIPANTS, MIN_PARTICIPANTS

from yumen._stack import NodeSetup, Stack, StackSetup
from yumen._tables import file_type, read_table
from yumen.infer import as_declared, infer_declaration
from yumen.progress import JobProgress

if TYPE_CHECKING:
    from yumen._tables import Source
    from yumen.federation import Federation

    Files = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
    Policies = Files | Mapping[str, Files] | None

FEDERATION = "local.example"
PURPOSES = ("research", "public-health", "quality-improvement", "testing")
DEFAULT_POLICY = Path(__file__).with_name("local_policy.cedar")
MAX_SCHEMA_BYTES = 4 << 20
_QUESTIONS = frozenset(
    {
        "cancel",
        "check",
        "check_training",
        "datasets",
        "jobs",
        "query",
        "resume",
        "run",
        "start_training",
        "table",
    }
    | {"train"}
)


def local_federation(
    tables: Mapping[str, Source],
    *,
    table: str,
    schema: Mapping[str, object] | str | os.PathLike[str] | None = None,
    policies: Policies = None,
    purposes: Sequence[str] = PURPOSES,
    approve: Sequence[str | os.PathLike[str]] = (),
    privacy: Mapping[str, object] | None = None,
    timeout_s: float = 60.0,
    on_step: Callable[[str], None] | None = None,
) -> LocalFederation:
    """A federation of one node per entry of `tables`, to be entered with `with`.

        with yumen.local_federation({"a": a, "b": b, "c": c}, table="heart") as fed:
            print(fed.query("SELECT COUNT(*) AS n FROM heart", purpose="research"))

    Parameters:
        tables: node name (`a-z 0-9 . _ -`) to its rows: a pandas frame, or the path of a CSV or
            Parquet file, which is read where it lies. At least 3 nodes. A frame's index becomes
            columns by its names; one without a name must be row numbers.
        table: the name of the federated table.
        schema: the declaration that all nodes share, without a source: a dict as
            `infer_declaration` returns it, or the path of a YAML file. None infers one, which
            publishes the domains and rough bounds of the data.
        policies: Cedar files for every node, or by node; a text that holds a `;` is policy text
            itself. None, and nodes not named, get a policy that lets every member of this
            federation ask for any of `purposes`. The built-in forbids always hold.
        purposes: the registered purposes.
        approve: folders of Flower projects whose code every node approves, as it stands now.
        privacy: what every node keeps as the privacy budget of its table, as in a declaration:
            `{"epsilon": 10, "project_epsilon": 3}`. None keeps none, and gives no noise.
        timeout_s: how long the start may take, in seconds.
        on_step: hears, in words, of each party that is ready; a terminal shows it in any case.

    All state is in a temporary folder that only the caller's user can read, and is deleted at
    the end. The processes end with the block, and also where this process is killed; only then
    does the folder stay.

    Raises `CallError` for wrong arguments; entering raises `StateError` with the tail of its log
    where a process does not start.
    """
    if not isinstance(tables, Mapping):
        raise CallError(
            "argument",
            "expected `tables` as a mapping of node names to frames or paths, "
            f"got `{type(tables).__name__}`",
            remedy='write them as {"a": frame, "b": frame, "c": frame}',
        )
    _check_nodes(tables)
    by_node = _policies_by_node(tables, policies)
    declaration = _declaration(tables, table, schema)
    if privacy is not None:
        declaration["privacy"] = dict(privacy)
    projects = _projects(approve)
    if not purposes:
        raise CallError("argument", "expected at least one purpose, got none")

    def prepare(root: Path) -> StackSetup:
        files = _Files(root)
        return StackSetup(
            federation=FEDERATION,
            nodes=tuple(
                NodeSetup(
                    organisation=node,
                    name=node,
                    tables=(files.declaration(node, declaration, source),),
                    policies=files.policies(node, by_node[node]),
                    purposes=files.purposes(purposes),
                    approve=projects,
                )
                for node, source in tables.items()
            ),
            coordinator_policies=(DEFAULT_POLICY,),
            purposes=files.purposes(purposes),
        )

    return LocalFederation(prepare, timeout_s=timeout_s, on_step=on_step)


class LocalFederation:
    """A federation that is started by `with` or `start()` and ended by leaving or `close()`."""

    def __init__(
        self,
        prepare: Callable[[Path], StackSetup],
        *,
        timeout_s: float,
        on_step: Callable[[str], None] | None,
    ) -> None:
        self._prepare = prepare
        self._timeout_s = timeout_s
        self._on_step = on_step
        self._running = _Running()
        # Ends it also where a notebook forgets it or the interpreter exits.
        self._end = weakref.finalize(self, self._running.end)

    def __getattr__(self, name: str) -> NoReturn:
        # Only what `with` gives is named: anything else must stay an AttributeError, by which
        # notebooks find out what an object can do.
        if name in _QUESTIONS:
            raise CallError(
                "argument",
                f"expected the federation that `with` gives, got `{name}` of one not yet started",
                remedy=f"write `with yumen.local_federation(...) as fed:` and call `fed.{name}`",
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def start(self) -> Federation:
        """Start every process and connect. Raises `StateError`; `CallError` if it is running."""
        if self._running.stack is not None or not self._end.alive:
            raise CallError("argument", "expected a local federation that was not started before")
        try:
            return self._running.begin(self._prepare, self._timeout_s, self._on_step)
        except BaseException:  # Ctrl-C too must leave neither a process nor a key behind
            self.close()
            raise

    def close(self) -> None:
        """End every process and delete every file. Calling it again does nothing."""
        self._end()

    @property
    def directory(self) -> Path:
        """Where the parties keep their files. Raises `CallError` unless it is running."""
        if self._running.stack is None:
            raise CallError("argument", "expected a local federation that is running")
        return self._running.stack.root

    def __enter__(self) -> Federation:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Running:
    """What must be ended: kept apart from `LocalFederation`, so that a finalizer can hold it."""

    def __init__(self) -> None:
        self.folder: tempfile.TemporaryDirectory[str] | None = None
        self.stack: Stack | None = None
        self.federation: Federation | None = None

    def begin(
        self,
        prepare: Callable[[Path], StackSetup],
        timeout_s: float,
        on_step: Callable[[str], None] | None,
    ) -> Federation:
        from yumen.federation import connect

        self.folder = tempfile.TemporaryDirectory(prefix="yumen-", ignore_cleanup_errors=True)
        root = Path(self.folder.name)
        with JobProgress("starting a federation") as progress:

            def step(text: str) -> None:
                progress.say(text)
                if on_step is not None:
                    on_step(text)

            self.stack = Stack.start(root, prepare(root), timeout_s=timeout_s, on_step=step)
        self.federation = connect(
            self.stack.coordinator_address, identity=self.stack.user_directory
        )
        return self.federation

    def end(self) -> None:
        federation, stack, folder = self.federation, self.stack, self.folder
        self.federation = self.stack = self.folder = None
        try:
            if federation is not None:
                federation.close()
        finally:
            try:
                if stack is not None:
                    stack.stop()
            finally:
                if folder is not None:
                    folder.cleanup()


class _Files:
    """Writes what the nodes read: declarations, frames as Parquet, policy texts, purposes."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def declaration(self, node: str, shared: Mapping[str, object], source: Source) -> Path:
        folder = self._folder(node)
        if isinstance(source, str | os.PathLike):
            data = Path(source).resolve()
        else:
            data = folder / "table.parquet"
            import pyarrow.parquet as pq

            pq.write_table(as_declared(read_table(node, source), shared), data)
        # JSON is YAML, and keeps every text as text; bounds that are dates become text.
        document = {**shared, "source": {"type": file_type(data), "path": str(data)}}
        text = json.dumps(document, ensure_ascii=False, indent=1, default=str)
        return _written(folder / "table.yaml", text)

    def policies(self, node: str, given: Sequence[str | os.PathLike[str]]) -> tuple[Path, ...]:
        paths = []
        for number, policy in enumerate(given, start=1):
            if _is_text(policy):
                file = self._folder(node) / f"policy-{number}.cedar"
                paths.append(_written(file, str(policy)))
            else:
                paths.append(Path(policy).resolve())
        return tuple(paths)

    def purposes(self, names: Sequence[str]) -> Path:
        entries = [
            {"name": name, "meaning": "a purpose of this local federation"} for name in names
        ]
        text = json.dumps({"purposes": entries}, ensure_ascii=False)
        return _written(self._root / "purposes.yaml", text)

    def _folder(self, node: str) -> Path:
        folder = self._root / "given" / node
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _written(path: Path, text: str) -> Path:
    path.write_text(text + "\n", encoding="utf-8")
    return path


def _projects(approve: Sequence[str | os.PathLike[str]]) -> tuple[Path, ...]:
    if isinstance(approve, str | os.PathLike):
        raise CallError("argument", "expected `approve` as a list of folders, got one")
    from yumen_core.training.bundle import Bundle

    for folder in approve:
        Bundle.from_folder(Path(folder))
    return tuple(Path(folder).resolve() for folder in approve)


def _check_nodes(tables: Mapping[str, Source]) -> None:
    if not MIN_PARTICIPANTS <= len(tables) <= MAX_PARTICIPANTS:
        raise CallError(
            "argument",
            f"expected {MIN_PARTICIPANTS} to {MAX_PARTICIPANTS} nodes, got {len(tables)}",
            remedy=f"no value is released from fewer than {MIN_PARTICIPANTS} nodes",
        )
    for node, source in tables.items():
        Identity(FEDERATION, node, Role.NODE, node)
        if isinstance(source, str | os.PathLike):
            file_type(Path(source))
            if not Path(source).is_file():
                raise CallError(
                    "argument", f"expected a file for node `{node}`, found none at `{source}`"
                )


def _policies_by_node(
    tables: Mapping[str, Source], policies: Policies
) -> dict[str, Sequence[str | os.PathLike[str]]]:
    given = policies if isinstance(policies, Mapping) else dict.fromkeys(tables, policies)
    for node in given:
        if node not in tables:
            known = ", ".join(f"`{name}`" for name in tables)
            raise CallError("argument", f"expected policies for nodes among {known}, got `{node}`")
    by_node: dict[str, Sequence[str | os.PathLike[str]]] = {}
    for node in tables:
        files = given.get(node)
        if files is None:
            by_node[node] = (DEFAULT_POLICY,)
            continue
        by_node[node] = (files,) if isinstance(files, str | os.PathLike) else tuple(files)
        for policy in by_node[node]:
            if not _is_text(policy) and not Path(policy).is_file():
                raise CallError(
                    "argument",
                    f"expected a Cedar file or policy text for node `{node}`, got `{policy}`",
                )
    return by_node


def _is_text(policy: str | os.PathLike[str]) -> bool:
    return isinstance(policy, str) and ";" in policy


def _declaration(
    tables: Mapping[str, Source],
    name: str,
    schema: Mapping[str, object] | str | os.PathLike[str] | None,
) -> dict[str, object]:
    if schema is None:
        return infer_declaration(name, tables)
    if not isinstance(schema, str | os.PathLike | Mapping):
        raise CallError(
            "argument",
            "expected a schema as a dict or the path of a YAML file, "
            f"got `{type(schema).__name__}`",
        )
    document = _loaded(Path(schema)) if isinstance(schema, str | os.PathLike) else dict(schema)
    if document.setdefault("name", name) != name:
        raise CallError(
            "argument", f"expected the schema of table `{name}`, got `{document['name']}`"
        )
    if "source" in document:
        raise CallError(
            "argument",
            "expected a schema without a source, got one with `source`",
            remedy="leave `source` out: it comes from the tables given",
        )
    return document


def _loaded(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_SCHEMA_BYTES + 1)
        document = yaml.safe_load(text) if len(text) <= MAX_SCHEMA_BYTES else None
    except (OSError, ValueError, yaml.YAMLError):
        document = None
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise CallError(
            "argument",
            f"expected a YAML file with `columns` of {MAX_SCHEMA_BYTES >> 20} MiB at most, "
            f"got `{path}`",
        )
    return document
