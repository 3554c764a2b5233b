"""A way on for a node whose memory of what it spent, or of what left it, is lost for good.

Both acts need the node to be stopped: they hold its log open while they run. They are entries of
that log, with the person who did them. A file that is replaced is set aside, never removed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from yumen_core.clock import Clock
from yumen_core.errors import CallError, StateError
from yumen_core.identity.membership import Membership
from yumen_core.log import Act, TileLog, open_log
from yumen_core.log.entry import Value

from yumen_node.config import NodeConfig, load_config
from yumen_node.ledger import FILE as BUDGETS
from yumen_node.ledger import moves_of, open_database
from yumen_node.operators import OperatorAct, this_person
from yumen_node.released import FILE as RELEASED
from yumen_node.released import ReleasedSets
from yumen_node.released_log import Missing, told_of

_BESIDE = ("", "-wal", "-shm")
"""SQLite's own files of one database."""


@dataclass(frozen=True)
class Rebuilt:
    """What a ledger was made of: the costs that count, and their sum in micro-rho by table."""

    costs: int
    micro_rho: Mapping[str, int]


def rebuild_ledger(directory: Path, clock: Clock) -> Rebuilt:
    """Make `budgets.sqlite` of the node in `directory` anew from its log, which tells every move.

    What was reserved and not given back counts. Raises `StateError` (`state`) where the node runs.
    """
    config = load_config(directory)
    membership = Membership(config.identity, clock)
    with _opened_log(config, membership, clock) as log:
        taken: dict[tuple[str, str], tuple[str, int, bool]] = {}
        for move in moves_of(log.entries()):
            if move.what == "given back":
                taken.pop((move.job_id, move.table), None)
            else:
                spent = move.what == "spent"
                taken[move.job_id, move.table] = (move.project, move.micro_rho, spent)
        new = config.state / f"{BUDGETS}.new"
        _remove(new)
        database = open_database(new)
        database.execute("BEGIN")
        database.executemany(
            "INSERT INTO moves (job_id, table_name, project, micro_rho, spent) "
            "VALUES (?, ?, ?, ?, ?)",
            [(*key, project, cost, int(spent)) for key, (project, cost, spent) in taken.items()],
        )
        database.execute("COMMIT")
        database.close()
        _set_aside(config.state / BUDGETS, clock)
        os.replace(new, config.state / BUDGETS)
        by_table: dict[str, int] = {}
        for (_, table), (_, cost, _) in taken.items():
            by_table[table] = by_table.get(table, 0) + cost
        _tell(log, membership, OperatorAct.REBUILD_LEDGER, {"costs": len(taken)}, {})
    return Rebuilt(len(taken), by_table)


def accept_loss(directory: Path, clock: Clock, number: int) -> int:
    """Go on without the records of what left that `released.sqlite` of the node in `directory`
    lacks; how many these are, as `number` must say.

    An older copy is kept with what it has; another node's file, or a damaged one, is set aside.
    Raises `CallError` (`argument`) where nothing is missing, or another number; `StateError`
    (`state`) where the node runs.
    """
    config = load_config(directory)
    membership = Membership(config.identity, clock)
    with _opened_log(config, membership, clock) as log:
        found = _missing(config.state, membership.identity.uri, log)
        if found is None:
            raise CallError(
                "argument", "expected a node whose `released.sqlite` lacks records, got a whole one"
            )
        if found.number != number:
            raise CallError(
                "argument",
                f"expected the number of records that are missing, {found.number}, got {number}",
                remedy=f"`--missing {found.number}` accepts that answers may differ from these "
                "by a few rows",
            )
        if found.foreign:
            _set_aside(config.state / RELEASED, clock)
        released = ReleasedSets(config.state, membership.identity.uri)
        try:
            released.accept_loss(
                found,
                log,
                lambda made: _tell(
                    log,
                    membership,
                    OperatorAct.ACCEPT_LOSS,
                    {"missing": found.number, **made.detail},
                    made.digests,
                ),
            )
        finally:
            released.close()
    return found.number


def _missing(state: Path, node: str, log: TileLog) -> Missing | None:
    try:
        released = ReleasedSets(state, node)
    except StateError:
        return Missing(told_of(log).number, foreign=True)
    try:
        return released.missing(log)
    except StateError:
        return Missing(told_of(log).number, foreign=True)
    finally:
        released.close()


def _opened_log(config: NodeConfig, membership: Membership, clock: Clock) -> TileLog:
    return open_log(config.log, member=membership.identity, secrets=config.secrets, clock=clock)


def _tell(
    log: TileLog,
    membership: Membership,
    act: OperatorAct,
    detail: Mapping[str, Value],
    digests: Mapping[str, bytes],
) -> None:
    operator, login = this_person()
    log.record(
        Act.OPERATOR,
        subject={
            "node": membership.identity.uri,
            "operator": operator,
            **({"login": login} if login else {}),
        },
        digests=digests,
        detail={"what": act.value, **detail},
    )


def _set_aside(file: Path, clock: Clock) -> None:
    name = f"{file.name}.before-{clock.now_ms()}"
    for end in _BESIDE:
        if Path(f"{file}{end}").exists():
            os.replace(f"{file}{end}", file.with_name(f"{name}{end}"))


def _remove(file: Path) -> None:
    for end in _BESIDE:
        Path(f"{file}{end}").unlink(missing_ok=True)
