"""Moments and summaries against SciPy's."""

import numpy as np
import pytest
from scipy import stats

from sharedmem.engine.reduce import reduce
from sharedmem.engine.runners import run_serially
from sharedmem.kernels import moments


@pytest.fixture
def a():
    return np.random.default_rng(0).exponential(2, (400, 30))


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_moments_are_scipys(a, axis):
    result = reduce(run_serially, moments.extended("f8"), a, axis)
    np.testing.assert_allclose(result.mean, np.mean(a, axis=axis), rtol=1e-14)
    np.testing.assert_allclose(result.var, np.var(a, axis=axis), rtol=1e-12)
    np.testing.assert_allclose(result.skew, stats.skew(a, axis=axis), rtol=1e-11)
    np.testing.assert_allclose(result.kurtosis, stats.kurtosis(a, axis=axis), atol=1e-11)


def test_moments_of_a_constant_array():
    result = reduce(run_serially, moments.extended("f8"), np.full(1000, 0.1))
    assert result.mean == pytest.approx(0.1)
    assert result.var == pytest.approx(0, abs=1e-30)
    assert np.isnan(result.skew)
    assert np.isnan(result.kurtosis)


@pytest.mark.parametrize(
    ("special", "mean"),
    [([np.nan], np.nan), ([np.inf], np.inf), ([-np.inf], -np.inf), ([np.inf, -np.inf], np.nan)],
)
def test_moments_of_nonfinite_elements(special, mean):
    result = reduce(run_serially, moments.extended("f8"), np.array([1.0, 2.0, *special]))
    np.testing.assert_equal(float(result.mean), mean)
    assert np.isnan([result.var, result.skew, result.kurtosis]).all()


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_a_summary_is_of_the_finite_elements(a, axis):
    a[::7, ::2] = np.nan
    a[::5, 1::3] = np.inf
    a[1::9, ::4] = -np.inf
    a[:, 17] = np.nan
    finite = np.where(np.isfinite(a), a, np.nan)[:, np.arange(30) != 17]
    result = reduce(run_serially, moments.summary("f8"), a, axis)
    np.testing.assert_array_equal(result.n_nan, np.isnan(a).sum(axis))
    np.testing.assert_array_equal(result.n_inf, np.isinf(a).sum(axis))
    assert np.sum(result.count) == a.size
    used = [part if axis != 0 else np.delete(part, 17) for part in result[3:]]
    smallest, largest, mean, std, skew, kurtosis = used
    np.testing.assert_array_equal(smallest, np.nanmin(finite, axis))
    np.testing.assert_array_equal(largest, np.nanmax(finite, axis))
    np.testing.assert_allclose(mean, np.nanmean(finite, axis), rtol=1e-13)
    np.testing.assert_allclose(std, np.nanstd(finite, axis), rtol=1e-12)
    np.testing.assert_allclose(skew, stats.skew(finite, axis, nan_policy="omit"), rtol=1e-10)
    np.testing.assert_allclose(kurtosis, stats.kurtosis(finite, axis, nan_policy="omit"), rtol=1e-9)


def test_a_summary_without_finite_elements():
    result = reduce(run_serially, moments.summary("f8"), np.full((3, 5), np.nan))
    assert (result.count, result.n_nan) == (15, 15)
    assert np.isnan(result[3:]).all()


def test_complex_numbers_have_no_skew():
    with pytest.raises(TypeError, match="complex128"):
        moments.extended("c16")
