"""The demo's files, its forged envelope, and what makes its report fail."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from yumen_cli.demo import hospitals
from yumen_cli.demo.attacks import change_one_byte
from yumen_cli.demo.report import Attack, DemoReport, VerifiedLog
from yumen_core.errors import CallError, StateError
from yumen_core.identity.envelope import SignedEnvelope


def test_a_folder_without_the_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(CallError) as caught:
        hospitals.find(tmp_path)
    missing = tmp_path.resolve() / "cleveland.csv"
    assert caught.value.message == f"expected the demo's file `{missing}`, got none"
    assert "--data DIR" in caught.value.remedy


def test_all_four_publish_the_same_columns() -> None:
    declared = [
        yaml.safe_load(one.declaration.read_text()) for one in hospitals.find(None).hospitals
    ]
    assert len(declared) == 4
    for fields in declared:
        fields.pop("source")
        assert fields == declared[0]
    assert "id" not in [column["name"] for column in declared[0]["columns"]]


def test_a_declaration_is_pointed_at_the_data(tmp_path: Path) -> None:
    first = hospitals.find(None).hospitals[0]
    target = hospitals.declare(first, tmp_path / "t.yaml")
    fields = yaml.safe_load(target.read_text())
    assert fields["source"] == {"type": "csv", "path": str(first.data)}


def test_a_declaration_without_a_source_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("name: heart\n")
    hospital = hospitals.Hospital("x", "o", path, path, path)
    with pytest.raises(StateError, match="expected a source in"):
        hospitals.declare(hospital, tmp_path / "t.yaml")


def test_exactly_one_byte_is_changed() -> None:
    envelope = SignedEnvelope(b"\x01id\x22research\x00", "t", b"s", b"c")
    forged = change_one_byte(envelope)
    assert forged.payload == b"\x01id\x22resaarch\x00"
    assert (forged.signature, forged.certificate) == (b"s", b"c")


def test_an_empty_report_does_not_hold() -> None:
    report = DemoReport()
    assert not report.holds
    assert report.faults() == [
        "expected encrypted answers, got none",
        "expected four hospitals in the catalogue",
        "expected a denial of the forbidden purpose, got none",
        "expected two attacks and five logs",
    ]
    assert report.document()["holds"] is False


def test_an_attack_let_in_and_a_broken_log_do_not_hold() -> None:
    report = DemoReport(
        attacks=[Attack("forged job", "", "", "", "signature"), Attack("r", "", "x", "", "x")],
        logs=[VerifiedLog("node", 0, "", "", problem="entry 3 was changed")] * 5,
    )
    faults = report.faults()
    assert "forged job: expected a refusal `signature`, got ``" in faults
    assert faults.count("log of node: entry 3 was changed") == 5
    assert "expected two attacks and five logs" not in faults
