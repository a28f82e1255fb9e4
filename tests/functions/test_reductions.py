"""Reductions take NumPy's arguments and return NumPy's results."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem
from tests.kernels.strategies import DTYPES, arrays_and_axes, dtypes

several = settings(max_examples=15)
NAMES = ["prod", "ptp", "any", "all", "sum", "mean", "min", "max", "var", "std"]


@pytest.fixture(autouse=True)
def small_chunks(tuned):
    tuned(chunk_bytes=256, shared_line_length=4, thread_bytes=64)


def outcome(function, *args, **options):
    """Return the result of a call, or the type of its error."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return function(*args, **options)
        except (TypeError, ValueError) as error:
            return next(kind for kind in (TypeError, ValueError) if isinstance(error, kind))


def assert_same(name, *args, rtol=1e-12, **options):
    """Assert that a function returns or raises what NumPy's function does."""
    result = outcome(getattr(sharedmem, name), *args, **options)
    expected = outcome(getattr(np, name), *args, **options)
    if isinstance(expected, type):
        assert result is expected
        return
    assert np.shape(result) == np.shape(expected)
    assert np.asarray(result).dtype == np.asarray(expected).dtype
    if np.asarray(expected).dtype.kind in "fc":
        rtol = max(rtol, 4 * float(np.finfo(expected.dtype).eps))
        np.testing.assert_allclose(result, expected, rtol=rtol, atol=rtol)
    else:
        np.testing.assert_array_equal(result, expected)
    assert isinstance(result, np.ndarray) is isinstance(expected, np.ndarray)


@pytest.mark.parametrize("name", ["prod", "ptp", "any", "all"])
@several
@given(case=arrays_and_axes(dtypes=(*DTYPES, "?"), min_side=0), keepdims=st.booleans())
def test_reductions_match_numpy(name, case, keepdims):
    a, axis = case
    if name == "prod" and a.dtype.kind in "fc":
        a = np.where(a == 0, a, np.sign(a.real)).astype(a.dtype)  # products that no type overflows
    assert_same(name, a, axis, keepdims=keepdims)


# Each dtype with each result type, for one function in turn: every combination is compiled.
RESULT_TYPES = [
    (["sum", "mean", "nansum"][(i + j + k) % 3], dtype, wanted)
    for k in range(3)
    for i, dtype in enumerate(["i4", "f4", "f8"])
    for j, wanted in enumerate("efgFD")
]


@pytest.mark.parametrize(
    ("name", "dtype", "wanted"), dtypes(*RESULT_TYPES[:15], others=RESULT_TYPES[15:])
)
def test_results_have_the_given_dtype(name, dtype, wanted):
    a = (np.arange(900).reshape(-1, 3) % 50).astype(dtype)
    for axis in (None, 0, 1):
        assert_same(name, a, axis, dtype=wanted, rtol=2e-2 if wanted == "e" else 1e-6)
        result = getattr(sharedmem, name)(a, axis, dtype=wanted)
        assert result.dtype == getattr(np, name)(a, axis, dtype=wanted).dtype


@pytest.mark.parametrize("name", ["argmin", "argmax"])
@several
@given(case=arrays_and_axes(dtypes=(*DTYPES, "m8[s]")), keepdims=st.booleans(), data=st.data())
def test_argmin_and_argmax_return_the_first_index(name, case, keepdims, data):
    a, _ = case
    a = a // 20 if a.dtype.kind in "iuf" else a  # with ties
    axis = data.draw(st.none() | st.integers(-a.ndim, a.ndim - 1)) if a.ndim else None
    assert_same(name, a, axis, keepdims=keepdims)


@pytest.mark.parametrize("name", ["argmin", "argmax"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_argmin_and_argmax_return_the_first_nan(name, order, axis):
    a = np.zeros((70, 50), order=order)
    a[[3, 60, 3], [40, 40, 45]] = np.nan
    for view in (a, a[::-1], a[:, ::-2]):
        assert_same(name, view, axis)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("axis", [None, 0, (0, 1)])
@pytest.mark.parametrize("dtype", ["f8", "i2"])
def test_results_are_stored_in_out(name, axis, dtype):
    a = np.arange(1, 601).reshape(30, 20).astype(dtype)
    expected = outcome(getattr(np, name), a, axis)
    for out_dtype in {expected.dtype, np.dtype("f8"), np.dtype("i1")}:
        out, reference = np.zeros((2, *expected.shape), out_dtype)[:, ...]
        out, reference = np.asarray(out), np.asarray(reference)
        result = outcome(getattr(sharedmem, name), a, axis, out=out)
        wanted = outcome(getattr(np, name), a, axis, out=reference)
        assert (result is out) is (wanted is reference)
        np.testing.assert_allclose(out, reference, rtol=1e-12)
    assert outcome(getattr(sharedmem, name), a, axis, out=np.zeros(7)) is ValueError


@pytest.mark.parametrize("name", ["sum", "prod", "min", "max"])
@pytest.mark.parametrize("shape", [(40, 9), (0, 9)])
@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("initial", [3, -2.5, 1000])
def test_initial_is_included(name, shape, axis, keepdims, initial):
    for dtype in ("f8", "i2"):
        a = (np.arange(np.prod(shape)).reshape(shape) % 2 + 1).astype(dtype)
        assert_same(name, a, axis, initial=initial, keepdims=keepdims)


@pytest.mark.parametrize("name", ["sum", "prod", "mean", "any", "all", "var", "std"])
@pytest.mark.parametrize("dtype", dtypes("i2", "f8", "c16", others=("?", "f4")))
def test_where_selects_elements(name, dtype):
    a = (np.arange(600) % 7 / 3).reshape(30, 20).astype(dtype)
    if dtype == "c16":
        a[::3] *= 1j
    for axis in (None, 0, 1):
        assert_same(name, a, axis, where=np.arange(20) % 3 > 0)
        assert_same(name, a, axis, where=np.zeros(20, bool))
        assert_same(name, a, axis, where=[0] * 20)
        assert_same(name, a, axis, where=np.zeros(20))  # a TypeError


@pytest.mark.parametrize("axis", [0, 1, 2, (0, 2), None])
@pytest.mark.parametrize("nbytes", [64, 1 << 10, 1 << 20])
def test_where_selects_elements_of_three_dimensional_arrays(axis, nbytes, tuned):
    tuned(chunk_bytes=nbytes)
    a = np.random.default_rng(0).normal(size=(7, 6, 5))
    for name, options in {"sum": {}, "mean": {}, "std": {}, "max": {"initial": -9}}.items():
        for values in (a, a.T, a[::-1, ::2]):
            assert_same(name, values, axis, where=values < 0.9, **options)


def test_means_and_variances_of_no_elements_are_nan():
    for name, text in (("mean", "Mean of empty slice"), ("var", "Degrees of freedom")):
        with pytest.warns(RuntimeWarning, match=text):
            assert np.isnan(getattr(sharedmem, name)([1.0, 2.0], where=[False, False]))


@pytest.mark.parametrize("name", ["min", "max"])
@pytest.mark.parametrize("dtype", dtypes("i2", "f8", "M8[s]", others=("f4",)))
def test_extrema_with_where_need_initial(name, dtype):
    a = np.arange(600).reshape(30, 20).astype(dtype)
    for axis in (None, 0, 1):
        assert_same(name, a, axis, where=a > a[15, 3], initial=a[7, 7])
        assert_same(name, a, axis, where=np.zeros(20, bool), initial=a[7, 7])
    with pytest.raises(ValueError, match="initial"):
        getattr(sharedmem, name)(a, where=a > a[15, 3])


@pytest.mark.parametrize("name", ["sum", "min", "any", "count_nonzero", "nanmax", "ptp"])
def test_zero_dimensional_arrays_have_axis_0(name):
    for axis in (None, 0, -1):
        assert_same(name, np.array(3.5), axis)
    with pytest.raises(np.exceptions.AxisError):
        getattr(sharedmem, name)(np.array(3.5), 1)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ["mean", "var", "std"])
@pytest.mark.parametrize("dtype", ["f4", "i8", "c8", "m8[s]"])
def test_statistics_of_empty_arrays(name, dtype):
    if dtype == "m8[s]" and name == "var":
        return  # NumPy refuses it: its unit has no square
    for axis in (None, 0, 1):
        assert_same(name, np.empty((0, 3), dtype), axis)


def test_products_of_integers_wrap_around():
    a = np.arange(1, 200, dtype="i4")
    assert_same("prod", a)
    assert_same("prod", a.astype("u8"))
    assert_same("prod", a, dtype="i1")


def test_partial_products_do_not_overflow():
    assert_same("prod", np.tile([1e200, 1e-200], 1000))


@pytest.mark.parametrize("name", ["any", "all"])
@pytest.mark.parametrize("at", [0, 500, 9999, None])
def test_one_element_decides_any_and_all(name, at):
    a = np.full(10000, name == "all")
    if at is not None:
        a[at] = not a[at]
    for dtype in ("?", "f4", "c8"):
        assert_same(name, a.astype(dtype))
    assert_same(name, np.array([np.nan, 0]))


@pytest.mark.parametrize("name", ["argmin", "argmax"])
def test_argmin_and_argmax_refuse_empty_arrays_and_invalid_axes(name):
    with pytest.raises(ValueError, match="empty"):
        getattr(sharedmem, name)([])
    with pytest.raises(TypeError, match="integer"):
        getattr(sharedmem, name)(np.ones((2, 2)), (0, 1))
    with pytest.raises(np.exceptions.AxisError):
        getattr(sharedmem, name)(np.ones(3), 1)


def test_argmin_argmax_and_ptp_of_times():
    dates = np.datetime64("2001-01-01") + np.arange(100) % 37
    for name in ("ptp", "argmin", "argmax"):
        assert_same(name, dates)
    dates[70] = "NaT"
    assert_same("argmin", dates)


@pytest.mark.parametrize("n_workers", [0, 1, 2, 3, 7])
def test_bits_do_not_depend_on_the_number_of_workers(n_workers):
    a = np.random.default_rng(0).normal(1, 0.1, size=(50, 40))

    def results():
        totals = sharedmem.sum(a), sharedmem.sum(a, 0), sharedmem.mean(a, 1), sharedmem.var(a, 0)
        products = sharedmem.prod(a), sharedmem.prod(a, 0)
        return *totals, *products, sharedmem.argmin(a), sharedmem.argmax(a, 0)

    with sharedmem.MapReduce(np=5):
        expected = results()
    with sharedmem.MapReduce(np=n_workers):
        for one, other in zip(results(), expected, strict=True):
            np.testing.assert_array_equal(one, other)
