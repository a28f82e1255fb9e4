"""Averages equal NumPy's, or are more accurate."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sharedmem
from tests.functions.comparing import assert_like
from tests.kernels.strategies import DTYPES, arrays_and_axes

several = settings(max_examples=15)


@pytest.fixture(autouse=True)
def small_chunks(tuned):
    tuned(chunk_bytes=256)


@several
@given(
    case=arrays_and_axes(dtypes=DTYPES),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 9),
    keepdims=st.booleans(),
)
def test_averages(case, dtype, seed, keepdims):
    a, axis = case
    weights = np.random.default_rng(seed).integers(1, 2 if dtype == "?" else 9, a.shape)
    weights = weights.astype(dtype)
    for options in ({}, {"weights": weights}):
        options |= {"axis": axis, "keepdims": keepdims}
        expected, total = np.average(a, returned=True, **options)
        assert_like(sharedmem.average(a, **options), expected, 1e-12)
        assert_like(sharedmem.average(a, returned=True, **options)[1], total, 1e-12)


def test_weights_of_an_axis():
    a = np.random.default_rng(0).random((3, 4, 5))
    for axis in (0, 1, -1, (2, 0), (0, 1)):
        shape = [a.shape[at] for at in np.atleast_1d(axis)]
        weights = 1 + np.arange(math.prod(shape)).reshape(shape)
        assert_like(sharedmem.average(a, axis, weights), np.average(a, axis, weights), 1e-14)


def test_averages_are_compensated():
    a = np.tile([1e17, 1.0, -1e17, 1.0], 300).reshape(40, 30)
    assert sharedmem.average(a, weights=np.ones(a.shape)) == 0.5


@pytest.mark.parametrize(
    ("shape", "weights", "axis", "error"),
    [
        (3, [1, -1, 0], None, ZeroDivisionError),
        ((3, 2), [1, 2, 3], None, TypeError),
        ((3, 2), [1, 2, 3], 1, ValueError),
        ((3, 2), [1, 2], 2, np.exceptions.AxisError),
    ],
)
def test_invalid_weights_raise(shape, weights, axis, error):
    for average in (np.average, sharedmem.average):
        with pytest.raises(error):
            average(np.ones(shape), axis, weights)


def test_weighted_averages_of_times_raise():
    times = np.arange(4).astype("m8[s]")
    for average in (np.average, sharedmem.average):
        with pytest.raises(TypeError):
            average(times, weights=[0, 0, 1, 1])
