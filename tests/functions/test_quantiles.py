"""Medians and quantiles have the same bits as NumPy's."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem
from tests.functions.comparing import assert_same, with_workers
from tests.kernels.strategies import arrays_and_axes, dtypes

several = settings(max_examples=15)

METHODS = ["inverted_cdf", "averaged_inverted_cdf", "closest_observation", "hazen", "weibull"]
METHODS += ["interpolated_inverted_cdf", "linear", "median_unbiased", "normal_unbiased", "lower"]
METHODS += ["higher", "midpoint", "nearest"]
DTYPES = dtypes("f8", "i2", "f2", "g", ">f8", others=("f4",))


@pytest.fixture(autouse=True)
def small_pieces(tuned):
    tuned(sort_bytes=1, sort_piece_bytes=128, sort_line_bytes=256, sample_size=64)


@pytest.mark.parametrize("method", METHODS)
@several
@given(
    case=arrays_and_axes(dtypes=DTYPES),
    q=st.floats(0, 1) | st.lists(st.floats(0, 1), min_size=1, max_size=4),
    keepdims=st.booleans(),
)
def test_quantiles(method, case, q, keepdims):
    a, axis = case
    options = {"axis": axis, "method": method, "keepdims": keepdims}
    assert_same(sharedmem.quantile(a, q, **options), np.quantile(a, q, **options))


@several
@given(case=arrays_and_axes(dtypes=(*DTYPES, "?", "c16")), keepdims=st.booleans())
def test_medians(case, keepdims):
    a, axis = case
    expected = np.median(a, axis=axis, keepdims=keepdims)
    assert_same(sharedmem.median(a, axis, keepdims=keepdims), expected)


@pytest.mark.parametrize("shape", [(90,), (90, 1), (1, 90)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_byte_orders_of_results(shape, keepdims):
    a = np.arange(90.0).reshape(shape).astype(">f8")
    for q in (0.5, [0.5]):
        options = {"axis": shape.index(90), "method": "lower", "keepdims": keepdims}
        assert_same(sharedmem.quantile(a, q, **options), np.quantile(a, q, **options))


LINES = {
    "normal": lambda rng: rng.normal(size=2001),
    "float32": lambda rng: rng.normal(size=2001).astype("f4"),
    "integers": lambda rng: rng.integers(-(2**40), 2**40, 2000),
    "few values": lambda rng: rng.integers(0, 3, 2000),
    "one value": lambda rng: np.full(2000, 7.0),
    "sorted": lambda rng: np.arange(2000.0),
    "infinite": lambda rng: np.where(rng.random(2000) < 0.6, np.inf, rng.normal(size=2000)),
    "NaN": lambda rng: np.where(np.arange(2000) == 77, np.nan, rng.normal(size=2000)),
    "unlike its sample": lambda rng: np.where(
        np.arange(2000) % (2000 // 64 | 1), rng.normal(size=2000), 1e6
    ),
    "all NaN": lambda rng: np.full(2000, np.nan),
}


@pytest.mark.parametrize("name", LINES)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_long_lines_of_all_kinds(name):
    a = LINES[name](np.random.default_rng(0))
    for q in (0, 1, 0.5, 0.25, 1e-3, [0.1, 0.9], np.linspace(0, 1, 50)):
        assert_same(with_workers(lambda q=q: sharedmem.quantile(a, q)), np.quantile(a, q))
        assert_same(
            sharedmem.percentile(a, np.multiply(q, 100)), np.percentile(a, np.multiply(q, 100))
        )
    assert_same(sharedmem.median(a), np.median(a))


def test_the_array_is_not_changed():
    a = np.random.default_rng(0).normal(size=(3, 700))
    before = a.copy()
    sharedmem.median(a)
    sharedmem.quantile(a, 0.3, axis=1)
    np.testing.assert_array_equal(a, before)


def test_weights():
    a, weights = np.arange(50.0), np.arange(50) % 3
    options = {"weights": weights, "method": "inverted_cdf"}
    assert sharedmem.quantile(a, 0.3, **options) == np.quantile(a, 0.3, **options)
    assert sharedmem.percentile(a, 30, **options) == np.percentile(a, 30, **options)


def test_times():
    a = np.arange(301).astype("m8[s]")
    assert sharedmem.median(a) == np.median(a)
    dates = np.datetime64("2001-01-01") + np.arange(301)
    assert sharedmem.quantile(dates, 0.5, method="nearest") == dates[150]


@pytest.mark.parametrize(
    ("a", "q", "options"),
    [
        (np.ones(3), 1.1, {}),
        (np.ones(3), [-0.1], {}),
        (np.ones(3), 0.5, {"method": "bogus"}),
        (np.ones(3), 0.5, {"axis": 1}),
        (np.ones(3, complex), 0.5, {}),
        (np.zeros(3, bool), 0.5, {}),
    ],
)
def test_invalid_input_raises_as_in_numpy(a, q, options):
    with pytest.raises(Exception) as caught:
        np.quantile(a, q, **options)
    with pytest.raises(caught.type):
        sharedmem.quantile(a, q, **options)


@pytest.mark.filterwarnings("ignore:(Mean of empty|invalid value)")
def test_medians_of_empty_arrays():
    assert np.isnan(sharedmem.median([]))
    assert_same(sharedmem.median(np.empty((0, 3)), 0), np.median(np.empty((0, 3)), 0))


@pytest.mark.filterwarnings("ignore:All-NaN slice", "ignore:Mean of empty slice")
@pytest.mark.parametrize("method", ["linear", "median_unbiased", "inverted_cdf"])
@several
@given(
    case=arrays_and_axes(dtypes=("f8", "i2")),
    q=st.floats(0, 1) | st.lists(st.floats(0, 1), min_size=1, max_size=4),
    keepdims=st.booleans(),
    nan_every=st.integers(1, 5),
)
def test_quantiles_that_ignore_nan(method, case, q, keepdims, nan_every):
    a, axis = case
    if a.dtype.kind == "f":
        places = np.arange(a.size).reshape(a.shape) % nan_every
        a = np.where(places == 0, np.nan, a).astype(a.dtype)
    options = {"axis": axis, "method": method, "keepdims": keepdims}
    assert_same(sharedmem.nanquantile(a, q, **options), np.nanquantile(a, q, **options))
    expected = np.nanmedian(a, axis=axis, keepdims=keepdims)
    assert_same(sharedmem.nanmedian(a, axis, keepdims=keepdims), expected)


def test_percentiles_with_out():
    a = np.random.default_rng(0).normal(size=(30, 40))
    a[3, ::2] = np.nan
    for name in ("percentile", "nanpercentile"):
        out = np.empty((2, 30))
        assert getattr(sharedmem, name)(a, [10, 50], 1, out) is out
        np.testing.assert_array_equal(out, getattr(np, name)(a, [10, 50], 1))
        single = a.astype("f4")
        assert_same(getattr(sharedmem, name)(single, 10, 1), getattr(np, name)(single, 10, 1))
    assert sharedmem.median(a.T, out=np.empty(()), axis=None).shape == ()


def test_all_nan_slices_warn_once():
    a = np.full((50, 30), np.nan)
    a[7, 1:4] = 1, 2, 4
    with pytest.warns(RuntimeWarning, match="All-NaN slice") as caught:
        result = sharedmem.nanmedian(a, 1)
    assert len(caught) == 1
    assert result[7] == 2
    assert np.isnan(np.delete(result, 7)).all()


@pytest.mark.parametrize("n", [10, 3000])
@pytest.mark.parametrize("name", ["median", "quantile", "percentile", "nanmedian", "nanquantile"])
def test_out_is_checked_for_shape_and_dtype(name, n):
    a = np.arange(float(n)).reshape(2, -1) + 0.75
    q = () if "median" in name else ([0.25, 0.5],)
    function, shape = getattr(sharedmem, name), (*map(len, q), 2)
    for out in (np.empty(shape, "f4"), np.empty(shape)):
        assert function(a, *q, axis=1, out=out) is out
        np.testing.assert_array_equal(out, function(a, *q, axis=1).astype(out.dtype))
    invalid = {
        np._core._exceptions._UFuncOutputCastingError: np.empty(shape, int),
        ValueError: np.empty((5, *shape)),
        TypeError: [0.0],
    }
    for error, out in invalid.items():
        with pytest.raises(error):
            function(a, *q, axis=1, out=out)
    with pytest.raises(ValueError, match="read-only"):
        function(a, *q, axis=1, out=np.broadcast_to(1.0, shape))
