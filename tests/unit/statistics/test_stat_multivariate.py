"""Principal components, clusters and derived columns against numpy and pandas on pooled rows."""

from __future__ import annotations

import math

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from builders.in_process import InProcess, schema_of, split
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from yumen.statistics.derived_columns import impute, standardize
from yumen.statistics.joint_moments import joint_moments, moment_rounds
from yumen.statistics.k_means import centre_start, kmeans
from yumen.statistics.principal_components import pca
from yumen.statistics.table import Table
from yumen_core.errors import CallError, PeerError
from yumen_core.statistics.statistic import Statistic

mpl.use("agg")
COLUMNS = ["a", "b", "c", "d"]


def _frame(n: int, seed: int, *, offset: float = 0.0, missing: float = 0.0) -> pd.DataFrame:
    """Correlated columns of unlike size; `b` and `d` with missing values."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(n, 4)) @ rng.normal(size=(4, 4)) + rng.normal(size=4)
    frame = pd.DataFrame(mixed * [1.0, 1e3, 1e-3, 1.0] + offset, columns=COLUMNS)
    for name in ("b", "d"):
        frame.loc[rng.random(n) < missing, name] = np.nan
    return frame


def _table(frame: pd.DataFrame, seed: int = 0, parts: int = 3, threshold: int = 1) -> Table:
    frames = split(frame, parts, seed)
    return Table(InProcess(frames, schema_of(frame), threshold=threshold))


def _svd(frame: pd.DataFrame, *, scale: bool) -> tuple[np.ndarray, np.ndarray]:
    """Components and variances of pooled complete rows."""
    x = frame.dropna().to_numpy()
    x = x - x.mean(axis=0)
    if scale:
        x = x / x.std(axis=0, ddof=1)
    _, values, vectors = np.linalg.svd(x, full_matrices=False)
    signs = np.sign(vectors[np.arange(4), np.abs(vectors).argmax(axis=1)])
    return vectors * signs[:, None], values**2 / (len(x) - 1)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(3, 5),
    st.booleans(),
    st.sampled_from([0.0, 1e5]),
    st.sampled_from([0.0, 0.2]),
)
def test_components_are_those_of_the_pooled_rows(
    seed: int, parts: int, scale: bool, offset: float, missing: float
) -> None:
    frame = _frame(400, seed, offset=offset, missing=missing)
    complete_rows = [len(part.dropna()) for part in split(frame, parts, seed)]
    assume(min(complete_rows) >= 30)  # a node with few rows beside its columns takes no part
    result = pca(_table(frame, seed, parts), COLUMNS, scale=scale)
    vectors, values = _svd(frame, scale=scale)
    largest = values[0]
    np.testing.assert_allclose(result.explained_variance_, values, rtol=1e-6, atol=1e-9 * largest)
    np.testing.assert_allclose(result.explained_variance_ratio_, values / values.sum(), atol=1e-9)
    for found, expected, value in zip(result.components_, vectors, values, strict=True):
        gap = np.sort(np.abs(values - value))[1] / largest
        np.testing.assert_allclose(found, expected, atol=1e-6 + 1e-10 / gap)
    complete = frame.dropna()
    exact = [math.fsum(complete[name]) / len(complete) for name in COLUMNS]  # pandas' sum is not
    np.testing.assert_allclose(result.mean_, exact, rtol=1e-12)
    assert result.n_samples_ == len(frame.dropna())


def test_components_take_one_job_of_two_rounds() -> None:
    table = _table(_frame(200, 1))
    result = pca(table, COLUMNS, components=2)
    assert result.components_.shape == (2, 4)
    assert len(table._source.jobs) == 1  # type: ignore[attr-defined]
    assert result.provenance.rounds == 2
    assert list(result.to_pandas().index) == COLUMNS
    assert list(result.to_pandas().columns) == ["PC1", "PC2"]
    assert "200 rows of 3 nodes" in repr(result)
    assert "<table" in result._repr_html_()
    assert [tick.get_text() for tick in result.plot().get_xticklabels()] == ["PC1", "PC2"]


def test_the_scores_of_components_are_columns_without_correlation() -> None:
    table = _table(_frame(300, 13))
    result = pca(table, COLUMNS)
    scores = pca(result.assign(table), ["PC1", "PC2", "PC3"], scale=False)
    np.testing.assert_allclose(
        scores.explained_variance_, result.explained_variance_[:3], rtol=1e-9
    )
    np.testing.assert_allclose(scores.components_, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(scores.mean_, 0, atol=1e-10)


def test_columns_may_be_expressions_and_derived() -> None:
    frame = _frame(300, 2)
    table = _table(frame).assign(e="a + d")
    result = pca(table, ["a - c", "e"], scale=False)
    expected = np.cov((frame["a"] - frame["c"]), frame["a"] + frame["d"])
    np.testing.assert_allclose(
        np.sort(result.explained_variance_), np.linalg.eigvalsh(expected), rtol=1e-9
    )


def _lloyd(x: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    for _ in range(200):
        label = ((x[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
        means = [x[label == j].mean(axis=0) for j in range(len(centres)) if (label == j).any()]
        moved = centres.copy()
        moved[[j for j in range(len(centres)) if (label == j).any()]] = means
        if np.abs(moved - centres).max() <= 1e-6:
            break
        centres = moved
    inertia = sum(float(((x[label == j] - moved[j]) ** 2).sum()) for j in range(len(moved)))
    return moved, inertia, np.bincount(label, minlength=len(moved))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4))
def test_clusters_are_lloyds_of_the_pooled_rows(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    middle = rng.normal(size=(k, 3)) * 6
    frame = pd.DataFrame(
        middle[rng.integers(k, size=400)] + rng.normal(size=(400, 3)), columns=["a", "b", "c"]
    )
    table = _table(frame, seed)
    result = kmeans(table, ["a", "b", "c"], k, restarts=1, max_rounds=150, seed=seed)
    names = ["a", "b", "c"]
    statistic = Statistic("start", table.rows({n: n for n in names}), moment_rounds(names))
    with table.compute(statistic) as job:
        start = centre_start(joint_moments(job, names), k, np.random.default_rng(seed))
    x = ((frame - frame.mean()) / frame.std()).to_numpy()
    centres, inertia, sizes = _lloyd(x, start)
    assume((result.cluster_nodes_ == 3).all())  # at fewer nodes a cluster is held back
    order = np.argsort(-sizes, kind="stable")
    assert result.cluster_sizes_.tolist() == sizes[order].tolist()
    expected = frame.mean().to_numpy() + centres[order] * frame.std().to_numpy()
    np.testing.assert_allclose(result.cluster_centers_, expected, rtol=1e-6, atol=1e-6)
    assert result.inertia_ == pytest.approx(inertia, rel=1e-9)


def test_clusters_far_apart_are_found() -> None:
    rng = np.random.default_rng(3)
    middle = np.array([[0.0, 0], [20, 0], [0, 20]])
    label = rng.choice(3, p=[0.5, 0.3, 0.2], size=900)
    frame = pd.DataFrame(middle[label] + rng.normal(size=(900, 2)), columns=["a", "b"])
    table = _table(frame, threshold=10)
    result = kmeans(table, ["a", "b"], 3)
    assert result.cluster_sizes_.tolist() == np.sort(np.bincount(label))[::-1].tolist()
    np.testing.assert_allclose(result.cluster_centers_, middle, atol=0.3)
    assert len(table._source.jobs) == 1  # type: ignore[attr-defined]
    assert result.to_pandas()["_nodes"].tolist() == [3, 3, 3]
    assert "so the inertia can be above that of Lloyd's algorithm" in repr(result).replace(
        "\n  ", " "
    )
    assert result.rows_left_out_ == 0
    assert len(result.plot().get_lines()) == 4


def test_the_cluster_of_a_row_is_a_column_with_known_levels() -> None:
    frame = _frame(600, 14, missing=0.1)
    table = _table(frame)
    result = kmeans(table, ["a", "b", "c"], 4, restarts=1, max_rounds=200)
    rows = result.assign(table).query(["COUNT(*) AS n", "AVG(c) AS c"], by=["cluster"])
    found = {row["cluster"]: row for row in rows if row["cluster"] is not None}
    assert [found[at]["n"] for at in range(4)] == result.cluster_sizes_.tolist()
    for at in range(4):
        assert found[at]["c"] == pytest.approx(result.cluster_centers_[at, 2], rel=1e-6)


def test_the_same_seed_gives_the_same_clusters() -> None:
    table = _table(_frame(300, 4))
    first, second = (kmeans(table, COLUMNS, 3, seed=7) for _ in range(2))
    np.testing.assert_array_equal(first.cluster_centers_, second.cluster_centers_)


def test_standardised_columns_have_mean_0_and_deviation_1() -> None:
    frame = _frame(500, 5, offset=100, missing=0.1)
    table = standardize(_table(frame), ["a", "b"])
    assert table.columns[-2:] == ["a_std", "b_std"]
    (row,) = table.query(["AVG(a_std) AS m", "STDDEV_SAMP(b_std) AS s", "SUM(a_std * a_std) AS q"])
    assert row["m"] == pytest.approx(0.0, abs=1e-12)
    assert row["s"] == pytest.approx(1.0, rel=1e-12)
    assert row["q"] == pytest.approx(499, rel=1e-11)


def _filled(table: Table, names: list[str]) -> pd.DataFrame:
    """A derived column's rows, read at the nodes: a test may."""
    source = table._source
    frames = []
    for database in source._databases:  # type: ignore[attr-defined]
        sql = f"SELECT {', '.join(table.sql(n) + f' AS f{i}' for i, n in enumerate(names))}"
        frames.append(database.execute(f"{sql} FROM held").fetch_df())
    return pd.concat(frames, ignore_index=True)


def test_the_mean_stands_in_for_what_is_missing() -> None:
    frame = _frame(300, 6, missing=0.2)
    filled = _filled(impute(_table(frame), ["a", "b"]), ["a_imputed", "b_imputed"])
    expected = frame.fillna(frame.mean())
    np.testing.assert_allclose(np.sort(filled["f1"]), np.sort(expected["b"]), rtol=1e-12)
    np.testing.assert_allclose(np.sort(filled["f0"]), np.sort(expected["a"]), rtol=1e-15)


def _chained(frame: pd.DataFrame, rounds: int) -> pd.DataFrame:
    """Chained equations on pooled rows, by least squares on the rows themselves."""
    filled = frame.fillna(frame.mean())
    for _ in range(rounds):
        for name in ("b", "d"):
            lacks = frame[name].isna()
            others = filled.drop(columns=name)
            others = (others - others.mean()) / others.std()
            x = np.column_stack([np.ones(len(frame)), others])
            slopes = np.linalg.lstsq(x[~lacks], frame[name][~lacks], rcond=None)[0]
            filled.loc[lacks, name] = x[lacks] @ slopes
    return filled


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 1_000), st.integers(1, 6), st.integers(3, 4))
def test_regressions_stand_in_as_on_the_pooled_rows(seed: int, rounds: int, parts: int) -> None:
    frame = _frame(1200, seed, missing=0.3)
    for part in split(frame, parts, seed):  # a pattern with few rows at a node is left out there
        assume(part.groupby([part["b"].isna(), part["d"].isna()]).size().min() >= 12)
    table = impute(_table(frame, seed, parts), COLUMNS, method="regression", rounds=rounds)
    filled = _filled(table, [f"{name}_imputed" for name in COLUMNS]).sort_values("f0")
    expected = _chained(frame, rounds).sort_values("a")
    for at, name in enumerate(COLUMNS):
        scale = float(expected[name].std())
        np.testing.assert_allclose(filled[f"f{at}"], expected[name], rtol=1e-9, atol=1e-7 * scale)


def test_a_complete_column_is_only_copied() -> None:
    frame = _frame(300, 8)
    table = impute(_table(frame), ["a", "b"], method="regression")
    assert table.columns[-2:] == ["a_imputed", "b_imputed"]
    np.testing.assert_array_equal(np.sort(_filled(table, ["a_imputed"])["f0"]), np.sort(frame["a"]))


def test_a_filled_column_goes_on_into_other_statistics() -> None:
    frame = _frame(900, 9, missing=0.2)
    table = impute(_table(frame), COLUMNS, method="regression")
    result = pca(standardize(table, ["b_imputed"]), ["a", "b_imputed_std"])
    assert result.n_samples_ == 900


BAD = [
    (lambda t: pca(t, []), "expected a list of 1 to 100 columns"),
    (lambda t: pca(t, "a"), "expected a list of 1 to 100 columns"),
    (lambda t: pca(t, ["a", "a"]), "expected each column once, got `a` twice"),
    (lambda t: pca(t, ["a", "text"]), "expected columns of numbers, got text in `text`"),
    (lambda t: pca(t, ["a", "one"]), "expected columns that vary, got `one` with one value"),
    (lambda t: pca(t, ["a", "b"], components=3), "expected 1 to 2 components, got `3`"),
    (lambda t: kmeans(t, ["a"], 0), "expected 1 to 50 clusters, got `0`"),
    (lambda t: kmeans(t, ["one"], 2), "expected columns that vary, got `one` with one value"),
    (
        lambda t: kmeans(t, ["a"], 2, max_rounds=100),
        "expected max_rounds times restarts from 1 to 200, got 100 times 3",
    ),
    (lambda t: standardize(t, ["one"]), "expected columns that vary, got `one` with one value"),
    (lambda t: standardize(t, ["a"], suffix=""), "expected a suffix for the new columns' names"),
    (lambda t: impute(t, ["a"], method="knn"), "expected the method mean or regression, got `knn`"),
    (
        lambda t: impute(t, ["a", "b"], method="regression", rounds=0),
        "expected 1 to 100 rounds, got `0`",
    ),
    (
        lambda t: impute(t, ["a"], method="regression"),
        "expected two columns or more, at most 6 of them with missing values, got 1 with 0",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_a_wrong_call_is_refused(call, message: str) -> None:  # type: ignore[no-untyped-def]
    frame = _frame(200, 10).assign(one=3.7, text="x")
    with pytest.raises(CallError) as caught:
        call(_table(frame))
    assert caught.value.code == "argument"
    assert message in caught.value.message


def test_too_few_rows_are_refused_in_words() -> None:
    table = _table(_frame(25, 11), threshold=10)
    with pytest.raises(PeerError) as caught:
        pca(table, COLUMNS)
    assert caught.value.code == "too_few_rows"
    assert "expected the table's threshold of rows with `a`, `b`, `c`, `d`" in caught.value.message
    with pytest.raises(PeerError, match="threshold of rows with `b`"):
        standardize(_table(_frame(25, 11), threshold=20), ["b"])


def test_an_infinite_value_counts_as_missing_unless_there_are_many() -> None:
    frame = _frame(300, 12)
    schema = schema_of(frame)
    lacking = frame.copy()
    lacking.loc[7, "b"], frame.loc[7, "b"] = np.nan, np.inf
    found, expected = (
        pca(Table(InProcess(split(part, 3), schema, threshold=10)), COLUMNS)
        for part in (frame, lacking.dropna(subset=["b"]))
    )
    assert found.explained_variance_ == pytest.approx(expected.explained_variance_, rel=1e-9)
    frame.loc[:150, "b"] = np.inf
    with pytest.raises(PeerError) as caught:
        pca(Table(InProcess(split(frame, 3), schema, threshold=10)), COLUMNS)
    assert caught.value.message == (
        "expected numbers within 1e+13 of 0 in `b`, got others in the table's threshold of rows or "
        "more"
    )
