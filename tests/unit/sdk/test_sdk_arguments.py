"""What a caller hands over wrongly is refused in words, before anything is sent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yumen
from yumen import _arguments as arguments
from yumen.federation import Federation
from yumen.submission import fewer_nodes, refusal
from yumen_core.errors import CallError
from yumen_core.identity.names import Identity, Role

NODES = [Identity("h.example", org, Role.NODE, "heart") for org in ("lzu", "pku", "thu")]
NAMED = [*NODES[:2], Identity("h.example", "thu", Role.NODE, "cancer")]


def client() -> Any:
    return SimpleNamespace(
        address="host:1",
        close=lambda: None,
        catalogue=list,
        membership=SimpleNamespace(identity=Identity("h.example", "lzu", Role.USER, "li")),
    )


QUESTIONS: list[tuple[dict[str, object], str]] = [
    ({"sql": None}, "expected `sql` as text, got None"),
    ({"sql": 5}, "expected `sql` as text, got `5`"),
    ({"purpose": None}, "expected `purpose` as text, got None"),
    ({"purpose": ["research"]}, "expected `purpose` as text, got `['research']`"),
    ({"purpose": "  "}, "expected a purpose of 1 to 200 characters, got `  `"),
    ({"min_nodes": "3"}, "expected `min_nodes` as an integer, got `3`"),
    ({"min_nodes": 3.0}, "expected `min_nodes` as an integer, got `3.0`"),
    ({"min_nodes": True}, "expected `min_nodes` as an integer, got `True`"),
]


@pytest.mark.parametrize("call", ["check", "query"])
@pytest.mark.parametrize(("wrong", "message"), QUESTIONS)
def test_a_question(call: str, wrong: dict[str, object], message: str) -> None:
    given: dict[str, Any] = {"sql": "SELECT 1", "purpose": "research", **wrong}
    with pytest.raises(CallError) as caught:
        getattr(Federation(client()), call)(given.pop("sql"), **given)
    assert (caught.value.code, caught.value.message) == ("argument", message)


@pytest.mark.parametrize("wrong", [0, -1, 86_401, float("nan"), float("inf"), "60", None, True])
def test_a_timeout(wrong: Any) -> None:
    with pytest.raises(CallError) as caught:
        Federation(client()).query("SELECT 1", purpose="research", timeout_s=wrong)
    shown = "None" if wrong is None else f"`{wrong}`"
    assert caught.value.message == (
        f"expected `timeout_s` above 0 and at most 86400 seconds, got {shown}"
    )


@pytest.mark.parametrize("right", [0.5, 1, 86_400])
def test_a_timeout_of_up_to_a_day(right: float) -> None:
    arguments.check_timeout(right)


@pytest.mark.parametrize(
    ("address", "remedy"),
    [
        ("host", "give host and port"),
        ("host:", "give host and port"),
        (":7401", "give host and port"),
        ("host:0", "give host and port"),
        ("host:65536", "give host and port"),
        (None, "give host and port"),
        ("https://host:7401", "leave the scheme out: host and port alone"),
    ],
)
def test_an_address(address: Any, remedy: str) -> None:
    with pytest.raises(CallError) as caught:
        yumen.connect(address, identity="nowhere")
    shown = "None" if address is None else f"`{address}`"
    assert caught.value.message == (
        f"expected a coordinator's address like `host:7401`, got {shown}"
    )
    assert caught.value.remedy == remedy


@pytest.mark.parametrize("wrong", ["nope", "", None, 7])
def test_a_job_id(wrong: Any) -> None:
    with pytest.raises(CallError) as caught:
        Federation(client()).cancel(wrong)
    shown = "None" if wrong is None else f"`{wrong}`"
    assert caught.value.message == f"expected a job's id, got {shown}"
    assert caught.value.remedy == "list your jobs with `yumen jobs` or `fed.jobs()`"


def test_a_closed_connection_says_so() -> None:
    with Federation(client()) as federation:
        assert list(federation.datasets()) == []
    calls: list[Any] = [
        federation.datasets,
        federation.jobs,
        lambda: federation.cancel("0199b2f4-1111-7abc-8def-000000000001"),
        lambda: federation.query("SELECT 1", purpose="research"),
        lambda: federation.check("SELECT 1", purpose="research"),
    ]
    for call in calls:
        with pytest.raises(CallError, match="the connection is closed"):
            call()
    assert "lzu/li" in repr(federation)
    federation.close()


@pytest.mark.parametrize("wrong", [None, 5, [pd.DataFrame()], "a.csv"])
def test_tables_that_are_no_mapping(wrong: Any) -> None:
    with pytest.raises(CallError) as caught:
        yumen.local_federation(wrong, table="heart")
    assert caught.value.message == (
        "expected `tables` as a mapping of node names to frames or paths, "
        f"got `{type(wrong).__name__}`"
    )


def test_a_local_federation_without_its_with() -> None:
    frame = pd.DataFrame({"age": [1, 2]})
    local = yumen.local_federation(dict.fromkeys("abc", frame), table="heart")
    for name in ("query", "check", "datasets", "jobs", "cancel"):
        with pytest.raises(CallError) as caught:
            getattr(local, name)
        assert caught.value.message == (
            f"expected the federation that `with` gives, got `{name}` of one not yet started"
        )
        assert "with yumen.local_federation(...) as fed" in caught.value.remedy
    assert not hasattr(local, "_repr_html_")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("cancer", "thu"),
        ("thu", "thu"),
        ("thu/cancer", "thu"),
        ("lzu", "lzu"),
        ("lzu/heart", "lzu"),
        ("spiffe://h.example/org/pku/node/heart", "pku"),
    ],
)
def test_a_node_is_found_by_name_or_organisation(wanted: str, found: str) -> None:
    assert arguments.find_node(wanted, NAMED, "t").organisation == found


def test_a_nodes_name_goes_before_an_organisation() -> None:
    other = Identity("h.example", "x", Role.NODE, "lzu")
    assert arguments.find_node("lzu", [*NODES, other], "t") is other


@pytest.mark.parametrize(
    ("wanted", "nodes", "message", "example"),
    [
        ("heart", NODES, "(lzu/heart, pku/heart, thu/heart), got `heart`, which names several",
         "lzu/heart"),
        ("heart", NAMED, "(lzu/heart, pku/heart, cancer), got `heart`, which names several",
         "lzu/heart"),
        ("hart", NAMED, "(lzu/heart, pku/heart, cancer), got `hart`, which names none",
         "lzu/heart"),
        ("x", [], "(), got `x`, which names none", "organisation/name"),
        (5, NODES, "(lzu/heart, pku/heart, thu/heart), got `5`, which names none", "lzu/heart"),
    ],
)  # fmt: skip
def test_a_node_that_is_not_one(
    wanted: object, nodes: list[Identity], message: str, example: str
) -> None:
    with pytest.raises(CallError) as caught:
        arguments.find_node(wanted, nodes, "t")
    assert caught.value.message == f"expected a node that publishes `t` {message}"
    assert caught.value.remedy == f"write a node as organisation/name, such as `{example}`"


def test_an_organisation_with_two_nodes_names_neither() -> None:
    with pytest.raises(CallError, match="got `lzu`, which names several"):
        arguments.find_node("lzu", [NODES[0], Identity("h.example", "lzu", Role.NODE, "b")], "t")


def test_who_refused_is_named_apart() -> None:
    decisions: Any = [
        SimpleNamespace(decider=node.uri, denials=[SimpleNamespace(message="no")]) for node in NODES
    ]
    spec: Any = SimpleNamespace(purpose="p")
    assert refusal(spec, decisions) == (
        "the job for purpose `p` was refused by lzu/heart, pku/heart, thu/heart: no"
    )


def test_a_refusing_coordinator_is_called_so() -> None:
    main = Identity("h.example", "local", Role.COORDINATOR, "main")
    decisions: Any = [
        SimpleNamespace(decider=main.uri, denials=[SimpleNamespace(message="no")]),
    ]
    spec: Any = SimpleNamespace(purpose="p")
    assert refusal(spec, decisions) == "the job for purpose `p` was refused by the coordinator: no"


@pytest.mark.parametrize(
    ("asked", "needed", "remedy"),
    [
        (4, 4, "give min_nodes (--min-nodes) to go on with fewer, or wait for the missing nodes"),
        (3, 3, "wait for the missing nodes: a sum takes 3 nodes at least"),
        (4, 3, None),
    ],
)
def test_what_to_do_where_nodes_are_missing(asked: int, needed: int, remedy: str | None) -> None:
    spec: Any = SimpleNamespace(nodes=range(asked), min_nodes=needed)
    assert fewer_nodes(spec) == remedy
