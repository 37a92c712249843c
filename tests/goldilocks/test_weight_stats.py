import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from test_model5 import stirred

from goldilocks.model5 import weight_stats
from goldilocks.model5.spectral import spectral_norm

HEADS, WIDTH = 4, 24
TAIL = 0.05
EDGES = np.linspace(-0.1, 0.1, 11)


def weights(blocks=2, seed=0, std=0.02):
    """QKV weights whose heads differ in spread, place and shape."""
    rng = np.random.default_rng(seed)
    spread = np.repeat(rng.uniform(0.5, 2, 3 * HEADS), WIDTH // HEADS)[:, None]
    return {
        f"blocks.{i}": (std * (spread * rng.standard_t(5, (3 * WIDTH, WIDTH)) + spread - 1)).astype(np.float32)
        for i in range(blocks)
    }


def matrix(weight, part, head):
    """The rows that a row of the table is about, by hand."""
    if part == "qkv":
        return weight.astype(np.float64)
    start = {"q": 0, "k": WIDTH, "v": 2 * WIDTH}[part]
    rows = slice(start, start + WIDTH)
    if head >= 0:
        rows = slice(start + head * WIDTH // HEADS, start + (head + 1) * WIDTH // HEADS)
    return weight[rows].astype(np.float64)


def keyed(rows):
    found = {(row["block"], row["part"], row["head"]): row for row in rows}
    assert len(found) == len(rows)
    return found


EVERYTHING = {
    (block, part, head)
    for block in (0, 1)
    for part, heads in {"q": HEADS, "k": HEADS, "v": HEADS, "qkv": 0}.items()
    for head in range(-1, heads)
}


@pytest.mark.parametrize(
    ("steps", "every", "expected"),
    [
        (501, 50, [0, 1, 2, 4, 8, 16, 32, *range(50, 501, 50)]),
        (20, 10, [0, 1, 2, 4, 8, 10]),
        (5, 1000, [0, 1, 2, 4]),
        (40, 32, [0, 1, 2, 4, 8, 16, 32]),
        (3, 1, [0, 1, 2]),
        (1, 50, [0]),
    ],
)
def test_snapshots_are_dense_at_the_start_and_even_after_it(steps, every, expected):
    assert weight_stats.snapshot_steps(steps, every) == expected


def test_every_weight_statistic_is_that_of_its_head_part_or_matrix():
    now, initial = weights(), weights(seed=1)
    rows = keyed(weight_stats.weight_rows(now, initial, HEADS, 7, TAIL))
    assert set(rows) == EVERYTHING
    for (block, part, head), row in rows.items():
        x, x0 = (matrix(of[f"blocks.{block}"], part, head) for of in (now, initial))
        singular = np.linalg.svd(x, compute_uv=False)
        expected = {
            "std": x.std(),
            "mean": x.mean(),
            "excess_kurtosis": stats.kurtosis(x, axis=None),
            "tail_mass": (np.abs(x) > TAIL).mean(),
            "min": x.min(),
            "max": x.max(),
            "frobenius_norm": np.linalg.norm(x),
            "spectral_norm": np.linalg.norm(x, 2),
            "stable_rank": (singular**2).sum() / singular[0] ** 2,
            "cosine_to_initial": (x * x0).sum() / np.linalg.norm(x) / np.linalg.norm(x0),
        } | {f"q{percent:02d}": np.percentile(x, percent) for percent in weight_stats.QUANTILES}
        assert set(row) == {"step", "block", "part", "head", *expected}
        assert row["step"] == 7
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, rel=1e-9, abs=1e-12), (block, part, head, name)


def test_weights_that_are_zero_or_not_finite_have_rows_too():
    start = weights(1)
    zero = {"blocks.0": np.zeros((3 * WIDTH, WIDTH), np.float32)}
    for row in weight_stats.weight_rows(zero, start, HEADS, 0, TAIL):
        names = ("std", "excess_kurtosis", "stable_rank", "cosine_to_initial", "spectral_norm")
        assert {row[name] for name in names} == {0}
    start["blocks.0"][3, 4] = np.nan
    (bad, good) = (keyed(weight_stats.weight_rows(start, start, HEADS, 0, TAIL))[0, part, 0] for part in "qk")
    assert np.isnan(bad["spectral_norm"])
    assert np.isfinite(good["spectral_norm"])


def orthogonal(n, seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]


SPECTRA = {
    "even": lambda n: np.linspace(1, 0, n),
    "power law": lambda n: np.arange(1, n + 1) ** -0.5,
    "cluster": lambda n: np.where(np.arange(n) < 3, 1 - 1e-4 * np.arange(n), np.linspace(0.999, 0.1, n)),
    "orthogonal": np.ones,
    "rank one": lambda n: np.eye(n)[0],
    "random": lambda n: np.linalg.svd(np.random.default_rng(0).normal(size=(n, n)), compute_uv=False),
    "zero": np.zeros,
}


@pytest.mark.parametrize("n", [1, 5, 100, 101, 400])
@pytest.mark.parametrize("singular", SPECTRA.values(), ids=SPECTRA)
def test_the_spectral_norm_of_known_spectra(n, singular):
    w = orthogonal(n, 0) * singular(n) @ orthogonal(n, 1)
    assert spectral_norm(w.T @ w) == pytest.approx(max(singular(n)), rel=1e-6)


def test_an_update_is_measured_against_the_weights_it_was_made_from():
    before, gradients = weights(), weights(seed=2)
    after = {name: weight * np.float32(1.5) for name, weight in before.items()}
    after["blocks.1"] = before["blocks.1"] - np.float32(0.5) * gradients["blocks.1"]
    rows = keyed(weight_stats.update_rows(before, after, gradients, HEADS, 4))
    assert set(rows) == EVERYTHING
    for (block, part, head), row in rows.items():
        old, new, gradient = (matrix(of[f"blocks.{block}"], part, head) for of in (before, after, gradients))
        assert set(row) == {"step", "block", "part", "head", "gradient_norm", "update_ratio"}
        assert row["step"] == 4
        assert row["gradient_norm"] == pytest.approx(np.linalg.norm(gradient), rel=1e-12)
        assert row["update_ratio"] == pytest.approx(np.linalg.norm(new - old) / np.linalg.norm(old), rel=1e-12)
        if block == 0:
            assert row["update_ratio"] == pytest.approx(0.5, rel=1e-6)


@given(
    st.sampled_from([np.float32, np.float64]).flatmap(
        lambda kind: arrays(kind, st.integers(1, 200), elements=st.floats(-1, 1, width=32))
    ),
    st.integers(2, 30),
)
def test_histogram_counts_add_up_and_agree_with_numpy(values, n):
    edges = np.linspace(-0.5, 0.5, n)
    counts = weight_stats.histogram(values, edges)
    assert counts.size == n + 1
    assert counts.sum() == values.size
    assert counts[0] == (values < -0.5).sum()
    assert counts[-1] == (values >= 0.5).sum()
    np.testing.assert_array_equal(counts[1:-1], np.histogram(values[values < 0.5].astype(np.float64), edges)[0])
    at_edges = np.array([0.1, 0.3, 0.2], values.dtype)  # in float32 0.1 rounds up, 0.3 too
    assert weight_stats.histogram(at_edges, np.array([0.1, 0.3])).tolist() == [0, 2, 1], "right of the edge"


def test_histograms_of_parts_add_up_to_the_merged_one():
    rows = weight_stats.histogram_rows(weights(), 3, EDGES)
    counts = {
        (block, part): [row["count"] for row in rows if (row["block"], row["part"]) == (block, part)]
        for block in (0, 1) for part in ("q", "k", "v", "qkv")
    }  # fmt: skip
    assert all(len(of_part) == EDGES.size + 1 for of_part in counts.values())
    for block in (0, 1):
        added = np.sum([counts[block, part] for part in "qkv"], axis=0)
        assert counts[block, "qkv"] == added.tolist()
        assert sum(counts[block, "k"]) == WIDTH * WIDTH
    assert [(row["left"], row["right"]) for row in rows[:2]] == [(-np.inf, EDGES[0]), (EDGES[0], EDGES[1])]


def test_the_weights_of_a_model_are_copied_in_order():
    model = stirred()
    copied = weight_stats.qkv_weights(model)
    assert list(copied) == [f"blocks.{i}.attn.qkv.weight" for i in range(3)]
    first = model.blocks[0].attn.qkv.weight.detach().numpy()
    np.testing.assert_array_equal(copied["blocks.0.attn.qkv.weight"], first)
    assert not np.shares_memory(copied["blocks.0.attn.qkv.weight"], first)
