"""Histograms of one, two, and more dimensions, and bincount, equal NumPy's."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem
from tests.functions.comparing import assert_same, with_workers
from tests.kernels.strategies import dtypes

several = settings(max_examples=15)
DTYPES = (*dtypes("f8", "i2", "f2", ">f8", others=("f4", "i1", "u2", "i8", "u8")), "g", "?")


@pytest.fixture(autouse=True)
def small_chunks(tuned):
    tuned(chunk_bytes=256, histogram_run_length=37, thread_bytes=64)


def numbers(shape, dtype, seed=0):
    return np.abs(9 * np.random.default_rng(seed).normal(size=shape)).astype(dtype)


@several
@given(
    dtype=st.sampled_from(DTYPES[:-1]),
    edges_dtype=st.sampled_from(["f8", "f4", "i8", "u2", "g"]),
    edges=st.lists(st.integers(0, 30), min_size=2, max_size=40).map(sorted),
    size=st.integers(0, 300),
    weights=st.sampled_from([None, "f8", "i4", "u1", "c16", "f4", "g"]),
    is_whole=st.booleans(),
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_histogram_with_edges(dtype, edges_dtype, edges, size, weights, is_whole):
    a = numbers(size, dtype, size)
    edges = np.array(edges, edges_dtype)
    if not is_whole and edges.dtype.kind == "f":
        edges = edges / 3 + edges[:1] / 7
    if a.dtype.kind == "f":
        a[::7] = np.nan
        a[1::9] = edges[0]
        a[2::9] = edges[-1]
    w = None if weights is None else np.arange(size).astype(weights)
    hist, result_edges = sharedmem.histogram(a, edges, weights=w)
    expected, expected_edges = np.histogram(a, edges, weights=w)
    assert_same(hist, expected)
    assert_same(result_edges, expected_edges)


@st.composite
def fine_bins(draw):
    """Draw numbers and limits so close that their dtype hardly resolves the bins."""
    dtype = np.dtype(draw(st.sampled_from([*DTYPES[:-2], "f4", "i8", "u1"])))
    n_bins = draw(st.integers(1, 1200))
    if dtype.kind == "f":
        center = dtype.type(draw(st.floats(-900, 900)))
        bin_ulps = draw(st.floats(0.1, 9))
        width = max(float(np.spacing(abs(center))) * n_bins * bin_ulps, 1e-6)
    else:
        center = draw(st.integers(np.iinfo(dtype).min, np.iinfo(dtype).max))
        width = draw(st.sampled_from([3, 50, 1e4, 1e12]))
    low = float(center) + draw(st.floats(-1, 0)) * width
    unit = np.random.default_rng(draw(st.integers(0, 99))).uniform(-0.1, 1.1, 300)
    values = float(low) + unit * width
    if dtype.kind != "f":
        values = np.clip(values, np.iinfo(dtype).min, np.nextafter(np.iinfo(dtype).max, 0))
    with np.errstate(all="ignore"):
        values = values.astype(dtype)
    range_type = draw(st.sampled_from([float, np.float64, np.float32, int]))
    with np.errstate(all="ignore"):
        limits = (range_type(low), range_type(low + width))
    return values, n_bins, draw(st.sampled_from([None, limits]))


def outcome(function, *args, **options):
    try:
        with np.errstate(all="ignore"):
            return function(*args, **options)
    except (ValueError, IndexError) as error:
        return type(error)


@settings(max_examples=30)
@given(case=fine_bins(), density=st.booleans(), weights=st.sampled_from([None, "f4", "i8"]))
def test_histogram_with_bins_near_the_resolution_of_the_dtype(case, density, weights):
    values, n_bins, limits = case
    w = None if weights is None else np.arange(values.size).astype(weights)
    options = {"density": density, "weights": w}
    result = outcome(sharedmem.histogram, values, n_bins, limits, **options)
    expected = outcome(np.histogram, values, n_bins, limits, **options)
    if isinstance(expected, type):
        assert result == expected
    else:
        for part, other in zip(result, expected, strict=True):
            assert_same(part, other)


def test_range_that_the_dtype_cannot_represent():
    x = np.linspace(16777.1, 16780.3, 20_000).astype("f4")
    hist, edges = sharedmem.histogram(x, 1000, (16777.1, 16780.3))
    expected, expected_edges = np.histogram(x, 1000, (16777.1, 16780.3))
    assert_same(hist, expected)
    assert_same(edges, expected_edges)
    assert sharedmem.histogram(np.zeros(1, "f2"), 1000, (-0.1, 0.3))[0].sum() == 1


@pytest.mark.parametrize("bins", [[], [1.0], np.empty(0, "i4"), 0, -1, 1.5, "no rule", [[1, 2]]])
@pytest.mark.parametrize("weights", [None, np.ones(3, "f4")])
def test_invalid_and_empty_bins(bins, weights):
    for a in ([1.0, 2.0, 3.0], np.arange(3), np.arange(3, dtype="f2")):
        options = {"weights": weights}
        try:
            expected = np.histogram(a, bins, **options)
        except (TypeError, ValueError) as error:
            with pytest.raises(type(error)):
                sharedmem.histogram(a, bins, **options)
            continue
        for part, other in zip(sharedmem.histogram(a, bins, **options), expected, strict=True):
            assert_same(part, other)


@pytest.mark.parametrize("n_bins", [1, 2, 7, 5000])
@pytest.mark.parametrize("dtype", dtypes("f8", "u8", others=("f4", "i4")))
@pytest.mark.parametrize("weights", [None, "f8", "i8"])
def test_histogram_with_equal_width_bins(n_bins, dtype, weights, monkeypatch):
    a = numbers((40, 50), dtype)
    w = None if weights is None else np.random.default_rng(1).integers(-9, 9, a.shape)
    w = w if w is None else w.astype(weights)
    for options in ({}, {"range": (1, 7)}, {"density": True}):
        for result, expected in zip(
            sharedmem.histogram(a.T, n_bins, weights=w if w is None else w.T, **options),
            np.histogram(a.T, n_bins, weights=w if w is None else w.T, **options),
            strict=True,
        ):
            assert_same(result, expected)


def test_weights_that_do_not_fit_raise():
    with pytest.raises(ValueError, match="weights should have the same shape"):
        sharedmem.histogram(np.ones(300), 3, weights=np.ones(299))
    with pytest.raises(TypeError, match="weighted data"):
        sharedmem.histogram(np.ones(300), "auto", weights=np.ones(300))


@several
@given(
    dtype=st.sampled_from(dtypes("i8", "u1", ">i4", others=("i1", "u4", "?"))),
    size=st.integers(0, 500),
    step=st.sampled_from([1, 2, -1]),
    weights=st.sampled_from(dtypes(None, "f8", ">f4", others=("i4", "?", "f2"))),
    minlength=st.sampled_from([0, 5, 300]),
)
def test_bincount(dtype, size, step, weights, minlength):
    x = np.random.default_rng(size).integers(0, 100, size).astype(dtype)[::step]
    w = None if weights is None else np.arange(size).astype(weights)[::step]
    assert_same(
        sharedmem.bincount(x, w, minlength=minlength), np.bincount(x, w, minlength=minlength)
    )


@pytest.mark.parametrize(
    ("x", "options"),
    [
        (np.full(300, -1), {}),
        (np.ones(300), {}),
        (np.ones((30, 10), int), {}),
        (np.ones(300, int), {"minlength": -1}),
        (np.ones(300, int), {"minlength": 2.5}),
        (np.ones(300, int), {"weights": np.ones(299)}),
        (np.ones(300, int), {"weights": np.ones(300, complex)}),
    ],
)
def test_invalid_input_of_bincount_raises(x, options):
    with pytest.raises((TypeError, ValueError)) as expected:
        np.bincount(x, **options)
    with pytest.raises(expected.type):
        sharedmem.bincount(x, **options)


def test_tables_of_many_bins_are_few(monkeypatch):
    filled = []
    zeros = np.zeros
    x = np.random.default_rng(0).integers(0, 1000, 20_000)
    monkeypatch.setattr(np, "zeros", lambda *args: filled.append(args[0]) or zeros(*args))
    result = sharedmem.bincount(x)
    assert filled.count(1000) * 1000 <= len(x) // 4
    assert_same(result, np.bincount(x))


BINS = [
    5,
    (3, 4, 2),
    ([0, 1, 5, 20], 6, np.array([0.0, 2, 3, 30])),
    [np.arange(5), np.arange(4), np.arange(9)],
]


@pytest.mark.parametrize("bins", BINS)
@pytest.mark.parametrize("dtype", DTYPES[:-2])
@pytest.mark.parametrize("weights", [None, "f8", "i4"])
def test_histogramdd(bins, dtype, weights):
    sample = numbers((400, 3), dtype)
    w = None if weights is None else np.arange(400).astype(weights)
    for options in ({}, {"density": True}, {"range": ((0, 5), None, (1, 8.5))}):
        hist, edges = sharedmem.histogramdd(sample, bins, weights=w, **options)
        expected, expected_edges = np.histogramdd(sample, bins, weights=w, **options)
        assert_same(hist, expected)
        for result, other in zip(edges, expected_edges, strict=True):
            assert_same(result, other)


@several
@given(n_bins=st.integers(1, 30), low=st.floats(-9, 9), jitter=st.integers(-1, 1))
def test_points_on_edges(n_bins, low, jitter):
    limits = ((low, low + 1.1), (low, low + 3))
    edges = [np.linspace(*limit, n_bins + 1) for limit in limits]
    columns = [np.tile(part + jitter * np.spacing(part), 40) for part in edges]
    columns[0][::5] = np.nan
    expected, _ = np.histogramdd(columns, n_bins, limits)
    assert_same(sharedmem.histogramdd(columns, n_bins, limits)[0], expected)


@pytest.mark.parametrize("bins", [4, [3, 5], [0.0, 1, 5, 9], [[0, 4, 9], 3], np.arange(5)])
def test_histogram2d(bins):
    x, y = numbers(300, "f8"), numbers(300, "f8", 1)
    for options in ({}, {"weights": np.arange(300)}, {"range": ((0, 9), (1, 3))}):
        for result, expected in zip(
            sharedmem.histogram2d(x, y, bins, **options),
            np.histogram2d(x, y, bins, **options),
            strict=True,
        ):
            assert_same(result, expected)
    mixed = sharedmem.histogram2d(x, y.astype("i4"), 3)[0]
    assert_same(mixed, np.histogram2d(x, y.astype("i4"), 3)[0])


@pytest.mark.parametrize(
    ("bins", "options"),
    [
        ((3, 3), {}),
        ((3, 0, 3), {}),
        ((3, 2.5, 3), {}),
        ((3, [2, 1], 3), {}),
        (3, {"range": ((0, 1),)}),
        (3, {"weights": np.ones(399)}),
        (3, {"weights": np.ones(400, complex)}),
    ],
)
def test_invalid_input_of_histogramdd_raises(bins, options):
    sample = numbers((400, 3), "f8")
    with pytest.raises((TypeError, ValueError)) as expected:
        np.histogramdd(sample, bins, **options)
    with pytest.raises(expected.type):
        sharedmem.histogramdd(sample, bins, **options)
    with pytest.raises(ValueError, match="same length"):
        sharedmem.histogram2d(np.ones(3), np.ones(4))


def test_nonfinite_sample_needs_a_range():
    sample = np.full((400, 2), np.nan)
    with pytest.raises(ValueError, match="not finite"):
        sharedmem.histogramdd(sample, 3)
    assert not sharedmem.histogramdd(sample, 3, ((0, 1), (0, 1)))[0].any()


def test_bits_do_not_depend_on_the_number_of_workers():
    rng = np.random.default_rng(0)
    x, w = rng.integers(0, 9, 3000), rng.normal(size=3000)
    with_workers(
        lambda: [
            sharedmem.bincount(x, w),
            sharedmem.histogram(x, 4, weights=w)[0],
            sharedmem.histogram(x, [0, 3, 9], weights=w)[0],
            sharedmem.histogram2d(w, w, 3, weights=w)[0],
        ]
    )
