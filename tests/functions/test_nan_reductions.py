"""Reductions that ignore NaN have NumPy's results, warnings, and errors."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st

import sharedmem
from sharedmem.functions import reduction_rules
from tests.functions.test_reductions import assert_same, outcome
from tests.kernels.strategies import DTYPES, arrays_and_axes

several = settings(max_examples=15)
NAMES = ["nansum", "nanprod", "nanmean", "nanmin", "nanmax", "nanvar", "nanstd"]


@pytest.fixture(autouse=True)
def small_chunks(tuned):
    tuned(chunk_bytes=256)


def with_nans(a, seed):
    if a.dtype.kind not in "fc":
        return a
    is_nan = np.random.default_rng(seed).random(a.shape) < 0.3
    return np.where(is_nan, a.dtype.type(np.nan), a)


@pytest.mark.parametrize("name", NAMES)
@several
@given(
    case=arrays_and_axes(dtypes=DTYPES, min_side=0),
    keepdims=st.booleans(),
    seed=st.integers(0, 99),
)
def test_nan_reductions_match_numpy(name, case, keepdims, seed):
    a, axis = case
    a = with_nans(a, seed)
    if name == "nanprod" and a.dtype.kind in "fc":
        a = np.where(a == a, np.sign(a.real), a).astype(a.dtype)
    # NumPy sums float16 in float16, in which sums of squares overflow.
    assume(a.dtype.char != "e" or name not in ("nanvar", "nanstd"))
    assert_same(name, a, axis, keepdims=keepdims, rtol=2e-2 if a.dtype.char == "e" else 1e-5)


@pytest.mark.parametrize("name", ["nanargmin", "nanargmax"])
@several
@given(case=arrays_and_axes(dtypes=DTYPES), seed=st.integers(0, 99), data=st.data())
def test_nanargmin_and_nanargmax_match_numpy(name, case, seed, data):
    a = with_nans(case[0], seed)
    axis = data.draw(st.none() | st.integers(-a.ndim, a.ndim - 1)) if a.ndim else None
    assert_same(name, a, axis, keepdims=data.draw(st.booleans()))


@pytest.mark.parametrize("name", ["argmin", "argmax"])
@pytest.mark.parametrize("dtype", ["f8", "f2", "c16"])
def test_nanargmin_never_returns_the_index_of_a_nan(name, dtype):
    rng = np.random.default_rng(0)
    for n in (1, 2, 9, 40, 100):
        a = rng.choice([np.nan, np.inf, -np.inf, 1.0], (20, n), p=[0.6, 0.3, 0.05, 0.05])
        a = a.astype(dtype)
        a[:, rng.integers(n)] = np.inf if name == "argmin" else -np.inf
        numbers = [np.flatnonzero(line == line) for line in a]
        expected = [at[getattr(np, name)(line[at])] for line, at in zip(a, numbers, strict=True)]
        for x, axis in ((a, 1), (a.T, 0), (np.ascontiguousarray(a.T), 0)):
            assert getattr(sharedmem, f"nan{name}")(x, axis).tolist() == expected


@pytest.mark.parametrize("name", [*NAMES, "nanargmin"])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_warnings_and_errors_match_numpy(name, axis):
    a = np.full((9, 90), np.nan)
    for filled in (0, 1, 9):
        a[:filled] = 1.0
        said = []
        for module in (sharedmem, np):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    getattr(module, name)(a, axis)
                except ValueError as error:
                    said.append(str(error))
                else:
                    said.append([(str(w.message), w.category) for w in caught])
                    assert module is np or all(w.filename == __file__ for w in caught)
        assert said[0] == said[1]


@pytest.mark.parametrize("name", NAMES)
def test_all_arguments_match_numpy(name):
    a = np.linspace(1, 2, 600).reshape(30, 20)
    a[::7, ::3] = np.nan
    for axis in (None, 0, (0, 1)):
        assert_same(name, a, axis, where=np.arange(20) % 3 > 0, **initial(name))
        out = np.asarray(np.zeros_like(outcome(getattr(np, name), a, axis)))
        assert getattr(sharedmem, name)(a, axis, out=out) is out
        np.testing.assert_allclose(out, getattr(np, name)(a, axis), rtol=1e-12)
        assert outcome(getattr(sharedmem, name), a, axis, out=np.zeros(7)) is ValueError
    if name not in ("nanmin", "nanmax"):
        for dtype in ("f4", "i4", "c16"):
            assert_same(name, a, 0, dtype=dtype, rtol=1e-4)
    if name in ("nanvar", "nanstd"):
        assert_same(name, a, 0, ddof=1)


def initial(name):
    return {"initial": 1.5} if name in ("nansum", "nanprod", "nanmin", "nanmax") else {}


@pytest.mark.parametrize("name", ["nansum", "nanprod", "nanmin", "nanmax"])
def test_initial_is_included(name):
    a = np.array([[1.5, np.nan, 2.0]] * 40)
    for axis in (None, 0, 1):
        assert_same(name, a, axis, initial=1.75)
        if name in ("nansum", "nanprod"):
            assert_same(name, a, axis, initial=2, dtype="i4")


def test_sums_and_means_are_compensated():
    a = np.random.default_rng(0).normal(size=20000) * 10.0 ** (np.arange(20000) % 20)
    spread = np.insert(a, np.arange(0, 20000, 7), np.nan)
    assert sharedmem.nansum(spread) == pytest.approx(math.fsum(a), rel=1e-15)
    assert sharedmem.nanmean(spread) == pytest.approx(math.fsum(a) / len(a), rel=1e-15)


def test_variance_of_elements_far_from_zero():
    a = 1e8 + np.random.default_rng(0).normal(size=5000)
    spread = np.insert(a, np.arange(0, 5000, 3), np.nan)
    assert sharedmem.nanvar(spread) == pytest.approx(sharedmem.var(a), rel=1e-10)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinities_are_not_ignored(value):
    a = np.array([np.nan, 1.0, value] * 50)
    for name in ("nansum", "nanmean", "nanmin", "nanmax", "nanargmin", "nanargmax"):
        assert_same(name, a)


@pytest.mark.parametrize("n_workers", [0, 1, 2, 3, 7])
def test_bits_do_not_depend_on_the_number_of_workers(n_workers):
    a = with_nans(np.random.default_rng(0).normal(1, 0.1, size=(50, 40)), 0)

    def results():
        return [getattr(sharedmem, name)(a, axis) for name in NAMES for axis in (None, 0, 1)]

    with sharedmem.MapReduce(np=5):
        expected = results()
    with sharedmem.MapReduce(np=n_workers):
        for one, other in zip(results(), expected, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["nansum", "nanprod", "nanmean", "nanmin", "nanmax", "nanvar"])
def test_nan_in_object_arrays_is_ignored(name):
    a = np.array([[2, np.nan, 5.0], [1, 3, np.nan]], object)
    for axis in (None, 1):
        result = getattr(sharedmem, name)(a, axis=axis)
        np.testing.assert_array_equal(result, getattr(np, name)(a, axis=axis))


@pytest.mark.parametrize("name", ["nanvar", "nanstd"])
def test_complex_variances_warn_once(name):
    reduction_rules.result_dtype.cache_clear()
    with warnings.catch_warnings(record=True) as ours:
        warnings.simplefilter("always")
        getattr(sharedmem, name)([1.0, 2.0], dtype=complex)
    with warnings.catch_warnings(record=True) as theirs:
        warnings.simplefilter("always")
        getattr(np, name)([1.0, 2.0], dtype=complex)
    assert [str(warning.message) for warning in ours] == [str(w.message) for w in theirs]
