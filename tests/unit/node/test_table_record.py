"""A changed table declaration is an entry of the node's log, once."""

from dataclasses import replace
from pathlib import Path

import pytest
from builders.federation import HEART, TABLE, RecordingLog
from yumen_core.errors import StateError
from yumen_core.log import Act
from yumen_node.table_record import record_tables


def test_tables_are_told_when_they_change(tmp_path: Path) -> None:
    log = RecordingLog()
    tables = {"heart": TABLE}
    for given in (tables, tables, {"heart": replace(TABLE, threshold=5)}, {}, {}):
        record_tables(tmp_path, given, log, "spiffe://n")  # type: ignore[arg-type]
    assert log.acts == [Act.TABLE_PUBLISHED] * 3
    first, changed, gone = log.entries
    assert first.subject == {"node": "spiffe://n", "table": "heart"}
    assert first.digests == changed.digests == {"schema": HEART.digest}
    assert (first.detail["threshold"], changed.detail["threshold"]) == (10, 5)
    assert gone.detail == {"withdrawn": True}


def test_a_damaged_note_of_them(tmp_path: Path) -> None:
    (tmp_path / "published.json").write_text("[1")
    with pytest.raises(StateError, match="is damaged"):
        record_tables(tmp_path, {}, RecordingLog(), "spiffe://n")  # type: ignore[arg-type]
