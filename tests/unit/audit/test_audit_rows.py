"""Entries in words, filtered and exported: every filter, and what other tools could misread."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from builders.audited import BEGIN_MS, DAY_MS, LI, NODE, WANG, Audited, audited
from yumen_core.audit.export import csv_lines, json_lines, syslog_lines
from yumen_core.audit.reading import AuditedLog, open_audited
from yumen_core.audit.rows import HEADER, Wanted, reason_codes, rows
from yumen_core.audit.spelling import spelled
from yumen_core.log import Act, Entry


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    return audited(tmp_path_factory.mktemp("audited"))


@pytest.fixture(scope="module")
def log(made: Audited) -> AuditedLog:
    return open_audited(made.log, made.key)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(), list(range(13))),
        (Wanted(user="bank/user/wang"), [3, 4]),
        (Wanted(user="org/lzu"), [1, 2, 7, 8, 9, 10, 11, 12]),
        (Wanted(user="cleveland"), [0, 1]),
        (Wanted(table="wells"), [4]),
        (Wanted(table="heart"), [0, 2, 3, 6, 7, 8, 9, 11, 12]),
        (Wanted(table="hear"), []),
        (Wanted(purpose="pricing"), [3, 4]),
        (Wanted(job="job-1"), [2, 7, 8, 9, 12]),
        (Wanted(act="budget"), [6, 7, 8]),
        (Wanted(since_ms=BEGIN_MS + 11 * DAY_MS), [11, 12]),
        (Wanted(until_ms=BEGIN_MS + 2 * DAY_MS), [0, 1]),
        (Wanted(denied=True), [3, 4, 5]),
        (Wanted(denied=True, table="heart", user="wang"), [3]),
    ],
)
def test_every_filter(log: AuditedLog, wanted: Wanted, found: list[int]) -> None:
    assert [row.index for row in rows(log.entries(), wanted)] == found


def test_a_refusal_is_about_what_the_decision_names() -> None:
    asked = {"job": "j", "requester": "spiffe://f/org/o/user/li", "table": "heart", "purpose": "p"}
    entries = [
        Entry(0, Act.DECISION, asked, detail={"accepted": True}),
        Entry(0, Act.REFUSAL, {"job": "j"}, detail={"code": "near_release"}),
        Entry(0, Act.REFUSAL, {"job": "other"}, detail={"code": "signature"}),
    ]
    wanted = Wanted(user="li", table="heart", purpose="p", denied=True)
    [row] = rows(enumerate(entries), wanted)
    assert (row.index, row.reason) == (1, "near_release")
    assert row.who.endswith("/user/li")


def test_a_joined_table_is_found() -> None:
    entry = Entry(0, Act.DECISION, {"table": "heart", "joined_1": "wells"})
    assert Wanted(table="wells").holds(entry)
    assert not Wanted(table="other").holds(entry)


def test_in_words(log: AuditedLog) -> None:
    found = [row.cells for row in rows(log.entries(), Wanted())]
    assert found[2] == (
        "2",
        "2026-11-03T00:00:00.000Z",
        "decision",
        LI,
        "table heart, purpose research, job job-1",
        "accepted",
        "",
    )
    assert found[3][3:] == (WANG, "table heart, purpose pricing, job job-2", "denied", "no_permit")
    assert found[5][4:6] == ("job job-4", "refused")
    assert found[0][2:6] == ("table published", NODE, "table heart", "done")
    assert found[8][4:6] == (
        "table heart, purpose research, project lzu/research, job job-1",
        "spent",
    )
    assert found[10][3:] == (LI, "job job-5", "viewed", "-2+3")
    assert found[1][2:6] == ("policy activated", NODE, "", f"by {LI}")


@pytest.mark.parametrize("denials", [["no json", "[1]", '{"other": 1}'], "text", 7])
def test_denials_of_another_form_have_no_code(denials: object) -> None:
    entry = Entry(0, Act.DECISION, detail={"accepted": False, "denials": denials})  # type: ignore[dict-item]
    assert reason_codes(entry) == []


@pytest.mark.parametrize("text", ["[" * 30_000, '{"a":' * 5_000, "1" * 70_000])
def test_a_denial_nested_too_deep_or_too_long_has_no_code(text: str) -> None:
    entry = Entry(0, Act.DECISION, detail={"accepted": False, "denials": [text]})
    assert reason_codes(entry) == []


def test_nothing_that_cannot_be_printed_is_exported_raw() -> None:
    entry = Entry(0, Act.JOB_ENDED, detail={"reason": "a\x1b]0;x\x07\u202eb\x9bc"})
    for lines in (list(csv_lines([(0, entry)])), list(syslog_lines("o", [(0, entry)]))):
        shown = "".join(lines).replace("\r\n", "").replace("\n", "")
        assert shown.isprintable()
        assert "u001b]0;x" in shown.replace("\\]", "]")
        assert "u202eb" in shown


def test_csv(log: AuditedLog) -> None:
    text = "".join(csv_lines(log.entries()))
    read = list(csv.reader(io.StringIO(text)))
    assert tuple(read[0]) == HEADER
    assert len(read) == 14
    assert text.count("\r\n") == 14
    assert read[6][-1] == "signature"
    assert read[11][-1] == "'-2+3"


@pytest.mark.parametrize(
    "cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", '=HYPERLINK("x","y")']
)
def test_no_cell_of_the_csv_is_a_formula(cell: str) -> None:
    entry = Entry(0, Act.JOB_ENDED, {"requester": cell}, detail={"reason": cell, "state": cell})
    read = list(csv.reader(io.StringIO("".join(csv_lines([(0, entry)])), newline="")))[1]
    assert [read[3], read[5], read[6]] == ["'" + spelled(cell)] * 3


def test_json_lines_are_the_entries_as_hashed(log: AuditedLog) -> None:
    raw = list(log.raw())
    lines = list(json_lines(log.entries()))
    assert len(lines) == 13
    for (index, data), line in zip(raw, lines, strict=True):
        assert line == f'{{"index":{index},"entry":{data.decode()}}}\n'
        assert json.loads(line) == {"index": index, "entry": json.loads(data)}
        assert line.count("\n") == 1


def test_syslog(log: AuditedLog) -> None:
    lines = list(syslog_lines(log.report.origin, log.entries()))
    assert len(lines) == 13
    assert lines[2] == (
        "<110>1 2026-11-03T00:00:00.000Z gansu.example/cleveland yumen - decision "
        f'[yumen@32473 index="2" who="{LI}" what="table heart, purpose research, job job-1" '
        'outcome="accepted"]\n'
    )
    assert lines[3].startswith("<109>1 ")
    assert lines[5].startswith("<109>1 ")


def test_syslog_escapes() -> None:
    hostile = 'a"b]c\\d\ne\x00f\x7fg'
    entry = Entry(0, Act.JOB_ENDED, detail={"reason": hostile})
    (line,) = syslog_lines("bad host\n🙂", [(7, entry)])
    assert line == (
        "<110>1 1970-01-01T00:00:00.000Z badhost yumen - job_ended "
        '[yumen@32473 index="7" outcome="done" '
        'reason="a\\"b\\]c\\\\d\\\\u000ae\\\\u0000f\\\\u007fg"]\n'
    )
    assert re.fullmatch(
        r'<\d+>1 \S+ \S{1,255} yumen - \S{1,32} \[yumen@32473( \w+="(\\["\\\]]|[^"\\\]])*")+\]\n',
        line,
    )
    (line,) = syslog_lines(" ", [(0, entry)])
    assert " - yumen - " in line
