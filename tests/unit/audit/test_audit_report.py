"""A period's report: what is counted, and a page that holds nothing but text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from builders.audited import BEGIN_MS, DAY_MS, LI, NODE, WANG, Audited, audited
from yumen_core.audit.page import page
from yumen_core.audit.reading import AuditedLog, open_audited
from yumen_core.audit.summary import MAX_LISTED, Budget, Purpose, Summary, summarise
from yumen_core.log import Act, Entry

OWN = {"spec": b"s" * 32, "policies": b"p" * 32}
ALWAYS = (0, 1 << 62)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    return audited(tmp_path_factory.mktemp("audited"))


@pytest.fixture(scope="module")
def log(made: Audited) -> AuditedLog:
    return open_audited(made.log, made.key)


def test_what_is_counted(log: AuditedLog) -> None:
    found = summarise("here", log.entries(), *ALWAYS)
    assert found.entries == 13
    assert found.purposes == {"research": Purpose(accepted=2), "pricing": Purpose(denied=2)}
    assert found.denials == {"no_permit": 1, "too_few_nodes": 1}
    assert found.refusals == {"signature": 1}
    assert found.budgets == {("heart", "lzu/research"): Budget(400_000, 0, 400_000, 1_600_000)}
    assert found.left == {"heart": 4_600_000}
    assert not found.stopped
    assert found.limits == {"heart": (5_000_000, 2_000_000)}
    assert found.requesters == {LI: 2}
    assert found.releases == {LI: 1}
    assert found.contributions == 1
    assert [(one.index, one.cells[0]) for one in found.activations] == [(1, LI)]
    assert [one.cells for one in found.tables] == [(NODE, "heart", "general")]


def test_only_the_period(log: AuditedLog) -> None:
    found = summarise("", log.entries(), BEGIN_MS + 3 * DAY_MS, BEGIN_MS + 5 * DAY_MS)
    assert found.entries == 2
    assert found.purposes == {"pricing": Purpose(denied=2)}
    assert found.budgets == {}


def test_dry_runs_reviews_and_others_decisions() -> None:
    asked = {"purpose": "research", "job": "j", "requester": WANG}
    entries = [
        Entry(0, Act.DECISION, asked, OWN, {"accepted": False, "dry_run": True, "denials": []}),
        Entry(0, Act.DECISION, asked, OWN, {"accepted": True, "reviewers": [LI]}),
        Entry(0, Act.DECISION, {"job": "j", "node": "n"}, {"policies": b"p" * 32}, {"accepted": 1}),
        Entry(0, Act.CONTRIBUTION, {"job": "j", "node": "n"}),
    ]
    found = summarise("", enumerate(entries), *ALWAYS)
    assert found.purposes == {"research": Purpose(accepted=1, dry_runs=1)}
    assert found.denials == {}
    assert found.contributions == 0
    assert [one.cells for one in found.reviews] == [("j", LI, "accepted")]


def test_what_is_left_of_a_table_is_the_same_for_all_its_projects() -> None:
    def move(project: str, left: int) -> Entry:
        detail = {"move": "reserved", "micro_rho": 1, "left": left, "project_left": 50}
        return Entry(0, Act.BUDGET, {"table": "t", "project": project}, detail=detail)

    found = summarise("", enumerate([move("p", 99), move("q", 98)]), *ALWAYS)
    assert found.left == {"t": 98}


def test_a_job_that_is_refused_while_it_runs_was_verified() -> None:
    entries = [
        Entry(0, Act.DECISION, {"job": "j", "requester": WANG}, OWN, {"accepted": True}),
        Entry(0, Act.REFUSAL, {"job": "j"}, detail={"code": "near_release"}),
        Entry(0, Act.REFUSAL, {"job": "other"}, detail={"code": "signature"}),
    ]
    found = summarise("", enumerate(entries), *ALWAYS)
    assert found.stopped == {"near_release": 1}
    assert found.refusals == {"signature": 1}


def test_a_coordinator_notes_all_tables_of_a_node() -> None:
    entry = Entry(0, Act.TABLE_PUBLISHED, {"node": "n"}, detail={"tables": ["a", "b"]})
    assert [one.cells for one in summarise("", [(0, entry)], *ALWAYS).tables] == [
        ("n", "a, b", "published")
    ]


def test_budgets_given_back() -> None:
    def move(what: str, cost: int, left: int) -> Entry:
        detail = {"move": what, "micro_rho": cost, "left": left, "project_left": left - 1}
        return Entry(0, Act.BUDGET, {"table": "t", "project": "p"}, detail=detail)

    entries = [
        move("reserved", 5, 95),
        move("given back", 5, 100),
        move("reserved", 7, 93),
        move("spent", 7, 93),
        move("reserved", 2, 91),
    ]
    found = summarise("", enumerate(entries), *ALWAYS)
    assert found.budgets == {("t", "p"): Budget(14, 5, 7, 90)}
    assert found.left == {"t": 91}


def test_long_lists_are_cut_and_told() -> None:
    entries = [Entry(0, Act.TABLE_PUBLISHED, {"table": str(n)}) for n in range(MAX_LISTED + 3)]
    found = summarise("", enumerate(entries), *ALWAYS)
    assert (len(found.tables), found.left_out) == (MAX_LISTED, 3)


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(log: AuditedLog, found: Summary) -> tuple[str, Reader]:
    text = "".join(page([(log.report, found)], "November 2026"))
    reader = Reader()
    reader.feed(text)
    reader.close()
    return text, reader


def test_the_page(log: AuditedLog) -> None:
    text, reader = read(log, summarise("here", log.entries(), *ALWAYS))
    words = re.sub(r"\s+", " ", " ".join(reader.text))
    for expected in (
        "Audit of 1 log",
        "November 2026",
        "Jobs by purpose",
        "Denials by reason",
        "no_permit",
        "lzu/research",
        "400,000",
        "4,600,000",
        "Policies put in force",
        log.report.root.hex(),
        "the one beside the log" if log.report.key_source != "given" else "given by the auditor",
    ):
        assert expected in words
    assert "size: A4" in text


def test_the_page_needs_nothing_from_elsewhere_and_escapes_everything(log: AuditedLog) -> None:
    bad = '<script>alert("x")</script>&\u202e<img src=x onerror=1>'
    subject = {"purpose": bad, "job": bad, "requester": bad, "table": bad, "project": bad}
    detail = {"accepted": True, "reviewers": [bad], "code": bad, "by": [bad], "grade": bad}
    moved = {"move": "spent", "micro_rho": 1, "left": 2, "project_left": 3}
    entries = [Entry(0, act, subject, OWN, detail) for act in Act if act is not Act.BUDGET]
    entries.append(Entry(0, Act.BUDGET, subject, detail=moved))
    text, reader = read(log, summarise(bad, enumerate(entries), *ALWAYS))
    plain = "html head meta title style body h1 p section h2 code div b h3 table thead tr th tbody"
    assert set(reader.tags) <= {*plain.split(), "td", "svg", "rect"}
    assert not {name for name, _ in reader.attributes} & {"src", "href", "style", "onerror"}
    assert "\u202e" not in text
    assert "\\u202e" in text
    assert not re.search(r"url\(|@import|https?:", text)
    assert text.count("&lt;script&gt;") >= 8


def test_the_report_of_nothing(log: AuditedLog) -> None:
    _, reader = read(log, summarise("here", [], *ALWAYS))
    assert "table" not in reader.tags
