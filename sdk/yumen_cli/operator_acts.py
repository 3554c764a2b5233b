"""Leaving what a command shows or does at a node, for that node to tell of in its log.

A command leaves its act first and shows nothing where it cannot.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yumen_node.config import NodeConfig

_CONFIG = "node.yaml"
_MAX_LEVELS = 3
"""How far above a log's folder or a policy file the node's configuration is looked for."""


def leave_at(
    node: Path, act: str, *, job: str = "", code: bytes = b"", policies: bytes = b""
) -> None:
    """Leave the act at the node in the folder `node`. `act` is an `OperatorAct`; `code` and
    `policies` are digests.

    Raises `StateError` (`state`, `config`), and `CallError` (`argument`) for a job's id of another
    form.
    """
    from yumen_node.config import load_config

    _leave(load_config(node), act, job=job, code=code, policies=policies)


def leave_for(*paths: Path | None, act: str, job: str = "", policies: bytes = b"") -> None:
    """Leave the act at each node whose own log, or own policies, are among `paths`.

    A node's own are those that its configuration names, above them: a copy for an auditor has none
    and leaves nothing. Raises as `leave_at`.
    """
    found: dict[Path, NodeConfig] = {}
    for path in paths:
        config = None if path is None else _node_of(path.resolve())
        if config is not None:
            found[config.state] = config
    for config in found.values():
        _leave(config, act, job=job, policies=policies)


def _leave(
    config: NodeConfig, act: str, *, job: str, code: bytes = b"", policies: bytes = b""
) -> None:
    from yumen_node.operator_spool import leave
    from yumen_node.operators import Doing, OperatorAct, this_person

    operator, login = this_person()
    digests = {name: one for name, one in (("code", code), ("policies", policies)) if one}
    subject = {"job": job} if job else {}
    leave(config.state, Doing(OperatorAct(act), operator, login, subject, digests))


def _node_of(path: Path) -> NodeConfig | None:
    for folder in list(path.parents)[:_MAX_LEVELS]:
        if not (folder / _CONFIG).exists():
            continue
        from yumen_node.config import load_config

        config = load_config(folder)
        own = {config.log.resolve()}
        for file in config.policies:
            own |= {file.resolve(), file.resolve().parent}
        if path in own:
            return config
    return None
