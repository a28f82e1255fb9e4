"""Functions with NumPy's names return NumPy's results."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem
from sharedmem.functions import variance
from tests.kernels.strategies import arrays_and_axes, dtypes

several = settings(max_examples=60)


@pytest.fixture(autouse=True)
def small_chunks(tuned):
    tuned(chunk_bytes=256)


EXACT = ("f8", "i2", "?", "f2", "g", ">f8")
ROUNDED = dtypes("f8", "i2", "c16", "g", others=("?",))


@pytest.mark.parametrize("name", ["sum", "min", "max", "count_nonzero"])
@several
@given(case=arrays_and_axes(dtypes=EXACT), keepdims=st.booleans())
def test_exact_functions_match_numpy(name, case, keepdims):
    a, axis = case
    result = getattr(sharedmem, name)(a, axis, keepdims=keepdims)
    expected = getattr(np, name)(a, axis=axis, keepdims=keepdims)
    np.testing.assert_array_equal(result, expected)
    assert np.asarray(result).dtype == np.asarray(expected).dtype
    assert isinstance(result, np.ndarray) is isinstance(expected, np.ndarray)


@pytest.mark.parametrize("name", ["mean", "var", "std"])
@several
@given(
    case=arrays_and_axes(dtypes=dtypes("f8", "i2", "c16", "g", others=("?",))),
    keepdims=st.booleans(),
)
def test_rounded_functions_match_numpy(name, case, keepdims):
    a, axis = case
    result = getattr(sharedmem, name)(a, axis, keepdims=keepdims)
    expected = getattr(np, name)(a, axis=axis, keepdims=keepdims)
    np.testing.assert_allclose(result, expected, rtol=1e-13, atol=1e-13)
    assert np.asarray(result).dtype == np.asarray(expected).dtype
    assert np.shape(result) == np.shape(expected)


@pytest.mark.parametrize("name", ["sum", "mean", "var", "min", "count_nonzero"])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((0,), None),
        ((0, 3), 0),
        ((0, 3), 1),
        ((3, 0), 0),
        ((0, 0), 0),
        ((2, 0, 3), (0, 1)),
        ((0,), ()),
    ],
)
@pytest.mark.filterwarnings("ignore:(invalid value|Mean of empty|Degrees of freedom)")
def test_empty_arrays(name, shape, axis):
    a = np.empty(shape)
    try:
        expected = getattr(np, name)(a, axis=axis)
    except ValueError:
        with pytest.raises(ValueError, match="no identity"):
            getattr(sharedmem, name)(a, axis)
    else:
        result = getattr(sharedmem, name)(a, axis)
        np.testing.assert_array_equal(result, expected)
        assert result.dtype == expected.dtype


@pytest.mark.parametrize(
    ("name", "values", "options"), [("mean", [], {}), ("var", [1.0], {"ddof": 1}), ("std", [], {})]
)
def test_warnings_match_numpy(name, values, options):
    texts = []
    for module in (np, sharedmem):
        with pytest.warns(RuntimeWarning) as caught:
            assert np.isnan(getattr(module, name)(values, **options))
        texts.append(str(caught[0].message))  # NumPy may warn of the division, too
    assert texts[0] == texts[1]


@pytest.mark.parametrize("name", ["sum", "mean", "min", "var"])
@pytest.mark.parametrize("dtype", [[("x", "f8")], "U3"])
def test_dtypes_that_numpy_refuses_are_refused(name, dtype):
    with pytest.raises(TypeError):
        getattr(np, name)(np.zeros(3, dtype))
    with pytest.raises(TypeError):
        getattr(sharedmem, name)(np.zeros(3, dtype))


def test_times():
    a = np.arange(100).astype("m8[s]")
    assert sharedmem.sum(a) == np.sum(a)
    assert sharedmem.mean(a) == np.mean(a)
    dates = np.datetime64("2001-01-01") + np.arange(100)
    assert sharedmem.minmax(dates) == (dates[0], dates[-1])
    with pytest.raises(TypeError):
        sharedmem.sum(dates)
    dates[7] = "NaT"
    assert np.isnat(sharedmem.max(dates))


def test_results_have_the_given_dtype():
    a = np.arange(10, dtype="i2")
    for name in ("sum", "mean", "var", "std"):
        assert getattr(sharedmem, name)(a, dtype="f4").dtype == np.float32
    assert sharedmem.sum(np.full(5, 1.6), dtype=int) == 5
    assert sharedmem.sum(np.full(300, 1, np.int8), dtype=np.int8) == np.int8(300 - 256)
    big = np.array([2**63 - 1, 1], np.int64)
    assert sharedmem.sum(big) == big.sum()


def test_ddof():
    a = np.arange(10.0)
    assert sharedmem.var(a, ddof=1.5) == pytest.approx(np.var(a, ddof=1.5))
    assert sharedmem.std(a, ddof=1) == pytest.approx(np.std(a, ddof=1))


@pytest.mark.parametrize("dtype", dtypes("f8", "i2", "f2", ">f8", others=("f4", "u1", ">f4")))
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bins": 100},
        {"bins": 7, "range": (0.1, 20.3)},
        {"bins": [0, 1, 5, 20]},
        {"bins": "sturges"},
        {"density": True},
        {"weights": np.arange(3000.0)},
        {"bins": [0, 2, 4], "weights": np.arange(3000)},
    ],
)
def test_histograms_match_numpy(dtype, options):
    a = np.abs(30 * np.random.default_rng(0).normal(size=3000)).astype(dtype)
    hist, edges = sharedmem.histogram(a, **options)
    expected, expected_edges = np.histogram(a, **options)
    np.testing.assert_allclose(hist, expected, rtol=1e-13)
    np.testing.assert_array_equal(edges, expected_edges)
    assert hist.dtype == expected.dtype
    assert edges.dtype == expected_edges.dtype


@several
@given(
    n_bins=st.integers(1, 60),
    low=st.floats(-1e3, 1e3),
    width=st.floats(1e-3, 1e3),
    jitter=st.integers(-2, 2) | st.integers(-99, 99),
)
def test_elements_on_edges_are_in_the_bins_of_numpy(n_bins, low, width, jitter):
    limits = (low, low + width)
    edges = np.histogram_bin_edges(np.empty(0), n_bins, limits)
    a = np.append(edges + jitter * np.spacing(edges), [np.nan, np.inf, -np.inf])
    expected, _ = np.histogram(a, n_bins, limits)
    np.testing.assert_array_equal(sharedmem.histogram(a, n_bins, limits)[0], expected)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("limits", [(0, 1e-308), (0, 5e-322), (1, 1 + 1e-13), (1e16, 1e16 + 200)])
def test_bins_narrow_enough_for_rounding_to_show(limits):
    low, high = limits
    part = np.linspace(0, 1, 1001)
    a = np.repeat(part * high + (1 - part) * low, 20)
    for n_bins in (10, 99):
        expected, _ = np.histogram(a, n_bins)
        np.testing.assert_array_equal(sharedmem.histogram(a, n_bins)[0], expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, np.nan],), "not finite"),
        (([1.0], 0), "positive"),
        (([1.0], [2, 1]), "monotonically"),
        (([1.0, 2.0], 3, None, None, [1.0]), "weights"),
    ],
)
def test_invalid_arguments_of_histogram_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        sharedmem.histogram(*arguments)


def test_the_pool_in_use_runs_reductions(tuned):
    tuned(chunk_bytes=1 << 10)
    parts = sharedmem.zeros(8, int)

    def count(x):
        parts[pool.local.rank] += len(x)
        return len(x)

    def add(x, y):
        return x + y

    with sharedmem.MapReduce(np=2) as pool:
        assert sharedmem.reduce(sharedmem.Reduction(count, add), np.zeros(1000)) == 1000
    assert parts.sum() == 1000
    assert np.count_nonzero(parts) == 2


def test_moments_and_summary():
    a = np.random.default_rng(0).normal(size=(50, 6))
    assert sharedmem.moments(a).mean == pytest.approx(sharedmem.mean(a), rel=1e-15)
    assert sharedmem.moments(a, 0, keepdims=True).kurtosis.shape == (1, 6)
    result = variance.summary(a, 1)
    np.testing.assert_array_equal(result.min, a.min(1))
    np.testing.assert_allclose(result.std, a.std(1), rtol=1e-12)


def test_moments_of_no_elements_are_nan():
    with pytest.warns(RuntimeWarning, match="moments of no elements"):
        assert np.isnan(sharedmem.moments([])).all()
    with pytest.warns(RuntimeWarning, match="moments of no elements"):
        assert np.isnan(sharedmem.moments(np.empty((0, 3)), axis=0)).all()
    assert sharedmem.moments(np.empty((0, 3)), axis=1).var.shape == (0,)


def test_importing_the_package_does_not_import_numba():
    code = "import sys, sharedmem; assert 'numba' not in sys.modules; sharedmem.sum([1])"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
