"""A training as it is signed: one form in bytes, every limit, and bytes of others."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from builders.trainings import CODE, TENSORS, training
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen_core import canonical
from yumen_core.errors import CallError, PeerError
from yumen_core.training.records import DTYPES, MAX_DIMENSIONS, MAX_TENSORS, Action
from yumen_core.training.spec import (
    MAX_BYTES,
    MAX_METRICS,
    MAX_ROUND_TIMEOUT_S,
    MAX_RUNS,
    MAX_SETTINGS,
    MAX_SQL_BYTES,
    MAX_VALUES,
    BundleCode,
    TensorShape,
    TrainingSpec,
    parse_training,
)

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
tensors = st.builds(
    TensorShape,
    names,
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 30), max_size=4).map(tuple),
)
metrics = st.from_regex(r"[A-Za-z][A-Za-z0-9_\-. /]{0,63}", fullmatch=True)
specs = st.builds(
    TrainingSpec,
    program=st.builds(
        BundleCode,
        st.binary(min_size=32, max_size=32),
        st.text("abc-心 ", min_size=1, max_size=20),
    ),
    sql=names.filter(bool),
    arrays=st.lists(tensors, min_size=1, max_size=5, unique_by=lambda t: t.name).map(tuple),
    metrics=st.lists(metrics, max_size=4, unique=True).map(tuple),
    runs=st.dictionaries(st.sampled_from(Action), st.integers(1, MAX_RUNS), min_size=1),
    weight=metrics,
    clip_norm=st.none() | st.floats(1e-300, 1e300),
    round_timeout_s=st.integers(1, MAX_ROUND_TIMEOUT_S),
    run_config=st.dictionaries(
        names,
        st.booleans() | st.integers() | st.floats(allow_nan=False) | names,
        max_size=5,
    ),
)


@settings(max_examples=150, deadline=None)
@given(specs)
def test_what_is_signed_is_read_as_it_was(spec: TrainingSpec) -> None:
    raw = spec.to_bytes()
    found = parse_training(raw)
    assert found == spec
    assert found.to_bytes() == raw
    kinds = {name: type(value) for name, value in (spec.run_config or {}).items()}
    assert {name: type(value) for name, value in (found.run_config or {}).items()} == kinds


def test_names_and_sizes() -> None:
    spec = training()
    assert (spec.name, spec.values) == ("hearts", 7)
    assert training(arrays=(TensorShape("t", "bool", (3, 0)),)).values == 0


# Limits -------------------------------------------------------------------------------------------


def shapes(count: int) -> tuple[TensorShape, ...]:
    return tuple(TensorShape(f"t{i}", "float32", (1,)) for i in range(count))


DISTINCT = "expected arrays of distinct names of at most 200 characters"
TIMES = f"expected each action to run 1 to {MAX_RUNS} times"
METRIC = "expected names of metrics of letters, digits and `_-. /`, got another"
MANY_METRICS = f"expected at most {MAX_METRICS} distinct names of metrics"
TENSOR = "expected an array of a known type and shape, got `t`"
STATEMENT = f"expected a statement of 1 to {MAX_SQL_BYTES} bytes"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sql": ""}, STATEMENT),
        ({"sql": "心" * 33_334}, STATEMENT),
        ({"arrays": shapes(MAX_TENSORS + 1)}, f"expected at most {MAX_TENSORS} arrays, got 2001"),
        ({"arrays": (TENSORS[0], TENSORS[0])}, DISTINCT),
        ({"arrays": (TensorShape("x" * 201, "float32", ()),)}, DISTINCT),
        ({"arrays": (TensorShape("t", "complex64", ()),)}, TENSOR),
        ({"arrays": (TensorShape("t", "object", ()),)}, TENSOR),
        ({"arrays": (TensorShape("t", "float32", (-1,)),)}, TENSOR),
        ({"arrays": (TensorShape("t", "float32", (-1, -1)),)}, TENSOR),
        ({"arrays": (TensorShape("t", "float32", (1,) * (MAX_DIMENSIONS + 1)),)}, TENSOR),
        ({"arrays": (TensorShape("t", "float32", (0, MAX_VALUES + 1)),)}, TENSOR),
        ({"arrays": (TensorShape("t", "float32", (0, 10**40)),)}, TENSOR),
        ({"arrays": ()}, "expected the arrays that `train` answers, got none"),
        ({"runs": {}}, TIMES),
        ({"runs": {Action.TRAIN: 0}}, TIMES),
        ({"runs": {Action.TRAIN: 1, Action.QUERY: -1}}, TIMES),
        ({"runs": {Action.TRAIN: MAX_RUNS + 1}}, TIMES),
        ({"metrics": ("loss", "loss")}, MANY_METRICS),
        ({"metrics": tuple(f"m{i}" for i in range(MAX_METRICS + 1))}, MANY_METRICS),
        *[({"metrics": (name,)}, METRIC) for name in ("", "1st", "lo\nss", "x" * 65, "心", "a\n")],
        ({"weight": ""}, METRIC),
        ({"weight": "num examples!"}, METRIC),
        *[
            ({"clip_norm": value}, f"expected a clip norm above zero, got `{value}`")
            for value in (0.0, -1.0, math.inf, math.nan)
        ],
        *[
            (
                {"round_timeout_s": value},
                f"expected a round's time from 1 to {MAX_ROUND_TIMEOUT_S} s, got `{value}`",
            )
            for value in (0, -5, MAX_ROUND_TIMEOUT_S + 1)
        ],
        (
            {"run_config": {f"s{i}": i for i in range(MAX_SETTINGS + 1)}},
            f"expected at most {MAX_SETTINGS} settings",
        ),
        (
            {"run_config": {"a": None}},
            "expected settings that are numbers, texts, true or false",
        ),
        (
            {"run_config": {"a": "x" * MAX_BYTES}},
            f"expected a training of at most {MAX_BYTES} bytes",
        ),
    ],
)
def test_a_limit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CallError) as caught:
        training(**changes)
    assert (caught.value.code, caught.value.message) == ("training", message)


def test_a_model_too_large() -> None:
    half = TensorShape("a", "float32", (MAX_VALUES // 2, 2))
    training(arrays=(half,))
    with pytest.raises(CallError) as caught:
        training(arrays=(half, TensorShape("b", "bool", ())))
    assert (caught.value.code, caught.value.message) == (
        "payload_too_large",
        f"expected a model of at most {MAX_VALUES} values, got {MAX_VALUES + 1}",
    )


def test_at_the_limits() -> None:
    training(
        sql="x" * MAX_SQL_BYTES,
        arrays=shapes(MAX_TENSORS),
        metrics=tuple(f"m{i}" for i in range(MAX_METRICS)),
        runs=dict.fromkeys(Action, MAX_RUNS),
        round_timeout_s=MAX_ROUND_TIMEOUT_S,
        run_config={f"s{i}": i for i in range(MAX_SETTINGS)},
    )
    training(arrays=(TensorShape("t", "float32", (0,) + (1,) * (MAX_DIMENSIONS - 1)),))
    training(arrays=(), runs={Action.EVALUATE: 1})


# Bytes of others ----------------------------------------------------------------------------------

OTHER_BYTES = "expected a training in JSON, got other bytes"
OTHER_FORM = "expected a training in canonical JSON, got another form"


def refusal(raw: bytes) -> str:
    with pytest.raises(PeerError) as caught:
        parse_training(raw)
    assert caught.value.code == "job_spec"
    return caught.value.message


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b'{"clip_norm":1.5}',
        b'{"clip_norm":NaN}',
        b"[" * 100_000,
        b'{"a":' * 20_000,
        b'{"round_timeout_s":' + b"9" * 5000 + b"}",
    ],
    ids=["empty", "no text", "half", "a float", "NaN", "deep", "deep keys", "digits"],
)
def test_bytes_that_are_no_json_of_ours(raw: bytes) -> None:
    assert refusal(raw) == OTHER_BYTES


def test_more_bytes_than_a_training_has() -> None:
    assert refusal(b" " * (MAX_BYTES + 1)) == (
        f"expected a training of at most {MAX_BYTES} bytes, got {MAX_BYTES + 1}"
    )


def document(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {**json.loads(training(run_config={"lr": 0.5}).to_bytes()), **changes}
    return {key: value for key, value in found.items() if value is not _GONE}


_GONE = object()
TYPED = {"sql": "str", "arrays": "list", "metrics": "list", "runs": "dict", "weight": "str",
         "round_timeout_s": "int", "run_config": "dict", "program": "dict"}  # fmt: skip


@pytest.mark.parametrize("key", TYPED)
@pytest.mark.parametrize("value", [_GONE, None, True, 7.5, [[]], "text", 12, {"a": {"b": 1}}])
def test_each_key_has_its_type(key: str, value: Any) -> None:
    fits = {"str": str, "list": list, "dict": dict, "int": int}[TYPED[key]]
    if isinstance(value, fits) and not isinstance(value, bool):
        return
    if value == 7.5:
        raw = json.dumps(document(**{key: value}), sort_keys=True, separators=(",", ":")).encode()
        assert refusal(raw) == OTHER_BYTES
        return
    raw = canonical.encode(document(**{key: value}))
    assert refusal(raw) == f"expected `{key}` of a training as {TYPED[key]}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"more": 1}, OTHER_FORM),
        ({"clip_norm": _GONE}, OTHER_FORM),
        ({"clip_norm": "1"}, OTHER_FORM),
        ({"clip_norm": "1e0"}, OTHER_FORM),
        ({"clip_norm": " 1.0"}, OTHER_FORM),
        ({"clip_norm": "1_0.0"}, OTHER_FORM),
        ({"clip_norm": "much"}, OTHER_BYTES),
        ({"clip_norm": "nan"}, "expected a clip norm above zero, got `nan`"),
        ({"clip_norm": "inf"}, "expected a clip norm above zero, got `inf`"),
        ({"clip_norm": 1}, "expected a text in a training, got another type"),
        ({"runs": {"steal": 1}}, OTHER_BYTES),
        ({"runs": {"train": True}}, "expected an integer in a training, got another type"),
        ({"runs": {"train": "1"}}, "expected an integer in a training, got another type"),
        ({"arrays": [["w", "float32"]]}, "expected an array as its name, type and shape"),
        ({"arrays": [["w", "float32", [1], 2]]}, "expected an array as its name, type and shape"),
        ({"arrays": ["w"]}, "expected an array as its name, type and shape"),
        ({"arrays": [["w", "float32", 3]]}, "expected an array as its name, type and shape"),
        ({"arrays": [["w", "float32", [True]]]},
         "expected an integer in a training, got another type"),
        ({"arrays": [[3, "float32", []]]}, "expected a text in a training, got another type"),
        ({"arrays": [["w", "float32", [10**30]]]},
         "expected an array of a known type and shape, got `w`"),
        ({"arrays": [["w", "float32", [9000, 9000]]]},
         f"expected a model of at most {MAX_VALUES} values, got 81000000"),
        ({"arrays": [["w", "float32", []]] * 2500},
         f"expected at most {MAX_TENSORS} arrays, got {MAX_TENSORS + 1}"),
        ({"metrics": [1]}, "expected a text in a training, got another type"),
        ({"metrics": [f"m{i}" for i in range(9999)]}, MANY_METRICS),
        ({"run_config": {"a": [1]}}, "expected settings that are numbers, texts, true or false"),
        ({"run_config": {"a": {"real": 1}}}, "expected a text in a training, got another type"),
        ({"run_config": {"a": {"real": "1"}}}, OTHER_FORM),
        ({"run_config": {"a": {"real": "1.0", "b": 1}}},
         "expected settings that are numbers, texts, true or false"),
        ({"program": {"bundle": "zz", "name": "a"}}, OTHER_BYTES),
        ({"program": {"bundle": "ab" * 31, "name": "a"}},
         "expected a bundle by its SHA-256 and a name"),
        ({"program": {"bundle": "AB" * 32, "name": "a"}}, OTHER_FORM),
        ({"program": {"bundle": "ab" * 32, "name": ""}},
         "expected a bundle by its SHA-256 and a name"),
        ({"program": {"bundle": "ab" * 32, "name": "a\u202eb"}},
         "expected a bundle by its SHA-256 and a name"),
        ({"program": {"bundle": "ab" * 32, "name": "a", "more": 1}}, OTHER_FORM),
        ({"program": {"bundle": "ab" * 32}}, "expected `name` of a training as str"),
        ({"program": {}}, "expected `bundle` of a training as str"),
        ({"program": {"model": "logistic"}}, "expected `model` of a training as dict"),
    ],
)  # fmt: skip
def test_a_document_of_another_form(changes: dict[str, Any], message: str) -> None:
    assert refusal(canonical.encode(document(**changes))) == message


def test_text_that_is_not_canonical() -> None:
    raw = training().to_bytes()
    for other in (
        raw.replace(b",", b", ", 1),
        raw + b"\n",
        raw.replace(b'"sql":', b'"sql":"x","sql":', 1),
        raw.replace(b"SELECT", b"\\u0053ELECT", 1),
    ):
        assert other != raw
        assert refusal(other) == OTHER_FORM
    assert refusal(raw.replace(b"SELECT", b"\\ud800", 1)) == OTHER_BYTES


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_change_of_a_byte_is_another_training_or_none(data: st.DataObject) -> None:
    raw = bytearray(training(run_config={"lr": 0.5}, clip_norm=2.0).to_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = parse_training(bytes(raw))
    except PeerError:
        return
    assert found.to_bytes() == bytes(raw)


def test_code_is_known_by_its_digest() -> None:
    assert parse_training(training().to_bytes()).program == CODE
